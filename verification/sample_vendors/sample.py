"""The real values in the responses: figures in data/ and in two wheels, each read at its first use."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

FIRST_SESSION, LAST_SESSION = "2009-07-01", "2013-02-28"
TICKERS = ("AAPL", "GOOG", "IBM", "MSFT")


class Bar(NamedTuple):
    """One session of one security: prices in USD as traded, dividend in USD per share (0 unless an ex-date)."""

    session: str
    open: float
    high: float
    low: float
    close: float
    volume: int
    dividend: float


def wheel_file(package: str, path: str) -> Path:
    """Return the path of a file inside a package, without importing it. Raises ModuleNotFoundError if it is not installed."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"Sample data is read from the package {package}, which is absent: run `uv sync`.")
    return Path(spec.submodule_search_locations[0]) / path


@cache
def table(name: str) -> list[dict[str, str]]:
    """Return the rows of data/<name>.csv, in the order of the file."""
    with (Path(__file__).parent / "data" / f"{name}.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


@cache
def bars() -> dict[str, list[Bar]]:
    """Return every session from FIRST_SESSION to LAST_SESSION by ticker, oldest first."""
    dividends = {(row["ticker"], row["ex_date"]): float(row["dividend_usd"]) for row in table("dividends")}
    by_ticker: dict[str, list[Bar]] = defaultdict(list)
    with gzip.open(wheel_file("bokeh_sampledata", "_data/stocks.csv.gz"), "rt", newline="") as lines:
        for row in csv.DictReader(lines):
            ticker, session = row["Ticker"], row["Date"]
            if ticker in TICKERS and FIRST_SESSION <= session <= LAST_SESSION:
                opened, high, low, closed = (float(row[name]) for name in ("Open", "High", "Low", "Close"))
                dividend = dividends.get((ticker, session), 0.0)
                by_ticker[ticker].append(Bar(session, opened, high, low, closed, int(row["Volume"]), dividend))
    return dict(by_ticker)
