"""The marts of a site as Iceberg tables: each version that changed a mart is a snapshot, with the time of its publication.

A version of a site has an immutable Parquet file of each mart. It names the version before it, so what a table lacks is found from the
current version backwards. A mart that a version no longer has is empty from then on.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit import site_pointer
from jobkit.errors import BadDataError
from jobkit.stores import NotFoundError

from register_iceberg_tables.tables import ColumnsChangedError, IcebergTable, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jobkit.command import Job
    from jobkit.stores import Store
    from pyiceberg.catalog import Catalog

VERSION, DIGEST, AT = "finelt.version", "finelt.sha256", "finelt.published-at"  # in a snapshot's summary
PARTITION = "published"  # in the receipt: a mart has one
NOTHING = ""  # the digest of a mart that the version does not have
REMEDY = "the site names it; run publish-marts again, then this"


class File(NamedTuple):
    """The Parquet file of a mart."""

    uri: str
    rows: int
    bytes: int
    sha256: str


class Publication(NamedTuple):
    """A version of a site, the one before it, when it was published, and its marts."""

    version: str
    previous: str | None
    at: datetime
    marts: Mapping[str, File]


class Registered(NamedTuple):
    """What the newest snapshot of a table was made of."""

    version: str
    digest: str
    at: datetime


class Step(NamedTuple):
    """A snapshot that a table lacks. `file` is None if the version does not have the mart."""

    mart: str
    publication: Publication
    file: File | None


def register(job: Job, site: Store, catalog: Catalog, namespace: str, folder: str) -> list[str]:
    """Add the snapshots that the tables lack, record each mart, and return the problems. `folder` has the tables' metadata."""
    tables = _open_tables(catalog, namespace, folder)
    unchanged = {mart for mart, table in tables.items() if not table.is_empty}
    steps = find_steps(site, {mart: read_registered(table) for mart, table in tables.items()})
    problems: dict[str, str] = {}
    done: dict[str, File | None] = {}
    for number, step in enumerate(steps, 1):
        if step.mart not in problems:  # else later versions are left to the next run, so that none is skipped
            table = tables.get(step.mart) or _open_table(catalog, namespace, folder, step.mart)
            try:
                _add(table, step)
            except BadDataError as error:
                problems[step.mart] = str(error)
            tables[step.mart], done[step.mart] = table, step.file
        job.progress(number, len(steps), step.mart)
    for mart, file in done.items():
        if mart in problems:
            job.record_partition(mart, PARTITION, "failed", reason=problems[mart])
        elif file is None:
            job.record_partition(mart, PARTITION, "committed")
        else:
            job.record_partition(mart, PARTITION, "committed", rows=file.rows, bytes=file.bytes, sha256=file.sha256)
    for mart in sorted(unchanged - done.keys()):
        job.record_partition(mart, PARTITION, "unchanged")
    return [*problems.values()]


def plan(site: Store, catalog: Catalog, namespace: str, folder: str) -> list[dict[str, Any]]:
    """Return the snapshots that `register` would add, in order."""
    tables = _open_tables(catalog, namespace, folder)
    steps = find_steps(site, {mart: read_registered(table) for mart, table in tables.items()})
    return [{"mart": step.mart, "version": step.publication.version, "published_at": step.publication.at.isoformat()} for step in steps]


def find_steps(site: Store, registered: Mapping[str, Registered | None]) -> list[Step]:
    """Return the snapshots that the tables lack, oldest first. `registered` has each table.

    The newest registered version is looked at again, because a run that was killed may have registered some of its marts only. The
    current version always is: if a later one was withdrawn, the tables return to it.
    """
    last = max((known.at for known in registered.values() if known), default=datetime.min.replace(tzinfo=UTC))
    current = read_current(site)
    newer = [*takewhile(lambda publication: publication.at >= last, _walk(site, current))]
    state = dict(registered)
    steps: list[Step] = []
    for publication in reversed(newer or [current]):
        for mart in sorted({*publication.marts, *state}):
            file, known = publication.marts.get(mart), state.get(mart)
            is_same = (known.digest if known else NOTHING) == (file.sha256 if file else NOTHING)
            is_gone = publication is current and file is not None and known is not None and not _exists(site, known.version)
            if not is_same or is_gone:
                steps.append(Step(mart, publication, file))
                state[mart] = Registered(publication.version, file.sha256 if file else NOTHING, publication.at)
    return steps


def read_current(site: Store) -> Publication:
    """Return the current version. Raises MisconfiguredError (78) for a site without one, BadDataError (65) if it cannot be read."""
    current = _read(site, site_pointer.read_version(site))
    if current is None:
        raise BadDataError(f"{site.uri(site_pointer.NAME)} names a version that is gone; run publish-marts again")
    return current


def read_registered(table: IcebergTable) -> Registered | None:
    """Return what the newest snapshot was made of; None without one."""
    summaries = table.read_summaries()
    if not summaries:
        return None
    newest = summaries[-1]
    return Registered(newest[VERSION], newest[DIGEST], datetime.fromisoformat(newest[AT]))


def _walk(site: Store, current: Publication) -> Iterator[Publication]:
    """Yield the current version and those before it, until one that was withdrawn."""
    publication: Publication | None = current
    while publication:
        yield publication
        publication = _read(site, publication.previous) if publication.previous else None


def _read(site: Store, version: str) -> Publication | None:
    """Return a version; None if it was withdrawn."""
    try:
        published = json.loads(site.get(f"v/{version}/published.json"))
        catalogue = json.loads(site.get(f"v/{version}/catalogue.json"))
    except NotFoundError:
        return None
    marts = {
        mart: File(site.uri(f"v/{version}/{file['path']}"), described["rows"], file["bytes"], file["sha256"])
        for mart, described in catalogue["marts"].items()
        for file in [described["files"]["parquet"]]
    }
    return Publication(version, catalogue.get("previous"), datetime.fromisoformat(published["published_at"]), marts)


def _exists(site: Store, version: str) -> bool:
    return site.exists(f"v/{version}/published.json")


def _open_tables(catalog: Catalog, namespace: str, folder: str) -> dict[str, IcebergTable]:
    """Return the tables that there are, by mart."""
    names = [name for _, name in catalog.list_tables(namespace)] if catalog.namespace_exists(namespace) else []
    return {mart: _open_table(catalog, namespace, folder, mart) for mart in names}


def _open_table(catalog: Catalog, namespace: str, folder: str, mart: str) -> IcebergTable:
    return IcebergTable(catalog, (namespace, mart), f"{folder}/{mart}")


def _add(table: IcebergTable, step: Step) -> None:
    """Add a snapshot with the file of a version in place of all others. A table whose columns do not fit is made again."""
    file = step.file
    snapshot = Snapshot(
        files=[file.uri] if file and file.rows else [],
        empty_files=[file.uri] if file and not file.rows else [],
        replaces=lambda _: True,
        summary={VERSION: step.publication.version, DIGEST: file.sha256 if file else NOTHING, AT: step.publication.at.isoformat()},
        known_at=step.publication.at,
        remedy=REMEDY,
    )
    try:
        table.add_snapshot(snapshot)
    except ColumnsChangedError:
        table.drop()
        table.add_snapshot(snapshot)
