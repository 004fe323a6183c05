"""A contract of prices, contracts of any fields, and what validation makes of their rows."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from jobkit.contracts import Columns, Contract, Field, ValidationResult, validate

PRICE_FIELDS = (
    Field("day", "date", required=True),
    Field("price", "decimal(8,2)", required=True, minimum=Decimal("0.01"), maximum=Decimal(1000)),
    Field("shares", "long"),
    Field("note", "string"),
)
PRICES = Contract("t", "rows", PRICE_FIELDS, ("day",), "year(day)", "none", "freeze", "string", max_bad_rows=1.0, classification="public")
GOOD_ROW = ("2012-12-31", "532.17", "23553300", 'a "quoted", ünïcode\nline')


def price_columns(*rows: tuple[str | None, ...]) -> Columns:
    """The rows as columns of PRICES."""
    return {field.name: [row[i] for row in rows] for i, field in enumerate(PRICE_FIELDS)}


def column(result: ValidationResult, name: str) -> list[Any]:
    """A column of the valid rows."""
    return [value.as_py() for value in result.table[name]]


def quarantined(result: ValidationResult) -> list[tuple[int, str]]:
    """The numbers and reasons of the quarantined rows."""
    if result.quarantine is None:
        return []
    table = result.quarantine
    return list(zip((v.as_py() for v in table["_row_number"]), (v.as_py() for v in table["reasons"]), strict=True))


def make_contract(*fields: Field, key: tuple[str, ...] = (), **more: Any) -> Contract:
    """A contract of these fields that accepts any share of bad rows."""
    return Contract("t", "rows", fields, key, "hash(k, 1)", "none", "freeze", "string", max_bad_rows=1.0, classification="public", **more)


def stored(contract: Contract, columns: dict[str, list[Any]], name: str) -> list[Any]:
    """A column of the rows that a contract accepts."""
    return list(validate(contract, columns).table.column(name).to_pylist())


def reasons(contract: Contract, columns: dict[str, list[Any]]) -> dict[int, str]:
    """The reasons of the rows that a contract quarantines, by row number."""
    bad = validate(contract, columns).quarantine
    return dict(zip(bad.column("_row_number").to_pylist(), bad.column("reasons").to_pylist(), strict=True)) if bad else {}
