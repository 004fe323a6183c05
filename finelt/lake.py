"""Verify that every commit and file of a lake is what was written; repair what the stored vendor bytes allow.

`repair` deletes and edits no commit: it rewrites a damaged file if it can make the same bytes, or adds a commit.
"""

from __future__ import annotations

import io
import random
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import click
from arro3.io import read_parquet
from jobkit import commit_log, commits, expired_commits
from jobkit.errors import BadDataError, DamagedError, NewerFormatError, UsageError
from jobkit.lake import CLOCK_TOLERANCE, GONE, PARQUET, CommitDraft, File, Lake, Source, commit_number, is_parquet
from jobkit.stores import FileStore, open_store
from jobkit.version import version_option

from finelt import replay
from finelt.erasure import record
from finelt.job_errors import exit_on_job_error
from finelt.lake_location import open_lake

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jobkit.lake import Commit, History, PartitionState

    from finelt.replay import RebuiltCommit
    from finelt.retention import Policy

WRITER = "lake-repair"
CHECK_FILE = "_check"  # written by the verb check of an extractor


class Finding(NamedTuple):
    """An observation about a place in the lake. `is_wrong` is False for a note, which needs no action."""

    where: str
    text: str
    is_wrong: bool = True


class Verification(NamedTuple):
    """How many partitions, commits and files were checked, and what was found."""

    partitions: int
    commits: int
    files: int
    findings: list[Finding]

    @property
    def wrong(self) -> list[Finding]:
        """The findings that are more than a note."""
        return [finding for finding in self.findings if finding.is_wrong]


def verify(lake: Lake, datasets: Sequence[str] = (), partitions: Sequence[str] = (), sample: int | None = None) -> Verification:
    """Check commits, their numbering, and the files that they name, in all or some datasets and partitions.

    With `sample`, only so many files are read, chosen at random; of the others the size is checked. Raises UsageError (2) for a dataset or
    partition that is not in the lake.
    """
    findings: list[Finding] = []
    files: dict[str, tuple[str, File | Source]] = {}
    partition_count, commit_count, now = 0, 0, datetime.now(UTC)
    for dataset in select_datasets(lake, datasets):
        selected = [partition for partition in lake.partitions(dataset) if not partitions or partition in partitions]
        partition_count += len(selected)
        is_complete = not partitions  # a commit of a newer version may name any file
        for partition in selected:
            try:
                history = lake.examine(dataset, partition)
            except NewerFormatError as error:
                findings.append(Finding(f"{dataset}/{partition}", str(error)))
                is_complete = False
                continue
            commit_count += len(history.commits) + len(history.damaged)
            findings += _check_history(dataset, partition, history, now)
            for commit in history.commits.values():
                files |= {file.path: (f"{dataset}/{partition} commit {commit.number}", file) for file in reversed(commit.files)}
        if is_complete:
            findings += _find_unnamed_files(lake, dataset, set(files))
        findings += _find_erased_rows(lake, dataset, files)
    to_read = set(files) if sample is None else set(random.sample(sorted(files), min(sample, len(files))))
    for path, (where, file) in files.items():
        if problem := find_content_problem(lake, file) if path in to_read else find_size_problem(lake, file):
            findings.append(Finding(where, f"{path} {problem}"))
    if partitions and not partition_count:
        raise UsageError(f"no partition {', '.join(partitions)} in the lake {lake.store.url}")
    return Verification(partition_count, commit_count, len(files), findings)


def select_datasets(lake: Lake, datasets: Sequence[str]) -> list[str]:
    """Return these datasets, or all of the lake. Raises UsageError for one that is not in the lake."""
    existing = lake.datasets()
    if unknown := sorted(set(datasets) - set(existing)):
        raise UsageError(f"no dataset {', '.join(unknown)} in the lake {lake.store.url}; it has {', '.join(existing) or 'none'}")
    return sorted(set(datasets)) or existing


