"""The lake itself: whether every commit and file is what was written, and what can be put right from the vendor bytes that are kept.

Nothing is ever deleted or changed: `repair` writes a damaged file again where it can make the very bytes, or adds a commit.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import random
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

import click
from arro3.io import read_parquet
from jobkit import contract as contracts
from jobkit.commits import file_key
from jobkit.contract import load_packaged
from jobkit.errors import BadDataError, DamagedError, JobError, NewerFormatError, UsageError
from jobkit.extraction import build_draft
from jobkit.lake import CLOCK_TOLERANCE, GONE, CommitDraft, File, Lake, Source, commit_number
from jobkit.requests import Request
from jobkit.version import version_option

from jobs.catalogue import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jobkit.contract import ValidationResult
    from jobkit.lake import Commit, History, PartitionState

WRITER = "lake-repair"
CHECK = "_check"  # what the verb check of an extractor writes
DROPPED_FILES = "extract_dropped_files"


class Finding(NamedTuple):
    """Something about a place in the lake: wrong, or only worth a note."""

    where: str
    text: str
    is_wrong: bool = True


class Seen(NamedTuple):
    """What was looked at, and what was found."""

    partitions: int
    commits: int
    files: int
    findings: list[Finding]

    @property
    def wrong(self) -> list[Finding]:
        """The findings that are more than a note."""
        return [finding for finding in self.findings if finding.is_wrong]


def verify(lake: Lake, datasets: Sequence[str] = (), partitions: Sequence[str] = (), sample: int | None = None) -> Seen:
    """Look at commits, their numbering and their files; of the files' content at all, or at so many picked by chance."""
    findings: list[Finding] = []
    named: dict[str, tuple[str, File | Source]] = {}
    count, looked, now = 0, 0, datetime.now(UTC)
    for dataset in chosen(lake, datasets):
        wanted = [partition for partition in lake.partitions(dataset) if not partitions or partition in partitions]
        looked += len(wanted)
        for partition in wanted:
            try:
                history = lake.examine(dataset, partition)
            except NewerFormatError as error:
                findings.append(Finding(f"{dataset}/{partition}", str(error)))
                continue
            count += len(history.commits) + len(history.damaged)
            findings += _of_commits(dataset, partition, history, now)
            for commit in history.commits.values():
                named |= {file.path: (f"{dataset}/{partition} commit {commit.number}", file) for file in reversed(commit.files)}
        if not partitions:
            findings += _of_others(lake, dataset, set(named))
    read = set(named) if sample is None else set(random.sample(sorted(named), min(sample, len(named))))
    for path, (where, file) in named.items():
        if problem := content_problem(lake, file) if path in read else size_problem(lake, file):
            findings.append(Finding(where, f"{path} {problem}"))
    if partitions and not looked:
        raise UsageError(f"no partition {', '.join(partitions)} in the lake {lake.store.url}")
    return Seen(looked, count, len(named), findings)


def chosen(lake: Lake, datasets: Sequence[str]) -> list[str]:
    """These datasets, or all. Raises UsageError on one that is not there."""
    have = lake.datasets()
    if unknown := sorted(set(datasets) - set(have)):
        raise UsageError(f"no dataset {', '.join(unknown)} in the lake {lake.store.url}; it has {', '.join(have) or 'none'}")
    return sorted(set(datasets)) or have


def _of_commits(dataset: str, partition: str, history: History, now: datetime) -> Iterator[Finding]:
    """What is wrong with the records of a partition: damaged, missing, of a time that cannot be."""
    where = f"{dataset}/{partition}"
    for number, error in history.damaged.items():
        yield Finding(f"{where} commit {number}", str(error))
    for first, last in history.missing:
        yield Finding(where, f"{_range(first, last)} missing")
    before: Commit | None = None
    for number, commit in history.commits.items():
        if commit.known > now + CLOCK_TOLERANCE:
            yield Finding(f"{where} commit {number}", f"says {commit.known_at}, a time to come; load-warehouse corrects it", is_wrong=False)
        elif before and commit.known <= before.known:
            yield Finding(f"{where} commit {number}", f"says {commit.known_at}, not later than the commit before it", is_wrong=False)
        before = commit


def _of_others(lake: Lake, dataset: str, named: set[str]) -> Iterator[Finding]:
    """Files of a dataset that no commit names: they do no harm."""
    prefix = f"raw/{dataset}/"
    for key in lake.store.list(prefix):
        folder, _, name = key.removeprefix(prefix).rpartition("/")
        is_commit = folder.endswith("/_commits") and commit_number(name) is not None
        if key not in named and not is_commit and key != prefix + CHECK:
            yield Finding(key, "is named by no commit; a writer that was killed leaves such files", is_wrong=False)
    for key in lake.store.unfinished(prefix):
        yield Finding(key, "is a temporary file of a writer that was killed, or is still at it", is_wrong=False)


