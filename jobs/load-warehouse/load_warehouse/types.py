"""Postgres types for Arrow types with exactly the same values. Binary COPY carries no types: a wrong one would store wrong numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jobkit.column_types import POSTGRES_BY_ARROW, POSTGRES_TIMESTAMP, postgres_decimal
from jobkit.errors import BadDataError
from jobkit.names import LONGEST, RESERVED, ROW_NUMBER

from load_warehouse import parquet

if TYPE_CHECKING:
    from arro3.core import Schema

META_COLUMNS = ("_load_id", "known_from", "known_to")

# Sorting by bytes is a third faster than by a locale, and a new C library on the server cannot corrupt an index.
TEXT = 'text collate "C"'
# Arrow types as `parquet.type_name` prints them, Postgres types as `tables.read_columns` returns them.
_EXACT = POSTGRES_BY_ARROW | dict.fromkeys(("Utf8", "LargeUtf8", "Utf8View"), TEXT)
_DECIMAL = re.compile(r"Decimal128\((\d+), (\d+)\)")
_TIMESTAMP = re.compile(r'Timestamp\((µs|Microsecond), (Some\()?".+"\)*')


def sql_type(arrow_type: str) -> str | None:
    """Return the Postgres type with exactly the same values, in the form of a column definition; None if there is none."""
    if match := _DECIMAL.fullmatch(arrow_type):
        return postgres_decimal(match[1], match[2])
    if _TIMESTAMP.fullmatch(arrow_type):
        return POSTGRES_TIMESTAMP
    return _EXACT.get(arrow_type)


def strip_collation(column_type: str) -> str:
    """Return the type without its collation, which does not change its values."""
    return column_type.partition(" collate ")[0]


def differs(column_type: str, other: str) -> bool:
    """Return whether two Postgres types have other values."""
    return strip_collation(column_type) != strip_collation(other)


def map_columns(schema: Schema, where: str) -> dict[str, str]:
    """Return a file's column names and Postgres types, in its order, `_row_number` last.

    Raises BadDataError (65) on a name or type that a table cannot have.
    """
    columns: dict[str, str] = {}
    for index in range(len(schema)):
        field = schema.field(index)
        _check_column_name(field.name, columns, where)
        arrow_type = parquet.type_name(field.type)
        column_type = sql_type(arrow_type)
        if column_type is None:
            raise BadDataError(f"{where}: column {field.name!r} has the Arrow type {arrow_type}, and no Postgres type has the same values")
        columns[field.name] = column_type
    if columns.pop(ROW_NUMBER, None) != "integer":
        raise BadDataError(f"{where}: expected a column {ROW_NUMBER!r} of Arrow type Int32; was the file written by an extractor?")
    return {**columns, ROW_NUMBER: "integer"}


def _check_column_name(name: str, columns: dict[str, str], where: str) -> None:
    """Raise BadDataError if a table with these columns cannot have one more with this name."""
    if name in RESERVED - {ROW_NUMBER} or name in columns:
        reason = "a duplicate" if name in columns else "reserved for the warehouse"
        raise BadDataError(f"{where}: column name {name!r} is {reason}; rename it in the parser")
    if not name or "\0" in name or len(name.encode()) > LONGEST:  # Postgres truncates longer names without an error
        raise BadDataError(f"{where}: column name {name[:80]!r} is not valid in Postgres; expected 1 to {LONGEST} bytes without NUL")
