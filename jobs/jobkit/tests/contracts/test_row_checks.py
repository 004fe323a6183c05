"""Rules between columns, and keys that no index holds."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from jobkit.contracts import MAX_KEY_BYTES, Field, Product, Rule, Sum, validate

from jobs.jobkit.tests.contracts.samples import PRICES, column, make_contract, quarantined, reasons


def test_a_row_that_breaks_a_rule_between_columns_is_quarantined() -> None:
    """PMV on 2015-11-20: a close below the low of the day."""
    bars = (Field("low", "decimal(8,2)"), Field("close", "decimal(8,2)"))
    rules = replace(PRICES, fields=bars, key=(), rules=(Rule("low", "<=", "close", "quarantine"),))
    good = validate(rules, {"low": ["9.50", "9.50", "10.00", None, "x"], "close": ["9.50", "9.49", "9.99", "1.00", "1.00"]})
    assert column(good, "_row_number") == [1, 4]
    assert quarantined(good) == [
        (2, "low is 9.50, which breaks low <= close with 9.49"),
        (3, "low is 10.00, which breaks low <= close with 9.99"),
        (5, "low is 'x', not a number with at most 6 digits before and 2 behind the point"),
    ]
    assert validate(replace(rules, rules=(Rule("low", "<", "close", "drop"),)), {"low": ["1.0"], "close": ["1.00"]}).dropped == 1


def test_timestamps_are_compared_as_moments_in_rules_and_limits() -> None:
    contract = make_contract(
        Field("a", "timestamp", minimum="2024-01-01"), Field("b", "timestamp"), rules=(Rule("a", "<=", "b", "quarantine"),)
    )
    late_east, early_west = "2024-01-02T09:00:00+09:00", "2024-01-01T20:00:00-05:00"
    assert reasons(contract, {"a": [late_east, early_west], "b": [early_west, late_east]}) == {
        2: f"a is {early_west}, which breaks a <= b with {late_east}"
    }
    assert list(reasons(contract, {"a": ["2024-01-01T01:00:00+02:00"], "b": [None]})) == [1]


def test_a_product_is_within_the_tolerance_of_the_contract() -> None:
    product = Product("v", ("q", "p"), Decimal(100), Decimal("0.001"), Decimal("0.01"), "quarantine", "v = q * p / 100 within 0.1% or 0.01")
    contract = make_contract(Field("v", "decimal(18,2)"), Field("q", "decimal(18,2)"), Field("p", "double"), products=(product,))
    columns = {
        "v": ["99.91", "99.89", "0.01", "0.02", "-50.00", None, "1", "x"],
        "q": ["100", "100", "0", "0", "-100", "1", None, "1"],
        "p": ["100", "100", "1", "1", "50", "1", "1", "1"],
    }
    assert list(reasons(contract, columns)) == [2, 4, 8]
    assert reasons(contract, columns)[2] == "v is 99.89, which breaks v = q * p / 100 within 0.1% or 0.01"


def test_a_sum_is_exact_and_says_nothing_about_a_row_without_a_part() -> None:
    total = Sum("total", ("a", "b", "c"), "quarantine")
    names = ("total", "a", "b", "c")
    contract = make_contract(*(Field(name, "decimal(38,6)") for name in names), sums=(total,))
    columns = {
        "total": ["90430132400", "12345678901234567890123456789012.000001", "90430132401", None, "5"],
        "a": ["81948440600", "12345678901234567890123456789012", "81948440600", "1", "1"],
        "b": ["4051839400", "0.000001", "4051839400", "2", "1"],
        "c": ["4429852400", "0", "4429852400", "3", None],
    }
    assert reasons(contract, columns) == {3: "total is 90430132401, which breaks total = a + b + c (90430132400)"}


def test_a_key_too_long_for_an_index_makes_its_row_bad() -> None:
    contract = make_contract(Field("k", "string"), Field("x", "string"), key=("k",))
    longest, wide = "k" * MAX_KEY_BYTES, "€" * (MAX_KEY_BYTES // 3 + 1)
    assert list(reasons(contract, {"k": [longest, longest + "k", wide], "x": [longest * 9] * 3})) == [2, 3]