def _check_history(dataset: str, partition: str, history: History, now: datetime) -> Iterator[Finding]:
    """Yield commits that are damaged or missing, and those whose time cannot be right."""
    where = f"{dataset}/{partition}"
    for number, error in history.damaged.items():
        yield Finding(f"{where} commit {number}", str(error))
    for first, last in history.missing:
        yield Finding(where, f"{_format_range(first, last)} missing")
    previous: Commit | None = None
    for number, commit in history.commits.items():
        if commit.known > now + CLOCK_TOLERANCE:
            yield Finding(
                f"{where} commit {number}", f"says {commit.known_at}, a time in the future; load-warehouse corrects it", is_wrong=False
            )
        elif previous and commit.known <= previous.known:
            yield Finding(f"{where} commit {number}", f"says {commit.known_at}, not later than the commit before it", is_wrong=False)
        previous = commit


def _find_unnamed_files(lake: Lake, dataset: str, named: set[str]) -> Iterator[Finding]:
    """Yield a note for each file of a dataset that no commit names; such files are harmless."""
    prefix = f"raw/{dataset}/"
    for key in lake.store.list_keys(prefix):
        folder, _, name = key.removeprefix(prefix).rpartition("/")
        is_commit = folder.endswith("/_commits") and (commit_number(name) is not None or name == expired_commits.NAME)
        if key not in named and not is_commit and folder not in (commit_log.FOLDER, record.FOLDER) and key != prefix + CHECK_FILE:
            yield Finding(key, "is named by no commit; a writer that was killed leaves such files", is_wrong=False)
    for key in lake.store.list_temporary_files(prefix):
        yield Finding(key, "is a temporary file of a writer that was killed or is still writing", is_wrong=False)


def _find_erased_rows(lake: Lake, dataset: str, files: Mapping[str, tuple[str, File | Source]]) -> Iterator[Finding]:
    """Yield what was delivered again after it was erased (`finelt erase`). `files` are those that commits name, by their paths."""
    erasures = [erasure for erasure in record.list_erasures(lake.store, dataset) if erasure.ended_at]
    for key in lake.store.list_keys(f"raw/{dataset}/") if erasures else ():
        if not key.endswith(".parquet") or commits.has_quarantined_rows(key):
            continue
        try:
            data = lake.read(files[key][1]) if key in files else lake.store.get(key)
        except DamagedError:
            data = b""
        if not is_parquet(data):
            yield Finding(key, "is damaged or no Parquet, so it was not searched for what was erased; run its extractor again")
            continue
        table = read_parquet(io.BytesIO(data)).read_all()
        for erasure in erasures:
            cells = Counter(table.column(erasure.column).to_pylist() if erasure.column in table.column_names else ())
            if rows := sum(number for cell, number in cells.items() if erasure.has_value(cell)):
                asked = f"erased on {erasure.ended_at[:10]}, as {erasure.asked_by} asked, and was delivered again"
                remedy = f"tell the vendor and erase it again, or delete {erasure.key} if it may stay"
                yield Finding(key, f"has {rows:,} rows of the {erasure.column} that was {asked}; {remedy}")


def find_size_problem(lake: Lake, file: File | Source) -> str | None:
    """Return what is wrong with the size of a stored file; None if it is right."""
    expected = file.stored_bytes if isinstance(file, Source) else file.bytes
    try:
        size = lake.store.get_size(file.path)
    except KeyError:
        return GONE
    return None if expected in (None, size) else f"has {size:,} bytes in place of {expected:,}"


def find_content_problem(lake: Lake, file: File | Source) -> str | None:
    """Return what is wrong with the content of a stored file; None if it is what was committed, with as many rows as its commit says."""
    try:
        data = lake.read(file)
    except DamagedError:
        return lake.find_problem(file) or "is not what was committed"
    if isinstance(file, File) and is_parquet(data):
        rows = sum(batch.num_rows for batch in read_parquet(io.BytesIO(data)))
        return None if rows == file.rows else f"has {rows:,} rows, its commit says {file.rows:,}"
    return None


