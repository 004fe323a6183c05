"""Leaves, the native partitions of a raw table: their names, bounds and conditions. A leaf holds one or more lake partitions."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from jobkit.column_types import LEAF
from jobkit.errors import BadDataError
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Mapping

DECEMBER = 12


class Scheme(NamedTuple):
    """How a table is partitioned: `kind` is year or month of a date column, or hash of a column with a modulus (else 0)."""

    kind: str
    column: str
    modulus: int

    @property
    def text(self) -> str:
        """The leaf expression, as commits write it."""
        return f"{self.kind}({self.column})" if self.kind != "hash" else f"hash({self.column}, {self.modulus})"

    @property
    def clause(self) -> sql.Composed:
        """The clause PARTITION BY of CREATE TABLE."""
        method = sql.SQL("hash" if self.kind == "hash" else "range")
        return sql.SQL("partition by {} ({})").format(method, sql.Identifier(self.column))


class Leaf(NamedTuple):
    """One native partition: its table name, its clause FOR VALUES, and the equivalent condition on a row."""

    name: str
    bounds: sql.Composable
    condition: sql.Composable


def parse_expression(expression: str, where: str) -> Scheme:
    """Parse a commit's leaf expression. Raises BadDataError on a wrong form."""
    match = LEAF.fullmatch(expression)
    if match is None:
        raise BadDataError(f"{where}: leaf {expression!r} is invalid; expected year(column), month(column) or hash(column, modulus)")
    return Scheme(match[1] or "hash", match[2] or match[3], int(match[4] or 0))


def parse_scheme(expression: str, columns: Mapping[str, str], where: str) -> Scheme:
    """Parse a leaf expression for these columns. Raises BadDataError as above, on an unknown column, or a range over anything but dates."""
    scheme = parse_expression(expression, where)
    column_type = columns.get(scheme.column)
    is_hash = scheme.kind == "hash"
    if column_type is None or (not is_hash and column_type != "date") or (is_hash and not scheme.modulus):
        problem = f"column {scheme.column!r} is {column_type}" if column_type else f"there is no column {scheme.column!r}"
        raise BadDataError(
            f"{where}: leaf {expression!r} is invalid: {problem}; expected a date column for year and month, a modulus for hash"
        )
    return scheme


def make_range_leaf(dataset: str, scheme: Scheme, day: date) -> Leaf:
    """Return the leaf of the year or month that contains a day. Its upper bound is exclusive."""
    first = day.replace(day=1) if scheme.kind == "month" else day.replace(month=1, day=1)
    end = _next_month(first) if scheme.kind == "month" else date(first.year + 1, 1, 1)
    values = {"low": sql.Literal(first.isoformat()), "high": sql.Literal(end.isoformat()), "column": sql.Identifier(scheme.column)}
    return Leaf(
        name=f"{dataset}-{first:%Y-%m}" if scheme.kind == "month" else f"{dataset}-{first:%Y}",
        bounds=sql.SQL("for values from ({low}) to ({high})").format(**values),
        condition=sql.SQL("{column} is not null and {column} >= {low}::date and {column} < {high}::date").format(**values),
    )


def make_hash_leaf(dataset: str, scheme: Scheme, remainder: int, table_oid: int) -> Leaf:
    """Return the leaf of this remainder. Postgres' hash function needs the table's oid."""
    numbers = {"modulus": sql.Literal(scheme.modulus), "remainder": sql.Literal(remainder)}
    return Leaf(
        name=f"{dataset}-h{scheme.modulus}-{remainder}",
        bounds=sql.SQL("for values with (modulus {modulus}, remainder {remainder})").format(**numbers),
        condition=sql.SQL("satisfies_hash_partition({oid}::oid, {modulus}, {remainder}, {column})").format(
            oid=sql.Literal(table_oid), column=sql.Identifier(scheme.column), **numbers
        ),
    )


def _next_month(first: date) -> date:
    return date(first.year + 1, 1, 1) if first.month == DECEMBER else first.replace(month=first.month + 1)
