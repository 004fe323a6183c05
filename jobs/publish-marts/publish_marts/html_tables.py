"""Tables for the pages, and how numbers, sizes and days are written in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

NOTHING = "\N{EN DASH}"
_NUMBERS = ("smallint", "integer", "bigint", "real", "double precision", "numeric")
_KILO = 1000
_GRAIN = "one row per "


@dataclass(frozen=True)
class Header:
    """A column's heading. Numbers stand on the right; only prose is broken into lines."""

    text: str
    number: bool = False
    prose: bool = False

    @property
    def css(self) -> str:
        """Its class in the style sheet."""
        return "n" if self.number else "p" if self.prose else "w"


@dataclass(frozen=True)
class Table:
    """A table: cells are text, or markup where a cell links somewhere."""

    caption: str
    headers: Sequence[Header]
    rows: Sequence[Sequence[str]]


def headers(*texts: str, numbers: Sequence[str] = (), prose: Sequence[str] = ()) -> tuple[Header, ...]:
    """Headings in order; `numbers` and `prose` say which of them are."""
    return tuple(Header(text, text in numbers, text in prose) for text in texts)


def is_number(type_: str) -> bool:
    """Whether a Postgres type is one of numbers."""
    return type_.startswith(_NUMBERS)


def number(value: float | None, decimals: int = 2) -> str:
    """1,234.50, with a real minus sign; a dash where there is none."""
    if value is None or math.isnan(value):
        return NOTHING
    text = f"{value:,.{decimals}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text.replace(",", "")) else text.lstrip("-")


def count(value: float | None) -> str:
    """1,234."""
    return number(value, 0)


def percent(value: float | None, decimals: int = 1) -> str:
    """12.3 % of a share of one."""
    return NOTHING if value is None or math.isnan(value) else f"{number(value * 100, decimals)} %"


def size(size_bytes: int) -> str:
    """12 kB, 3.4 MB."""
    if size_bytes < _KILO:
        return f"{size_bytes} B"
    value, unit = size_bytes / _KILO, "kB"
    if value >= _KILO:
        value, unit = value / _KILO, "MB"
    return f"{value:,.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"  # noqa: PLR2004  one decimal below ten


def day(value: date | None) -> str:
    """2012-12-31."""
    return NOTHING if value is None or value != value else f"{value:%Y-%m-%d}"  # noqa: PLR0124  NaT is not itself


def words(value: date | None) -> str:
    """31 Dec 2012, for running text, where a line must not break inside it."""
    return NOTHING if value is None or value != value else f"{value.day}\N{NO-BREAK SPACE}{value:%b}\N{NO-BREAK SPACE}{value:%Y}"  # noqa: PLR0124


def grain(description: str) -> str:
    """What a mart's description says a row is: the first sentence, without its beginning that the heading has."""
    first = " ".join(description.split()).split(". ")[0].rstrip(".")
    return first[len(_GRAIN) :] if first.lower().startswith(_GRAIN) else first or NOTHING
