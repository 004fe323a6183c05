"""A text that is accepted is stored as the value that it writes; any other makes its row bad."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jobkit.contracts import Field, validate
from jobkit.contracts.type_checks import build_reader, find_untyped

from jobs.jobkit.tests.contracts.samples import PRICES, column, make_contract, price_columns, reasons, stored

KINDS = (
    "date",
    "timestamp",
    "int",
    "long",
    "double",
    "boolean",
    "decimal(8,2)",
    "decimal(38,10)",
    "decimal(6,6)",
    "decimal(5,0)",
    "string",
)


def exact(kind: str, text: str) -> Any:
    """What a text stands for, by Python's own parsers; it raises or gives another value where the contract must refuse."""
    if kind == "string":
        return text
    if kind == "date":
        return date.fromisoformat(text)
    if kind == "timestamp":
        return datetime.fromisoformat(text).astimezone(UTC)
    if kind == "boolean":
        return {"true": True, "false": False}[text]
    if kind == "double":
        return float(text)
    return Decimal(text)


digits = st.text("0123456789", max_size=45)


number = st.builds(
    "".join, st.tuples(st.sampled_from(["", "-", "+", "0", "-0"]), digits, st.sampled_from(["", ".", "e", "E-", ".0"]), digits)
)


clock = st.builds(
    "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}{}".format,
    st.integers(0, 9999),
    st.integers(0, 13),
    st.integers(0, 32),
    st.integers(0, 25),
    st.integers(0, 61),
    st.integers(0, 61),
    st.sampled_from(["", ".5", ".123456", ".1234560", ".123456789", ".0000000001", "."]),
    st.sampled_from(["Z", "", "+00:00", "-14:00", "+14:00", "+15:59", "+25:00", "+05:99", "-00:00", "+0100", "z"]),
)


day = st.builds("{:04}-{:02}-{:02}".format, st.integers(0, 10000), st.integers(0, 13), st.integers(0, 32))


text = st.one_of(
    number,
    clock,
    day,
    st.text(max_size=8),
    st.sampled_from(["true", "True", "NaN", "Infinity", "-inf", "1_000", "٣", "\uff11", " 1", "1\n"]),
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KINDS), st.lists(text, max_size=25))
@example("double", ["1e400", "-1e400", "1e-400", "5e-324", "1e-324", "1" + "0" * 400, "0e999", "-0", "1e308", "1.8e308"])
@example("timestamp", ["2024-01-02T24:00:00Z", "2024-06-30T23:59:60Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
@example("long", ["9223372036854775808", "-9223372036854775808", "007", "-0"])
@example("decimal(38,10)", ["9" * 28 + "." + "9" * 10, "0" * 60 + "1." + "5" + "0" * 60, "-0.0000000000"])
def test_an_accepted_text_is_stored_exactly_and_any_other_makes_its_row_bad(kind: str, texts: list[str]) -> None:
    good = validate(make_contract(Field("x", kind)), {"x": list(texts)})
    numbers = good.table.column("_row_number").to_pylist()
    for row, value in zip(numbers, good.table.column("x").to_pylist(), strict=True):
        expected = exact(kind, texts[row - 1])
        assert value == expected
        assert str(value) == str(expected) or kind != "double"  # -0.0 is not 0.0
    assert len(numbers) + len(reasons(make_contract(Field("x", kind)), {"x": list(texts)})) == len(texts)


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        ("timestamp", "2024-01-02T24:00:00Z", "2024-01-02T23:59:59.999999Z"),
        ("timestamp", "2024-02-30T00:00:00Z", "2024-02-29T00:00:00Z"),
        ("timestamp", "2024-01-02T00:00:00+25:00", "2024-01-02T00:00:00+14:00"),
        ("timestamp", "2024-06-30T23:59:60Z", "2024-06-30T23:59:59Z"),
        ("timestamp", "2024-01-02T00:00:00.0000001Z", "2024-01-02T00:00:00.000000000Z"),
        ("timestamp", "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z"),
        ("double", "1e400", "1e308"),
        ("double", "1e-400", "1e-300"),
        ("date", "2023-02-29", "2024-02-29"),
        ("date", "0000-01-01", "0001-01-01"),
        ("long", "9223372036854775808", "9223372036854775807"),
        ("int", "2147483648", "-2147483648"),
        ("decimal(8,2)", "1000000", "999999.99"),
        ("decimal(8,2)", "١٢", "12"),
        ("string", "a\0b", "a\u2400b"),
        ("string", "a\ud83d", "a\U0001f600"),
    ],
)
def test_an_impossible_value_makes_only_its_own_row_bad(kind: str, wrong: str, right: str) -> None:
    contract = make_contract(Field("x", kind))
    assert list(reasons(contract, {"x": [right, wrong, right]})) == [2]
    assert len(stored(contract, {"x": [right, wrong, right]}, "x")) == 2


def test_zeros_around_a_number_do_not_change_its_value() -> None:
    assert column(validate(PRICES, price_columns(("2012-12-31", "000532.17000", None, None))), "price") == [Decimal("532.17")]


@pytest.mark.parametrize("wrong", ["1\n2", "1\n", "\n1", "", "0" * 60 + ".123"])
def test_decimals_that_are_checked_together_are_refused_one_by_one(wrong: str) -> None:
    untyped = find_untyped(Field("close", "decimal(8,2)"), ["1", "2.50", "-0003.1", wrong, None], {})
    assert list(untyped) == [wrong]


def test_a_key_is_compared_as_it_is_stored() -> None:
    """A number may be stored with fewer digits than were sent: 7.0 as 7, and what a double adds to 0.30 not at all."""
    whole, price = (build_reader(field) for field in (Field("id", "long"), Field("price", "decimal(8,2)", rounding="noise")))
    assert whole(7) == whole("7.0") != whole("7.5")
    assert price("0.3") == price("0.30000000000000004") != price("0.301")
    assert build_reader(Field("code", "string"))("7.0") == "7.0"