def repair(lake: Lake, dataset: str, partition: str) -> Iterator[Finding]:
    """Repair a partition. Yield a note for each repair and a finding for each problem that remains."""
    history = lake.examine(dataset, partition)
    where, latest = f"{dataset}/{partition}", max(history.commits, default=0)
    for number, commit in history.commits.items():
        if damaged := [file for file in commit.files if lake.find_problem(file)]:
            yield from _repair_files(lake, commit, damaged, is_head=number == latest)
    for first, last in history.missing:
        yield Finding(where, f"{_format_range(first, last)} missing and cannot be repaired; only a backup has the content")
    for number, error in history.damaged.items():
        if number < latest:
            yield Finding(f"{where} commit {number}", f"stays damaged, as newer commits exist: {error}")
    state = lake.read_state(dataset, partition)
    if state.problem:
        yield _repeat_commit(lake, where, state)


def _format_range(first: int, last: int) -> str:
    return f"commit {first} is" if first == last else f"commits {first} to {last} are"


def _repeat_commit(lake: Lake, where: str, state: PartitionState) -> Finding:
    """Commit the content of the latest intact commit again, because the latest commit cannot be read."""
    head, bad = state.head, state.latest_number
    if head is None:
        return Finding(where, f"commit {bad} is damaged and no older one is intact; run its extractor again")
    try:
        made, _ = lake.commit(head.dataset, head.partition, _copy_draft(lake, head, f"commit {bad} is damaged"))
    except DamagedError as error:
        return Finding(where, f"commit {bad} is damaged, and so is a file of commit {head.number}: {error}")
    text = f"commit {made.number} repeats commit {head.number}, as commit {bad} is damaged; run its extractor again to restore its content"
    return Finding(where, text, is_wrong=False)


def _copy_draft(lake: Lake, commit: Commit, reason: str) -> CommitDraft:
    """Return a draft with a commit's content."""
    quarantine = lake.read(commit.quarantine) if commit.quarantine else None
    return _build_draft(lake, commit, commit, lake.read(commit.data), quarantine, reason)


def _build_draft(lake: Lake, original: Commit, content: Commit, data: bytes, quarantine: bytes | None, reason: str) -> CommitDraft:
    """Return a draft of a repair commit: the rows of `content`, the vendor bytes and the description of `original`."""
    quarantined = content.quarantine.rows if content.quarantine else 0
    return CommitDraft(
        data=data,
        rows=content.data.rows,
        quarantine=quarantine,
        quarantined=quarantined,
        source=lambda: lake.check_sources(original.source),
        key=original.key,
        leaf=original.leaf,
        writer={**original.writer, "job": WRITER, "reason": reason},
        dropped=content.rows_read - content.data.rows - quarantined,
    )


def _repair_files(lake: Lake, commit: Commit, damaged: list[File | Source], *, is_head: bool) -> Iterator[Finding]:
    """Rewrite a commit's Parquet files from its vendor bytes; if today's parser makes other rows of them, add a commit."""
    where = f"{commit.dataset}/{commit.partition} commit {commit.number}"
    lost = [file for file in damaged if isinstance(file, Source)]
    for source in lost:
        yield Finding(where, f"{source.path} {lake.find_problem(source)}; run its extractor again: a new commit then has new bytes")
    if lost:
        yield from (Finding(where, f"{file.path} cannot be rebuilt without them") for file in damaged if file not in lost)
        return
    try:
        rebuilt = replay.rebuild_commit(lake, commit)
    except (BadDataError, UsageError) as error:
        yield Finding(where, f"its vendor bytes cannot be parsed again: {error}")
        return
    for file in damaged:
        if file.path in rebuilt.files:
            lake.store.put(file.path, rebuilt.files[file.path], PARQUET)
            yield Finding(where, f"{file.path} is rebuilt from the vendor bytes", is_wrong=False)
    if all(file.path in rebuilt.files for file in damaged):
        return
    if is_head:
        yield _commit_again(lake, commit, rebuilt)
    else:
        yield Finding(where, "today's parser makes other rows of the vendor bytes, so its file cannot be rebuilt; newer commits exist")


