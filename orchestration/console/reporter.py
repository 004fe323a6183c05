"""Report to a person how a flow proceeds and ends; used by every command that runs one."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, Self

from jobkit.errors import ExitCode, JobError, next_step
from jobkit.prefect_api import ApiError, UnreachableError
from rich import box
from rich.console import Console
from rich.table import Table

from orchestration.console.follow import FlowStep, follow_flow, read_artifacts, start_flow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from jobkit.prefect_api import Api

    from orchestration.console.follow import FlowResult

MIB = 1024 * 1024
PIPE_WIDTH = 120
PLAN = "backfill-plan"  # the key of the table that a backfill publishes first
EXTRACT = "extract-"  # how the names of the jobs begin through which rows come in


class FlowFailedError(Exception):
    """The flow failed; `exit_code` is that of the first job that failed."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class FlowReporter:
    """Prints one line for each event, with the seconds since the start; a terminal also shows which steps are running."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else PIPE_WIDTH
        self._console, self._started_s = Console(width=width), time.monotonic()
        self._status, self._running = self._console.status("starting"), dict[str, None]()

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started_s

    def status(self, text: str) -> None:
        """Show what is running; on a terminal only."""
        self._status.update(text)

    def event(self, text: str, style: str | None = None) -> None:
        """Print one line with the elapsed seconds."""
        self._console.print(f"{self.elapsed_s:6.1f} s  {text}", style=style, highlight=False, markup=False, soft_wrap=True)

    def server_is_silent(self, error: UnreachableError) -> None:
        """Print that Prefect's server does not answer and that this goes on waiting."""
        self.event(f"still waiting for Prefect's server, which is overloaded or down: {error}", "yellow")

    def print(self, text: object = "") -> None:
        """Print a text or a table as it is."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def step(self, step: FlowStep) -> None:
        """Print that a step has started, or how it ended."""
        if not step.is_final:
            self._running[step.name] = None
        elif step.state == "COMPLETED":
            self.event(f"{step.name}: {step.message}")
        else:
            self.event(f"{step.name}: {step.state.lower()}: {step.message}", "red")
        if step.is_final:
            self._running.pop(step.name, None)
        elif step.attempt > 1:
            self.event(f"{step.name}: try {step.attempt}")
        else:
            self.event(f"{step.name}: started", "dim")
        self.status(", ".join(self._running) or "waiting for the next step")


def report_errors(reporter: FlowReporter, command: Callable[[], None], *, stopped: str = "stopped") -> int:
    """Call a command that runs a flow, print an expected error as one line, and return the exit code: 0, or that of the job that failed.

    `stopped` is what it says if a person interrupts it.
    """
    try:
        command()
    except KeyboardInterrupt:
        reporter.event(stopped, "red")
        return ExitCode.INTERRUPTED
    except UnreachableError as error:
        reporter.event(str(error), "red")
        return ExitCode.TEMPORARY
    except (JobError, FlowFailedError) as error:
        reporter.event(str(error), "red")
        return error.exit_code
    except ApiError as error:
        reporter.event(str(error), "red")
        return ExitCode.BUG
    return ExitCode.DONE


def run_flow(
    api: Api, flow: str, pool: str, options: Mapping[str, Any], directory: Path, reporter: FlowReporter, cancel_command: str
) -> tuple[list[FlowStep], str]:
    """Start a flow with its options, report it to its end, and return its steps and the address of its page.

    Raises FlowFailedError, and ApiError if Prefect does not answer; `cancel_command` is how a person cancels the run, which then goes on.
    """
    run_id = start_flow(api, flow, pool, dict(options))
    page = f"{api.url.removesuffix('/api')}/runs/flow-run/{run_id}"
    steps, result = follow_to_the_end(api, run_id, page, directory, reporter, cancel_command)
    for plan in read_artifacts(api, run_id, key={"any_": [PLAN]}):
        print_artifact(plan, reporter)
    print_summary(steps, result, reporter, f"{page} has its log")
    return steps, page


def follow_to_the_end(
    api: Api, run_id: str, page: str, directory: Path, reporter: FlowReporter, cancel_command: str
) -> tuple[list[FlowStep], FlowResult]:
    """Report a flow's progress until it ends. If this cannot go on, say that the flow does and how to cancel it. Raises ApiError."""
    try:
        return report_flow(api, run_id, lambda: None, directory, reporter)
    except (KeyboardInterrupt, UnreachableError):
        reporter.event(f"the flow goes on: {page}; cancel it with {cancel_command} {run_id[:8]}", "red")
        raise


