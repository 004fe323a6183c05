"""Expire old snapshots of the marts that `finelt lake-marts` builds, and delete the files that no snapshot names.

Each build writes all rows again, so these files are what grows fastest. A snapshot goes if the next one was made before the cutoff of the
prices' retention; from the oldest on and without month ends, because engines would answer a moment in a gap with the snapshot before it.
The current snapshot never goes. A file that no snapshot names is of an expired one, of a build that was killed, or of one that is running:
it stays for a week, longer than any build or reader takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING

from jobkit.errors import TemporaryError
from jobkit.stores import NotFoundError

from finelt.lake_marts import tables
from finelt.lake_marts.model import MARTS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from jobkit.stores import Store
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.table import Table

PREFIX = f"{tables.FOLDER}/{tables.MARTS}/"
GRACE = timedelta(days=7)


@dataclass
class MartExpiry:
    """The number of snapshots that expire or have, the files with their sizes, and why tables stay."""

    snapshots: int = 0
    files: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def expire(store: Store, catalog: Catalog, cutoff: datetime, now: datetime, *, is_dry_run: bool) -> MartExpiry:
    """Expire the old snapshots of the marts, or find out which would. Raises TemporaryError (75) if a build replaces a mart meanwhile."""
    from pyiceberg.exceptions import CommitFailedException, NoSuchTableError  # noqa: PLC0415  slow

    expiry = MartExpiry()
    for mart in MARTS:
        try:
            table = catalog.load_table((tables.MARTS, mart))
        except (NoSuchTableError, FileNotFoundError):  # not built, erased, or in another catalogue, which then names the files
            expiry.skipped += [f"marts.{mart} is not in the catalogue, so its files stay"] if any(_list_keys(store, mart)) else []
            continue
        expired = select_expired(table, cutoff)
        expiry.snapshots += len(expired)
        if expired and not is_dry_run:
            try:
                table.maintenance.expire_snapshots().by_ids(expired).commit()
            except CommitFailedException:
                raise TemporaryError(f"marts.{mart} was replaced at the same time; run this again") from None
            table = catalog.load_table((tables.MARTS, mart))
        for key in _find_unnamed(store, mart, _list_named(table, expired), now):
            expiry.files[key] = store.get_size(key)
            if not is_dry_run:
                store.erase(key, lambda found, key=key: found == key)  # type: ignore[misc]
    return expiry


def select_expired(table: Table, cutoff: datetime) -> list[int]:
    """Return the ids of the oldest snapshots that were all replaced before the cutoff."""
    oldest_first = sorted(table.snapshots(), key=lambda snapshot: (snapshot.timestamp_ms, snapshot.sequence_number))
    replaced = takewhile(lambda pair: datetime.fromtimestamp(pair[1].timestamp_ms / 1000, UTC) <= cutoff, pairwise(oldest_first))
    return [snapshot.snapshot_id for snapshot, _ in replaced]


def _list_named(table: Table, expired: Collection[int]) -> set[str]:
    """Return the URIs of all files of a table but those that only expired snapshots name."""
    named = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    manifests: dict[str, ManifestFile] = {}
    for snapshot in (snapshot for snapshot in table.snapshots() if snapshot.snapshot_id not in expired):
        named.add(snapshot.manifest_list)
        manifests |= {manifest.manifest_path: manifest for manifest in snapshot.manifests(table.io)}
    for manifest in manifests.values():
        named |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
    return named | manifests.keys()


def _find_unnamed(store: Store, mart: str, named: set[str], now: datetime) -> Iterator[str]:
    for key in _list_keys(store, mart):
        try:
            if store.uri(key) not in named and now - store.stat(key).modified > GRACE:
                yield key
        except NotFoundError:  # another expiry deleted it
            continue


def _list_keys(store: Store, mart: str) -> list[str]:
    """List the files of a mart: its metadata, and what builds wrote."""
    folders = [f"{PREFIX}{mart}/", *(f"{PREFIX}_files/{build}/{mart}/" for build in store.list_folders(f"{PREFIX}_files/"))]
    return [key for folder in folders for key in store.list_keys(folder)]