def _commit_again(lake: Lake, commit: Commit, rebuilt: RebuiltCommit) -> Finding:
    """Add a commit with the rows that today's parser makes of the vendor bytes of a commit whose file is lost."""
    reason = f"the file of commit {commit.number} is lost"
    draft = _build_draft(lake, commit, rebuilt.commit, rebuilt.data, rebuilt.quarantine, reason)
    made, _ = lake.commit(commit.dataset, commit.partition, draft)
    text = (
        f"commit {made.number} has {made.data.rows:,} rows of the same vendor bytes, by today's parser; "
        f"commit {commit.number} had {commit.data.rows:,}"
    )
    return Finding(f"{commit.dataset}/{commit.partition}", text, is_wrong=False)


def _report(findings: Sequence[Finding], summary: str) -> None:
    """Print the findings and the summary. End with 65 if one is wrong."""
    for where, text, is_wrong in sorted(findings, key=lambda finding: not finding.is_wrong):
        click.echo(f"{'WRONG' if is_wrong else 'note':5} {where}: {text}")
    click.echo(summary)
    if any(finding.is_wrong for finding in findings):
        sys.exit(BadDataError.exit_code)


def _format_bytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


LAKE = click.option("--lake", required=True, envvar="FINELT_LAKE", metavar="URL", help="The lake: a directory or s3://bucket/prefix.")
DATASETS = click.option("--dataset", multiple=True, help="A dataset; repeat the option for more. Default: all.")
PARTITIONS = click.option("--partition", multiple=True, help="A partition such as year=2012; repeat the option for more. Default: all.")


@click.group(context_settings={"max_content_width": 110})
@version_option()
def main() -> None:
    """Verify and repair the lake, expire old versions, and restore what was deleted."""


@main.command("verify")
@LAKE
@DATASETS
@PARTITIONS
@click.option("--sample", type=click.IntRange(0), help="Read only so many files, chosen at random; of the others check the size.")
def verify_(lake: str, dataset: tuple[str, ...], partition: tuple[str, ...], sample: int | None) -> None:
    """Check commits, their numbering, and the files that they name. Exit code 65 if something is wrong."""
    with exit_on_job_error("lake"):
        result = verify(open_lake(lake), dataset, partition, sample)
    counts = f"{result.files:,} files of {result.commits:,} commits of {result.partitions:,} partitions"
    _report(result.findings, f"{counts}: {len(result.wrong) or 'nothing'} wrong")


@main.command("repair")
@LAKE
@DATASETS
@PARTITIONS
def repair_(lake: str, dataset: tuple[str, ...], partition: tuple[str, ...]) -> None:
    """Rebuild damaged files from the vendor bytes; replace damaged commits. Exit code 65 if something stays wrong."""
    findings: list[Finding] = []
    with exit_on_job_error("lake"):
        store = open_lake(lake)
        for name in select_datasets(store, dataset):
            for part in store.partitions(name):
                if not partition or part in partition:
                    findings += repair(store, name, part)
    wrong = sum(finding.is_wrong for finding in findings)
    _report(findings, f"{len(findings) - wrong} repaired, {wrong} not")


