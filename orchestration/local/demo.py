"""Run the whole pipeline on this machine, from vendors to published marts, with a Prefect server that runs as long as the demo, or on."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import getproxies

import click
from jobkit.errors import TemporaryError
from jobkit.version import version_option

from jobs.catalogue import REPOSITORY, catalogue
from orchestration.console.reporter import FlowReporter, print_summary, report_errors, report_flow
from orchestration.deployments import register, schedules
from orchestration.deployments.parameters import read_settings
from orchestration.local import stack
from orchestration.local.extracts import build_live_extracts, build_sample_extracts_for
from orchestration.local.options import DEFAULT_DIRECTORY, directory_option
from orchestration.local.sample_parameters import SAMPLE_END, SAMPLE_START

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestration.deployments.model import DeploymentSpec
    from orchestration.deployments.parameters import Settings
    from orchestration.local.sample_parameters import Extracts

FLOW = "daily"
KEYLESS_JOBS = (
    "extract-ecb-fx-rates",
    "extract-treasury-yields",
    "extract-nyfed-rates",
    "extract-fiscaldata-debt",
    "extract-sdmx-series",
    "extract-sec-company-facts",
    "extract-sec-filers",
)
CONNECT_TIMEOUT_S = 5.0
SAMPLE_SQL = (
    "select ticker, trade_date, close, pe_ratio from marts.fct_valuation_daily where ticker = 'AAPL' order by trade_date desc limit 5"
)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command()
@version_option()
@directory_option("The directory of lake/, site/, receipts.jsonl, logs/ and the databases.")
@click.option(
    "--live",
    is_flag=True,
    help="Use the real vendors: all that need no key, and those whose token is set (TIINGO_TOKEN, MASSIVE_TOKEN, FRED_TOKEN).",
)
@click.option("--contact", help="With --live: your name and address, e.g. 'Example Ltd admin@example.com'; SEC refuses anonymous clients.")
@click.option("--keep", is_flag=True, help="Leave Prefect, Postgres and a server of the site running; `finelt stop` stops them.")
def main(directory: Path, *, live: bool, contact: str | None, keep: bool) -> None:
    """Run the whole pipeline on this machine: extract, load, transform, publish.

    Your tickers, companies and vendors come from finelt.toml, if there is one: `finelt init` writes it.
    """
    settings = read_settings()
    if contact and not live:
        raise click.UsageError("--contact is for the real vendors; add --live, or leave it out")
    contact = contact or settings.values.get("contact")
    if live and not contact:
        raise click.UsageError(
            "--live calls SEC, which refuses anonymous clients; add --contact 'Your Company you@company.example', or contact to finelt.toml"
        )
    with FlowReporter() as reporter:
        sys.exit(run(directory.absolute(), contact if live else None, reporter, settings, keep=keep))


def run(directory: Path, live_contact: str | None, reporter: FlowReporter, settings: Settings, *, keep: bool = False) -> int:
    """Run the demo and return the exit code: 0, or that of the job that failed. Without a contact it uses the sample vendors."""
    _interrupt_on_signals()
    if getproxies():
        for name in ("NO_PROXY", "no_proxy"):  # no proxy for the local Prefect server
            os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1"]))
    return report_errors(
        reporter,
        lambda: _run_in(directory, live_contact, reporter, settings, keep=keep),
        stopped="stopped; no partial result is visible, run it again to finish",
    )


def _run_in(directory: Path, live_contact: str | None, reporter: FlowReporter, settings: Settings, *, keep: bool = False) -> None:
    """Start the stack, run the flow, report the result. Signals are ignored during shutdown so that no process is left behind."""
    if live_contact:
        _check_network()
    reporter.event(f"working in {directory}: starting Prefect, Postgres and {'a worker' if live_contact else 'the sample vendors'}")
    deployments = partial(
        register.cached_deployments, directory / "deployments.json", partial(register.all_deployments, kind=stack.KIND, pool=stack.POOL)
    )
    if settings.values or settings.vendors is not None:
        reporter.event(f"settings: {settings.source}")
        _build_extracts(settings, deployments(), "http://127.0.0.1", live_contact, lambda name, _: name)  # refuse wrong ones at once
    with stack.run_stack(directory, vendors=not live_contact, deployments=deployments, report=reporter.event) as running:
        try:
            reporter.event(
                f"ready; Prefect is at {running.api.url.removesuffix('/api')} while this runs (password in {directory}/prefect/auth)"
            )
            specs = deployments()
            store_secret = partial(_store_secret, directory)
            extracts, notes = _build_extracts(settings, specs, str(running.vendors), live_contact, store_secret)
            for note in notes:
                reporter.event(note, "yellow")
            parameters: dict[str, object] = {
                "lake": str(directory / "lake"),
                "warehouse": running.warehouse,
                "warehouse_password": running.warehouse_password,
                "docs": str(directory / "docs"),
                "site": str(directory / "site"),
            }
            if keep:
                _register_defaults(running, specs, parameters, extracts)
            run_id = running.start_flow(FLOW, {**parameters, "extracts": extracts})
            steps, result = report_flow(running.api, run_id, running.check, directory, reporter)
            addresses = running.keep() if keep else None
            print_summary(steps, result, reporter, f"the log is {directory / 'logs' / 'prefect-worker.log'}")
            reporter.print(_next_commands(directory, addresses, settings))
        finally:
            _ignore_signals()
            reporter.status("stopping the local stack")
            if not (directory / stack.ADDRESSES).exists():
                shutil.rmtree(directory / "secrets", ignore_errors=True)


def _build_extracts(
    settings: Settings,
    deployments: Sequence[DeploymentSpec],
    vendors: str,
    live_contact: str | None,
    store_secret: Callable[[str, str], str],
) -> tuple[Extracts, list[str]]:
    """Return the extract jobs with their options, and what the sample vendors do not have of it. Raises JobError.

    `store_secret` puts a secret, by name, where the jobs can read it, and returns the reference.
    """
    if live_contact:
        return build_live_extracts(settings, deployments, live_contact, store_secret), []
    return build_sample_extracts_for(settings, deployments, vendors, store_secret("sample", "sample"))


def _store_secret(directory: Path, name: str, value: str) -> str:
    return stack.write_secret(directory / "secrets" / name, value)


def _register_defaults(
    running: stack.Stack, deployments: Sequence[DeploymentSpec], parameters: dict[str, object], extracts: Extracts
) -> None:
    """Register the deployments again with values for their options, so that every flow and job can be started from Prefect's form."""
    undated = {job: {name: value for name, value in options.items() if name not in ("start", "end")} for job, options in extracts.items()}
    days = next((options for options in extracts.values() if "start" in options), {})
    backfill = {"extracts": undated, **{name: days[name] for name in ("start", "end") if name in days}}
    values = {**parameters, **extracts, "daily": {"extracts": extracts}, "backfill": backfill}
    with_values, _ = schedules.apply_parameters(deployments, values, "the demo", None)
    register.register_deployments(running.api, with_values, kind=stack.KIND, pool=stack.POOL)


