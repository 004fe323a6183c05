"""The Iceberg table of a dataset: what it has registered, and how a snapshot is added.

The table has no state but Iceberg's own: each snapshot lists its commits in its summary. A snapshot is added in one Iceberg commit, with
the files that it replaces and new columns, so a job that is killed leaves a whole snapshot or none. Times of the table are those of the
commits, so that an engine's own time travel answers as of a moment like the lake.

The files stay the lake's: `gc.enabled = false` keeps other engines from deleting them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
from jobkit import failpoints
from jobkit.errors import BadDataError, DamagedError, TemporaryError
from jobkit.lake import REMEDY
from pyarrow import parquet
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    ResolveError,
    TableAlreadyExistsError,
    ValidationError,
)
from pyiceberg.io.pyarrow import parquet_file_to_data_file
from pyiceberg.table import TableProperties
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update import AddSnapshotUpdate
from pyiceberg.table.update.snapshot import _ManifestMergeManager, _OverwriteFiles

from register_iceberg_tables.catalogs import FOLDER
from register_iceberg_tables.history import to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.lake import Lake
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile, ManifestFile
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.update import UpdatesAndRequirements

    from register_iceberg_tables.history import Version

NAMESPACE = "raw"
COMMITS = "finelt.commits"  # in a snapshot's summary: JSON, from each partition to the number of its commit
MERGED_MANIFESTS = 100  # that many small manifests become one
PROPERTIES = {
    "gc.enabled": "false",
    "format-version": "2",
    TableProperties.COMMIT_NUM_RETRIES: "0",  # a retry would add the files on top of those of the winner
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
}


class IcebergTable:
    """The table of one dataset. `name` is the namespace and the dataset."""

    def __init__(self, catalog: Catalog, lake: Lake, name: tuple[str, str]) -> None:
        self.name = name
        self._catalog, self._lake = catalog, lake
        self._table: Table | None = None
        self._has_lost_metadata = False
        try:
            self._table = catalog.load_table(self.name)
        except NoSuchTableError:
            return
        except FileNotFoundError:  # `finelt erase` has deleted it, or somebody the folder iceberg/
            self._has_lost_metadata = True

    @property
    def is_empty(self) -> bool:
        """Whether the table has no snapshot, or has lost its metadata and has to be made again."""
        return self._table is None

    def read_registered(self) -> dict[str, int]:
        """Return the number of the latest registered commit of each partition."""
        registered: dict[str, int] = {}
        for snapshot in self._table.snapshots() if self._table else []:
            summary = snapshot.summary
            registered |= json.loads(summary.additional_properties.get(COMMITS, "{}")) if summary else {}
        return registered

    def add_snapshot(self, versions: Sequence[Version]) -> None:
        """Add the versions as one snapshot, in place of those that their partitions have.

        Raises DamagedError (65) if a file is gone, BadDataError (65) if a column's type does not fit the table's, TemporaryError (75) if
        another run changed the table.
        """
        schemas = [self._read_schema(version) for version in versions if version.commit.data.rows]
        try:
            schema = pa.unify_schemas(schemas or [pa.schema([])])
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise self._type_error(error) from None
        failpoints.hit("before snapshot")
        try:
            if self._table is None:
                if self._has_lost_metadata:
                    self._catalog.drop_table(self.name)
                    self._has_lost_metadata = False
                if not len(schema):  # no partition has a row yet
                    schema = self._read_schema(versions[-1])
                location = self._lake.store.uri(f"{FOLDER}/raw/{self.name[1]}")
                transaction: Transaction = self._catalog.create_table_transaction(
                    self.name, schema, location=location, properties=PROPERTIES
                )
            else:
                transaction = self._table.transaction()
            self._fill(transaction, versions, schema)
            with failpoints.surround("iceberg commit"):
                transaction.commit_transaction()
            self._table = self._catalog.load_table(self.name)
        except (CommitFailedException, TableAlreadyExistsError) as error:
            raise TemporaryError(f"{'.'.join(self.name)} was changed by another run at the same time; run this again") from error

    def _fill(self, transaction: Transaction, versions: Sequence[Version], schema: pa.Schema) -> None:
        if self._table is not None and len(schema):
            self._add_columns(transaction, schema)
        mapping = transaction.table_metadata.schema().name_mapping.model_dump_json()
        if transaction.table_metadata.properties.get(TableProperties.DEFAULT_NAME_MAPPING) != mapping:
            transaction.set_properties({TableProperties.DEFAULT_NAME_MAPPING: mapping})
        commits = {version.commit.partition: version.commit.number for version in versions}
        io = transaction._table.io  # noqa: SLF001  there is no public way to it before the table exists
        snapshot = _Registration(Operation.OVERWRITE, transaction, io, snapshot_properties={COMMITS: json.dumps(commits)})
        last = self._table.metadata.last_updated_ms if self._table is not None else 0
        snapshot.timestamp_ms = max(to_milliseconds(versions[-1].known), last + 1)
        folders = {self._lake.store.uri(version.commit.data.path).rpartition("/")[0] for version in versions}
        for file in self._current_files():
            if file.file_path.rpartition("/")[0] in folders:
                snapshot.delete_data_file(file)
        for version in versions:
            if version.commit.data.rows:
                uri = self._lake.store.uri(version.commit.data.path)
                snapshot.append_data_file(parquet_file_to_data_file(io, transaction.table_metadata, uri))
        snapshot.commit()

    def _current_files(self) -> list[DataFile]:
        if self._table is None:
            return []
        return [task.file for task in self._table.scan().plan_files()]

    def _add_columns(self, transaction: Transaction, schema: pa.Schema) -> None:
        update = transaction.update_schema()
        try:
            update.union_by_name(schema)
        except (ResolveError, ValidationError, TypeError, ValueError) as error:
            raise self._type_error(error) from None
        update.commit()

    def _type_error(self, error: Exception) -> BadDataError:
        text = " ".join(str(error).split())
        return BadDataError(
            f"a column of {'.'.join(self.name)} has a new type, which Iceberg cannot change into: {text[:300]}; "
            "give the column another name in the contract"
        )

    def _read_schema(self, version: Version) -> pa.Schema:
        """Return the columns of a version's file, without what Parquet or the vendor says about them."""
        uri = self._lake.store.uri(version.commit.data.path)
        io = self._catalog._load_file_io({}, uri)  # noqa: SLF001
        try:
            with io.new_input(uri).open() as file:
                schema = parquet.read_schema(file)
        except FileNotFoundError:
            raise DamagedError(f"{uri} is named by a commit and gone; {REMEDY}") from None
        return pa.schema([pa.field(field.name, field.type) for field in schema])


class _Registration(_OverwriteFiles):
    """An overwrite that has the time of its commits, and merges small manifests as an append does."""

    timestamp_ms: int

    def _commit(self) -> UpdatesAndRequirements:
        updates, requirements = super()._commit()
        dated = [
            AddSnapshotUpdate(snapshot=update.snapshot.model_copy(update={"timestamp_ms": self.timestamp_ms}))
            if isinstance(update, AddSnapshotUpdate)
            else update
            for update in updates
        ]
        return tuple(dated), requirements

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        target = TableProperties.MANIFEST_TARGET_SIZE_BYTES_DEFAULT
        return _ManifestMergeManager(target, MERGED_MANIFESTS, True, self).merge_manifests(manifests)


def ensure_namespace(catalog: Catalog, namespace: str) -> None:
    """Create the namespace of the tables, if it is not there."""
    try:
        catalog.create_namespace_if_not_exists(namespace)
    except NamespaceAlreadyExistsError:  # by another run, meanwhile
        return
