"""A value outside the limits of its field makes its row bad, and the reason says which limit."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from jobkit.contracts import Contract, Field, validate

from jobs.jobkit.tests.contracts.samples import PRICES, quarantined


def optioned(kind: str, **options: Any) -> Contract:
    """A contract of two columns: n, which is the key, and x of this type with these options."""
    unique = (("x",),) if options.get("unique") else ()
    return replace(PRICES, fields=(Field("n", "int"), Field("x", kind, **options)), key=("n",), leaf="n", unique=unique)


@pytest.mark.parametrize(
    ("kind", "options", "kept_texts", "refused"),
    [
        ("string", {"min_length": 2, "max_length": 3}, ["ab", "äöü"], {"a": "shorter than 2", "abcd": "longer than 3"}),
        ("string", {"pattern": "^[A-Z]{3}$"}, ["EUR"], {"eur": "not of the form", "EUR\n": "not of the form", "EURO": "not of the form"}),
        ("string", {"pattern": "b"}, ["abc"], {"xyz": "not of the form b"}),
        ("string", {"pattern": r"^\d[$]\$$"}, ["1$$"], {"1$": "not of the form", "\u0661$$": "not of the form"}),
        ("string", {"pattern": "^(?<first>a)(?<!b)c"}, ["ac"], {"bc": "not of the form"}),
        ("string", {"values": ("EUR", "USD")}, ["EUR"], {"eur": "none of EUR, USD", "EUR ": "none of"}),
        ("decimal(8,2)", {"values": (Decimal(1), Decimal("2.50"))}, ["1.00", "2.5"], {"2": "none of 1, 2.50"}),
        (
            "decimal(8,2)",
            {"exclusive_minimum": Decimal(0), "exclusive_maximum": Decimal(1)},
            ["0.01"],
            {"0.00": "not above 0", "1.0": "not below 1"},
        ),
        ("decimal(8,2)", {"multiple_of": Decimal("0.05")}, ["0.15", "-1.00"], {"0.07": "no multiple of 0.05"}),
        ("decimal(38,10)", {"multiple_of": Decimal("0.0000000003")}, ["9" * 27 + ".0000000003"], {"9" * 27 + ".0000000001": "no multiple"}),
        ("double", {"multiple_of": Decimal("0.1")}, ["0.3", "1e300"], {"0.35": "no multiple of 0.1", "1e999999999": "not a finite number"}),
        ("long", {"multiple_of": Decimal(100)}, ["0", "-300"], {"50": "no multiple of 100"}),
        (
            "date",
            {"exclusive_minimum": "2012-01-01", "values": ("2012-01-02",)},
            ["2012-01-02"],
            {"2012-01-01": "not above", "2013-01-01": "none of"},
        ),
        ("string", {"unique": True}, ["a", None, None, "b"], {"a": "repeats x of row 1"}),
    ],
)
def test_a_value_outside_the_limits_makes_its_row_bad(
    kind: str, options: dict[str, Any], kept_texts: list[str | None], refused: dict[str, str]
) -> None:
    texts = [*kept_texts, *refused]
    good = validate(optioned(kind, **options), {"n": [str(number) for number in range(len(texts))], "x": texts})
    assert good.table.num_rows == len(kept_texts)
    assert [number for number, _ in quarantined(good)] == list(range(len(kept_texts) + 1, len(texts) + 1))
    for (_, reason), expected in zip(quarantined(good), refused.values(), strict=True):
        assert expected in reason
