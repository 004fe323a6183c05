"""Tells a person how a flow goes and how it ended; used by every command that runs one."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Self

from jobkit.errors import ExitCode, next_step
from rich import box
from rich.console import Console
from rich.table import Table

from orchestration.console import follow as watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jobkit.prefect_api import Api

    from orchestration.console.follow import Ending, Step

MIB = 1024 * 1024
PIPE_WIDTH = 120


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


def follow(api: Api, run_id: str, check: Callable[[], None], directory: Path, teller: Teller) -> tuple[list[Step], Ending]:
    """The steps of a flow's run and its ending, told as they come; each receipt is kept in the directory's receipts.jsonl.

    Of a step that was tried again only the last try is given back. `check` is called in between and may raise.
    """
    steps: dict[str, Step] = {}
    for seen in watch.follow(api, run_id, check):
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


def conclude(steps: list[Step], ending: Ending, teller: Teller, look: str) -> None:
    """Print the table. Raises StepsFailedError, with where to `look` into it, when the flow did not end well."""
    if steps:
        teller.plain()
        teller.plain(_table(steps, teller.elapsed_s))
    failed = [step for step in steps if step.state != "COMPLETED"]
    if ending.state == "COMPLETED":
        return
    if not failed:
        raise StepsFailedError(f"the flow ended as {ending.state}: {ending.message}; {look}", ExitCode.BUG)
    told = "\n".join(f"          {step.name}: {step.message}" for step in failed)
    code = int((failed[0].receipt or {}).get("exit_code", ExitCode.BUG))
    raise StepsFailedError(f"failed, exit code {code}:\n{told}\n          {look}; {next_step(code)}", code)


def _table(steps: list[Step], elapsed_s: float) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_footer=True, padding=(0, 1, 0, 0))
    receipts = [step.receipt for step in steps if step.receipt]
    table.add_column("step", "total", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    for name in ("rows", "quarantined"):
        table.add_column(name, f"{sum(receipt[name] for receipt in receipts):,}", justify="right", no_wrap=True)
    table.add_column("unchanged", justify="right", no_wrap=True)
    table.add_column("seconds", f"{elapsed_s:.1f}", justify="right", no_wrap=True)
    table.add_column("peak MiB", justify="right", no_wrap=True)
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