def size_problem(lake: Lake, file: File | Source) -> str | None:
    """What is wrong with a file as far as its size says; None when that is right."""
    expected = file.stored_bytes if isinstance(file, Source) else file.bytes
    try:
        found = lake.store.size(file.path)
    except KeyError:
        return GONE
    return None if expected in (None, found) else f"has {found:,} bytes in place of {expected:,}"


def content_problem(lake: Lake, file: File | Source) -> str | None:
    """What is wrong with a file's content; None when it is what was committed, with as many rows as the commit says."""
    try:
        data = lake.read(file)
    except DamagedError:
        return lake.find_problem(file) or "is not what was committed"
    if isinstance(file, File) and data.startswith(b"PAR1"):
        rows = sum(batch.num_rows for batch in read_parquet(io.BytesIO(data)))
        return None if rows == file.rows else f"has {rows:,} rows, its commit says {file.rows:,}"
    return None


def repair(lake: Lake, dataset: str, partition: str) -> Iterator[Finding]:
    """Put right what can be of a partition, saying what was done (a note) and what could not be (wrong)."""
    history = lake.examine(dataset, partition)
    where, newest = f"{dataset}/{partition}", max(history.commits, default=0)
    for number, commit in history.commits.items():
        if damaged := [file for file in commit.files if lake.find_problem(file)]:
            yield from _rebuild(lake, commit, damaged, is_head=number == newest)
    for first, last in history.missing:
        yield Finding(where, f"{_range(first, last)} missing, and stays so; only a backup has what it held")
    for number, error in history.damaged.items():
        if number < newest:
            yield Finding(f"{where} commit {number}", f"stays damaged while newer ones stand: {error}")
    state = lake.read_state(dataset, partition)
    if state.problem:
        yield _repeat(lake, where, state)


def _range(first: int, last: int) -> str:
    return f"commit {first} is" if first == last else f"commits {first} to {last} are"


def _repeat(lake: Lake, where: str, state: PartitionState) -> Finding:
    """Commit what the newest intact commit has once more, after a newest one that cannot be read."""
    head, bad = state.head, state.latest_number
    if head is None:
        return Finding(where, f"commit {bad} is damaged and no older one is intact; run its extractor again")
    try:
        made, _ = lake.commit(head.dataset, head.partition, _draft(lake, head, f"commit {bad} is damaged"))
    except DamagedError as error:
        return Finding(where, f"commit {bad} is damaged, and a file of commit {head.number} before it: {error}")
    told = (
        f"commit {made.number} repeats commit {head.number}, as commit {bad} is damaged; run its extractor again to have what that one had"
    )
    return Finding(where, told, is_wrong=False)


def _draft(lake: Lake, commit: Commit, reason: str) -> CommitDraft:
    """A commit's content, to be committed again."""
    bad = commit.quarantine
    return CommitDraft(
        data=lake.read(commit.data),
        rows=commit.data.rows,
        quarantine=lake.read(bad) if bad else None,
        quarantined=bad.rows if bad else 0,
        source=lambda: lake.check_sources(commit.source),
        key=commit.key,
        leaf=commit.leaf,
        writer={**commit.writer, "job": WRITER, "reason": reason},
        dropped=commit.rows_read - commit.data.rows - (bad.rows if bad else 0),
    )


def _rebuild(lake: Lake, commit: Commit, damaged: list[File | Source], *, is_head: bool) -> Iterator[Finding]:
    """Make a commit's Parquet files again from the vendor bytes that it names."""
    where = f"{commit.dataset}/{commit.partition} commit {commit.number}"
    lost = [file for file in damaged if isinstance(file, Source)]
    for source in lost:
        yield Finding(where, f"{source.path} {lake.find_problem(source)}; run its extractor again: a new commit then has new bytes")
    if lost:
        yield from (Finding(where, f"{file.path} cannot be made again without them") for file in damaged if file not in lost)
        return
    try:
        good = reshape(lake, commit)
    except BadDataError as error:
        yield Finding(where, f"today's parser and contract refuse the bytes that it was made of: {error}")
        return
    made = dict(_encoded(commit, good))
    for file in damaged:
        if file.path in made:
            lake.store.put(file.path, made[file.path], "application/vnd.apache.parquet")
            yield Finding(where, f"{file.path} is made again from the vendor bytes", is_wrong=False)
    others = [file for file in damaged if file.path not in made]
    if others and is_head:
        yield _recommit(lake, commit, good)
    elif others:
        yield Finding(where, "today's parser makes other rows of the vendor bytes, so its file cannot be made again; newer commits stand")


def _encoded(commit: Commit, good: ValidationResult) -> Iterator[tuple[str, bytes]]:
    """The keys that files of these rows have, and their bytes."""
    for table, kind in ((good.table, ""), (good.quarantine, "quarantine.")):
        if table is not None:
            data = contracts.parquet(table)
            yield file_key(commit.dataset, commit.partition, hashlib.sha256(data).hexdigest(), kind), data


