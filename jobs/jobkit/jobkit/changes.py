"""Compare a new version of a partition with the previous one, by key: rows added, closed and missing.

The loader closes a row (`known_to`) that is gone or changed, and adds one that is new or changed; these are the numbers in the receipt.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit.errors import DamagedError
from jobkit.lake import is_parquet
from jobkit.names import ROW_NUMBER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arro3.core import Table

    from jobkit.contracts import ValidationResult
    from jobkit.lake import Commit, Lake

Key = tuple[Any, ...]
NAN = object()  # unlike the floating-point number, it equals itself


class Change(NamedTuple):
    """How many rows differ between two versions of a partition.

    added: rows that are new or changed.
    closed: rows that are gone or changed.
    missing: keys of the previous version that were not sent at all. A row that was sent and quarantined or dropped is closed, not missing.
    """

    added: int
    closed: int
    missing: int


def measure(lake: Lake, head: Commit, result: ValidationResult, key: tuple[str, ...]) -> Change:
    """Compare the valid rows of a validation with those of the commit `head`.

    Rows are counted instead of compared if the file of `head` is damaged, no Parquet, or lacks a key column.
    """
    before, rejected = _read(lake, head), result.rejected_keys
    if before is None or not set(key) <= set(before.schema.names) & set(result.table.schema.names):
        sent = result.table.num_rows + (rejected.num_rows if rejected else 0)
        return Change(result.table.num_rows, head.data.rows, max(0, head.data.rows - sent))
    return compare(before, result.table, key, frozenset(_keys(rejected, key)) if rejected else frozenset())


def compare(before: Table, after: Table, key: tuple[str, ...], rejected: frozenset[Key] = frozenset()) -> Change:
    """Compare two versions cell by cell, except for the row number. Null equals null, NaN equals NaN; the order of rows does not matter.

    Keys are unique in each table. A column that one of the tables lacks is null there. `rejected` are the keys of rows that were sent and
    quarantined or dropped.
    """
    names = [name for name in dict.fromkeys((*before.schema.names, *after.schema.names)) if name != ROW_NUMBER]
    numbers = {name: _number_values(before, after, name) for name in names}
    keys, rows = (list(zip(*(numbers[name] for name in some), strict=True)) for some in (key, names))
    old, new = keys[: before.num_rows], set(keys[before.num_rows :])
    gone = set(old) - new
    kept = len(old) - len(gone)
    changed = kept - len(set(rows[: before.num_rows]).intersection(rows[before.num_rows :]))
    missing = len(gone)
    if rejected and gone:
        missing = sum(values not in rejected for values, numbered in zip(_keys(before, key), old, strict=True) if numbered in gone)
    return Change(len(new) - kept + changed, len(gone) + changed, missing)


def _number_values(before: Table, after: Table, name: str) -> list[int | None]:
    """Return a number for each value of a column, in both tables one after the other; equal values have equal numbers, null has none.

    Numbers are compared twice as fast as values. Arrow's are not used where it tells 0.0 from -0.0, or encodes nothing (arro3 0.9.1).
    """
    from arro3.compute import dictionary_encode  # noqa: PLC0415  heavy; only a changed partition needs it
    from arro3.core import ChunkedArray, DataType, dictionary_indices  # noqa: PLC0415

    old, new = (table.column(name) if name in table.schema.names else None for table in (before, after))
    if old and new and old.type == new.type and old.type not in (DataType.float64(), DataType.bool()):
        joined = ChunkedArray([*old.chunks, *new.chunks], type=old.type).combine_chunks()
        return list(dictionary_indices(dictionary_encode(joined)).to_pylist())
    numbers: dict[object, int] = {}
    values = [NAN if value != value else value for value in (*_values(before, name), *_values(after, name))]  # noqa: PLR0124
    return [None if value is None else numbers.setdefault(value, len(numbers)) for value in values]


def _read(lake: Lake, commit: Commit) -> Table | None:
    """Return the rows of a commit; None if its file is damaged or no Parquet."""
    from arro3.io import read_parquet  # noqa: PLC0415  heavy; only a changed partition needs it

    try:
        data = lake.read(commit.data)
    except DamagedError:
        return None
    return read_parquet(io.BytesIO(data)).read_all() if is_parquet(data) else None


def _keys(table: Table, key: tuple[str, ...]) -> Sequence[Key]:
    """Return the key of each row, in the order of the rows."""
    return list(zip(*(_values(table, name) for name in key), strict=True))


def _values(table: Table, name: str) -> list[Any]:
    """Return a column as Python values; nulls if the table has no such column."""
    if name not in table.schema.names:
        return [None] * table.num_rows
    return list(table.column(name).to_pylist())
