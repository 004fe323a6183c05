"""Which Postgres type holds an Arrow type exactly. Binary COPY carries no types: a wrong guess is stored as another number, silently."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jobkit.errors import BadDataError
from jobkit.names import LONGEST, RESERVED

from load_warehouse import parquet

if TYPE_CHECKING:
    from arro3.core import Schema

ROW_NUMBER = "_row_number"
META = ("_load_id", "known_from", "known_to")

# By its bytes: a third faster to sort than by a locale, and no new C library can spoil an index.
TEXT = 'text collate "C"'
# Arrow's type as `parquet.type_name` has it, and the same type as `tables.read` gives it.
_EXACT = {
    "Int32": "integer",
    "Int64": "bigint",
    "Float64": "double precision",
    "Utf8": TEXT,
    "LargeUtf8": TEXT,
    "Utf8View": TEXT,
    "Date32": "date",
    "Boolean": "boolean",
}
_DECIMAL = re.compile(r"Decimal128\((\d+), (\d+)\)")
_TIMESTAMP = re.compile(r'Timestamp\((µs|Microsecond), (Some\()?".+"\)*')


def sql_type(arrow_type: str) -> str | None:
    """The Postgres type with the same values, as a column definition has it; None where there is none."""
    if match := _DECIMAL.fullmatch(arrow_type):
        return f"numeric({match[1]},{match[2]})"
    if _TIMESTAMP.fullmatch(arrow_type):
        return "timestamp with time zone"
    return _EXACT.get(arrow_type)


def without_collation(kind: str) -> str:
    """The type alone: whatever text is sorted by, its values are the same."""
    return kind.partition(" collate ")[0]


def columns(schema: Schema, where: str) -> dict[str, str]:
    """Column names and Postgres types of a file, in its order, `_row_number` last.

    Raises BadDataError on a name or type that a table cannot hold as it is.
    """
    found: dict[str, str] = {}
    for index in range(len(schema)):
        field = schema.field(index)
        _check_name(field.name, found, where)
        arrow_type = parquet.type_name(field.type)
        kind = sql_type(arrow_type)
        if kind is None:
            raise BadDataError(f"{where}: column {field.name!r} is of Arrow type {arrow_type}, which no Postgres type holds exactly")
        found[field.name] = kind
    if found.pop(ROW_NUMBER, None) != "integer":
        raise BadDataError(f"{where}: expected a column {ROW_NUMBER!r} of Arrow type Int32; was the file written by an extractor?")
    return {**found, ROW_NUMBER: "integer"}


def _check_name(name: str, seen: dict[str, str], where: str) -> None:
    if name in RESERVED - {ROW_NUMBER} or name in seen:
        why = "there twice" if name in seen else "taken by the warehouse"
        raise BadDataError(f"{where}: column name {name!r} is {why}; rename it in the parser")
    if not name or "\0" in name or len(name.encode()) > LONGEST:  # Postgres cuts longer names off without a word
        raise BadDataError(f"{where}: column name {name[:80]!r} is no Postgres name; expected 1 to {LONGEST} bytes without NUL")
