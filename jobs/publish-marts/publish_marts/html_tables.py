"""Tables for the pages, and the formats of numbers, sizes and dates in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

EMPTY = "\N{EN DASH}"
_NUMERIC_TYPES = ("smallint", "integer", "bigint", "real", "double precision", "numeric")
_KILOBYTE = 1000
_GRAIN = "one row per "


@dataclass(frozen=True)
class Header:
    """A column's heading. Numbers are right-aligned; only prose wraps."""

    text: str
    number: bool = False
    prose: bool = False

    @property
    def css(self) -> str:
        """The column's class in the style sheet."""
        return "n" if self.number else "p" if self.prose else "w"


@dataclass(frozen=True)
class Table:
    """A table. Its cells are text, or markup if they contain a link or a drawing."""

    caption: str
    headers: Sequence[Header]
    rows: Sequence[Sequence[str]]


def build_headers(*texts: str, numbers: Sequence[str] = (), prose: Sequence[str] = ()) -> tuple[Header, ...]:
    """Build headings from their texts. `numbers` and `prose` name the headings of such columns."""
    return tuple(Header(text, text in numbers, text in prose) for text in texts)


def is_numeric(type_: str) -> bool:
    """Return whether a Postgres type is numeric."""
    return type_.startswith(_NUMERIC_TYPES)


def format_number(value: float | None, decimals: int = 2) -> str:
    """Format as 1,234.50, with a typographic minus sign. A missing number is a dash."""
    if value is None or math.isnan(value):
        return EMPTY
    text = f"{value:,.{decimals}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text.replace(",", "")) else text.lstrip("-")


def format_count(value: float | None) -> str:
    """Format as 1,234."""
    return format_number(value, 0)


def format_percent(value: float | None, decimals: int = 1) -> str:
    """Format the ratio 0.123 as 12.3 %."""
    return EMPTY if value is None or math.isnan(value) else f"{format_number(value * 100, decimals)} %"


def format_size(size_bytes: int) -> str:
    """Format as 12 kB or 3.4 MB."""
    if size_bytes < _KILOBYTE:
        return f"{size_bytes} B"
    value, unit = size_bytes / _KILOBYTE, "kB"
    if value >= _KILOBYTE:
        value, unit = value / _KILOBYTE, "MB"
    return f"{value:,.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"  # noqa: PLR2004  one decimal below ten


def format_date(value: date | None) -> str:
    """Format as 2012-12-31. A missing date is a dash."""
    return EMPTY if value is None or value != value else f"{value:%Y-%m-%d}"  # noqa: PLR0124  NaT is not itself


def format_long_date(value: date | None) -> str:
    """Format as 31 Dec 2012, with spaces at which a line cannot break, for running text."""
    return EMPTY if value is None or value != value else f"{value.day}\N{NO-BREAK SPACE}{value:%b}\N{NO-BREAK SPACE}{value:%Y}"  # noqa: PLR0124


def format_cell(cell: str | None) -> str:
    """Format a cell of a mart as the files have it: an end of time as a date. A null is a dash."""
    return EMPTY if cell is None else {"infinity": "9999-12-31", "-infinity": "0001-01-01"}.get(cell, cell)


def extract_grain(description: str) -> str:
    """Extract what one row of a mart is: the first sentence of its description, without "One row per"."""
    first = " ".join(description.split()).split(". ")[0].rstrip(".")
    return first[len(_GRAIN) :] if first.lower().startswith(_GRAIN) else first or EMPTY
