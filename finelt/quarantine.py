"""List, show, replay and drop the rows of the lake that broke their contract.

Commits are never edited: `replay` and `drop` make a new commit, and the previous one keeps the rows and their reasons.
"""

from __future__ import annotations

import io
import json
import sys
from textwrap import shorten
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from arro3.io import read_parquet
from jobkit.errors import ExitCode, UsageError
from jobkit.lake import DROPPED, CommitDraft
from jobkit.names import ROW_NUMBER
from jobkit.version import version_option

from finelt.job_errors import exit_on_job_error
from finelt.lake_location import open_lake
from finelt.replay import replay as replay_partition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobkit.lake import Commit, Lake

WRITER = "quarantine"
LONGEST_REASON = 100  # characters in a list


class Count(NamedTuple):
    """How many rows were read for a commit, and what happened to them. `read` is the sum of the other counts."""

    dataset: str
    partition: str
    commit: int
    read: int
    good: int
    quarantined: int
    dropped: int


def list_partitions(lake: Lake) -> list[Count]:
    """Return the partitions with rows in quarantine, by name."""
    states = (lake.read_state(dataset, partition) for dataset in lake.datasets() for partition in lake.partitions(dataset))
    return [count_rows(state.head) for state in states if state.head and state.head.quarantine]


def count_rows(commit: Commit) -> Count:
    """Return what happened to the rows of one commit."""
    quarantined = commit.quarantine.rows if commit.quarantine else 0
    dropped = commit.rows_read - commit.data.rows - quarantined
    return Count(commit.dataset, commit.partition, commit.number, commit.rows_read, commit.data.rows, quarantined, dropped)


def read_rows(lake: Lake, commit: Commit) -> Iterator[dict[str, Any]]:
    """Yield the quarantined rows of a commit: the row number among those read, the reasons, and the row as the vendor sent it."""
    if commit.quarantine:
        table = read_parquet(io.BytesIO(lake.read(commit.quarantine))).read_all()
        names = (ROW_NUMBER, "reasons", "raw_row")
        for number, reasons, raw in zip(*(table.column(name).to_pylist() for name in names), strict=True):
            yield {"row": number, "reasons": reasons, "raw_row": json.loads(raw)}


def find_first_reason(lake: Lake, count: Count) -> str:
    """Return the reasons of the first quarantined row of a commit, shortened; `show` prints all."""
    first = next(read_rows(lake, lake.read_commit(count.dataset, count.partition, count.commit)))
    return shorten(first["reasons"], LONGEST_REASON, placeholder=" ...")


def find_commit(lake: Lake, dataset: str, partition: str, number: int | None = None) -> Commit:
    """Return a partition's newest commit, or the one with this number. Raises UsageError if there is none."""
    numbers = lake.commit_numbers(dataset, partition)
    if not numbers or number not in (None, *numbers):
        missing = f"commit {number} of {dataset}/{partition}" if numbers else f"{dataset}/{partition}"
        raise UsageError(f"there is no {missing} in {lake.store.url}; `ls` shows what is in quarantine")
    return lake.read_commit(dataset, partition, number or numbers[-1])


def drop_rows(lake: Lake, dataset: str, partition: str, reason: str) -> Commit:
    """Commit a partition without its quarantined rows, and return the commit. If the vendor sends the same rows again, they stay dropped.

    Raises UsageError if there are none.
    """
    previous = find_commit(lake, dataset, partition)
    if previous.quarantine is None:
        raise UsageError(f"{dataset}/{partition} has no rows in quarantine; `ls` lists the partitions that have")
    draft = CommitDraft(
        data=lake.read(previous.data),
        rows=previous.data.rows,
        quarantine=None,
        quarantined=0,
        source=lambda: lake.check_sources(previous.source),
        key=previous.key,
        leaf=previous.leaf,
        writer={"job": WRITER, "version": previous.writer.get("version", ""), "reason": reason, DROPPED: previous.quarantine.sha256},
        dropped=previous.rows_read - previous.data.rows,
    )
    return lake.commit(dataset, partition, draft)[0]


LAKE = click.option("--lake", required=True, envvar="FINELT_LAKE", metavar="URL", help="The lake: a directory or s3://bucket/prefix.")
PREFIX = "raw/"  # with which a receipt and `describe` name a dataset
DATASET = click.argument("dataset", callback=lambda _context, _argument, name: name.removeprefix(PREFIX))
PARTITION = click.argument("partition")


@click.group(context_settings={"max_content_width": 110})
@version_option()
def main() -> None:
    """Work with rows that broke their contract. In the warehouse they are in raw._quarantine."""


@main.command("ls")
@LAKE
def ls_(lake: str) -> None:
    """List the partitions with rows in quarantine: how many rows were read, good, quarantined and dropped, and why the first row is bad."""
    with exit_on_job_error("quarantine"):
        store = open_lake(lake)
        found = list_partitions(store)
        reasons = [find_first_reason(store, count) for count in found]
    rows = (tuple(map(str, (*count, reason))) for count, reason in zip(found, reasons, strict=True))
    table = [(*Count._fields, "first reason"), *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table if found else ():
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if not found:
        click.echo("the quarantine is empty")


@main.command("show")
@LAKE
@click.option("--commit", type=int, help="An older commit. Default: the newest.")
@DATASET
@PARTITION
def show(lake: str, commit: int | None, dataset: str, partition: str) -> None:
    """Print the quarantined rows of PARTITION, one JSON object per line: row number, reasons, and the row as the vendor sent it."""
    with exit_on_job_error("quarantine"):
        store = open_lake(lake)
        for row in read_rows(store, find_commit(store, dataset, partition, commit)):
            click.echo(json.dumps(row, ensure_ascii=False))


@main.command("replay")
@LAKE
@DATASET
@PARTITION
@click.argument("arguments", nargs=-1)
def replay(lake: str, dataset: str, partition: str, arguments: tuple[str, ...]) -> None:
    """Parse the stored bytes again, after the parser or the contract was corrected. ARGUMENTS are options of the extractor, after --."""
    code: int = ExitCode.BUG
    with exit_on_job_error("quarantine"):
        find_commit(open_lake(lake), dataset, partition)
        code = replay_partition(lake, dataset, partition, arguments)
    sys.exit(code)


@main.command("drop")
@LAKE
@click.option("--reason", required=True, help="Why they are dropped; stored in the commit.")
@DATASET
@PARTITION
def drop(lake: str, reason: str, dataset: str, partition: str) -> None:
    """Drop the quarantined rows of PARTITION. The previous commit keeps them."""
    with exit_on_job_error("quarantine"):
        commit = drop_rows(open_lake(lake), dataset, partition, reason)
        click.echo(f"{dataset}/{partition}: dropped in commit {commit.number}; load-warehouse closes them in raw._quarantine")
