"""Validation: every row is stored exactly, quarantined or dropped, and too many bad rows refuse the partition."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobkit.contracts import Contract, Field, Rule, validate, validation
from jobkit.errors import BadDataError

from jobs.jobkit.tests.contracts.samples import (
    GOOD_ROW,
    PRICE_FIELDS,
    PRICES,
    column,
    make_contract,
    price_columns,
    quarantined,
    reasons,
    stored,
)


def test_valid_rows_are_typed_exactly() -> None:
    good = validate(PRICES, price_columns(GOOD_ROW, ("2013-01-02", "549.03", None, None)))
    assert column(good, "price") == [Decimal("532.17"), Decimal("549.03")]
    assert column(good, "shares") == [23553300, None]
    assert column(good, "note") == [GOOD_ROW[3], None]
    assert [day.isoformat() for day in column(good, "day")] == ["2012-12-31", "2013-01-02"]
    assert column(good, "_row_number") == [1, 2]
    assert good.quarantine is None


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("2012-02-30", "1.00", None, None), "not a date"),
        (("31/12/2012", "1.00", None, None), "not a date"),
        ((None, "1.00", None, None), "day is missing"),
        (("2012-12-30", None, None, None), "price is missing"),
        (("2012-12-30", "1.005", None, None), "at most 6 digits before and 2 behind"),
        (("2012-12-30", "1e2", None, None), "at most 6 digits"),
        (("2012-12-30", "NaN", None, None), "at most 6 digits"),
        (("2012-12-30", "0.00", None, None), "below 0.01"),
        (("2012-12-30", "1000.01", None, None), "above 1000"),
        (("2012-12-30", "1.00", "9223372036854775808", None), "whole number of 64 bits"),
        (("2012-12-30", "1.00", "1.5", None), "whole number"),
        (("2012-12-30", "1.00", None, "nul \0 byte"), "text without NUL"),
        (("2012-12-31", "1.00", None, None), "repeats the key of row 1"),
    ],
)
def test_a_bad_row_goes_to_the_quarantine_with_its_reason_and_the_raw_row(row: tuple[str | None, ...], reason: str) -> None:
    good = validate(PRICES, price_columns(GOOD_ROW, row, ("2013-01-02", "549.03", None, None)))
    assert column(good, "_row_number") == [1, 3]
    ((number, stored_reason),) = quarantined(good)
    assert number == 2
    assert reason in stored_reason
    assert good.quarantine is not None
    assert json.loads(good.quarantine["raw_row"][0].as_py())["price"] == row[1]


def with_policy(policy: Any) -> Contract:
    return replace(PRICES, fields=(PRICE_FIELDS[0], replace(PRICE_FIELDS[1], policy=policy), *PRICE_FIELDS[2:]))


def test_policy_drop_counts_what_it_drops() -> None:
    good = validate(with_policy("drop"), price_columns(GOOD_ROW, ("2012-12-30", "-1.00", None, None)))
    assert (good.read, good.table.num_rows, good.dropped, good.quarantine) == (2, 1, 1, None)


def test_policy_fail_refuses_the_partition() -> None:
    with pytest.raises(BadDataError, match="row 2: price is -1.00, below"):
        validate(with_policy("fail"), price_columns(GOOD_ROW, ("2012-12-30", "-1.00", None, None)))


def test_policy_warn_keeps_the_row_unless_the_value_has_no_type() -> None:
    good = validate(with_policy("warn"), price_columns(("2012-12-30", "-1.00", None, None), ("2012-12-31", "x", None, None)))
    assert column(good, "price") == [Decimal("-1.00")]
    assert good.warnings == ("row 1: price is -1.00, below 0.01",)
    assert [number for number, _ in quarantined(good)] == [2]


def test_too_many_bad_rows_fail_the_partition() -> None:
    with pytest.raises(BadDataError, match=r"1 of 2 rows break the contract, more than the 10%"):
        validate(replace(PRICES, max_bad_rows=0.1), price_columns(GOOD_ROW, ("x", "1.00", None, None)))


def test_reasons_are_not_collected_once_a_partition_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "MAX_BAD_ROWS_REPORTED", 10)
    with pytest.raises(BadDataError, match=r"at least 11 of 500 rows break the contract, more than the 1%"):
        validate(replace(PRICES, max_bad_rows=0.01), price_columns(*[("x", "1.00", None, None)] * 500))


def test_no_rows_give_a_table_without_rows() -> None:
    good = validate(PRICES, price_columns())
    assert (good.read, good.table.num_rows, good.quarantine) == (0, 0, None)


cell = st.one_of(st.none(), st.sampled_from(["2012-12-31", "1.00", "7", "-1", "1e5", "", "NaN"]), st.text(max_size=12))


@given(st.lists(st.tuples(cell, cell, cell, cell), max_size=30))
def test_valid_plus_quarantined_rows_are_the_rows_read(rows: list[tuple[str | None, ...]]) -> None:
    good = validate(PRICES, price_columns(*rows))
    numbers = column(good, "_row_number") + [number for number, _ in quarantined(good)]
    assert sorted(numbers) == list(range(1, len(rows) + 1))


value = st.one_of(cell, st.sampled_from([True, False, 0, 1, 1.0, 1e5, Decimal("1.50"), [1], {"a": 1}]))


@given(st.lists(st.tuples(value, value, value, value), min_size=1, max_size=12))
def test_what_a_row_breaks_does_not_depend_on_other_rows(rows: list[tuple[Any, ...]]) -> None:
    """Rows are checked a column at a time and each value once; the answer is that of each row alone."""
    rules = replace(PRICES, rules=(Rule("price", "<=", "shares", "quarantine"),))
    good = validate(rules, price_columns(*rows))
    together = {
        number: "; ".join(part for part in reason.split("; ") if not part.startswith("repeats")) for number, reason in quarantined(good)
    }
    alone = [validate(rules, price_columns(row)) for row in rows]
    assert {number: reason for number, reason in together.items() if reason} == {
        number: reason for number, one in enumerate(alone, 1) for _, reason in quarantined(one)
    }
    whole = dict(zip(column(good, "_row_number"), column(good, "price"), strict=True))
    assert whole.items() <= {number: price for number, one in enumerate(alone, 1) for price in column(one, "price")}.items()


def test_a_bad_row_does_not_reject_a_good_row_with_its_key() -> None:
    contract = make_contract(
        Field("k", "string", required=True),
        Field("low", "long"),
        Field("high", "long"),
        key=("k",),
        rules=(Rule("low", "<=", "high", "drop"),),
    )
    columns = {"k": ["a", "a", "a", "b", "b"], "low": ["9", "1", "1", "x", "1"], "high": ["2"] * 5}
    assert stored(contract, columns, "_row_number") == [2, 5]
    assert reasons(contract, columns)[3] == "repeats the key of row 2"


SECRET = "Zq7canary"


@pytest.mark.parametrize("classification", ["confidential", None])
def test_no_reason_error_or_warning_contains_a_confidential_value(classification: Any) -> None:
    digits = "31337.31"
    fields = (
        Field("day", "date", required=True),
        Field("low", "decimal(8,2)", maximum=Decimal(5)),
        Field("high", "decimal(8,2)", policy="warn", maximum=Decimal(4)),
        Field("code", "string", pattern="^[A-Z]+$", max_length=4, values=("A",)),
    )
    rules = replace(PRICES, fields=fields, rules=(Rule("low", "<=", "high", "quarantine"),), classification=classification)
    rows = {
        "day": ["2012-12-30", "2012-12-31", SECRET, "2012-12-31"],
        "low": ["1", digits, "1", "1"],
        "high": [digits, "2", SECRET, None],
        "code": [SECRET, "A", "A", "A"],
    }
    good = validate(rules, {name: list(values) for name, values in rows.items()})
    reason = [reason for _, reason in quarantined(good)]
    assert all(reason.startswith("values withheld: ") for reason in reason)
    assert reason[1] == "values withheld: low is above 5; breaks low <= high"
    assert "day is not a date" in reason[2]
    texts = [*reason, *good.warnings]
    for harder in (replace(rules, max_bad_rows=0.1), replace(rules, fields=tuple(replace(field, policy="fail") for field in fields))):
        with pytest.raises(BadDataError) as refused:
            validate(harder, {name: list(values) for name, values in rows.items()})
        texts.append(str(refused.value))
    with pytest.raises(BadDataError, match="sends 1 fields besides day, low, high, code") as refused:
        validate(rules, {**rows, SECRET: ["1"] * 4})
    texts.append(str(refused.value))
    assert not [text for text in texts if SECRET in text or digits in text]
    assert validate(replace(rules, classification="internal"), rows).quarantine is not None
    assert SECRET in quarantined(validate(replace(rules, classification="internal"), rows))[2][1]
