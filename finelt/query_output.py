"""Print the rows of a query: as an aligned table, as one record per block if the columns do not fit, as CSV or as JSON.

The table is not one of rich: rich shortens all columns of a wide table in proportion, or wraps them. Here numbers and dates stay whole.
"""

from __future__ import annotations

import csv
import json
import sys
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Row = Sequence[str | None]

MAX_TERMINAL_ROWS = 500  # a pipe gets all rows
MIN_TEXT_WIDTH = 12
# int8, int2, int4, oid, float4, float8, money, numeric
NUMERIC_OIDS = frozenset({20, 21, 23, 26, 700, 701, 790, 1700})
# bool, date, time, timestamp, timestamptz, uuid
SHORT_OIDS = frozenset({16, 1082, 1083, 1114, 1184, 2950})
BOOLEAN_OID, JSON_OIDS, MONEY_OID = 16, frozenset({114, 3802}), 790
NOT_IN_JSON = frozenset({"NaN", "Infinity", "-Infinity"})


class Column(NamedTuple):
    """A column's name and the OID of its type."""

    name: str
    oid: int

    @property
    def is_numeric(self) -> bool:
        """Whether values are aligned right."""
        return self.oid in NUMERIC_OIDS

    @property
    def is_text(self) -> bool:
        """Whether values may be shortened."""
        return not self.is_numeric and self.oid not in SHORT_OIDS


def print_csv(columns: Sequence[Column], rows: Iterable[Row]) -> None:
    """Print rows as CSV with a header, values as Postgres formats them; null is an empty field."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    writer.writerows(rows)
    sys.stdout.flush()


def print_json(columns: Sequence[Column], rows: Iterable[Row]) -> None:
    """Print rows as one JSON array with an object per line. Numbers keep all their digits."""
    names = [json.dumps(column.name) for column in columns]
    separator = "["
    for row in rows:
        cells = (f"{name}: {_to_json(value, column.oid)}" for name, value, column in zip(names, row, columns, strict=True))
        sys.stdout.write(f"{separator}{{{', '.join(cells)}}}")
        separator = ",\n "
    sys.stdout.write("]\n" if separator != "[" else "[]\n")
    sys.stdout.flush()


def _to_json(value: str | None, oid: int) -> str:
    if value is None:
        return "null"
    if oid in JSON_OIDS or (oid in NUMERIC_OIDS and oid != MONEY_OID and value not in NOT_IN_JSON):
        return value
    if oid == BOOLEAN_OID:
        return "true" if value == "t" else "false"
    return json.dumps(value, ensure_ascii=False)


def print_for_terminal(columns: Sequence[Column], rows: Iterable[Row], width: int) -> None:
    """Print the first rows as a table of at most `width` characters, or one record per block if such a table would be unreadable."""
    iterator = iter(rows)
    shown = [[_escape(value) for value in row] for row in islice(iterator, MAX_TERMINAL_ROWS)]
    count = len(shown) + sum(1 for _ in iterator)
    names = [_escape(column.name) for column in columns]
    full_widths = [max(len(line[index]) for line in [names, *shown]) for index in range(len(names))]
    widths = fit_widths(full_widths, [column.is_text for column in columns], width)
    if widths is None and shown:
        _print_records(names, shown, width)
    else:
        _print_table(names, [column.is_numeric for column in columns], shown, widths or full_widths)
    more = f", the first {MAX_TERMINAL_ROWS:,} shown; a pipe gets all" if count > MAX_TERMINAL_ROWS else ""
    click.echo(f"({count:,} row{'' if count == 1 else 's'}{more})")


def fit_widths(full_widths: Sequence[int], is_text: Sequence[bool], width: int) -> list[int] | None:
    """Return column widths that fit into `width`, or None. Only texts are shortened, the widest first, and none below MIN_TEXT_WIDTH."""
    widths = list(full_widths)
    while sum(widths) + 2 * (len(widths) - 1) > width:
        widest = max((index for index, text in enumerate(is_text) if text), key=lambda index: widths[index], default=None)
        if widest is None or widths[widest] <= MIN_TEXT_WIDTH:
            return None
        widths[widest] -= 1
    return widths


def _print_table(names: list[str], is_numeric: Sequence[bool], shown: list[list[str]], widths: Sequence[int]) -> None:
    for line in chain([names, ["-" * wide for wide in widths]], shown):
        cells = (
            _format_cell(text, wide, str.rjust if right else str.ljust) for text, wide, right in zip(line, widths, is_numeric, strict=True)
        )
        click.echo("  ".join(cells).rstrip())


def _print_records(names: list[str], shown: list[list[str]], width: int) -> None:
    name_width = min(max(map(len, names)), width // 2)
    for number, line in enumerate(shown, 1):
        click.echo(f"-- row {number} ".ljust(min(width, 40), "-"))
        for name, value in zip(names, line, strict=True):
            cell = _format_cell(value, max(width - name_width - 2, MIN_TEXT_WIDTH), str.ljust).rstrip()
            click.echo(f"{_format_cell(name, name_width, str.ljust)}  {cell}".rstrip())


def _escape(value: str | None) -> str:
    """Return the value on one line, with control characters escaped so that they cannot affect the terminal."""
    return "" if value is None else "".join(char if char.isprintable() else repr(char)[1:-1] for char in value)


def _format_cell(text: str, width: int, align: Callable[[str, int], str]) -> str:
    return align(text if len(text) <= width else text[: width - 1] + "…", width)
