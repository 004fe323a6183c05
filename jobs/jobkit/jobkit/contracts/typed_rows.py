"""Validate rows that a parser has decoded into an Arrow table, where nothing is wrong with any of them: five times as fast as row by row.

The distinct texts of a column pass the checks that they pass in `validation`. Whatever they do not pass, the rows are read again as texts,
for `validation` to say which row breaks what, so both ways give the same tables and reasons.
"""

from __future__ import annotations

import math
from array import array as packed
from typing import TYPE_CHECKING, NamedTuple

from jobkit.contracts.arrow import arrow_type
from jobkit.contracts.constraints import constraint_check
from jobkit.contracts.row_checks import MAX_KEY_BYTES
from jobkit.contracts.type_checks import find_untyped
from jobkit.names import ROW_NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from arro3.core import Array, Table

    from jobkit.contracts.model import Columns, Contract, Field

MAX_CODE = 2**63 - 1


class TypedRows(NamedTuple):
    """Parsed rows as an Arrow table. A column is text, or of the contract's type without loss. `reread` parses the same rows as texts."""

    table: Table
    reread: Callable[[], Columns]


class _Column(NamedTuple):
    """A column of the contract's type; of a key, also the number of each row's distinct text, and the longest text in bytes."""

    array: Array
    codes: Array
    distinct: int
    longest: int


def accept(contract: Contract, table: Table) -> Table | None:
    """Return the typed table, after `_row_number`, that `validate` makes of the same rows; None if a row may break the contract."""
    names = [field.name for field in contract.fields]
    if (
        contract.rules
        or contract.products
        or contract.sums
        or contract.unique
        or sorted(table.column_names) != sorted(names)
        or not table.num_rows
    ):
        return None
    columns: dict[str, _Column] = {}
    for field in contract.fields:
        column = _read_column(field, table.column(field.name).combine_chunks(), is_key=field.name in contract.key)
        if column is None:
            return None
        columns[field.name] = column
    keys = [columns[name] for name in contract.key]
    if sum(column.longest for column in keys) > MAX_KEY_BYTES or not _are_unique(keys):
        return None
    return _build_table(columns, table.num_rows)


def _read_column(field: Field, array: Array, *, is_key: bool) -> _Column | None:
    """Return the column with the contract's type; None if a value is missing, of no type or outside its limits, or may be."""
    from arro3.compute import cast, dictionary_encode  # noqa: PLC0415  heavy; only extracting needs it
    from arro3.core import DataType, dictionary_dictionary, dictionary_indices  # noqa: PLC0415

    if field.required and array.null_count:
        return None
    check, kind = constraint_check(field), arrow_type(field.type)
    if array.type == kind and array.type != DataType.utf8() and not check and not is_key:
        return _Column(array, array, 0, 0)
    encoded = dictionary_encode(array)
    values = dictionary_dictionary(encoded)
    if array.type != DataType.utf8() and not (array.type == kind and field.type in ("int", "long")):
        return None
    texts = [str(value) for value in values.to_pylist()]
    if find_untyped(field, texts, {}) or (check and any(map(check, texts))):
        return None
    if array.type != kind:
        if len(set(cast(values, kind).to_pylist())) < len(texts):
            return None  # two texts of one value: keys are compared as values
        array = cast(encoded, kind)
    longest = max((len(text.encode()) for text in texts), default=0) if field.type == "string" else 0
    return _Column(array, dictionary_indices(encoded) if is_key else array, len(texts), longest)


def _are_unique(keys: Sequence[_Column]) -> bool:
    """Whether no two rows have the same key; False, too, if that is too costly to tell. Two nulls are equal."""
    from arro3.compute import filter as select  # noqa: PLC0415
    from arro3.compute import is_not_null, is_null  # noqa: PLC0415

    nullable = [column for column in keys if column.codes.null_count]
    if len(nullable) > 1 or math.prod(column.distinct for column in keys) > MAX_CODE:
        return False
    if not nullable:
        return _are_distinct([(column.codes, column.distinct) for column in keys])
    (sparse,) = nullable
    filled, empty = is_not_null(sparse.codes), is_null(sparse.codes)
    return _are_distinct([(select(column.codes, filled), column.distinct) for column in keys]) and _are_distinct(
        [(select(column.codes, empty), column.distinct) for column in keys if column is not sparse]
    )


def _are_distinct(codes: Sequence[tuple[Array, int]]) -> bool:
    """Whether no two rows have the same codes. Each comes with the number of its values; none is null."""
    from arro3.compute import add, cast, dictionary_encode, mul  # noqa: PLC0415
    from arro3.core import Array, DataType, dictionary_dictionary  # noqa: PLC0415

    if not codes or len(codes[0][0]) <= 1:
        return True
    varying = [(array, count) for array, count in codes if count > 1]
    if not varying:
        return False
    (first, _), *others = varying
    joined = cast(first, DataType.int64())
    for array, count in others:
        joined = add(mul(joined, Array(packed("q", [count]) * len(joined))), cast(array, DataType.int64()))
    return len(dictionary_dictionary(dictionary_encode(joined))) == len(joined)


def _build_table(columns: dict[str, _Column], rows: int) -> Table:
    from arro3.core import Array, ChunkedArray, Table  # noqa: PLC0415

    arrays = {ROW_NUMBER: Array(packed("i", range(1, rows + 1)))}
    arrays |= {name: column.array for name, column in columns.items()}
    return Table.from_pydict({name: ChunkedArray([array]) for name, array in arrays.items()})