@main.command("expire")
@LAKE
@DATASETS
@click.option("--site", metavar="URL", help="Also expire versions of this published site.")
@click.option("--catalog", default="sqlite", show_default=True, help="That of `finelt lake-marts`, whose files expire too.")
@click.option("--apply", "is_applied", is_flag=True, help="Delete what has expired. Without it, nothing is changed.")
def expire_(lake: str, dataset: tuple[str, ...], site: str | None, catalog: str, *, is_applied: bool) -> None:
    """Delete old versions: all stay for the years of the contract's retention, then those of month ends. Default: show what would go.

    Versions of a site and of the marts of `finelt lake-marts` expire by the retention of the datasets that they are made of, without month
    ends. With --dataset, only versions of these datasets do.
    """
    from finelt import retention  # noqa: PLC0415  it reads the catalogue, which the other commands do not need

    now = datetime.now(UTC)
    with exit_on_job_error("lake"):
        if site and dataset:
            raise UsageError("--site and --dataset exclude each other: a site has marts of many datasets")
        store = open_lake(lake)
        policies = retention.find_policies(store, select_datasets(store, dataset) if dataset else ())
        for name, policy in policies.items():
            expiry = retention.expire(store, name, policy, now, is_dry_run=not is_applied)
            for reason in expiry.skipped:
                click.echo(f"note  {reason}")
            verb, promise = "deleted" if is_applied else "to delete", f", and all from {policy.as_of_from}" if policy.as_of_from else ""
            click.echo(
                f"{name}: {verb} {expiry.commits:,} commits of {expiry.partitions:,} partitions, {len(expiry.files):,} files, "
                f"{_format_bytes(sum(expiry.files.values()))}; kept: all of {policy.years} years{promise}, then month ends"
            )
        if not policies:
            click.echo("no dataset of the lake has a retention in its contract, so none of its versions expires")
        if not dataset:
            _expire_lake_marts(store, catalog, policies, now, is_applied=is_applied)
        if site:
            _expire_site(site, now, is_applied=is_applied)


def _expire_lake_marts(lake: Lake, catalog: str, policies: Mapping[str, Policy], now: datetime, *, is_applied: bool) -> None:
    """Expire what `finelt lake-marts` wrote, if it did and the prices have a retention."""
    from finelt.lake_marts import expiry, tables  # noqa: PLC0415  not everybody has pyiceberg

    prices = policies.get(tables.PRICES[1])
    if prices is None or next(iter(lake.store.list_keys(expiry.PREFIX)), None) is None:
        return
    done = expiry.expire(lake.store, tables.open_catalog(lake.store, catalog), prices.cutoff(now), now, is_dry_run=not is_applied)
    for reason in done.skipped:
        click.echo(f"note  {reason}")
    verb = "deleted" if is_applied else "to delete"
    click.echo(
        f"marts of lake-marts: {verb} {done.snapshots:,} snapshots, {len(done.files):,} files, {_format_bytes(sum(done.files.values()))}"
    )


def _expire_site(site: str, now: datetime, *, is_applied: bool) -> None:
    from finelt import site_retention  # noqa: PLC0415  it reads the catalogue

    done = site_retention.expire(open_store(site), now, is_dry_run=not is_applied)
    click.echo(f"{site}: {'deleted' if is_applied else 'to delete'} {len(done.expired):,} of {done.versions:,} versions")


@main.command("restore")
@click.option("--lake", required=True, envvar="FINELT_LAKE", metavar="URL", help="The lake: s3://bucket/prefix in a versioned bucket.")
@click.option("--apply", "is_applied", is_flag=True, help="Bring the objects back. Without it, nothing is changed.")
def restore_(lake: str, *, is_applied: bool) -> None:
    """Bring back the objects that somebody deleted from a versioned bucket. Default: show how many.

    What `lake expire` and `finelt erase` delete has no versions any more, so it never comes back.
    """
    with exit_on_job_error("lake"):
        store = Lake(lake).store
        if isinstance(store, FileStore):
            raise UsageError(f"{store.url} is a directory, which keeps nothing that was deleted; restore it from a backup")
        counts = Counter(key.split("/")[1] for key in store.list_deleted("raw/"))
        if is_applied:
            store.restore_deleted("raw/")
    for dataset, number in sorted(counts.items()):
        click.echo(f"{dataset}: {number:,} objects {'restored' if is_applied else 'to restore'}")
    if not counts:
        click.echo("no object was deleted whose last version the bucket still has")
