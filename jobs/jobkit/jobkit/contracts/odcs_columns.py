"""Columns of a contract file: type, limits, formats and place in the key.

`where` names the column in messages. Limits are read into the types in which values are compared (`jobkit.contracts.values`).
"""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_args

from jobkit import names
from jobkit.column_types import DECIMAL
from jobkit.contracts.model import ContractError, Evolution, Field, Policy, Rounding
from jobkit.contracts.odcs_keys import (
    COLUMN,
    COLUMN_CUSTOM,
    ENUM,
    NUMBER,
    TEXT,
    TYPE_OPTIONS,
    check_keys,
    check_texts,
    check_type,
    choose,
    read_custom,
)
from jobkit.contracts.odcs_quality import read_column_checks
from jobkit.contracts.patterns import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

IDENTIFIERS = ("isin", "cusip", "sedol", "lei", "figi", "currency")
DATE_PARTS = re.compile(r"yyyy|MMM|MM|M|dd|d|[^A-Za-z]")
MAX_DIGITS = 38  # of a decimal in Arrow (decimal128)
BOUNDS = {
    "minimum": "minimum",
    "maximum": "maximum",
    "exclusive_minimum": "exclusiveMinimum",
    "exclusive_maximum": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}


def read_column(value: object, number: int) -> tuple[Field, int | None]:
    """Read the column with this number, from 1. Returns it and its position in the key, or None. Raises ContractError."""
    where = f"column {value.get('name', number) if isinstance(value, dict) else number}"
    item = check_keys(where, value, COLUMN, ("name", "physicalType"))
    if not names.is_plain(item["name"]):
        raise ContractError(f"{names.shown(item['name'])} cannot be a column's name; expected {names.RULE}")
    kind = check_column_type(where, item["physicalType"])
    options = check_keys(f"{where}: logicalTypeOptions", item.get("logicalTypeOptions", {}), TYPE_OPTIONS[kind.partition("(")[0]])
    custom = read_custom(where, item, COLUMN_CUSTOM)
    policy: Policy = choose(custom, "policy", get_args(Policy), "quarantine", where)
    checks = read_column_checks(where, item, policy)
    _refuse_repeated(where, item, options, checks)
    checks = {"pattern": options.get("pattern"), "values": _read_enum(where, item.get("enum")), **checks}
    field = Field(
        name=item["name"],
        type=kind,
        required=item.get("required", False) or checks.get("required", False),
        unit=custom.get("unit"),
        description=item.get("description", ""),
        policy=policy,
        evolution=choose(custom, "evolution", get_args(Evolution), "evolve", where),
        rounding=_read_rounding(where, kind, custom),
        unique=item.get("unique", False) or checks.get("unique", False),
        source=item.get("physicalName"),
        trim=custom.get("trim", False),
        case=choose(custom, "case", ("upper", "lower"), None, where),
        percent=custom.get("percent", False),
        constant=custom.get("constant"),
        counted_within=check_texts(f"{where}: countedWithin", custom.get("countedWithin", ())),
        **_read_limits(where, kind, options, checks),
    )
    _check_limits(where, field)
    return field, _read_key_position(where, item)


def check_column_type(where: str, kind: str) -> str:
    """Return the type if jobkit.column_types knows it. Raises ContractError."""
    if match := DECIMAL.fullmatch(kind):
        if not (1 <= int(match[1]) <= MAX_DIGITS and int(match[2]) <= int(match[1])):
            raise ContractError(f"{where}: {kind} has impossible digits; a decimal has up to {MAX_DIGITS} of them")
    elif kind not in TYPE_OPTIONS or kind == "decimal":
        supported = ", ".join(name for name in TYPE_OPTIONS if name != "decimal")
        raise ContractError(f"{where}: physicalType {kind!r} is unknown; choose one of {supported}, decimal(18,6)")
    return kind


def _refuse_repeated(where: str, item: Mapping[str, Any], options: Mapping[str, Any], checks: Mapping[str, Any]) -> None:
    """Raise ContractError if a pattern or a list of values is both an option and a rule of the library."""
    for name, text, option in (("pattern", "pattern", options.get("pattern")), ("values", "list of valid values", item.get("enum"))):
        if checks.get(name) is not None and option is not None:
            raise ContractError(f"{where}: its {text} appears twice; keep one of them")


def _read_rounding(where: str, kind: str, custom: Mapping[str, Any]) -> Rounding:
    """Read what happens to digits beyond the scale. Raises ContractError if the type has no scale."""
    rounding: Rounding = choose(custom, "rounding", get_args(Rounding), "none", where)
    if rounding != "none" and kind.partition("(")[0] not in ("decimal", "int", "long"):
        raise ContractError(f"{where}: rounding is for decimals and whole numbers; {kind} has no scale")
    return rounding


def _read_key_position(where: str, item: Mapping[str, Any]) -> int | None:
    """Read the position of the column in the key, from 1; None if it is not part of the key."""
    position = item.get("primaryKeyPosition")
    if not item.get("primaryKey", False):
        if position not in (None, -1):
            raise ContractError(f"{where} has primaryKeyPosition without primaryKey: true; add it, or drop the position")
        return None
    if position is None or position < 1:
        raise ContractError(f"{where} is part of the key without a place in it; write primaryKeyPosition from 1 up")
    return int(position)


