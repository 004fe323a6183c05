"""Expire old versions in the lake: all versions for the years of the contract's retention, then those of month ends.

A commit expires if no moment that may be asked needs it: none of the last years, none from the contract's `asOfFrom` on, and no end of a
month (UTC). The newest commit of a partition never does. Nothing expires without a retention.

Other jobs may run meanwhile, and this may be killed at any moment and run again. The numbers and times of the commits are recorded first,
then the commits are deleted, then the files that no other commit names. A writer that reuses such a file at the same time finds out after
its commit, and so does this after each deletion; the one that comes last writes it again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from jobkit import commit_log, expired_commits
from jobkit.commits import Source
from jobkit.contracts import load
from jobkit.errors import UsageError
from jobkit.expired_commits import ExpiredCommit

from finelt import lake_deletion
from jobs.catalogue import LAKE, catalogue

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import date

    from jobkit.commits import Commit, File
    from jobkit.contracts import Contract
    from jobkit.lake import Lake

TICK = timedelta(microseconds=1)
LOG_ENTRIES = 10_000  # that stay; a loader that is farther behind lists the dataset


class Policy(NamedTuple):
    """How long a dataset keeps all versions, and from which day (UTC) on every moment may be asked; None: no such promise."""

    years: int
    as_of_from: date | None = None

    def cutoff(self, now: datetime) -> datetime:
        """Return the moment from which on all versions stay."""
        try:
            years_ago = now.replace(year=now.year - self.years)
        except ValueError:  # 29 February
            years_ago = now.replace(year=now.year - self.years, day=28)
        return min(years_ago, datetime.combine(self.as_of_from, time(), UTC)) if self.as_of_from else years_ago


@dataclass
class Expiry:
    """What expires in a dataset, or has: numbers of partitions, commits, and files with their sizes. `skipped` says why partitions stay."""

    dataset: str
    partitions: int = 0
    commits: int = 0
    files: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def find_policies(lake: Lake, datasets: Sequence[str]) -> dict[str, Policy]:
    """Return the policy of each dataset that has one, of these datasets or of all. Raises UsageError for a dataset without."""
    policies = read_policies(datasets or lake.datasets())
    if missing := sorted(set(datasets) - policies.keys()):
        raise UsageError(
            f"the contract of {missing[0]} has no retention, so nothing expires; add {{property: retention, value: 7, unit: y}} "
            "to its slaProperties"
        )
    return policies


def read_policies(datasets: Iterable[str]) -> dict[str, Policy]:
    """Return the policy of each of these datasets whose contract has a retention."""
    written = {name.removeprefix(LAKE): spec for spec in catalogue() for name in spec.writes if name.startswith(LAKE)}
    policies = {}
    for dataset in datasets:
        paths = sorted(written[dataset].folder.glob(f"*/{dataset}.odcs.yaml")) if dataset in written else []
        contract: Contract | None = load(paths[0]) if paths else None
        if contract and contract.retention_years:
            policies[dataset] = Policy(contract.retention_years, contract.as_of_from)
    return policies


def select_expired(known: Mapping[int, datetime], cutoff: datetime) -> list[int]:
    """Return the commits that no moment from the cutoff on and no end of a month needs. `known` has the times (UTC) by number."""
    times: list[tuple[int, datetime]] = []
    for number in sorted(known):
        times.append((number, max(known[number], times[-1][1] + TICK) if times else known[number]))  # as the warehouse corrects clocks
    return [
        number
        for (number, begin), (later, end) in pairwise(times)
        if end <= cutoff
        and (begin.year, begin.month) == (end.year, end.month)  # no month ends in [begin, end)
        and end == known[later]  # the correction of the next one's time does not depend on this one
    ]


def expire(lake: Lake, dataset: str, policy: Policy, now: datetime, *, is_dry_run: bool) -> Expiry:
    """Expire the old versions of a dataset, or find out which would.

    Raises what the lake raises, TemporaryError (75) if another program expires them at the same time.
    """
    expiry, cutoff = Expiry(dataset), policy.cutoff(now)
    before = lake_deletion.read_log_state(lake, dataset)
    kept_sources: set[str] = set()
    sources: dict[str, int] = {}
    for partition, _ in lake.iter_latest_numbers(dataset):
        history = lake.examine(dataset, partition)
        record, etag = expired_commits.read(lake.store, dataset, partition)
        if history.damaged or not history.commits:
            expiry.skipped += [f"{dataset}/{partition} has damaged commits; see `lake verify`"]
            kept_sources |= {source.path for commit in history.commits.values() for source in commit.source}
            continue
        numbers = set(select_expired({number: commit.known for number, commit in history.commits.items()}, cutoff))
        numbers |= record.keys() & history.commits.keys() - {max(history.commits)}  # an earlier run was killed before it deleted them
        expired, kept = _divide(history.commits, numbers)
        kept_files = {file.path for commit in kept for file in commit.files}
        kept_sources |= {source.path for commit in kept for source in commit.source}
        sizes = {file.path: _stored_size(file) for commit in expired for file in commit.files if file.path not in kept_files}
        left = {path for commit in record.values() for path in commit.files}  # by an earlier run that was killed
        if not (expired or left):
            continue
        expiry.partitions, expiry.commits = expiry.partitions + 1, expiry.commits + len(expired)
        files = {**dict.fromkeys(left, 0), **sizes}
        is_source = {path: path.startswith(f"raw/{dataset}/_bytes/") for path in files}
        sources |= {path: size for path, size in files.items() if is_source[path]}
        own = {path: size for path, size in files.items() if not is_source[path] and path not in kept_files}
        expiry.files |= own
        if not is_dry_run:
            _delete_commits(lake, dataset, partition, expired, record, etag, files)
            for path in own:
                lake_deletion.delete_file(lake, dataset, path, before)
    if expiry.skipped:
        return expiry  # a damaged commit may name any of the vendor's files, so they stay, and in the records too
    unnamed = {path: size for path, size in sources.items() if path not in kept_sources}
    expiry.files |= unnamed
    if not is_dry_run:
        for path in unnamed:
            lake_deletion.delete_file(lake, dataset, path, before)
        _forget_files(lake, dataset)
        _trim_log(lake, dataset)
    return expiry


def _divide(commits: Mapping[int, Commit], numbers: Collection[int]) -> tuple[list[Commit], list[Commit]]:
    """Return the commits with these numbers, and the others."""
    return [commits[number] for number in sorted(numbers)], [commit for number, commit in commits.items() if number not in numbers]


def _stored_size(file: File | Source) -> int:
    return (isinstance(file, Source) and file.stored_bytes) or file.bytes


def _delete_commits(
    lake: Lake,
    dataset: str,
    partition: str,
    expired: Sequence[Commit],
    record: Mapping[int, ExpiredCommit],
    etag: str | None,
    files: Collection[str],
) -> None:
    """Record the commits with the files that only they name, then delete them."""
    added = {
        commit.number: ExpiredCommit(commit.number, commit.known_at, tuple(file.path for file in commit.files if file.path in files))
        for commit in expired
    }
    if added.keys() - record.keys():
        expired_commits.write(lake.store, dataset, partition, ({**added, **record}).values(), etag)
    keys = {lake.commit_key(dataset, partition, commit.number) for commit in expired}
    lake.store.erase(f"raw/{dataset}/{partition}/_commits/", lambda key: key in keys)


def _forget_files(lake: Lake, dataset: str) -> None:
    """Remove the files from the records of a dataset, now that they are deleted."""
    for partition, _ in lake.iter_latest_numbers(dataset):
        record, etag = expired_commits.read(lake.store, dataset, partition)
        if any(commit.files for commit in record.values()):
            done = [ExpiredCommit(commit.number, commit.known_at) for commit in record.values()]
            expired_commits.write(lake.store, dataset, partition, done, etag)


def _trim_log(lake: Lake, dataset: str) -> None:
    """Delete the entries of the log but the last ones."""
    last, prefix = lake.log.find_last(dataset), f"raw/{dataset}/{commit_log.FOLDER}/"
    oldest = next(lake.log.list_after(dataset, 0), last)
    if oldest <= last - LOG_ENTRIES:
        lake.store.erase(prefix, lambda key: (commit_log.entry_number(key) or last) <= last - LOG_ENTRIES)
