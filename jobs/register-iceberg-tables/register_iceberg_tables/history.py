"""Which commits become which snapshots of a table. Pure: no lake, no catalogue.

Commits that came together become one snapshot, so that a lake of 10,000 partitions does not become a table of 10,000 snapshots. A snapshot
has one version of a partition, and the time of its last commit.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from jobkit.commits import Commit

TOGETHER = timedelta(seconds=60)  # at most between a commit and the next one of the same snapshot
LARGEST = 1_000  # commits of a snapshot, which its summary lists
TICK = timedelta(microseconds=1)


class Version(NamedTuple):
    """A commit, and the moment from which on it counts: its own, but later than that of the partition's previous one, and not after now."""

    commit: Commit
    known: datetime


def date_commits(commits: Sequence[Commit], now: datetime) -> list[Version]:
    """Return the commits of one partition, oldest first, each with its moment."""
    versions: list[Version] = []
    for commit in commits:
        known = min(commit.known, now)
        versions.append(Version(commit, max(known, versions[-1].known + TICK) if versions else known))
    return versions


def skip_before(partitions: Iterable[Sequence[Version]], floor: datetime | None) -> list[Version]:
    """Return the versions of all partitions in the order of their moments.

    Of what was known at `floor`, only each partition's latest version is left, and counts from then on: older ones have expired in part, so
    a table with the rest would give a version where the right one is gone.
    """
    selected: list[Version] = []
    for versions in partitions:
        old = [version for version in versions if floor and version.known <= floor]
        selected += [Version(version.commit, floor) for version in old[-1:] if floor]
        selected += versions[len(old) :]
    return sorted(selected, key=lambda version: (version.known, version.commit.partition, version.commit.number))


def group(versions: Iterable[Version]) -> Iterator[list[Version]]:
    """Yield the versions of each snapshot, in order."""
    together: dict[str, Version] = {}
    previous: datetime | None = None
    for version in versions:
        is_apart = previous is not None and version.known - previous > TOGETHER
        if together and (is_apart or version.commit.partition in together or len(together) == LARGEST):
            yield [*together.values()]
            together = {}
        together[version.commit.partition] = version
        previous = version.known
    if together:
        yield [*together.values()]


def find_floor(gaps: Mapping[int, datetime], versions: Sequence[Version]) -> datetime | None:
    """Return the moment from which on no version has expired; None if none has. `gaps`: the times of those that have."""
    newest = max(gaps, default=0)
    return next((version.known for version in versions if version.commit.number > newest), None) if newest else None


def to_milliseconds(moment: datetime) -> int:
    """Return a moment as Iceberg has it, in whole milliseconds since 1970; rounded down, so that a query at that moment sees the commit."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
