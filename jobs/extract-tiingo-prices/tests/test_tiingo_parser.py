"""Recorded Tiingo responses are parsed; other bodies are refused."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from extract_tiingo_prices.parser import parse
from extract_tiingo_prices.source import build_requests
from jobkit import contracts
from jobkit.contracts import load_packaged
from jobkit.errors import BadDataError
from jobkit.requests import Request

REQUEST = Request("tiingo_prices", ("ticker=AAPL/year=2012", "ticker=AAPL/year=2013"), "/")
DAY = (
    b'{"date":"2012-12-31T00:00:00.000Z","close":532.17,"high":535.4,"low":509.0,"open":510.53,"volume":23553300,"adjClose":69.0012345678901,'
    b'"adjHigh":69.4,"adjLow":66.1,"adjOpen":66.2,"adjVolume":164873100,"divCash":0.0,"splitFactor":1.0}'
)


def test_a_day_keeps_every_digit() -> None:
    columns = parse(b"[" + DAY + b"]", REQUEST)["ticker=AAPL/year=2012"]
    kept = contracts.validate(load_packaged("extract_tiingo_prices", "tiingo_prices"), columns)
    row = {name: kept.table[name][0].as_py() for name in ("ticker", "date", "close", "volume", "adjClose", "splitFactor")}
    assert kept.quarantine is None
    assert row == {
        "ticker": "AAPL",
        "date": date(2012, 12, 31),
        "close": Decimal("532.17"),
        "volume": 23553300,
        "adjClose": 69.0012345678901,
        "splitFactor": Decimal(1),
    }


def test_years_without_prices_are_left_out() -> None:
    assert set(parse(b"[" + DAY + b"]", REQUEST)) == {"ticker=AAPL/year=2012"}
    assert parse(b"[]", REQUEST) == {}


def test_days_may_come_in_any_order() -> None:
    days = ["2012-12-31", "2013-01-02", "2012-02-29", "2013-01-03", "2012-02-28"]
    body = b"[" + b",".join(DAY.replace(b"2012-12-31", day.encode()) for day in days) + b"]"
    found = {partition: columns["date"] for partition, columns in parse(body, REQUEST).items()}
    assert found == {
        "ticker=AAPL/year=2012": ["2012-02-28", "2012-02-29", "2012-12-31"],
        "ticker=AAPL/year=2013": ["2013-01-02", "2013-01-03"],
    }


@pytest.mark.parametrize("body", [b"", b"[{]", b'{"detail":"Error: Ticker \'ZZZZ\' not found"}', b'[{"close":1}]', b"<html>"])
def test_another_document_is_refused(body: bytes) -> None:
    with pytest.raises(BadDataError, match="Tiingo's answer for AAPL"):
        parse(body, REQUEST)


def test_a_request_covers_whole_years_and_each_ticker_once() -> None:
    (request,) = build_requests(tickers=["AAPL", "AAPL"], start=date(2012, 6, 1), end=date(2013, 2, 28), lookback_days=0)
    assert dict(request.params)["startDate"] == "2012-01-01"
    assert dict(request.params)["endDate"] == "2013-12-31"
    assert request.partitions == REQUEST.partitions
