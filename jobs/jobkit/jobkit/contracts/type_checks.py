"""Which texts are values of a column type. 12.345 is no decimal(5,2), 1e3 is no date, 2024-02-30 is no date.

Every text that passes is stored as exactly the value that it writes: a pattern tests its form, and the Arrow cast that stores it must
accept it, too.
"""

from __future__ import annotations

import re
from datetime import date
from math import isfinite
from typing import TYPE_CHECKING, Any

from jobkit.column_types import DECIMAL, INTEGER_LIMITS
from jobkit.contracts.arrow import arrow_type
from jobkit.contracts.rounding import fit_to_type
from jobkit.contracts.storable_text import is_storable
from jobkit.contracts.values import to_text, to_utc, value_parser

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from jobkit.contracts.model import Field

Untyped = dict[str, dict[str, str]]  # by column: the texts that are no values of its type, and why

MAX_DECIMAL_CHARS = 38  # Arrow casts every decimal of so many characters
SURELY_DOUBLE = 300  # digits without an exponent that are within a double's range
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIMESTAMP = re.compile(  # microseconds, and offsets as far as Postgres has them
    r"\d{4}-\d{2}-\d{2}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6}0*)?(?:Z|[+-](?:0\d|1[0-5]):[0-5]\d)", re.ASCII
)
_INTEGER = re.compile(r"-?\d{1,19}", re.ASCII)
_FLOAT = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def find_untyped(field: Field, distinct: Collection[str | None], unreadable: dict[str, str]) -> dict[str, str]:
    """Return the texts that are no values of the field's type, each with the reason, which does not contain the text.

    `distinct` are the texts of the column. `unreadable` are those that could not be converted from another notation, with their reasons.
    Empty if all texts are values, as in most columns.
    """
    if field.type == "string" and is_storable("".join(filter(None, distinct))):  # all at once: most of it is
        return unreadable
    texts = [text for text in distinct if text is not None]
    if (decimal := DECIMAL.fullmatch(field.type)) and not unreadable and _are_decimals(texts, int(decimal[1]), int(decimal[2])):
        return {}
    check = _type_check(field)
    untyped = unreadable | {text: fault for text in distinct if text is not None and text not in unreadable and (fault := check(text))}
    if field.type == "string":
        return untyped
    texts = [text for text in distinct if text is not None and text not in untyped]
    _, expected = _format_of(field.type)
    return untyped | dict.fromkeys(_find_uncastable(texts, field.type), f"not {expected}")


def build_reader(field: Field) -> Callable[[Any], Any]:
    """Return what turns a JSON value that is not null into the value that is stored, as keys are compared; else into its text."""
    check, value_of = _type_check(field), value_parser(field.type)

    def read(value: Any) -> Any:  # noqa: ANN401  JSON
        text = to_text(value)
        text = fit_to_type(field, text) or text
        return text if check(text) else value_of(text)

    return read


def _find_uncastable(texts: list[str], kind: str) -> list[str]:
    """Return the texts that the cast to the type turns into null."""
    from arro3.compute import cast, is_null  # noqa: PLC0415  heavy; only extracting needs it
    from arro3.core import Array, DataType  # noqa: PLC0415

    stored = cast(Array(texts, type=DataType.utf8()), arrow_type(kind))
    return [text for text, lost in zip(texts, is_null(stored).to_pylist(), strict=True) if lost] if stored.null_count else []


def _type_check(field: Field) -> Callable[[str], str | None]:
    """Return a function that explains why a text is no value of the field's type; None if it is one. Called for every distinct text."""
    has_form, expected = _format_of(field.type)
    limit = INTEGER_LIMITS.get(field.type)

    def check(text: str) -> str | None:
        if not has_form(text) or (limit is not None and not -limit <= int(text) < limit):
            return f"not {expected}"
        return None

    return check


def _format_of(kind: str) -> tuple[Callable[[str], Any], str]:
    """Return a test of a text's form, true for values of the type, and the form in words. Raises KeyError if the type is unknown."""
    if match := DECIMAL.fullmatch(kind):
        return _decimal_format(int(match[1]), int(match[2]))
    formats: dict[str, tuple[Callable[[str], Any], str]] = {
        "string": (is_storable, "text without NUL and of whole characters"),
        "date": (_is_date, "a date YYYY-MM-DD"),
        "int": (_INTEGER.fullmatch, "a whole number of 32 bits"),
        "long": (_INTEGER.fullmatch, "a whole number of 64 bits"),
        "double": (_is_double, "a finite number of double precision"),
        "timestamp": (_is_timestamp, "a time in ISO 8601 with zone, to the microsecond"),
        "boolean": (re.compile("true|false").fullmatch, "true or false"),
    }
    return formats[kind]


def _decimal_format(precision: int, scale: int) -> tuple[Callable[[str], Any], str]:
    """Accept `precision` digits, `scale` of them after the point, with zeros before and after; no exponent, no plus sign."""
    expected = f"a number with at most {precision - scale} digits before and {scale} behind the point"
    return re.compile(_decimal_pattern(precision, scale), re.ASCII).fullmatch, expected


def _decimal_pattern(precision: int, scale: int) -> str:
    pattern = rf"-?0*\d{{1,{precision - scale}}}" if precision > scale else "-?0+"
    return pattern + (rf"(?:\.\d{{1,{scale}}}0*)?" if scale else "")


def _are_decimals(texts: list[str], precision: int, scale: int) -> bool:
    """Whether all texts have the form of a decimal and are short enough for the cast, tested all at once: in most columns they are."""
    lines = "".join(f"{text}\n" for text in texts)
    pattern = rf"(?:(?=[^\n]{{1,{MAX_DECIMAL_CHARS}}}\n){_decimal_pattern(precision, scale)}\n)*+"
    return lines.count("\n") == len(texts) and re.fullmatch(pattern, lines, re.ASCII) is not None


def _is_date(text: str) -> bool:
    """Whether the text is a day of the years 1 to 9999 in the extended form of ISO 8601, YYYY-MM-DD."""
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_timestamp(text: str) -> bool:
    """Whether the text is a moment of the years 1 to 9999 in UTC. No leap seconds: Arrow and Postgres have none."""
    if not _TIMESTAMP.fullmatch(text):
        return False
    try:
        to_utc(text)
    except (ValueError, OverflowError):
        return False
    return True


def _is_double(text: str) -> bool:
    """Whether a double represents the number: 1e400 is too large, 1e-400 would become zero."""
    match = _FLOAT.fullmatch(text)
    if match is None or (match[2] is None and len(text) <= SURELY_DOUBLE):
        return match is not None
    value = float(text)
    return isfinite(value) and (value != 0 or not re.search("[1-9]", text.lower().partition("e")[0]))
