"""The verbs run, plan and check: find what the tables lack, register it, and record the outcome of each partition in the receipt."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit import expired_commits
from jobkit.errors import BadDataError, MisconfiguredError, UsageError
from jobkit.lake import Lake

from register_iceberg_tables import history
from register_iceberg_tables.catalogs import open_catalog, translate_errors
from register_iceberg_tables.tables import NAMESPACE, IcebergTable, ensure_namespace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.command import Job
    from jobkit.commits import Commit

    from register_iceberg_tables.history import Version


class Work(NamedTuple):
    """What a table lacks: the versions of each snapshot. `unchanged`: the heads that it has. `problems`: why partitions are left out."""

    snapshots: list[list[Version]]
    unchanged: dict[str, int]
    problems: dict[str, str]


@translate_errors
def run(job: Job, lake_url: str, datasets: Sequence[str], catalog_name: str, namespace: str = NAMESPACE) -> None:
    """Register what the tables do not have. A damaged partition does not stop others; BadDataError (65) is raised at the end."""
    lake = Lake(lake_url)
    names = _select_datasets(lake, datasets)
    catalog = open_catalog(lake, catalog_name)
    ensure_namespace(catalog, namespace)
    problems: list[str] = []
    for done, dataset in enumerate(names, start=1):
        table = IcebergTable(catalog, lake, (namespace, dataset))
        work = find_work(lake, dataset, table.read_registered(), is_new=table.is_empty)
        problems += _register(job, dataset, table, work)
        job.progress(done, len(names), dataset)
    if problems:
        raise BadDataError(problems[0] + (f" (and {len(problems) - 1:,} more, see the receipt)" if problems[1:] else ""))


@translate_errors
def plan(lake_url: str, datasets: Sequence[str], catalog_name: str, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
    """Return the snapshots that `run` would add, in order."""
    lake = Lake(lake_url)
    names = _select_datasets(lake, datasets)
    catalog = open_catalog(lake, catalog_name)
    steps: list[dict[str, Any]] = []
    for dataset in names:
        table = IcebergTable(catalog, lake, (namespace, dataset))
        for versions in find_work(lake, dataset, table.read_registered(), is_new=table.is_empty).snapshots:
            commits = {version.commit.partition: version.commit.number for version in versions}
            steps.append({"dataset": dataset, "known_at": versions[-1].known.isoformat(), "commits": commits})
    return steps


@translate_errors
def check(lake_url: str, catalog_name: str, namespace: str = NAMESPACE) -> None:
    """Check that the lake can be listed, and the catalogue asked for the namespace."""
    lake = Lake(lake_url)
    lake.datasets()
    open_catalog(lake, catalog_name).namespace_exists(namespace)


def find_work(lake: Lake, dataset: str, registered: dict[str, int], *, is_new: bool) -> Work:
    """Return what the table of a dataset lacks. `registered` has the latest commit of each partition that it has."""
    now = datetime.now(UTC)
    partitions: list[list[Version]] = []
    floors: list[datetime] = []
    unchanged: dict[str, int] = {}
    problems: dict[str, str] = {}
    for partition, latest in lake.iter_latest_numbers(dataset):
        if registered.get(partition, 0) >= latest:
            unchanged[partition] = latest
            continue
        found = lake.examine(dataset, partition, since=registered.get(partition, 0) + 1)
        if error := found.damaged.get(latest):  # the version before it would be wrong from then on
            problems[partition] = str(error)
            continue
        versions = history.date_commits([found.commits[number] for number in sorted(found.commits)], now)
        if is_new and (floor := _find_floor(lake, dataset, partition, versions)):
            floors.append(floor)
        partitions.append(versions)
    selected = history.skip_before(partitions, max(floors, default=None))
    return Work([*history.group(selected)], unchanged, problems)


def _find_floor(lake: Lake, dataset: str, partition: str, versions: Sequence[Version]) -> datetime | None:
    if len(versions) == versions[-1].commit.number:  # none is missing
        return None
    expired, _ = expired_commits.read(lake.store, dataset, partition)
    return history.find_floor({number: commit.known for number, commit in expired.items()}, versions)


def _register(job: Job, dataset: str, table: IcebergTable, work: Work) -> list[str]:
    """Add the snapshots in order; a file that is gone ends the dataset there, because later ones build on it. Returns the problems."""
    done: dict[str, Commit] = {}
    problems = dict(work.problems)
    for versions in work.snapshots:
        try:
            table.add_snapshot(versions)
        except BadDataError as error:
            problems |= {version.commit.partition: str(error) for version in versions}
            break
        done |= {version.commit.partition: version.commit for version in versions}
    for partition, number in work.unchanged.items():
        job.record_partition(dataset, partition, "unchanged", commit=number)
    for partition, commit in done.items():
        if partition not in problems:
            data = commit.data
            job.record_partition(
                dataset, partition, "committed", rows=data.rows, bytes=data.bytes, sha256=data.sha256, commit=commit.number
            )
    for partition, problem in problems.items():
        job.record_partition(dataset, partition, "failed", reason=problem)
    return [*problems.values()]


def _select_datasets(lake: Lake, datasets: Sequence[str]) -> list[str]:
    existing = lake.datasets()
    if not existing:
        raise MisconfiguredError(f"the lake {lake.store.url} has no dataset to register; check --lake, or run an extractor first")
    if unknown := sorted(set(datasets) - set(existing)):
        raise UsageError(f"no dataset {', '.join(unknown)} in the lake {lake.store.url}; it has {', '.join(existing)}")
    return sorted(set(datasets)) or existing