def report_flow(
    api: Api, run_id: str, check: Callable[[], None], directory: Path, reporter: FlowReporter
) -> tuple[list[FlowStep], FlowResult]:
    """Report a flow's steps as they happen, append each receipt to the directory's receipts.jsonl, and return the steps and the result.

    Of a step that was retried, only the last attempt is returned. `check` is called before each poll and may raise.
    """
    steps: dict[str, FlowStep] = {}
    for update in follow_flow(api, run_id, check, reporter.server_is_silent):
        if not isinstance(update, FlowStep):
            return list(steps.values()), update
        reporter.step(update)
        if update.is_final:
            steps[update.name] = update
            _append_receipt(directory, update)
    raise AssertionError  # the last update is the result


def _append_receipt(directory: Path, step: FlowStep) -> None:
    if step.receipt is not None:
        with (directory / "receipts.jsonl").open("a", encoding="utf-8") as receipts:
            receipts.write(json.dumps(step.receipt) + "\n")


def print_summary(steps: list[FlowStep], result: FlowResult, reporter: FlowReporter, log_hint: str) -> None:
    """Print the table of steps. Raises FlowFailedError, with `log_hint` saying where the log is, if the flow failed."""
    if steps:
        reporter.print()
        reporter.print(_build_table(steps, reporter.elapsed_s))
        if quarantined := _list_quarantined(steps):
            reporter.print(f"Rows in quarantine, because they break their contract: {'; '.join(quarantined)}\n")
    failed = [step for step in steps if step.state != "COMPLETED"]
    if result.state == "COMPLETED":
        return
    if not failed:
        raise FlowFailedError(f"the flow ended as {result.state}: {result.message}; {log_hint}", ExitCode.BUG)
    messages = "\n".join(f"          {step.name}: {step.message}" for step in failed)
    code = (failed[0].receipt and failed[0].receipt["exit_code"]) or ExitCode.BUG  # a job that was done may still have lost its final state
    raise FlowFailedError(f"failed, exit code {code}:\n{messages}\n          {log_hint}; {next_step(code)}", code)


def _list_quarantined(steps: list[FlowStep]) -> list[str]:
    """Return the partitions with rows in quarantine, as `finelt quarantine show` takes them, and how many rows."""
    receipts = [step.receipt for step in steps if step.receipt and step.receipt["job"].startswith(EXTRACT)]
    partitions = [partition for receipt in receipts for partition in receipt["partitions"] if partition["quarantined"]]
    return [f"{partition['dataset']} {partition['partition']} ({partition['quarantined']:,})" for partition in partitions]


def print_artifact(artifact: Mapping[str, Any], reporter: FlowReporter) -> None:
    """Print a table that a flow has published: its description, then its rows."""
    rows: list[dict[str, Any]] = json.loads(artifact["data"]) if isinstance(artifact["data"], str) else artifact["data"]
    reporter.print(f"\n{artifact['description']}")
    if rows:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name in rows[0]:
            table.add_column(name, justify="right" if isinstance(rows[0][name], int) else "left")
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        reporter.print(table)


def _build_table(steps: list[FlowStep], elapsed_s: float) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_footer=True, padding=(0, 1, 0, 0))
    receipts = [step.receipt for step in steps if step.receipt]
    table.add_column("step", "total, as extracted", overflow="fold")  # of a backfill, a step has a long name; the numbers stay readable
    table.add_column("outcome", no_wrap=True)
    extracted = [receipt for receipt in receipts if receipt["job"].startswith(EXTRACT)]  # later steps count the same rows again
    for name, total in (
        ("rows", sum(receipt["rows"] for receipt in extracted)),
        ("quarantined", sum(receipt["quarantined"] for receipt in extracted)),
    ):
        table.add_column(name, f"{total:,}", justify="right", no_wrap=True)
    table.add_column("unchanged", justify="right", no_wrap=True)
    table.add_column("seconds", f"{elapsed_s:.1f}", justify="right", no_wrap=True)
    table.add_column("peak MiB", justify="right", no_wrap=True)
    for step in steps:
        table.add_row(step.name, *_format_cells(step))
    return table


def _format_cells(step: FlowStep) -> list[str]:
    if (receipt := step.receipt) is None:
        return [step.state.lower(), "", "", "", "", ""]
    if (plan := receipt["details"].get("plan")) is not None:
        missing = sum(entry.get("commit") is None for entry in plan)
        return [f"{missing} of {len(plan)} to fetch", "", "", "", f"{receipt['elapsed_s']:.1f}", f"{receipt['peak_rss_bytes'] / MIB:.0f}"]
    return [
        receipt["status"],
        f"{receipt['rows']:,}",
        f"{receipt['quarantined']:,}",
        f"{receipt['unchanged']} of {len(receipt['partitions'])}",
        f"{receipt['elapsed_s']:.1f}",
        f"{receipt['peak_rss_bytes'] / MIB:.0f}",
    ]
