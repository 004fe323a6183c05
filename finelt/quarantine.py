"""Rows that broke their contract, by the lake's commits: listed, shown, read again by today's parser, or dropped for good.

Nothing is ever edited: `replay` and `drop` make a new commit, and the one before keeps the rows with their reasons.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from arro3.io import read_parquet
from jobkit.errors import ExitCode, JobError, UsageError
from jobkit.lake import DROPPED, CommitDraft, Lake
from jobkit.names import ROW_NUMBER
from jobkit.version import version_option

from jobs.catalogue import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobkit.lake import Commit

OPTIONS = {"ticker": ("--tickers",), "cik": ("--ciks",), "date": ("--start", "--end")}
WRITER = "quarantine"


class Count(NamedTuple):
    """What became of the rows read for a commit. `read` is the sum of the others."""

    dataset: str
    partition: str
    commit: int
    read: int
    good: int
    quarantined: int
    dropped: int


def listed(lake: Lake) -> list[Count]:
    """The partitions with rows in quarantine, by name."""
    states = (lake.read_state(dataset, partition) for dataset in lake.datasets() for partition in lake.partitions(dataset))
    return [counted(state.head) for state in states if state.head and state.head.quarantine]


def counted(commit: Commit) -> Count:
    """The rows of one commit."""
    bad = commit.quarantine.rows if commit.quarantine else 0
    dropped = commit.rows_read - commit.data.rows - bad
    return Count(commit.dataset, commit.partition, commit.number, commit.rows_read, commit.data.rows, bad, dropped)


def rows(lake: Lake, commit: Commit) -> Iterator[dict[str, Any]]:
    """The quarantined rows of a commit: row number among those read, reasons, and the row as the vendor sent it."""
    if commit.quarantine:
        table = read_parquet(io.BytesIO(lake.read(commit.quarantine))).read_all()
        names = (ROW_NUMBER, "reasons", "raw_row")
        for number, reasons, raw in zip(*(table.column(name).to_pylist() for name in names), strict=True):
            yield {"row": number, "reasons": reasons, "raw_row": json.loads(raw)}


def head(lake: Lake, dataset: str, partition: str, number: int | None = None) -> Commit:
    """A partition's newest commit, or the one with a number. Raises UsageError where there is none."""
    numbers = lake.commit_numbers(dataset, partition)
    if not numbers or number not in (None, *numbers):
        told = f"commit {number} of {dataset}/{partition}" if numbers else f"{dataset}/{partition}"
        raise UsageError(f"there is no {told} in {lake.store.url}; `ls` shows what is in quarantine")
    return lake.read_commit(dataset, partition, number or numbers[-1])


def drop(lake: Lake, dataset: str, partition: str, reason: str) -> Commit:
    """The commit that lets a partition's quarantined rows go, the good ones as they are. The same rows sent again stay dropped."""
    before = head(lake, dataset, partition)
    if before.quarantine is None:
        raise UsageError(f"{dataset}/{partition} has nothing in quarantine; `ls` shows what has")
    draft = CommitDraft(
        data=lake.read(before.data),
        rows=before.data.rows,
        quarantine=None,
        quarantined=0,
        source=lambda: lake.check_sources(before.source),
        key=before.key,
        leaf=before.leaf,
        writer={"job": WRITER, "version": before.writer.get("version", ""), "reason": reason, DROPPED: before.quarantine.sha256},
        dropped=before.rows_read - before.data.rows,
    )
    return lake.commit(dataset, partition, draft)[0]


def replay(lake: str, dataset: str, partition: str, more: tuple[str, ...]) -> int:
    """The exit code of the extractor, run on the kept bytes of a partition with no network; its receipt goes to stdout."""
    spec = next((spec for spec in catalogue() if f"raw/{dataset}" in spec.writes), None)
    if spec is None:
        raise UsageError(f"no job writes raw/{dataset}; `ls` shows the datasets with rows in quarantine")
    command = [sys.executable, "-m", spec.package, "run", "--replay", "--lake", lake, *options(partition), *more]
    return subprocess.run(command, check=False).returncode  # noqa: S603  our own job


def options(partition: str) -> list[str]:
    """The options by which an extractor is asked for a partition."""
    words = []
    for part in partition.split("/"):
        name, _, value = part.partition("=")
        if name == "year":
            words += ["--start", f"{value}-01-01", "--end", f"{value}-12-31"]
        else:
            words += [word for option in OPTIONS.get(name, ()) for word in (option, value)]
    return words


@contextmanager
def _told() -> Iterator[None]:
    """A job's error as its sentence and exit code."""
    try:
        yield
    except JobError as error:
        click.echo(f"quarantine: {error}", err=True)
        sys.exit(error.exit_code)


LAKE = click.option("--lake", required=True, envvar="FINELT_LAKE", metavar="URL", help="The lake: a directory or s3://bucket/prefix.")
DATASET, PARTITION = click.argument("dataset"), click.argument("partition")


@click.group(context_settings={"max_content_width": 110})
@version_option()
def main() -> None:
    """Rows that broke their contract. In the warehouse they are raw._quarantine."""


@main.command("ls")
@LAKE
def ls_(lake: str) -> None:
    """Partitions with rows in quarantine: how many were read, kept, quarantined and dropped."""
    with _told():
        found = listed(Lake(lake))
    table = [Count._fields, *(tuple(map(str, count)) for count in found)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table if found else ():
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if not found:
        click.echo("nothing is in quarantine")


@main.command("show")
@LAKE
@click.option("--commit", type=int, help="An older commit; the newest without.")
@DATASET
@PARTITION
def show_(lake: str, commit: int | None, dataset: str, partition: str) -> None:
    """The quarantined rows of PARTITION, one JSON object a line: row number, reasons, the row as the vendor sent it."""
    with _told():
        store = Lake(lake)
        for row in rows(store, head(store, dataset, partition, commit)):
            click.echo(json.dumps(row, ensure_ascii=False))


@main.command("replay")
@LAKE
@DATASET
@PARTITION
@click.argument("more", nargs=-1)
def replay_(lake: str, dataset: str, partition: str, more: tuple[str, ...]) -> None:
    """Read the kept bytes again, after parser or contract were mended. MORE are options of the extractor, after --."""
    code: int = ExitCode.BUG
    with _told():
        head(Lake(lake), dataset, partition)
        code = replay(lake, dataset, partition, more)
    sys.exit(code)


@main.command("drop")
@LAKE
@click.option("--reason", required=True, help="Why they may go; kept in the commit.")
@DATASET
@PARTITION
def drop_(lake: str, reason: str, dataset: str, partition: str) -> None:
    """Let the quarantined rows of PARTITION go. The commit before keeps them."""
    with _told():
        made = drop(Lake(lake), dataset, partition, reason)
        click.echo(f"{dataset}/{partition}: dropped in commit {made.number}; load-warehouse closes them in raw._quarantine")


if __name__ == "__main__":
    main(prog_name="scripts/quarantine")