def _read_limits(where: str, kind: str, options: Mapping[str, Any], checks: Mapping[str, Any]) -> dict[str, Any]:
    """Read the limits of a column as arguments of Field, in the types that they are compared in."""
    return {
        **{name: _read_bound(where, kind, option, options) for name, option in BOUNDS.items()},
        "min_length": _read_length(where, options, "minLength"),
        "max_length": _read_length(where, options, "maxLength"),
        "pattern": _read_pattern(where, kind, checks["pattern"]),
        "values": _read_values(where, kind, checks["values"]),
        "format": _read_format(where, kind, options.get("format")),
    }


def _read_bound(where: str, kind: str, option: str, options: Mapping[str, Any]) -> Decimal | str | None:
    """Read a bound: ISO text for dates and timestamps, Decimal for numbers."""
    value = options.get(option)
    if value is None:
        return None
    if kind in ("date", "timestamp"):
        return _read_moment(where, kind, option, value)
    if option == "multipleOf" and value <= 0:
        raise ContractError(f"{where}: multipleOf is {value}; expected a number above 0")
    return Decimal(value)


def _read_moment(where: str, kind: str, option: str, value: str) -> str:
    """Return a date as YYYY-MM-DD, a timestamp as written; it must have a zone. ISO 8601."""
    try:
        if kind == "date":
            return date.fromisoformat(value).isoformat()
        if datetime.fromisoformat(value).tzinfo is not None:
            return value
    except ValueError:
        pass
    expected = "a date YYYY-MM-DD" if kind == "date" else "a time in ISO 8601 with zone"
    raise ContractError(f"{where}: {option} is {value!r}; expected {expected}, in quotes")


def _read_length(where: str, options: Mapping[str, Any], name: str) -> int | None:
    length: int | None = options.get(name)
    if length is not None and length < 0:
        raise ContractError(f"{where}: {name} is {length}; expected 0 or more")
    return length


def _read_pattern(where: str, kind: str, pattern: str | None) -> str | None:
    """Return a pattern of ECMA 262 that compiles; only text has one."""
    if pattern is None:
        return None
    if kind != "string":
        raise ContractError(f"{where}: a pattern is for text; physicalType is {kind}")
    try:
        compile_pattern(pattern)
    except re.error as error:
        raise ContractError(f"{where}: the pattern {pattern!r} cannot be read: {error}") from None
    return pattern


def _read_format(where: str, kind: str, name: str | None) -> str | None:
    """Read the kind of identifier, or the form of dates in the letters of Java's DateTimeFormatter, as the standard prescribes."""
    if name is None:
        return None
    if kind == "string" and name not in IDENTIFIERS:
        raise ContractError(f"{where}: the format {name!r} is not implemented; choose one of {', '.join(IDENTIFIERS)}")
    if kind == "date":
        parts = DATE_PARTS.findall(name)
        letters = sorted(part[0] for part in parts if part[0].isalpha())
        if "".join(parts) != name or letters != ["M", "d", "y"]:
            raise ContractError(
                f"{where}: the format {name!r} is not a date that finelt reads; write yyyy, MM or MMM, and dd once each, as dd.MM.yyyy"
            )
    return name


def _read_enum(where: str, items: Sequence[object] | None) -> list[object] | None:
    if items is None:
        return None
    return [check_keys(f"{where}: enum", item, ENUM, ("value",))["value"] for item in items]


def _read_values(where: str, kind: str, values: Sequence[object] | None) -> tuple[Decimal | str, ...] | None:
    """Read the list of valid values, in the type that they are compared in."""
    if values is None:
        return None
    if not values:
        raise ContractError(f"{where}: the list of valid values is empty, so that no row could pass")
    if kind == "boolean":
        raise ContractError(f"{where}: a boolean needs no list of valid values; drop it")
    expected = TEXT if kind in ("string", "date", "timestamp") else NUMBER
    checked = [check_type(f"{where}: valid value {value!r}", value, expected) for value in values]
    if kind in ("date", "timestamp"):
        return tuple(_read_moment(where, kind, "a valid value", value) for value in checked)
    return tuple(checked) if kind == "string" else tuple(map(Decimal, checked))


def _check_limits(where: str, field: Field) -> None:
    """Raise ContractError if no value could be within the limits."""
    lows: list[Any] = [bound for bound in (field.minimum, field.exclusive_minimum) if bound is not None]
    highs: list[Any] = [bound for bound in (field.maximum, field.exclusive_maximum) if bound is not None]
    if lows and highs and max(lows) > min(highs):  # all of one type
        raise ContractError(f"{where}: its minimum {max(lows)} is above its maximum {min(highs)}")
    if field.min_length is not None and field.max_length is not None and field.min_length > field.max_length:
        raise ContractError(f"{where}: minLength {field.min_length} is above maxLength {field.max_length}")
