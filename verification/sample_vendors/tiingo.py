"""api.tiingo.com: prices per ticker with dividends, splits and adjusted values; the token is any but `refused`.

The first request for GOOG's prices in a server's life is answered 429 with Retry-After: 1. Among IBM's prices is one row that no vendor
sent: the contract rejects it, so that the quarantine has something to show. Its day had no session, so it replaces no real figure.
"""

from __future__ import annotations

import csv
import io
from datetime import date
from functools import cache
from itertools import pairwise
from typing import TypedDict

from verification.sample_vendors import sample
from verification.sample_vendors.wire import Answer, Request, json_answer, not_found

HEADERS = {"Allow": "GET, HEAD, OPTIONS", "Vary": "Accept, Cookie", "X-Frame-Options": "SAMEORIGIN"}
BUSY_TICKER = "GOOG"
BAD_TICKER, CLOSED_DAY = "IBM", "2012-10-29"  # New York was closed for Hurricane Sandy
RUN_OVER = (
    "Error: You have run over your hourly request allocation. "
    "Please upgrade at https://api.tiingo.com/pricing to have your limits increased."
)
NAMES = {
    "AAPL": ("Apple Inc", "NASDAQ"),
    "GOOG": ("Google Inc", "NASDAQ"),
    "IBM": ("International Business Machines Corp", "NYSE"),
    "MSFT": ("Microsoft Corp", "NASDAQ"),
}


class Price(TypedDict):
    """One element of the vendor's list, in the vendor's order."""

    date: str
    close: float
    high: float
    low: float
    open: float
    volume: int
    adjClose: float
    adjHigh: float
    adjLow: float
    adjOpen: float
    adjVolume: int
    divCash: float
    splitFactor: float


def answer(request: Request) -> Answer:
    """Serve /api/test, /tiingo/daily/<ticker> and /tiingo/daily/<ticker>/prices to clients with a token."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip() if scheme == "Token" else request.query.get("token", "")
    if not token:
        return _detail(401, "Please supply a token")
    if token == "refused":  # noqa: S105  (a word that stands for a bad token)
        return _detail(403, "Invalid token.")
    match request.path.strip("/").split("/"):
        case ["api", "test"]:
            return json_answer(200, {"message": "You successfully sent a request"}, HEADERS)
        case ["tiingo", "daily", ticker]:
            return _for_known(ticker) or _metadata(ticker.upper())
        case ["tiingo", "daily", ticker, "prices"]:
            return _for_known(ticker) or _prices(ticker.upper(), request)
    return not_found()


@cache
def history(ticker: str) -> list[Price]:
    """Return every session of the sample, oldest first. Dividends after the last session are unknown and adjust nothing."""
    bars = sample.bars()[ticker]
    factors = [1.0]
    for before, bar in reversed(list(pairwise(bars))):
        factors.append(factors[-1] * (1 - bar.dividend / before.close))
    return [_price(bar, factor) for bar, factor in zip(bars, reversed(factors), strict=True)]


def _price(bar: sample.Bar, factor: float) -> Price:
    return {
        "date": f"{bar.session}T00:00:00.000Z",
        "close": bar.close, "high": bar.high, "low": bar.low, "open": bar.open, "volume": bar.volume,
        "adjClose": bar.close * factor, "adjHigh": bar.high * factor, "adjLow": bar.low * factor,
        "adjOpen": bar.open * factor, "adjVolume": bar.volume, "divCash": bar.dividend, "splitFactor": 1.0,
    }  # fmt: skip


def _bad_price() -> Price:
    """Return the previous close on a day without a session, with a high and a low of zero, so that close <= high does not hold."""
    last = max((price for price in history(BAD_TICKER) if price["date"] < CLOSED_DAY), key=lambda price: price["date"])
    zeros: Price = {
        **last,
        "high": 0.0,
        "low": 0.0,
        "open": 0.0,
        "volume": 0,
        "adjHigh": 0.0,
        "adjLow": 0.0,
        "adjOpen": 0.0,
        "adjVolume": 0,
    }
    return {**zeros, "date": f"{CLOSED_DAY}T00:00:00.000Z", "divCash": 0.0}


def _for_known(ticker: str) -> Answer | None:
    return None if ticker.upper() in sample.TICKERS else _detail(404, f"Error: Ticker '{ticker}' not found")


def _metadata(ticker: str) -> Answer:
    name, exchange = NAMES[ticker]
    about = {"ticker": ticker, "name": name, "description": name, "exchangeCode": exchange}
    return json_answer(200, {**about, "startDate": sample.FIRST_SESSION, "endDate": sample.LAST_SESSION}, HEADERS)


def _prices(ticker: str, request: Request) -> Answer:
    """Return the requested days, both ends included, or the latest day if none is given."""
    if ticker == BUSY_TICKER and not request.seen:
        return _busy()
    prices = history(ticker)
    if ticker == BAD_TICKER:
        prices = sorted([*prices, _bad_price()], key=lambda price: price["date"])
    start, end = (request.query.get(name, "") for name in ("startDate", "endDate"))
    try:
        first = date.fromisoformat(start or sample.FIRST_SESSION).isoformat()
        last = date.fromisoformat(end or sample.LAST_SESSION).isoformat()
    except ValueError:
        return _detail(400, "Error: dates have the format YYYY-MM-DD")
    chosen = [price for price in prices if first <= price["date"][:10] <= last] if start or end else prices[-1:]
    return _csv(chosen) if request.query.get("format") == "csv" else json_answer(200, chosen, HEADERS)


def _csv(prices: list[Price]) -> Answer:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Price.__annotations__), lineterminator="\n")
    writer.writeheader()
    writer.writerows({**price, "date": price["date"][:10]} for price in prices)
    return Answer(200, text.getvalue().encode(), "text/csv", HEADERS)


def _busy() -> Answer:
    return json_answer(429, {"detail": RUN_OVER}, {**HEADERS, "Retry-After": "1"})


def _detail(status: int, text: str) -> Answer:
    return json_answer(status, {"detail": text}, HEADERS)