def _check_network() -> None:
    """Check that the vendors that need no key are reachable. Raises TemporaryError at once, while the jobs would retry for long."""
    if set(getproxies()) - {"no"}:
        return  # a direct connection proves nothing behind a proxy
    for host in [host for spec in catalogue() if spec.name in KEYLESS_JOBS for host in spec.hosts]:
        try:
            socket.create_connection((host, 443), CONNECT_TIMEOUT_S).close()
        except OSError as error:
            raise TemporaryError(
                f"cannot reach {host}: {error}; --live needs the internet, without --live the demo uses sample vendors"
            ) from None


def _next_commands(directory: Path, addresses: dict[str, str] | None, settings: Settings) -> str:
    """Return commands to try next, ready to copy; of a kept demo also what runs where."""
    dir_option = "" if directory == Path(DEFAULT_DIRECTORY).absolute() else f" --dir {shlex.quote(str(directory))}"
    scripts = "./scripts" if Path.cwd() == REPOSITORY else shlex.quote(str(REPOSITORY / "scripts"))
    index = directory / "site" / "index.html"
    if addresses is None:
        lines = [f"The site is {index}; open it in a browser: {index.as_uri()}", "", "Try next:"]
        again = [
            f"  {scripts}/demo{dir_option}          # again: everything is unchanged",
            f"  {scripts}/demo{dir_option} --keep   # and leave Prefect, Postgres and the site running",
        ]
    else:
        lines = [
            "Still running:",
            f"  Prefect    {addresses['prefect']}   (enter the text in {directory / 'prefect' / 'auth'})",
            f"  site       {addresses['site']}   ({index})",
            f"  Postgres   {addresses['warehouse']}   (password in {directory / 'postgres' / 'roles' / 'reader'})",
            "",
            "Try next:",
        ]
        again = [
            f"  {scripts}/finelt runs{dir_option}          # also: logs RUN, cancel RUN, state",
            f"  {scripts}/run --pool process{dir_option} --flow backfill --start 2012-11-01 --end 2012-11-30          # more days",
            f"  {scripts}/finelt stop{dir_option}          # stop all of it; the data stays",
        ]
    query = f'"{SAMPLE_SQL}"' if settings.selects("tiingo") and settings.selects("sec") else "--tables"
    lake = shlex.quote(str(directory / "lake"))
    quarantine = f"  {scripts}/quarantine ls --lake {lake}          # rows that broke their contract, and why"
    lines = [*lines, f"  {scripts}/sql{dir_option} {query}", quarantine, *again]
    if settings.selects("ecb"):
        job = ".venv/bin" if Path.cwd() == REPOSITORY else shlex.quote(str(REPOSITORY / ".venv" / "bin"))
        plan = f"extract-ecb-fx-rates plan --lake {lake} --start {SAMPLE_START} --end {SAMPLE_END}"
        lines.append(f"  {job}/{plan}          # one job alone")
    return "\n".join(lines)


def _interrupt_on_signals() -> None:
    """Let the first Ctrl-C, SIGTERM or SIGHUP shut the demo down, and ignore later ones during the shutdown."""

    def interrupt(_signal: int, _frame: object) -> None:
        _ignore_signals()
        raise KeyboardInterrupt

    for number in SIGNALS:
        signal.signal(number, interrupt)


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
