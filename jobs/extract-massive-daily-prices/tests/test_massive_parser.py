"""Recorded Massive responses are parsed; other bodies are refused."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from extract_massive_daily_prices.parser import FIELDS, parse
from extract_massive_daily_prices.source import build_requests
from jobkit import contracts
from jobkit.contracts import load_packaged
from jobkit.errors import BadDataError
from jobkit.requests import Request

REQUEST = Request("massive_daily_prices", ("date=2012-12-31",), "/")
BAR = {"T": "AAPL", "v": 1, "o": 510.53, "c": 532.17, "h": 535.4, "l": 509.0, "t": 1356987600000}


def answer(**changes: Any) -> bytes:
    return json.dumps({"status": "OK", "adjusted": False, "resultsCount": 1, "results": [BAR], **changes}).encode()


def test_a_bar_keeps_its_fields_and_gets_the_day() -> None:
    body = answer().replace(b'"v": 1', b'"v": 1.029145e+06')
    kept = contracts.validate(
        load_packaged("extract_massive_daily_prices", "massive_daily_prices"), parse(body, REQUEST)["date=2012-12-31"]
    )
    assert kept.quarantine is None
    assert (kept.table["v"][0].as_py(), kept.table["c"][0].as_py()) == (Decimal(1029145), Decimal("532.17"))
    assert kept.table["date"][0].as_py() == date(2012, 12, 31)
    assert kept.table["n"][0].as_py() is None


@pytest.mark.parametrize("body", [answer(resultsCount=0, results=None), b'{"status":"OK","resultsCount":0}'])
def test_a_closed_market_is_a_day_without_rows(body: bytes) -> None:
    assert parse(body, REQUEST) == {"date=2012-12-31": {name: [] for name in FIELDS}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b'{"status":"ERROR","error":"maximum requests"}', "is an error"),
        (answer(resultsCount=2), "states 2 rows and has 1"),
        (answer(adjusted=True), "split-adjusted"),
        (answer(results=[1]), "not a list of bars"),
        (answer(results={"T": "A"}), "not a list of bars"),
        (b'{"status":"OK","results":[],"results":[]}', "key results twice"),
        (answer(results=[{**BAR, "t": 1356728400000}]), "has bars of 2012-12-28, none of the requested day"),
        (answer(results=[{**BAR, "t": [1]}]), "none of the requested day"),
    ],
)
def test_an_error_with_status_200_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(BadDataError, match=message):
        parse(body, REQUEST)


def test_a_bar_of_another_day_is_quarantined() -> None:
    stale = {**BAR, "T": "IBM", "t": 1356728400000}
    body = answer(resultsCount=100, results=[*({**BAR, "T": f"A{n}"} for n in range(99)), stale])
    kept = contracts.validate(
        load_packaged("extract_massive_daily_prices", "massive_daily_prices"), parse(body, REQUEST)["date=2012-12-31"]
    )
    assert kept.table.num_rows == 99
    assert kept.quarantine is not None
    assert kept.quarantine.num_rows == 1


@pytest.mark.parametrize(
    ("day", "time"),
    [
        ("2005-04-01", "2005-04-01T05:00Z"),  # midnight in New York, where clocks went forward on 3 April
        ("2005-04-04", "2005-04-04T04:00Z"),
        ("2012-03-09", "2012-03-09T21:00Z"),  # the close, before and after a night of 23 hours
        ("2012-03-12", "2012-03-12T20:00Z"),
        ("2012-11-02", "2012-11-02T20:00Z"),  # and of 25
        ("2012-11-05", "2012-11-05T21:00Z"),
        ("2012-02-29", "2012-02-29T21:00Z"),
    ],
)
def test_a_bar_is_of_its_day_in_new_york(day: str, time: str) -> None:
    sent = answer(results=[{**BAR, "t": int(datetime.fromisoformat(time).timestamp() * 1000)}])
    (columns,) = parse(sent, REQUEST._replace(partitions=(f"date={day}",))).values()
    assert columns["date"] == [day]


def test_weekends_are_not_requested() -> None:
    requests = build_requests(start=date(2012, 12, 28), end=date(2012, 12, 31), lookback_days=0)
    assert [request.partitions for request in requests] == [("date=2012-12-28",), ("date=2012-12-31",)]
