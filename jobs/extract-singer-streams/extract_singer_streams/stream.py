"""The current records of a stream, to which the messages of a tap are applied. Pure: no network, disk or clock.

A snapshot is the records as the tap wrote them, one JSON object per line, in the order in which their keys came first. It is what a commit
keeps as its source: the next run starts from it, and the same messages again make the same snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobkit import lossless_json
from jobkit.contracts import build_reader
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jobkit.contracts import Columns, Contract

    from extract_singer_streams.messages import Record, Schema

    Key = tuple[Any, ...]
    Rows = dict[Key, bytes]

DELETED_AT = "_sdc_deleted_at"
BOOKKEEPING = "_sdc_"  # columns of taps and targets about the transfer: they change from run to run


@dataclass
class Stream:
    """A stream under its contract.

    rows: the records by key. version: that of the table, if the tap has versions.
    staged: the records of another version, None for a deleted one; they count when the version is activated.
    deleted, changed: the keys that the tap deleted, and those of records that it sent.
    """

    name: str
    contract: Contract
    rows: Rows = field(default_factory=dict)
    version: int | None = None
    schema: Schema | None = None
    staged: dict[Key, bytes | None] = field(default_factory=dict)
    staged_version: int | None = None
    deleted: set[Key] = field(default_factory=set)
    changed: set[Key] = field(default_factory=set)
    _readers: dict[str, Callable[[Any], Any]] = field(init=False)

    def __post_init__(self) -> None:
        fields = {one.name: one for one in self.contract.fields}
        self._readers = {fields[name].label: build_reader(fields[name]) for name in self.contract.key}

    @property
    def key(self) -> tuple[str, ...]:
        """The key as the tap names it."""
        return tuple(self._readers)

    def read_snapshot(self, snapshot: bytes) -> None:
        """Start from the records of an earlier commit."""
        for body in filter(None, snapshot.split(b"\n")):
            self.rows[self._find_key(body, self._decode(body))] = body

    def format_snapshot(self) -> bytes:
        """Return the records, one per line."""
        return b"".join(body + b"\n" for body in self.rows.values())

    def apply_schema(self, schema: Schema) -> None:
        """Take a SCHEMA, which may come again. Raises BadDataError (65) for another key than the contract has."""
        if schema.key and set(schema.key) != set(self.key):
            raise BadDataError(
                f"the tap's key of {self.name!r} is {', '.join(schema.key)}, that of its contract is {', '.join(self.key)}; "
                "make primaryKey of the contract the same, with physicalName where the names differ"
            )
        self.schema = schema

    def apply_record(self, record: Record) -> None:
        """Insert, replace or delete a record. Raises BadDataError (65) for one before its SCHEMA."""
        if self.schema is None:
            raise BadDataError(f"the tap sent a RECORD of {self.name!r} before its SCHEMA; report it to its maintainers")
        content = self._decode(record.body)
        key, is_deleted = self._find_key(record.body, content), content.get(DELETED_AT) is not None
        if record.version is not None and self.version is None and not self.rows:
            self.version = record.version  # the first records there are replace nothing
        if record.version in (None, self.version):
            self._put(key, None if is_deleted else record.body)
            return
        if record.version != self.staged_version:
            self.staged, self.staged_version = {}, record.version
        self.staged[key] = None if is_deleted else record.body

    def activate(self, version: int) -> None:
        """Replace all records by those of a version, unless they are of this version already."""
        if version == self.version:
            return
        staged = self.staged if version == self.staged_version else {}
        self.rows = {key: body for key, body in staged.items() if body is not None}
        self.deleted |= staged.keys() - self.rows.keys()  # keys that are absent without a delete are lost
        self.changed, self.version = set(self.rows), version
        self.staged, self.staged_version = {}, None

    def finish(self) -> None:
        """Take the records of a version that was never activated: the tap ended well, and said nothing about the others."""
        for key, body in self.staged.items():
            self._put(key, body)
        self.staged, self.staged_version = {}, None

    def _put(self, key: Key, body: bytes | None) -> None:
        if body is None:
            self.rows.pop(key, None)
            self.deleted.add(key)
        else:
            self.rows[key] = body
            self.changed.add(key)
            self.deleted.discard(key)

    def count_lost(self, before: Iterable[Key]) -> int:
        """Return how many of the earlier records are gone although the tap did not delete them."""
        return sum(key not in self.rows and key not in self.deleted for key in before)

    def build_columns(self, keys: Iterable[Key] | None = None) -> Columns:
        """Return the records, or those of some keys, as columns by the contract's names; other columns keep the tap's.

        Columns of the tap's bookkeeping (_sdc_) are left out unless the contract names them. Raises BadDataError (65) if two columns would
        get one name.
        """
        bodies = self.rows.values() if keys is None else [self.rows[key] for key in keys if key in self.rows]
        names = {one.label: one.name for one in self.contract.fields}
        columns = lossless_json.build_columns([self._decode(body) for body in bodies], self._list_expected())
        kept = [label for label in columns if label in names or not label.startswith(BOOKKEEPING)]
        if taken := sorted(set(names.values()) & set(kept) - set(names)):
            raise BadDataError(
                f"the stream {self.name!r} has a column {taken[0]!r}, and its contract gives this name to another one; rename that one"
            )
        return {names.get(label, label): columns[label] for label in kept}

    def _list_expected(self) -> list[str]:
        """Return the columns of the contract, without those that may not be missing and that the SCHEMA lacks: validation refuses that."""
        sent = self.schema.columns if self.schema else None
        fields = self.contract.fields
        return [one.label for one in fields if sent is None or one.label in sent or not (one.required or one.evolution == "freeze")]

    def _decode(self, body: bytes) -> dict[str, Any]:
        content: dict[str, Any] = lossless_json.decode(body, f"a record of {self.name!r}", dict[str, Any], "a JSON object")
        return content

    def _find_key(self, body: bytes, content: dict[str, Any]) -> Key:
        """Return the key of a record by its values: 1.0 is 1, and a moment is the same in every zone.

        One that lacks a part of it, which the contract will not accept, is told apart by its content.
        """
        parts = [(read, content.get(name)) for name, read in self._readers.items()]
        return (None, body.hex()) if any(value is None for _, value in parts) else tuple(read(value) for read, value in parts)
