"""The whole pipeline on this machine, as a command: vendors to published marts, on a Prefect server that lives as long as it takes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.request import getproxies

import click
from jobkit.errors import EXIT_BUG, JobError, TemporaryError
from jobkit.report.prefect import ApiError
from rich import box
from rich.console import Console
from rich.table import Table

from jobs.catalogue import CatalogueError, catalogue
from orchestration import deploy, watch
from orchestration.local import stack

if TYPE_CHECKING:
    from orchestration.local.stack import Stack
    from orchestration.watch import Ending, Step

FLOW = "daily"
DEFAULT_DIRECTORY = ".finelt"
SAMPLE_START, SAMPLE_END = "2009-07-01", "2013-02-28"  # the days of the sample prices
SAMPLE_MARKET_START = "2012-12-03"  # a file a day: three months of them
TICKERS = ["AAPL", "IBM", "MSFT", "GOOG"]
CIKS = ["320193"]
CONTACT = "finelt demo demo@example.com"
UNHURRIED = 1_000_000  # the sample vendors do not mind how often they are asked
KEYLESS = ("extract-ecb-fx-rates", "extract-treasury-yields", "extract-sec-company-facts", "extract-sec-filers")
LIVE_DAYS, LIVE_MARKET_DAYS = 730, 5
INTERRUPTED = 130
CONNECT_WITHIN_S = 5.0
MIB = 1024 * 1024
PIPE_WIDTH = 110
TRY_SQL = "select ticker, trade_date, close, pe_ratio from marts.fct_valuation_daily where ticker = 'AAPL' order by trade_date desc limit 5"

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HINTS = {
    2: "the options are wrong; correct them and run it again",
    65: "the data break their contract; look at the rows it names",
    75: "run it again later, it goes on where it ended",
    77: "correct the credentials and run it again",
    78: "correct what it names and run it again",
    143: "it was stopped from outside; run it again to finish",
    EXIT_BUG: "run it again, and look into the log when that fails too",
}

Extracts = dict[str, dict[str, object]]


class StepsFailedError(Exception):
    """The flow did not end well; `exit_code` is that of the first job that failed."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Teller:
    """Tells a person what happens, a line each, with the seconds since it began; on a terminal also what is at work right now."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else PIPE_WIDTH
        self._console, self._began_s = Console(width=width), time.monotonic()
        self._status, self._at_work = self._console.status("starting"), dict[str, None]()

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began_s

    def doing(self, text: str) -> None:
        """Show what is at work, on a terminal."""
        self._status.update(text)

    def line(self, text: str, style: str | None = None) -> None:
        """Print one line."""
        self._console.print(f"{self.elapsed_s:6.1f} s  {text}", style=style, highlight=False, markup=False, soft_wrap=True)

    def plain(self, text: object = "") -> None:
        """Print as it is."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def step(self, step: Step) -> None:
        """Print that a step has started or how it ended."""
        if not step.ended:
            self._at_work[step.name] = None
        elif step.state == "COMPLETED":
            self.line(f"{step.name}: {step.message}")
        else:
            self.line(f"{step.name}: {step.state.lower()}: {step.message}", "red")
        if step.ended:
            self._at_work.pop(step.name, None)
        elif step.attempt > 1:
            self.line(f"{step.name}: try {step.attempt}")
        else:
            self.line(f"{step.name}: started", "dim")
        self.doing(", ".join(self._at_work) or "waiting for the next step")


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
        return INTERRUPTED
    except (JobError, StepsFailedError) as error:
        teller.line(str(error), "red")
        return error.exit_code
    except (CatalogueError, ApiError) as error:
        teller.line(str(error), "red")
        return EXIT_BUG
    return 0


def _run_in(directory: Path, live_contact: str | None, teller: Teller) -> None:
    """Start the stack, run the flow, tell the result. Signals are deaf while the stack is ended, so that nothing stays running."""
    if live_contact:
        _check_network()
    teller.line(f"working in {directory}: starting Prefect, Postgres and {'a worker' if live_contact else 'the sample vendors'}")
    everything = partial(deploy.remembered, directory / "deployments.json", partial(deploy.everything, kind=stack.KIND, pool=stack.POOL))
    with stack.running(directory, vendors=not live_contact, deployments=everything) as running:
        try:
            teller.line(
                f"ready; Prefect is at {running.api.url.removesuffix('/api')} while this runs (password in {directory}/prefect/auth)"
            )
            extracts = live(directory, live_contact) if live_contact else sample(directory, str(running.vendors))
            steps, ending = _flow(directory, running, extracts, teller)
            _tell(directory, steps, ending, teller)
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


