"""An Iceberg table of Parquet files that are already somewhere, and how a snapshot is added to it.

The table has no state but Iceberg's own: the summary of a snapshot says what it was made of. A snapshot is added in one Iceberg commit,
with the files that it replaces and new columns, so a job that is killed leaves a whole snapshot or none. Its time is given, so that an
engine's own time travel answers as of a moment like the lake or the site.

The files stay those of the lake or the site: `gc.enabled = false` keeps other engines from deleting them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
from jobkit import failpoints
from jobkit.errors import BadDataError, DamagedError, TemporaryError
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
from pyiceberg.types import DecimalType

from register_iceberg_tables.history import to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile, ManifestFile
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.update import UpdatesAndRequirements

MERGED_MANIFESTS = 100  # that many small manifests become one
PROPERTIES = {
    "gc.enabled": "false",
    "format-version": "2",
    TableProperties.COMMIT_NUM_RETRIES: "0",  # a retry would add the files on top of those of the winner
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
}


class Snapshot(NamedTuple):
    """A snapshot to add.

    files: the URIs of the Parquet files that it adds.
    empty_files: those without rows, which it does not add; a new table may have its columns from them.
    replaces: whether it takes the file with this URI out of the table.
    summary: what it was made of.
    known_at: its time.
    remedy: what to do if a file is gone.
    """

    files: Sequence[str]
    empty_files: Sequence[str]
    replaces: Callable[[str], bool]
    summary: Mapping[str, str]
    known_at: datetime
    remedy: str


class ColumnsChangedError(BadDataError):
    """A column of the files has a type that Iceberg cannot change that of the table into."""


class IcebergTable:
    """A table. `name` is its namespace and its own, `location` the URI of the folder of its metadata."""

    def __init__(self, catalog: Catalog, name: tuple[str, str], location: str) -> None:
        self.name = name
        self._catalog, self._location = catalog, location
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

    def read_summaries(self) -> list[Mapping[str, str]]:
        """Return what each snapshot was made of, oldest first."""
        snapshots = self._table.snapshots() if self._table else []
        return [snapshot.summary.additional_properties for snapshot in snapshots if snapshot.summary]

    def drop(self) -> None:
        """Remove the table from the catalogue; the next snapshot makes a new one."""
        self._catalog.drop_table(self.name)
        self._table = None

    def add_snapshot(self, added: Snapshot) -> None:
        """Add a snapshot.

        Raises DamagedError (65) if a file is gone, ColumnsChangedError (65) if a column's type does not fit the table's, TemporaryError
        (75) if another run changed the table.
        """
        schemas = [self._read_schema(uri, added.remedy) for uri in added.files]
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
                if not len(schema):  # no file has a row yet
                    schema = self._read_schema(added.empty_files[-1], added.remedy)
                transaction: Transaction = self._catalog.create_table_transaction(
                    self.name, schema, location=self._location, properties=PROPERTIES
                )
            else:
                transaction = self._table.transaction()
            self._fill(transaction, added, schema)
            with failpoints.surround("iceberg commit"):
                transaction.commit_transaction()
            self._table = self._catalog.load_table(self.name)
        except (CommitFailedException, TableAlreadyExistsError) as error:
            raise TemporaryError(f"{'.'.join(self.name)} was changed by another run at the same time; run this again") from error

    def _fill(self, transaction: Transaction, added: Snapshot, schema: pa.Schema) -> None:
        if self._table is not None and len(schema):
            self._add_columns(transaction, schema)
        mapping = transaction.table_metadata.schema().name_mapping.model_dump_json()
        if transaction.table_metadata.properties.get(TableProperties.DEFAULT_NAME_MAPPING) != mapping:
            transaction.set_properties({TableProperties.DEFAULT_NAME_MAPPING: mapping})
        io = transaction._table.io  # noqa: SLF001  there is no public way to it before the table exists
        snapshot = _Registration(Operation.OVERWRITE, transaction, io, snapshot_properties=dict(added.summary))
        last = self._table.metadata.last_updated_ms if self._table is not None else 0
        snapshot.timestamp_ms = max(to_milliseconds(added.known_at), last + 1)
        for file in self._current_files():
            if added.replaces(file.file_path):
                snapshot.delete_data_file(file)
        for uri in added.files:
            snapshot.append_data_file(parquet_file_to_data_file(io, transaction.table_metadata, uri))
        snapshot.commit()

    def _current_files(self) -> list[DataFile]:
        if self._table is None:
            return []
        return [task.file for task in self._table.scan().plan_files()]

    def _add_columns(self, transaction: Transaction, schema: pa.Schema) -> None:
        self._check_scales(transaction, schema)
        update = transaction.update_schema()
        try:
            update.union_by_name(schema)
        except (ResolveError, ValidationError, TypeError, ValueError) as error:
            raise self._type_error(error) from None
        update.commit()

    def _check_scales(self, transaction: Transaction, schema: pa.Schema) -> None:
        """Refuse a decimal of another scale, whose digits engines would read with the scale of the table: 1.5 as 0.15.

        pyiceberg 0.12.0 does not: `promote` in pyiceberg/schema.py compares the scale of the file with itself.
        """
        types = {field.name: field.field_type for field in transaction.table_metadata.schema().fields}
        for field in schema:
            known = types.get(field.name)
            if pa.types.is_decimal(field.type) and isinstance(known, DecimalType) and known.scale != field.type.scale:
                raise self._type_error(f"{field.name}: {known} -> {field.type}")

    def _type_error(self, error: Exception | str) -> ColumnsChangedError:
        text = " ".join(str(error).split())
        return ColumnsChangedError(
            f"a column of {'.'.join(self.name)} has a new type, which Iceberg cannot change into: {text[:300]}; "
            "give the column another name in the contract"
        )

    def _read_schema(self, uri: str, remedy: str) -> pa.Schema:
        """Return the columns of a file, without what Parquet or the vendor says about them."""
        io = self._catalog._load_file_io({}, uri)  # noqa: SLF001
        try:
            with io.new_input(uri).open() as file:
                schema = parquet.read_schema(file)
        except FileNotFoundError:
            raise DamagedError(f"{uri} is gone; {remedy}") from None
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
