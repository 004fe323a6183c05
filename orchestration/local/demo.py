"""The whole pipeline on this machine, as a command: vendors to published marts, on a Prefect server that lives as long as it takes."""

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

from jobs.catalogue import CatalogueError, catalogue
from orchestration.console import reporter
from orchestration.console.reporter import StepsFailedError, Teller
from orchestration.deployments import register
from orchestration.local import stack
from orchestration.local.sample_parameters import CIKS, SAMPLE_END, SAMPLE_START, TICKERS, sample

if TYPE_CHECKING:
    from orchestration.local.sample_parameters import Extracts

FLOW = "daily"
DEFAULT_DIRECTORY = ".finelt"
KEYLESS = ("extract-ecb-fx-rates", "extract-treasury-yields", "extract-sec-company-facts", "extract-sec-filers")
LIVE_DAYS, LIVE_MARKET_DAYS = 730, 5
CONNECT_WITHIN_S = 5.0
TRY_SQL = "select ticker, trade_date, close, pe_ratio from marts.fct_valuation_daily where ticker = 'AAPL' order by trade_date desc limit 5"

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command()
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="Where it works: lake/, site/, receipts.jsonl, logs/, and the databases.",
)
@click.option(
    "--live", is_flag=True, help="Ask the real vendors: ECB, US Treasury, SEC; prices where TIINGO_TOKEN or MASSIVE_TOKEN is set."
)
@click.option("--contact", help="With --live: who asks, e.g. 'Example Ltd admin@example.com'; SEC refuses anonymous clients.")
def main(directory: Path, *, live: bool, contact: str | None) -> None:
    """Run the whole pipeline on this machine: extract, load, transform, publish."""
    if live and not contact:
        raise click.UsageError("--live asks SEC, which wants to know who asks: add --contact 'Your Company you@company.example'")
    with Teller() as teller:
        sys.exit(run(directory.absolute(), contact if live else None, teller))


def run(directory: Path, live_contact: str | None, teller: Teller) -> int:
    """The exit code: 0, or that of the job that failed. Without a contact for the real vendors the sample vendors are asked."""
    _interrupt_on_signals()
    if getproxies():
        for name in ("NO_PROXY", "no_proxy"):  # Prefect is here, whatever proxy leads outside
            os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1"]))
    try:
        _run_in(directory, live_contact, teller)
    except KeyboardInterrupt:
        teller.line("stopped; nothing half done is visible, run it again to finish", "red")
        return ExitCode.INTERRUPTED
    except (JobError, StepsFailedError) as error:
        teller.line(str(error), "red")
        return error.exit_code
    except (CatalogueError, ApiError) as error:
        teller.line(str(error), "red")
        return ExitCode.BUG
    return 0


def _run_in(directory: Path, live_contact: str | None, teller: Teller) -> None:
    """Start the stack, run the flow, tell the result. Signals are deaf while the stack is ended, so that nothing stays running."""
    if live_contact:
        _check_network()
    teller.line(f"working in {directory}: starting Prefect, Postgres and {'a worker' if live_contact else 'the sample vendors'}")
    everything = partial(
        register.cached_deployments, directory / "deployments.json", partial(register.all_deployments, kind=stack.KIND, pool=stack.POOL)
    )
    with stack.running(directory, vendors=not live_contact, deployments=everything) as running:
        try:
            teller.line(
                f"ready; Prefect is at {running.api.url.removesuffix('/api')} while this runs (password in {directory}/prefect/auth)"
            )
            if live_contact:
                extracts = live(directory, live_contact)
            else:
                extracts = sample(str(running.vendors), stack.secret_file(directory / "secrets" / "sample", "sample"))
            parameters = {
                "lake": str(directory / "lake"),
                "warehouse": running.warehouse,
                "warehouse_password": running.warehouse_password,
                "docs": str(directory / "docs"),
                "site": str(directory / "site"),
                "extracts": extracts,
            }
            run_id = running.start(FLOW, parameters)
            steps, ending = reporter.follow(running.api, run_id, running.check, directory, teller)
            reporter.conclude(steps, ending, teller, f"the log is {directory / 'logs' / 'prefect-worker.log'}")
            teller.plain(_next_commands(directory))
        finally:
            _ignore_signals()
            teller.doing("stopping what was started")
            shutil.rmtree(directory / "secrets", ignore_errors=True)


def _check_network() -> None:
    """Nothing, when the vendors that need no key can be reached. Raises TemporaryError at once, where the jobs would be patient."""
    if set(getproxies()) - {"no"}:
        return  # then only the proxy knows
    for host in [host for spec in catalogue() if spec.name in KEYLESS for host in spec.hosts]:
        try:
            socket.create_connection((host, 443), CONNECT_WITHIN_S).close()
        except OSError as error:
            raise TemporaryError(
                f"cannot reach {host}: {error}; --live needs the internet, without it the demo asks sample vendors"
            ) from None


def live(directory: Path, contact: str) -> Extracts:
    """The extract jobs and their options for the real vendors; prices only where the environment holds a token."""
    end = datetime.now(UTC).date() - timedelta(days=1)
    days: dict[str, object] = {"start": str(end - timedelta(days=LIVE_DAYS)), "end": str(end)}
    extracts: Extracts = {
        "extract-ecb-fx-rates": days,
        "extract-treasury-yields": days,
        "extract-sec-company-facts": {"ciks": CIKS, "contact": contact},
        "extract-sec-filers": {"contact": contact},
    }
    if token := os.environ.get("TIINGO_TOKEN"):
        reference = stack.secret_file(directory / "secrets" / "tiingo", token)
        extracts["extract-tiingo-prices"] = {**days, "tickers": TICKERS, "token": reference}
    if token := os.environ.get("MASSIVE_TOKEN"):
        reference = stack.secret_file(directory / "secrets" / "massive", token)
        extracts["extract-massive-daily-prices"] = {**days, "start": str(end - timedelta(days=LIVE_MARKET_DAYS)), "token": reference}
    return extracts


def _next_commands(directory: Path) -> str:
    """What a person may want to do with the result, to be copied."""
    chosen = "" if directory == Path(DEFAULT_DIRECTORY).absolute() else f" --dir {shlex.quote(str(directory))}"
    job = f".venv/bin/extract-ecb-fx-rates plan --lake {shlex.quote(str(directory / 'lake'))} --start {SAMPLE_START} --end {SAMPLE_END}"
    return "\n".join(
        [
            f"The site is {directory / 'site' / 'index.html'}; open it in a browser: {(directory / 'site' / 'index.html').as_uri()}",
            "",
            "Try next:",
            f'  ./scripts/sql{chosen} "{TRY_SQL}"',
            f"  ./scripts/demo{chosen}          # again: everything is unchanged",
            f"  {job}          # one job alone",
        ]
    )


def _interrupt_on_signals() -> None:
    """Let the first of Ctrl-C, SIGTERM and SIGHUP end the demo properly, and the next ones not disturb that."""

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
