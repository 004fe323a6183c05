"""Column types: what a contract calls them, and the Arrow and Postgres types with exactly the same values. No other module maps them.

Arrow: https://arrow.apache.org/docs/format/Columnar.html. Postgres: https://www.postgresql.org/docs/current/datatype.html. `describe` and
the loader import this module, so it imports nothing heavy.
"""

from __future__ import annotations

import re
from typing import NamedTuple

DECIMAL = re.compile(r"decimal\((\d+), ?(\d+)\)")  # precision and scale
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
LEAF = re.compile(r'(?:(year|month)\("?(.+?)"?\)|hash\("?(.+?)"?, ?(\d{1,3})\))')  # how a raw table is split: year(date), hash(cik, 8)


class ColumnType(NamedTuple):
    """One type in Arrow and in Postgres, without parameters.

    arrow: its name as arro3's DataType prints it.
    constructor: the method of arro3's DataType that makes it.
    postgres: its name as Postgres prints it.
    """

    arrow: str
    constructor: str
    postgres: str


TYPES = {
    "string": ColumnType("Utf8", "utf8", "text"),
    "date": ColumnType("Date32", "date32", "date"),
    "int": ColumnType("Int32", "int32", "integer"),
    "long": ColumnType("Int64", "int64", "bigint"),
    "double": ColumnType("Float64", "float64", "double precision"),
    "boolean": ColumnType("Boolean", "bool", "boolean"),
}
INTEGER_LIMITS = {"int": 2**31, "long": 2**63}  # -limit <= value < limit
TIMESTAMP = "timestamp"  # microseconds in UTC; Arrow's name of it depends on the version
POSTGRES_TIMESTAMP = "timestamp with time zone"
POSTGRES_BY_ARROW = {column_type.arrow: column_type.postgres for column_type in TYPES.values()}


def postgres_type(contract_type: str) -> str | None:
    """Return the Postgres type of a contract's type, such as numeric(18,6) for decimal(18,6); None if the type is unknown."""
    if match := DECIMAL.fullmatch(contract_type):
        return postgres_decimal(match[1], match[2])
    if contract_type == TIMESTAMP:
        return POSTGRES_TIMESTAMP
    column_type = TYPES.get(contract_type)
    return column_type.postgres if column_type else None


def contract_type(postgres_type: str) -> str | None:
    """Return the contract's type of a Postgres type as `postgres_type` makes it; None if there is none."""
    if match := _NUMERIC.fullmatch(postgres_type):
        return f"decimal({match[1]},{match[2]})"
    if postgres_type == POSTGRES_TIMESTAMP:
        return TIMESTAMP
    return next((name for name, column_type in TYPES.items() if column_type.postgres == postgres_type), None)


def postgres_decimal(precision: str, scale: str) -> str:
    """Return the Postgres type of a decimal, whose digits are those of the type in Arrow: decimal128, at most 38 of them."""
    return f"numeric({precision},{scale})"


def leaf_column(leaf: str) -> str | None:
    """Return the column by which a leaf expression such as month(date) or hash(cik, 8) partitions; None if it is no such expression.

    A leaf is a partition of a raw table; it is coarser than a lake partition where days are small.
    """
    match = LEAF.fullmatch(leaf)
    return (match[2] or match[3]) if match else None
