"""Run the whole pipeline on this machine, from vendors to published marts, with a Prefect server that runs as long as the demo."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import getproxies

import click
from jobkit.errors import ExitCode, JobError, TemporaryError
from jobkit.prefect_api import ApiError
from jobkit.version import version_option

from jobs.catalogue import CatalogueError, catalogue
from orchestration.console.reporter import FlowFailedError, FlowReporter, print_summary, report_flow
from orchestration.deployments import register
from orchestration.local import stack
from orchestration.local.sample_parameters import CIKS, SAMPLE_END, SAMPLE_START, TICKERS, build_sample_extracts

if TYPE_CHECKING:
    from orchestration.local.sample_parameters import Extracts

FLOW = "daily"
DEFAULT_DIRECTORY = ".finelt"
KEYLESS_JOBS = ("extract-ecb-fx-rates", "extract-treasury-yields", "extract-sec-company-facts", "extract-sec-filers")
LIVE_DAYS, LIVE_MARKET_DAYS = 730, 5
CONNECT_TIMEOUT_S = 5.0
SAMPLE_SQL = (
    "select ticker, trade_date, close, pe_ratio from marts.fct_valuation_daily where ticker = 'AAPL' order by trade_date desc limit 5"
)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command()
@version_option()
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="The directory of lake/, site/, receipts.jsonl, logs/ and the databases.",
)
@click.option("--live", is_flag=True, help="Use the real vendors: ECB, US Treasury, SEC; prices if TIINGO_TOKEN or MASSIVE_TOKEN is set.")
@click.option("--contact", help="With --live: your name and address, e.g. 'Example Ltd admin@example.com'; SEC refuses anonymous clients.")
def main(directory: Path, *, live: bool, contact: str | None) -> None:
    """Run the whole pipeline on this machine: extract, load, transform, publish."""
    if live and not contact:
        raise click.UsageError("--live calls SEC, which refuses anonymous clients; add --contact 'Your Company you@company.example'")
    with FlowReporter() as reporter:
        sys.exit(run(directory.absolute(), contact if live else None, reporter))


def run(directory: Path, live_contact: str | None, reporter: FlowReporter) -> int:
    """Run the demo and return the exit code: 0, or that of the job that failed. Without a contact it uses the sample vendors."""
    _interrupt_on_signals()
    if getproxies():
        for name in ("NO_PROXY", "no_proxy"):  # no proxy for the local Prefect server
            os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1"]))
    try:
        _run_in(directory, live_contact, reporter)
    except KeyboardInterrupt:
        reporter.event("stopped; no partial result is visible, run it again to finish", "red")
        return ExitCode.INTERRUPTED
    except (JobError, FlowFailedError) as error:
        reporter.event(str(error), "red")
        return error.exit_code
    except (CatalogueError, ApiError) as error:
        reporter.event(str(error), "red")
        return ExitCode.BUG
    return ExitCode.DONE


def _run_in(directory: Path, live_contact: str | None, reporter: FlowReporter) -> None:
    """Start the stack, run the flow, report the result. Signals are ignored during shutdown so that no process is left behind."""
    if live_contact:
        _check_network()
    reporter.event(f"working in {directory}: starting Prefect, Postgres and {'a worker' if live_contact else 'the sample vendors'}")
    deployments = partial(
        register.cached_deployments, directory / "deployments.json", partial(register.all_deployments, kind=stack.KIND, pool=stack.POOL)
    )
    with stack.run_stack(directory, vendors=not live_contact, deployments=deployments) as running:
        try:
            reporter.event(
                f"ready; Prefect is at {running.api.url.removesuffix('/api')} while this runs (password in {directory}/prefect/auth)"
            )
            if live_contact:
                extracts = live_parameters(directory, live_contact)
            else:
                extracts = build_sample_extracts(str(running.vendors), stack.write_secret(directory / "secrets" / "sample", "sample"))
            parameters = {
                "lake": str(directory / "lake"),
                "warehouse": running.warehouse,
                "warehouse_password": running.warehouse_password,
                "docs": str(directory / "docs"),
                "site": str(directory / "site"),
                "extracts": extracts,
            }
            run_id = running.start_flow(FLOW, parameters)
            steps, result = report_flow(running.api, run_id, running.check, directory, reporter)
            print_summary(steps, result, reporter, f"the log is {directory / 'logs' / 'prefect-worker.log'}")
            reporter.print(_next_commands(directory))
        finally:
            _ignore_signals()
            reporter.status("stopping the local stack")
            shutil.rmtree(directory / "secrets", ignore_errors=True)


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


def live_parameters(directory: Path, contact: str) -> Extracts:
    """Return the extract jobs and their options for the real vendors; prices only if the environment has a token."""
    end = datetime.now(UTC).date() - timedelta(days=1)
    days: dict[str, object] = {"start": str(end - timedelta(days=LIVE_DAYS)), "end": str(end)}
    extracts: Extracts = {
        "extract-ecb-fx-rates": days,
        "extract-treasury-yields": days,
        "extract-sec-company-facts": {"ciks": CIKS, "contact": contact},
        "extract-sec-filers": {"contact": contact},
    }
    if token := os.environ.get("TIINGO_TOKEN"):
        reference = stack.write_secret(directory / "secrets" / "tiingo", token)
        extracts["extract-tiingo-prices"] = {**days, "tickers": TICKERS, "token": reference}
    if token := os.environ.get("MASSIVE_TOKEN"):
        reference = stack.write_secret(directory / "secrets" / "massive", token)
        extracts["extract-massive-daily-prices"] = {**days, "start": str(end - timedelta(days=LIVE_MARKET_DAYS)), "token": reference}
    return extracts


def _next_commands(directory: Path) -> str:
    """Return commands to try next, ready to copy."""
    dir_option = "" if directory == Path(DEFAULT_DIRECTORY).absolute() else f" --dir {shlex.quote(str(directory))}"
    plan_command = (
        f".venv/bin/extract-ecb-fx-rates plan --lake {shlex.quote(str(directory / 'lake'))} --start {SAMPLE_START} --end {SAMPLE_END}"
    )
    return "\n".join(
        [
            f"The site is {directory / 'site' / 'index.html'}; open it in a browser: {(directory / 'site' / 'index.html').as_uri()}",
            "",
            "Try next:",
            f'  ./scripts/sql{dir_option} "{SAMPLE_SQL}"',
            f"  ./scripts/demo{dir_option}          # again: everything is unchanged",
            f"  {plan_command}          # one job alone",
        ]
    )


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


if __name__ == "__main__":
    main(prog_name="scripts/demo")
