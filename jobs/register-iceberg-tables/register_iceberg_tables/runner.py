"""The verbs run, plan and check: find what the tables lack, register it, and record the outcome of each partition in the receipt."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit import expired_commits
from jobkit.errors import BadDataError, MisconfiguredError, TemporaryError, UsageError
from jobkit.lake import REMEDY, Lake
from jobkit.stores import open_store

from register_iceberg_tables import history, published
from register_iceberg_tables.catalogs import FOLDER, open_catalog, translate_errors
from register_iceberg_tables.tables import IcebergTable, Snapshot, ensure_namespace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.command import Job
    from jobkit.commits import Commit
    from pyiceberg.catalog import Catalog

    from register_iceberg_tables.history import Version

RAW, PUBLISHED = "raw", "published"  # namespaces
COMMITS = "finelt.commits"  # in a snapshot's summary: JSON, from each partition to the number of its commit


class Work(NamedTuple):
    """What a table lacks: the versions of each snapshot. `unchanged`: the heads that it has. `problems`: why partitions are left out."""

    snapshots: list[list[Version]]
    unchanged: dict[str, int]
    problems: dict[str, str]


@translate_errors
def run(
    job: Job,
    lake_url: str,
    datasets: Sequence[str],
    catalog_name: str,
    namespace: str = RAW,
    site: str | None = None,
    site_namespace: str = PUBLISHED,
) -> None:
    """Register what the tables do not have. A damaged partition or mart does not stop others; BadDataError (65) is raised at the end.

    Raises TemporaryError (75) if versions expire meanwhile.
    """
    lake = Lake(lake_url)
    names = _select_datasets(lake, datasets)
    catalog = open_catalog(lake, catalog_name)
    problems: list[str] = []
    ensure_namespace(catalog, namespace)
    for done, dataset in enumerate(names, start=1):
        table = _open_table(catalog, lake, namespace, dataset)
        work = find_work(lake, dataset, read_registered(table), is_new=table.is_empty)
        problems += _register(job, lake, dataset, table, work)
        job.progress(done, len(names), dataset)
    if site:
        ensure_namespace(catalog, site_namespace)
        problems += published.register(job, open_store(site), catalog, site_namespace, lake.store.uri(f"{FOLDER}/published"))
    if problems:
        raise BadDataError(problems[0] + (f" (and {len(problems) - 1:,} more, see the receipt)" if problems[1:] else ""))


@translate_errors
def plan(
    lake_url: str,
    datasets: Sequence[str],
    catalog_name: str,
    namespace: str = RAW,
    site: str | None = None,
    site_namespace: str = PUBLISHED,
) -> list[dict[str, Any]]:
    """Return the snapshots that `run` would add, in order."""
    lake = Lake(lake_url)
    names = _select_datasets(lake, datasets)
    catalog = open_catalog(lake, catalog_name)
    steps: list[dict[str, Any]] = []
    for dataset in names:
        table = _open_table(catalog, lake, namespace, dataset)
        for versions in find_work(lake, dataset, read_registered(table), is_new=table.is_empty).snapshots:
            commits = {version.commit.partition: version.commit.number for version in versions}
            steps.append({"dataset": dataset, "known_at": versions[-1].known.isoformat(), "commits": commits})
    if site:
        steps += published.plan(open_store(site), catalog, site_namespace, lake.store.uri(f"{FOLDER}/published"))
    return steps


@translate_errors
def check(lake_url: str, catalog_name: str, namespace: str = RAW, site: str | None = None) -> None:
    """Check that the lake and the site can be listed, and the catalogue asked for the namespace."""
    lake = Lake(lake_url)
    lake.datasets()
    if site:
        published.read_current(open_store(site))
    open_catalog(lake, catalog_name).namespace_exists(namespace)


def _open_table(catalog: Catalog, lake: Lake, namespace: str, dataset: str) -> IcebergTable:
    return IcebergTable(catalog, (namespace, dataset), lake.store.uri(f"{FOLDER}/raw/{dataset}"))


def read_registered(table: IcebergTable) -> dict[str, int]:
    """Return the number of the latest registered commit of each partition."""
    registered: dict[str, int] = {}
    for summary in table.read_summaries():
        registered |= json.loads(summary.get(COMMITS, "{}"))
    return registered


def _build_snapshot(lake: Lake, versions: Sequence[Version]) -> Snapshot:
    """Return the snapshot of these versions, in place of those that their partitions have."""
    uris = [(lake.store.uri(version.commit.data.path), version.commit.data.rows) for version in versions]
    folders = {uri.rpartition("/")[0] for uri, _ in uris}
    return Snapshot(
        files=[uri for uri, rows in uris if rows],
        empty_files=[uri for uri, rows in uris if not rows],
        replaces=lambda uri: uri.rpartition("/")[0] in folders,
        summary={COMMITS: json.dumps({version.commit.partition: version.commit.number for version in versions})},
        known_at=versions[-1].known,
        remedy=f"a commit names it; {REMEDY}",
    )


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


def _register(job: Job, lake: Lake, dataset: str, table: IcebergTable, work: Work) -> list[str]:
    """Add the snapshots in order; a file that is gone ends the dataset there, because later ones build on it. Returns the problems."""
    done: dict[str, Commit] = {}
    problems = dict(work.problems)
    for versions in work.snapshots:
        try:
            table.add_snapshot(_build_snapshot(lake, versions))
        except BadDataError as error:
            if any(expired_commits.has_expired(lake.store, dataset, one.commit.partition, one.commit.number) for one in versions):
                raise TemporaryError(f"versions of {dataset} expired at the same time; run this again") from None
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
