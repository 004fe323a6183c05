"""Compare a new version of a partition with the previous one, by key: rows added, closed and missing.

The loader closes a row (`known_to`) that is gone or changed, and adds one that is new or changed; these are the numbers in the receipt.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit.errors import DamagedError
from jobkit.names import ROW_NUMBER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arro3.core import Table

    from jobkit.contracts import ValidationResult
    from jobkit.lake import Commit, Lake

Key = tuple[Any, ...]
MAGIC = b"PAR1"


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
    old, new = ({values: place for place, values in enumerate(_keys(table, key))} for table in (before, after))
    pairs = [(old[values], place) for values, place in new.items() if values in old]
    changed = _count_changed(before, after, pairs, key)
    gone = [values for values in old if values not in new]
    return Change(len(new) - len(pairs) + changed, len(gone) + changed, sum(values not in rejected for values in gone))


def _count_changed(before: Table, after: Table, pairs: list[tuple[int, int]], key: tuple[str, ...]) -> int:
    """Count the pairs of row indices, one in each table, whose cells differ in any column other than the key."""
    changed: set[int] = set()
    for name in dict.fromkeys((*before.schema.names, *after.schema.names)):
        if name not in (*key, ROW_NUMBER):
            old, new = _values(before, name), _values(after, name)
            changed.update(place for was, place in pairs if old[was] != new[place] and not (_is_nan(old[was]) and _is_nan(new[place])))
    return len(changed)


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _read(lake: Lake, commit: Commit) -> Table | None:
    """Return the rows of a commit; None if its file is damaged or no Parquet."""
    from arro3.io import read_parquet  # noqa: PLC0415  heavy; only a changed partition needs it

    try:
        data = lake.read(commit.data)
    except DamagedError:
        return None
    return read_parquet(io.BytesIO(data)).read_all() if data.startswith(MAGIC) and data.endswith(MAGIC) else None


def _keys(table: Table, key: tuple[str, ...]) -> Sequence[Key]:
    """Return the key of each row, in the order of the rows."""
    return list(zip(*(_values(table, name) for name in key), strict=True))


def _values(table: Table, name: str) -> list[Any]:
    """Return a column as Python values; nulls if the table has no such column."""
    if name not in table.schema.names:
        return [None] * table.num_rows
    return list(table.column(name).to_pylist())
