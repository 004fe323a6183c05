"""Convert numbers and dates from the notation that a contract declares to the one that contracts read. Refuse any other notation.

The layout of a contract declares decimal and thousands separators and the forms of negative numbers; a field declares its date format.
A value is never guessed: 1.500 is one and a half or fifteen hundred, as the layout says.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from jobkit.identifiers import CHECKS, MANGLED, MINOR_UNITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobkit.contracts import Field, Layout

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
GROUPS = {"'": "['\u2019]", " ": "[ \u00a0\u2009\u202f]"}  # there are several apostrophes and blanks
TOKENS = {
    "yyyy": "(?P<year>[0-9]{4})",
    "MMM": "(?P<name>[A-Za-z]{3})",
    "MM": "(?P<month>[0-9]{2})",
    "M": "(?P<month>[0-9]{1,2})",
    "dd": "(?P<day>[0-9]{2})",
    "d": "(?P<day>[0-9]{1,2})",
}
NAMES = {"": "none", "'": "an apostrophe", " ": "a blank"}
ERRORS = ("#N/A", "#NV", "#REF!", "#VALUE!", "#WERT!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!", "#BEZUG!")
SPREADSHEET_DIGITS = 15  # significant digits of a number in a spreadsheet


class NotationError(ValueError):
    """A text is not written as the contract says. The message continues a sentence that ends with 'is'."""


def build_cell_reader(field: Field, layout: Layout) -> Callable[[object], str | None]:
    """Build the function that converts a cell to text that contracts read; None for an empty cell. It raises NotationError."""
    read = _build_text_reader(field, layout)

    def read_cell(value: object) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str):
            return _format_typed(value, field)
        text = value.strip() if field.trim else value
        if field.format == "currency" and text in MINOR_UNITS:  # in capitals GBp, pence, would be GBP
            raise NotationError(CHECKS["currency"](text) or "")
        if field.case:
            text = text.upper() if field.case == "upper" else text.lower()
        if not text:
            return None
        if is_undecodable(text):
            raise NotationError(f"not text in {layout.encoding}; save the file in it, or have the contract say in what it is written")
        return read(text)

    return read_cell


def is_undecodable(text: str) -> bool:
    """Whether the text has bytes that are invalid in its encoding; decoding left them as halves of surrogate pairs."""
    return not text.isascii() and re.search("[\udc80-\udcff]", text) is not None


def _build_text_reader(field: Field, layout: Layout) -> Callable[[str], str]:
    if field.type == "date":
        return lambda text: parse_date(text, field.format) if field.format else text
    if field.type.startswith(("decimal", "int", "long", "double")):
        return lambda text: parse_number(text, layout, percent=field.percent)
    return lambda text: text


def parse_number(text: str, layout: Layout, *, percent: bool = False) -> str:
    """Return a number in the layout's notation with a point and no groups; 12.5% is 0.125. Raises NotationError."""
    if text in ERRORS or text.startswith("##"):
        raise NotationError("an error of a spreadsheet; correct the formula, or widen the column, and export it again")
    if MANGLED.fullmatch(text):
        raise NotationError("a number that a spreadsheet shortened; format the column as a number with all its digits and export it again")
    body, sign = _split_sign(text, layout)
    if percent != body.endswith("%"):
        raise NotationError("not a number in percent, such as 12.5%" if percent else _expected(layout))
    match = _number_pattern(layout.decimal, layout.thousands).fullmatch(body.removesuffix("%").rstrip() if percent else body)
    if match is None:
        raise NotationError(_expected(layout))
    whole, fraction = re.sub("[^0-9]", "", match[1]), match[2]
    plain = f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
    return format(Decimal(plain).scaleb(-2), "f") if percent else plain


def _split_sign(text: str, layout: Layout) -> tuple[str, str]:
    """Split a number into its absolute value and its sign, in the forms that the contract declares."""
    if "(1)" in layout.negative and text.startswith("(") and text.endswith(")"):
        return text[1:-1].strip(), "-"
    if "1-" in layout.negative and text.endswith("-"):
        return text[:-1].rstrip(), "-"
    if "-1" in layout.negative and text.startswith("-"):
        return text[1:], "-"
    return text, ""


@lru_cache
def _number_pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    group = GROUPS.get(thousands, re.escape(thousands))
    whole = f"[0-9]{{1,3}}(?:{group}[0-9]{{3}})+|[0-9]+" if thousands else "[0-9]+"
    return re.compile(f"({whole})(?:{re.escape(decimal)}([0-9]+))?")


def _expected(layout: Layout) -> str:
    thousands, negative = NAMES.get(layout.thousands, layout.thousands), " or ".join(layout.negative)
    return (
        f"not a number as the contract has them: {layout.decimal} before decimals, {thousands} between thousands, {negative} for minus one"
    )


def parse_date(text: str, form: str) -> str:
    """Return a date in the contract's form as YYYY-MM-DD. Raises NotationError."""
    match = _date_pattern(form).fullmatch(text)
    parts = match.groupdict() if match else {}
    if "name" in parts:
        name = str(parts["name"]).upper()
        parts["month"] = str(MONTHS.index(name) + 1) if name in MONTHS else "0"
    try:
        return date(int(parts["year"]), int(parts["month"]), int(parts["day"])).isoformat()
    except (KeyError, ValueError):
        raise NotationError(f"not a date written {form}") from None


@lru_cache
def _date_pattern(form: str) -> re.Pattern[str]:
    parts = re.findall("yyyy|MMM|MM|M|dd|d|.", form)
    return re.compile("".join(TOKENS.get(part, re.escape(part)) for part in parts))


def _format_typed(value: object, field: Field) -> str:
    """Format a typed cell as text: a midnight as a date, a whole number in a text column without decimals. Raises NotationError."""
    if isinstance(value, datetime):
        return value.date().isoformat() if field.type == "date" and value.tzinfo is None and value.time() == time() else value.isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, int | float | Decimal):
        return str(value)
    if field.type == "date":
        raise NotationError("a number; format the column as a date and export it again")
    if field.type in ("string", "long") and isinstance(value, float) and value.is_integer():
        if abs(value) >= 10**SPREADSHEET_DIGITS:
            raise NotationError(f"a number of more than {SPREADSHEET_DIGITS} digits, the last of which may be lost; make the column text")
        return str(int(value))
    return format(Decimal(repr(value) if isinstance(value, float) else value), "f")
