"""Native partitions of a raw table: which one a value falls in, its name, its bounds. A leaf is coarser than a lake partition."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from jobkit.errors import BadDataError
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Mapping

_FORM = re.compile(r'(?:(year|month)\("?(.+?)"?\)|hash\("?(.+?)"?, ?(\d{1,3})\))')
DECEMBER = 12


class Scheme(NamedTuple):
    """How a table is split: by year or month of a date column, or by hash of a column with a modulus."""

    kind: str
    column: str
    modulus: int

    @property
    def text(self) -> str:
        """The scheme as commits write it."""
        return f"{self.kind}({self.column})" if self.kind != "hash" else f"hash({self.column}, {self.modulus})"

    @property
    def clause(self) -> sql.Composed:
        """PARTITION BY ..."""
        way = sql.SQL("hash" if self.kind == "hash" else "range")
        return sql.SQL("partition by {} ({})").format(way, sql.Identifier(self.column))


class Leaf(NamedTuple):
    """One native partition: its table's name, FOR VALUES ..., and the condition that says the same of a row."""

    name: str
    bounds: sql.Composable
    condition: sql.Composable


def scheme(text: str, columns: Mapping[str, str], where: str) -> Scheme:
    """The scheme a commit asks for. Raises BadDataError on another form, an unknown column, or a range over anything but dates."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise BadDataError(f"{where}: leaf {text!r} is not understood; expected year(column), month(column) or hash(column, modulus)")
    found = Scheme(match[1] or "hash", match[2] or match[3], int(match[4] or 0))
    kind = columns.get(found.column)
    if kind is None or (found.kind != "hash" and kind != "date") or (found.kind == "hash" and not found.modulus):
        told = f"column {found.column!r} is {kind}" if kind else f"there is no column {found.column!r}"
        raise BadDataError(f"{where}: leaf {text!r} cannot be, {told}; expected a date column for year and month, a modulus for hash")
    return found


def range_leaf(dataset: str, way: Scheme, day: date) -> Leaf:
    """The year or month a day falls in, bounds [first day, first day of the next)."""
    first = day.replace(day=1) if way.kind == "month" else day.replace(month=1, day=1)
    after = _next_month(first) if way.kind == "month" else date(first.year + 1, 1, 1)
    values = {"low": sql.Literal(first.isoformat()), "high": sql.Literal(after.isoformat()), "column": sql.Identifier(way.column)}
    return Leaf(
        name=f"{dataset}-{first:%Y-%m}" if way.kind == "month" else f"{dataset}-{first:%Y}",
        bounds=sql.SQL("for values from ({low}) to ({high})").format(**values),
        condition=sql.SQL("{column} is not null and {column} >= {low}::date and {column} < {high}::date").format(**values),
    )


def hash_leaf(dataset: str, way: Scheme, remainder: int, table_oid: int) -> Leaf:
    """The leaf with this remainder."""
    numbers = {"modulus": sql.Literal(way.modulus), "remainder": sql.Literal(remainder)}
    return Leaf(
        name=f"{dataset}-h{way.modulus}-{remainder}",
        bounds=sql.SQL("for values with (modulus {modulus}, remainder {remainder})").format(**numbers),
        condition=sql.SQL("satisfies_hash_partition({oid}::oid, {modulus}, {remainder}, {column})").format(
            oid=sql.Literal(table_oid), column=sql.Identifier(way.column), **numbers
        ),
    )


def _next_month(first: date) -> date:
    return date(first.year + 1, 1, 1) if first.month == DECEMBER else first.replace(month=first.month + 1)
