"""Texts of a column and the values that they represent: Decimal for numbers, a moment in UTC for timestamps.

Most rows repeat values, so a column is parsed and checked once per distinct text.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from jobkit.contracts.model import Columns, Field

Texts = dict[str, list[str | None]]  # columns of text, by name
Distinct = dict[str, set[str | None]]  # each text of a column once, by column


def to_texts(columns: Columns) -> tuple[Texts, Distinct]:
    """Return the columns as text, and the distinct texts of each. Replaces the columns of `columns` that hold anything else.

    Few passes over a column: fetching its strings from memory takes most of the time.
    """
    distinct: Distinct = {}
    for name, values in columns.items():
        with suppress(TypeError):  # nested JSON, which no set takes
            distinct[name] = set(values)
        if name not in distinct or not set(map(type, distinct[name])) <= {str, NoneType}:  # no other value equals a text
            columns[name] = [value if value is None or type(value) is str else to_text(value) for value in values]
            distinct[name] = set(columns[name])
    return columns, distinct


def to_text(value: object) -> str:
    """Write a JSON value as the vendor wrote it: a number without an exponent, nested objects and arrays as JSON."""
    if type(value) is int:
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list | tuple):
        import json  # noqa: PLC0415  few columns are nested

        return json.dumps(value, ensure_ascii=False, default=to_text)
    if isinstance(value, float | Decimal):
        return format(Decimal(repr(value) if isinstance(value, float) else str(value)), "f")
    return str(value)


def to_utc(text: str) -> datetime:
    """Parse a moment of ISO 8601 into UTC; a text without a zone, as the limits of a contract may be, is in UTC."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def limit_parser(field: Field) -> Callable[[str], Any]:
    """Return what turns a text of the field's type into the value that its limits are compared with.

    Dates compare as texts: YYYY-MM-DD sorts by day.
    """
    if field.type == "timestamp":
        return to_utc
    return str if field.type in ("date", "string") else Decimal


def parse_limit(field: Field, limit: Decimal | str | None) -> Any:  # noqa: ANN401  of the type that the field's values are compared in
    """Return a limit of the contract as the field's values are compared with it."""
    return to_utc(str(limit)) if field.type == "timestamp" and limit is not None else limit


def parse_values(kind: str, distinct: Collection[str | None], untyped: Collection[str]) -> dict[str, Any]:
    """Return the value of each text, equal and ordered as in the warehouse, without those of no type.

    `kind` is the type of the column. Doubles are floats, other numbers Decimal, timestamps moments in UTC, all else text.
    """
    value_of = value_parser(kind)
    return {text: value_of(text) for text in distinct if text is not None and text not in untyped}


def value_parser(kind: str) -> Callable[[str], Any]:
    """Return what turns a text of the type into the value that `parse_values` has of it."""
    if kind == "timestamp":
        return to_utc
    if kind == "double":
        return float
    return str if kind in ("date", "string", "boolean") else Decimal


def look_up(texts: list[str | None], values: dict[str, Any]) -> list[Any]:
    """Return the values of a column in the order of its rows; None for one that is missing or of no type."""
    value_of: Callable[[Any], Any] = values.get  # of None it is None
    return list(map(value_of, texts))