def _recommit(lake: Lake, commit: Commit, good: ValidationResult) -> Finding:
    """A new commit of what today's parser makes of the vendor bytes of one whose file is lost."""
    writer = {**commit.writer, "job": WRITER, "reason": f"the file of commit {commit.number} is lost"}
    draft = build_draft(good, lambda: lake.check_sources(commit.source), key=commit.key, leaf=commit.leaf, writer=writer)
    made, _ = lake.commit(commit.dataset, commit.partition, draft)
    told = f"commit {made.number} has {made.data.rows:,} rows of the same vendor bytes, by today's parser; commit {commit.number} had "
    return Finding(f"{commit.dataset}/{commit.partition}", f"{told}{commit.data.rows:,}", is_wrong=False)


def reshape(lake: Lake, commit: Commit) -> ValidationResult:
    """What today's parser and contract make of the vendor bytes of a commit. Raises BadDataError where they refuse them."""
    package = next((spec.package for spec in catalogue() if f"raw/{commit.dataset}" in spec.writes), None)
    if package is None or not commit.source:
        raise BadDataError(f"no job writes raw/{commit.dataset}" if package is None else "it names no vendor bytes")
    body, rules = lake.read(commit.source[-1]), load_packaged(package, commit.dataset)
    if package == DROPPED_FILES:
        return _judged(commit, body)
    shaped = importlib.import_module(f"{package}.parser").parse(body, Request(commit.dataset, (commit.partition,), "/"))
    return contracts.validate(rules, shaped.get(commit.partition) or {field.name: [] for field in rules.fields})


def _judged(commit: Commit, body: bytes) -> ValidationResult:
    """The rows that a dropped file has for a commit's partition. Raises BadDataError where it has none today."""
    from extract_dropped_files import work  # noqa: PLC0415  as the other parsers: when its data is looked at

    key = "/".join(unquote(urlsplit(commit.source[-1].url).path).split("/")[-2:])
    parts = dict(work.judge(key, body).parts)
    if commit.partition not in parts:
        raise BadDataError(f"{key.rpartition('/')[2]} fills {', '.join(parts)} today; drop it again")
    return parts[commit.partition]


@contextmanager
def _exit_codes() -> Iterator[None]:
    """End with a job's error as its sentence and exit code."""
    try:
        yield
    except JobError as error:
        click.echo(f"lake: {error}", err=True)
        sys.exit(error.exit_code)


def _report(findings: Sequence[Finding], summary: str) -> None:
    """Print the findings, and end with 65 where one is wrong."""
    for where, text, is_wrong in sorted(findings, key=lambda finding: not finding.is_wrong):
        click.echo(f"{'WRONG' if is_wrong else 'note':5} {where}: {text}")
    click.echo(summary)
    if any(finding.is_wrong for finding in findings):
        sys.exit(BadDataError.exit_code)


LAKE = click.option("--lake", required=True, envvar="FINELT_LAKE", metavar="URL", help="The lake: a directory or s3://bucket/prefix.")
DATASETS = click.option("--dataset", multiple=True, help="A dataset; repeat the option for more. Default: all.")
PARTITIONS = click.option("--partition", multiple=True, help="A partition such as year=2012; repeat the option for more. Default: all.")


@click.group(context_settings={"max_content_width": 110})
@version_option()
def main() -> None:
    """Whether the lake is what was written to it, and what can be put right."""


@main.command("verify")
@LAKE
@DATASETS
@PARTITIONS
@click.option("--sample", type=click.IntRange(0), help="Read only so many files, picked by chance; of the others look at the size.")
def verify_(lake: str, dataset: tuple[str, ...], partition: tuple[str, ...], sample: int | None) -> None:
    """Check commits, their numbering, and the files that they name. 65 when something is wrong."""
    with _exit_codes():
        seen = verify(Lake(lake), dataset, partition, sample)
    looked = f"{seen.files:,} files of {seen.commits:,} commits of {seen.partitions:,} partitions"
    _report(seen.findings, f"{looked}: {len(seen.wrong) or 'nothing'} wrong")


@main.command("repair")
@LAKE
@DATASETS
@PARTITIONS
def repair_(lake: str, dataset: tuple[str, ...], partition: tuple[str, ...]) -> None:
    """Make damaged files again from the vendor bytes; commit anew what only a damaged commit has. 65 when something stays wrong."""
    done: list[Finding] = []
    with _exit_codes():
        store = Lake(lake)
        for name in chosen(store, dataset):
            for part in store.partitions(name):
                if not partition or part in partition:
                    done += repair(store, name, part)
    wrong = sum(finding.is_wrong for finding in done)
    _report(done, f"{len(done) - wrong} put right, {wrong} not")


if __name__ == "__main__":
    main(prog_name="scripts/lake")
