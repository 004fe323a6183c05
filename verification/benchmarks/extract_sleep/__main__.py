"""Sleeps instead of asking anybody."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click
from jobkit import command, options

if TYPE_CHECKING:
    from jobkit.command import Job

OPTIONS = [
    options.lake(),
    options.option("--count", type=click.IntRange(1), default=1, help="How many items there are."),
    options.option("--items", multiple=True, help="An item; repeat the option for more. Default: all."),
    options.option("--seconds", type=click.FloatRange(0), default=0.0, help="How long each takes."),
]


def _partitions(count: int, items: tuple[str, ...]) -> list[str]:
    return [f"item={item}" for item in items or [f"{number:06}" for number in range(count)]]


def run(job: Job, *, count: int, items: tuple[str, ...], seconds: float, **_: Any) -> None:  # noqa: ANN401
    """Sleep for each item."""
    for partition in _partitions(count, items):
        time.sleep(seconds)
        job.record_partition("sleep", partition, "committed", rows=1)


def check(_job: Job, **_: Any) -> None:  # noqa: ANN401
    """Nothing to check."""


def plan(_job: Job, *, count: int, items: tuple[str, ...], **_: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """All items, none of them committed."""
    return [{"dataset": "sleep", "partition": name, "asks": name, "commit": None} for name in _partitions(count, items)]


main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)

if __name__ == "__main__":
    main()
