"""The announced fraction of a split is recovered, however many digits the vendor writes."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from extract_tiingo_prices.parser import parse
from extract_tiingo_prices.ratio import split_ratio
from jobkit import contracts
from jobkit.contracts import load_packaged
from jobkit.requests import Request

REQUEST = Request("tiingo_prices", ("ticker=ZZT/year=2013",), "/")
BAR = {"close": 10.0, "high": 10.5, "low": 9.5, "open": 10.0, "volume": 1000, "adjClose": 10.0, "divCash": 0.0, "splitFactor": 1.0}


@pytest.mark.parametrize(
    ("text", "ratio"),
    [
        ("1.0", Fraction(1)),
        ("7.0", Fraction(7)),
        ("1.5", Fraction(3, 2)),
        ("1.05", Fraction(21, 20)),  # a stock dividend of 5 percent
        ("1.001", Fraction(1001, 1000)),
        ("1.2836", Fraction(3209, 2500)),  # what a spin-off makes
        ("0.03333333333333333", Fraction(1, 30)),
        ("0.03333333", Fraction(1, 30)),
        ("0.6667", Fraction(2, 3)),
        ("0.6666", Fraction(2, 3)),  # cut, not rounded
        ("0.0006666666666666666", Fraction(1, 1500)),
        ("6.4e-05", Fraction(1, 15625)),
        ("29.999999999999996", Fraction(30)),
        ("0.30000000000000004", Fraction(3, 10)),
    ],
)  # fmt: skip
def test_a_ratio_is_the_simplest_fraction_with_that_decimal(text: str, ratio: Fraction) -> None:
    assert split_ratio(text) == ratio


def test_every_ratio_of_small_numbers_is_recovered_from_a_double_and_from_eight_decimals() -> None:
    for new in range(1, 31):
        for old in range(1, 121):
            ratio = Fraction(new, old)
            assert {split_ratio(repr(new / old)), split_ratio(f"{new / old:.8f}")} == {ratio}, ratio


@pytest.mark.parametrize("text", ["", "two for one", "NaN", "Infinity", "0", "-2", "1e400", "1e-400", "1e99999999999999999999", "None"])
def test_other_text_is_not_a_ratio(text: str) -> None:
    assert split_ratio(text) is None


def test_a_ratio_of_thousands_of_digits_fits_64_bits() -> None:
    ratio = split_ratio("0." + "31415926535897932384626433" * 400)
    assert ratio is not None
    assert max(ratio.numerator, ratio.denominator) < 2**63


def test_only_a_day_with_a_split_has_a_fraction() -> None:
    days = [{"date": f"2013-06-0{day}T00:00:00.000Z", **BAR, "splitFactor": ratio} for day, ratio in ((3, 1.0), (4, 1 / 30), (5, 4))]
    columns = parse(json.dumps(days).encode(), REQUEST)["ticker=ZZT/year=2013"]
    assert (columns["split_to"], columns["split_from"]) == ([None, "1", "4"], [None, "30", "1"])
    assert "split_to" not in parse(json.dumps(days[:1]).encode(), REQUEST)["ticker=ZZT/year=2013"]


def test_repeating_decimals_are_accepted_and_a_price_of_another_scale_is_not() -> None:
    days = [
        {"date": "2013-06-03T00:00:00.000Z", **BAR, "splitFactor": 1 / 30, "divCash": 2 / 3},
        {"date": "2013-06-04T00:00:00.000Z", **BAR, "close": 9.990000000000002, "volume": 1000.0, "adjVolume": 1000.5},
        *({"date": f"2013-06-{day:02}T00:00:00.000Z", **BAR} for day in range(5, 28)),
        {"date": "2013-06-28T00:00:00.000Z", **BAR, "close": 9.99123456},
    ]
    columns = parse(json.dumps(days).encode(), REQUEST)["ticker=ZZT/year=2013"]
    good = contracts.validate(load_packaged("extract_tiingo_prices", "tiingo_prices"), columns)
    assert good.table.num_rows == 25
    assert [str(good.table[name][0].as_py()) for name in ("splitFactor", "divCash")] == ["0.03333333", "0.666667"]
    assert str(good.table["close"][1].as_py()) == "9.990000"
    assert good.table["volume"][1].as_py() == 1000
    assert good.quarantine is not None
    assert "close is '9.99123456'" in good.quarantine["reasons"][0].as_py()
    assert sorted(warning.partition(":")[0] for warning in good.warnings) == ["adjVolume", "close", "divCash", "splitFactor"]