def sample(directory: Path, vendors: str) -> Extracts:
    """The extract jobs and their options for the sample vendors."""
    token = stack.secret_file(directory / "secrets" / "sample", "sample")
    days = {"start": SAMPLE_START, "end": SAMPLE_END}
    market = {"start": SAMPLE_MARKET_START, "end": SAMPLE_END, "requests_per_minute": UNHURRIED}
    return {
        "extract-ecb-fx-rates": {**days, "base_url": f"{vendors}/www.ecb.europa.eu"},
        "extract-treasury-yields": {**days, "base_url": f"{vendors}/home.treasury.gov"},
        "extract-tiingo-prices": {
            **days,
            "tickers": TICKERS,
            "token": token,
            "requests_per_hour": UNHURRIED,
            "base_url": f"{vendors}/api.tiingo.com",
        },
        "extract-massive-daily-prices": {**market, "token": token, "base_url": f"{vendors}/api.massive.com"},
        "extract-sec-company-facts": {"ciks": CIKS, "contact": CONTACT, "base_url": f"{vendors}/data.sec.gov"},
        "extract-sec-filers": {"contact": CONTACT, "base_url": f"{vendors}/www.sec.gov"},
    }


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


def _flow(directory: Path, running: Stack, extracts: Extracts, teller: Teller) -> tuple[list[Step], Ending]:
    """Run the flow and keep each receipt as it comes. Of a step that was tried again only the last try is given back."""
    parameters = {
        "lake": str(directory / "lake"),
        "warehouse": running.warehouse,
        "warehouse_password": running.warehouse_password,
        "docs": str(directory / "docs"),
        "site": str(directory / "site"),
        "extracts": extracts,
    }
    run_id = running.start(FLOW, parameters)
    steps: dict[str, Step] = {}
    for seen in watch.follow(running.api, run_id, running.check):
        if not isinstance(seen, watch.Step):
            return list(steps.values()), seen
        teller.step(seen)
        if seen.ended:
            steps[seen.name] = seen
            _keep(directory, seen)
    raise AssertionError  # what is followed has an ending


def _keep(directory: Path, step: Step) -> None:
    if step.receipt is not None:
        with (directory / "receipts.jsonl").open("a", encoding="utf-8") as receipts:
            receipts.write(json.dumps(step.receipt) + "\n")


def _tell(directory: Path, steps: list[Step], ending: Ending, teller: Teller) -> None:
    """Print the table and what to do next. Raises StepsFailedError when the flow did not end well."""
    teller.plain()
    teller.plain(_table(steps, teller.elapsed_s))
    failed = [step for step in steps if step.state != "COMPLETED"]
    if ending.state == "COMPLETED":
        teller.plain(_next_commands(directory))
        return
    log = directory / "logs" / "prefect-worker.log"
    if not failed:
        raise StepsFailedError(f"the flow {FLOW} ended as {ending.state}: {ending.message}; its log is {log}", EXIT_BUG)
    told = "\n".join(f"          {step.name}: {step.message}" for step in failed)
    code = int((failed[0].receipt or {}).get("exit_code", EXIT_BUG))
    raise StepsFailedError(f"failed, exit code {code}:\n{told}\n          the log is {log}; {HINTS.get(code, HINTS[EXIT_BUG])}", code)


def _table(steps: list[Step], elapsed_s: float) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_footer=True, padding=(0, 1, 0, 0))
    receipts = [step.receipt for step in steps if step.receipt]
    table.add_column("step", "total", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    for name in ("rows", "quarantined"):
        table.add_column(name, f"{sum(receipt[name] for receipt in receipts):,}", justify="right", no_wrap=True)
    table.add_column("unchanged", justify="right", no_wrap=True)
    table.add_column("seconds", f"{elapsed_s:.1f}", justify="right")
    table.add_column("peak MiB", justify="right")
    for step in steps:
        table.add_row(step.name, *_cells(step))
    return table


def _cells(step: Step) -> list[str]:
    if (receipt := step.receipt) is None:
        return [step.state.lower(), "", "", "", "", ""]
    return [
        receipt["status"],
        f"{receipt['rows']:,}",
        f"{receipt['quarantined']:,}",
        f"{receipt['unchanged']} of {len(receipt['partitions'])}",
        f"{receipt['elapsed_s']:.1f}",
        f"{receipt['peak_rss_bytes'] / MIB:.0f}",
    ]


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
