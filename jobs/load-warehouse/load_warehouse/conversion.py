"""Exact conversion of a column to the type that newer commits have.

A value is converted by its notation, as if the vendor had sent it as text: the whole number 5, the decimal 5.00 and the text "5" are the
same decimal(18,2). What the new type cannot hold exactly is refused, never rounded: 0.125 is no decimal(18,2), 2^53 + 1 is no double, and
a date is no timestamp, because it names no moment.

Hand-written: the casts of Arrow round decimals without an error, and `jobkit.contracts` needs a YAML parser, which this job does not.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit.column_types import DECIMAL, TIMESTAMP, contract_type
from jobkit.errors import BadDataError
from jobkit.names import ROW_NUMBER

from load_warehouse import parquet
from load_warehouse.types import strip_collation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from arro3.core import Array, RecordBatch

SHOWN = 80  # characters of a value in a message
_LIMITS = {"int": 2**31, "long": 2**63}  # -limit <= value < limit
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_FLOAT = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?(?:Z|[+-]\d{2}:\d{2})", re.ASCII)


class Conversion(NamedTuple):
    """The conversion of one column: its Postgres types before and after, and the latter as a contract calls it."""

    source: str
    target: str
    kind: str


def plan_conversions(columns: Mapping[str, str], targets: Mapping[str, str], where: str) -> dict[str, Conversion]:
    """Return the conversions of the columns whose Postgres type is another in `targets`, by name.

    Raises BadDataError (65) for a type that no contract has, as in a table that somebody altered.
    """
    conversions: dict[str, Conversion] = {}
    for name, column_type in columns.items():
        source, target = strip_collation(column_type), strip_collation(targets.get(name, column_type))
        if source == target:
            continue
        kind = contract_type(target)
        if kind is None:
            raise BadDataError(f"{where}: column {name!r} is {target} in the warehouse, which is the type of no contract")
        conversions[name] = Conversion(source, target, kind)
    return conversions


def convert_batch(batch: RecordBatch, conversions: Mapping[str, Conversion], where: str) -> RecordBatch:
    """Return the rows with converted columns. Raises BadDataError (65) for the first value that cannot be converted exactly."""
    for name, conversion in conversions.items():
        batch = parquet.replace_column(batch, name, _convert_column(batch, name, conversion, where))
    return batch


def _convert_column(batch: RecordBatch, name: str, conversion: Conversion, where: str) -> Array:
    holds = _build_test(conversion.kind)
    texts: list[str | None] = []
    seen: dict[Any, str] = {}
    for row, value in enumerate(batch.column(name).to_pylist()):
        text = None if value is None else seen.get(value)
        if value is not None and text is None:
            text = to_notation(value)
            if not holds(text):
                raise _refusal(name, conversion, text, batch.column(ROW_NUMBER)[row].as_py(), where)
            seen[value] = text
        texts.append(text)
    converted = parquet.cast_texts(texts, conversion.kind)
    if converted.null_count != texts.count(None):
        raise RuntimeError(f"{where}: {name}: a value that was checked as {conversion.kind} was not converted")
    return converted


def _refusal(name: str, conversion: Conversion, text: str, row: int, where: str) -> BadDataError:
    return BadDataError(
        f"{where}: column {name!r} is {conversion.source} there and {conversion.target} in the dataset's newest commit, and the value "
        f"{text[:SHOWN]!r} of row {row} has no exact equal of that type; take the former type back in the contract, or give the column "
        "another name there"
    )


def to_notation(value: Any) -> str:  # noqa: ANN401  any type that a column may have
    """Return the shortest notation of a value without an exponent; dates and moments in ISO 8601, moments in UTC."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    if isinstance(value, float | Decimal):
        text = format(Decimal(repr(value + 0.0)) if isinstance(value, float) else value, "f")  # -0.0 + 0.0 is 0.0
        return text.rstrip("0").rstrip(".") if "." in text else text  # Decimal.normalize would round to 28 digits
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else str(value)


def _build_test(kind: str) -> Callable[[str], bool]:
    """Return whether a text is the notation of a value that a contract's type holds exactly."""
    if match := DECIMAL.fullmatch(kind):
        precision, scale = int(match[1]), int(match[2])
        return lambda text: _is_decimal(text, precision, scale)
    limit = _LIMITS.get(kind)
    if limit is not None:
        return lambda text: _is_decimal(text, 19, 0) and -limit <= Decimal(text) < limit
    tests: dict[str, Callable[[str], bool]] = {
        "string": lambda _: True,
        "double": _is_double,
        "date": lambda text: _DATE.fullmatch(text) is not None and _parses(date.fromisoformat, text),
        TIMESTAMP: lambda text: _MOMENT.fullmatch(text) is not None and _parses(_to_utc, text),
        "boolean": lambda text: text in ("true", "false"),
    }
    return tests[kind]


def _is_decimal(text: str, precision: int, scale: int) -> bool:
    whole, _, fraction = text.lstrip("-").partition(".")
    is_number = _NUMBER.fullmatch(text) is not None
    return is_number and len(whole.lstrip("0")) <= precision - scale and len(fraction.rstrip("0")) <= scale


def _is_double(text: str) -> bool:
    """Whether a double has this notation. 0.1 is one, though no double is a tenth: it is how the double next to it is written."""
    return _FLOAT.fullmatch(text) is not None and isfinite(float(text)) and Decimal(repr(float(text))) == Decimal(text)


def _to_utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except (ValueError, OverflowError):
        return False
    return True
