"""Identifiers of securities, entities and currencies: form, prefix and check digit."""

from __future__ import annotations

import pytest
from jobkit.contracts import Field

from jobs.jobkit.tests.contracts.samples import make_contract, reasons, stored


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (
            "isin",
            ["US0378331005", "XS0971721963", "DE000BAY0017"],
            ["US0378331006", "us0378331005", " US0378331005", "3.78331E+11", "QQ0378331005"],
        ),
        ("cusip", ["037833100", "594918104"], ["037833101", "37833100", "3.78E+08"]),
        ("sedol", ["B15KXQ8", "0263494"], ["263494", "0263495", "A15KXQ8"]),
        ("lei", ["G5GSEF7VJP5I7OUK5573", "529900T8BM49AURSDO55"], ["529900T8BM49AURSDO56", "529900T8BM49AURSDO5"]),
        ("figi", ["BBG000BLNNH6", "BBG001S5S399"], ["BBG000BLNNH7", "BBG000BLNNH", "bbg000blnnh6", "BSG000BLNNH6"]),
        ("currency", ["USD", "DEM", "BGN"], ["usd", "GBX", "US", "ZZZ"]),
    ],
)
def test_identifiers_have_their_form_prefix_and_check_digit(kind: str, right: list[str], wrong: list[str]) -> None:
    contract = make_contract(Field("x", "string", format=kind))
    assert list(reasons(contract, {"x": [*right, *wrong]})) == list(range(len(right) + 1, len(right) + len(wrong) + 1))


def test_isins_of_derivatives_are_accepted() -> None:
    """They begin with EZ, a prefix of ISO 6166 that python-stdnum 2.2 does not know."""
    taken = [f"EZ0000000{number:02}{digit}" for number in range(20) for digit in range(10)]
    assert len(stored(make_contract(Field("x", "string", format="isin")), {"x": taken}, "x")) == 20
