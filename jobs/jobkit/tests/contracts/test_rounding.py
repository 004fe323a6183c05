"""Numbers are rounded only where the contract allows it, and never without a warning."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from jobkit.contracts import Field, validate

from jobs.jobkit.tests.contracts.samples import PRICES, column, quarantined


def rounded(rounding: str, kind: str, *texts: str) -> tuple[list[Any], list[tuple[int, str]], tuple[str, ...]]:
    """What becomes of the texts in a column of a type: the values kept, the rows in quarantine, the warnings."""
    fields = (Field("day", "date"), Field("figure", kind, rounding=rounding))  # type: ignore[arg-type]
    days = [f"2012-12-{day + 1:02}" for day in range(len(texts))]
    good = validate(replace(PRICES, fields=fields), {"day": days, "figure": list(texts)})
    return column(good, "figure"), quarantined(good), good.warnings


@pytest.mark.parametrize(
    ("rounding", "text", "value"),
    [
        ("none", "9.990000000000002", None),
        ("noise", "9.990000000000002", "9.99"),
        ("noise", "9.989999999999998", "9.99"),
        ("noise", "-9.990000000000002", "-9.99"),
        ("noise", "12.345", None),
        ("noise", "12.3450000000000", None),
        ("noise", "0.6666666666666666", None),
        ("measured", "0.6666666666666666", "0.67"),
        ("measured", "12.345", "12.34"),  # half to even
        ("measured", "12.3450000000000001", "12.35"),
        ("measured", "twelve", None),
        ("measured", "1234567.123", None),  # too large is never rounded away
    ],
)  # fmt: skip
def test_digits_beyond_the_scale_are_dropped_only_as_the_contract_allows(rounding: str, text: str, value: str | None) -> None:
    values, quarantined, warnings = rounded(rounding, "decimal(8,2)", "1.00", text)
    assert values == [Decimal("1.00")] + ([Decimal(value)] if value else [])
    assert [row for row, _ in quarantined] == ([] if value else [2])
    if value:
        assert warnings == (f"figure: 1 values were rounded; the first, in row 2, from {text} to {Decimal(value):f}",)


def test_a_whole_number_may_have_a_decimal_point() -> None:
    values, quarantined, warnings = rounded("none", "long", "1000.0", "-7.000", "12", "1000.5")
    assert (values, [row for row, _ in quarantined], warnings) == ([1000, -7, 12], [4], ())
    assert rounded("measured", "long", "1000.5", "1001.5")[0] == [1000, 1002]


def test_many_rounded_values_make_one_warning_and_a_bad_row_is_quarantined_as_sent() -> None:
    texts = [f"{n}.3333333333333333" for n in range(1, 20)]
    _, _, (warning,) = rounded("measured", "decimal(8,2)", *texts)
    assert warning.startswith("figure: 19 values were rounded; the first, in row 1, from 1.3333333333333333 to 1.33")
    fields = (Field("day", "date"), Field("figure", "decimal(8,2)", rounding="measured"))
    good = validate(replace(PRICES, fields=fields), {"day": ["2012-13-01", "2012-12-01"], "figure": ["0.6666666666666666", "1"]})
    assert good.quarantine is not None
    assert json.loads(good.quarantine["raw_row"][0].as_py())["figure"] == "0.6666666666666666"


@pytest.mark.parametrize("text", ["1" * 30 + "." + "9" * 9, "0." + "3" * 5000, "1" * 60 + ".5"])
def test_a_number_of_any_length_is_rounded_or_refused(text: str) -> None:
    values, quarantined, _ = rounded("measured", "decimal(38,6)", text)
    assert len(values) + len(quarantined) == 1
