"""Answers of vendors with real figures: of the sample vendors, and of files that are on some machines only (feeds).

The price table of 2015 to 2017 becomes Tiingo's and Massive's answers by a recipe: a row counts as it last stood in the day files, a
dividend is what the day before lost in adjusted close, splits are those that were announced. Prices, dates and volumes are untouched.
"""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from tests import recorded_lake
from verification.sample_vendors import ecb, sample, sec, sec_lists, treasury
from verification.sample_vendors import tiingo as sample_tiingo

if TYPE_CHECKING:
    from tests.recorded_lake import Answer

FEEDS = Path(__file__).parents[2] / "shared" / "feeds"
PRICES = FEEDS / "prices_2015_2017" / "prices_63tickers_all_files.csv.gz"
SPLITS = {("SBUX", "2015-04-09"): 2, ("NFLX", "2015-07-15"): 7, ("NKE", "2015-12-24"): 2}
TOO_BAD = {"CUI", "MSG"}  # prices of zero; a row twice on most days: more than their contracts allow of so small a part of the market
ISSUERS = {"AAPL": 320193, "NVDA": 1045810, "GOOGL": 1652044}
Row = dict[str, str]


def of_the_sample() -> list[Answer]:
    """Everything the sample vendors know, as they send it."""
    years = sorted({row["date"][:4] for row in sample.table("treasury_par_yields")})
    return [
        *(recorded_lake.tiingo(ticker, [dict(price) for price in sample_tiingo.history(ticker)]) for ticker in sample.TICKERS),
        recorded_lake.ecb(ecb.publication("eurofxref-hist").body, 2009, 2013),
        *(recorded_lake.treasury(year, treasury.curve(year)) for year in years),
        recorded_lake.facts(320193, sec.company_facts()),
        recorded_lake.filers(sec.company_tickers()),
        recorded_lake.filing_lists(320193, sec_lists.join_documents()),
    ]


def of_the_feeds() -> list[Answer]:
    """Fifty-odd tickers of 2015 to 2017, and the whole of the rates, yields and facts there are."""
    return [
        *(recorded_lake.tiingo(ticker, prices) for ticker, prices in tiingo_prices().items() if ticker not in TOO_BAD),
        *(recorded_lake.massive(day, massive_rows(day)) for day in ("2015-07-13", "2015-07-14", "2015-11-20", "2016-08-31", "2016-09-01")),
        recorded_lake.ecb((FEEDS / "ecb" / "eurofxref-hist.zip").read_bytes(), 1999, 2026),
        *(recorded_lake.treasury(year, text) for year, text in treasury_years().items()),
        *(
            recorded_lake.facts(cik, gzip.decompress((FEEDS / "sec" / f"companyfacts_CIK{cik:010}.json.gz").read_bytes()))
            for cik in ISSUERS.values()
        ),
        recorded_lake.filers(gzip.decompress((FEEDS / "sec" / "company_tickers.json.gz").read_bytes())),
        *fred("2024-11-03"),
    ]


def fred(day: str) -> list[Answer]:
    """GDP with its vintages and its release, and the calendar of the CPI, as FRED sent them on a day."""
    observations = gzip.decompress((FEEDS / "fred" / f"observations_GDP_all_vintages_{day}.json.gz").read_bytes())
    return [
        recorded_lake.fred("fred_series", "series=GDP", (FEEDS / "fred" / f"series_GDP_{day}.json").read_bytes()),
        recorded_lake.fred("fred_series_releases", "series=GDP", (FEEDS / "fred" / "series_release_GDP.json").read_bytes()),
        recorded_lake.fred("fred_observations", "series=GDP", observations),
        recorded_lake.fred("fred_release_dates", "release=10", (FEEDS / "fred" / f"release_10_dates_{day}.json").read_bytes()),
    ]


def unpacked(name: str) -> bytes:
    """A gzipped file of the feeds."""
    return gzip.decompress((FEEDS / name).read_bytes())


@cache
def day_rows() -> tuple[Row, ...]:
    """Every row of every day file, as it stood there."""
    with gzip.open(PRICES, "rt", newline="") as lines:
        return tuple(row for row in csv.DictReader(lines) if row["symbol"] != "symbol")


@cache
def tiingo_prices() -> dict[str, list[dict[str, object]]]:
    """Tiingo's list of days by ticker, oldest first."""
    last: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in day_rows():
        last[row["symbol"]][row["date"]] = row
    return {ticker: _days(ticker, [days[day] for day in sorted(days)]) for ticker, days in sorted(last.items())}


def _days(ticker: str, rows: list[Row]) -> list[dict[str, object]]:
    seen = {(row["date"], row["file_date"]): row for row in day_rows() if row["symbol"] == ticker}
    days: list[dict[str, object]] = []
    factor = 1.0
    for before, row in reversed(list(zip([None, *rows[:-1]], rows, strict=True))):
        the_day_before = seen.get((before["date"], row["date"].replace("-", ""))) if before else None
        paid = _dividend(the_day_before) if the_day_before else 0.0
        split = SPLITS.get((ticker, row["date"]), 1)
        prices = {name: float(row[name]) for name in ("close", "high", "low", "open")}
        adjusted = {f"adj{name.title()}": price * factor for name, price in prices.items()}
        actions = {"divCash": paid, "splitFactor": split, "adjVolume": int(row["volume"])}
        days.append({"date": f"{row['date']}T00:00:00.000Z", **prices, "volume": int(row["volume"]), **adjusted, **actions})
        factor *= (1 - paid / float(before["close"])) / split if before and float(before["close"]) else 1.0
    return days[::-1]


def _dividend(row: Row) -> float:
    """What a day lost in adjusted close when the next day's file was made; more than a twentieth is no dividend."""
    paid = round(float(row["close"]) - float(row["adj_close"]), 2)
    return paid if 0.01 < paid < 0.05 * float(row["close"]) else 0.0


def massive_rows(day: str) -> list[dict[str, object]]:
    """Massive's results for a day: what that day's file says of the day itself."""
    closed_at = int(datetime.fromisoformat(f"{day}T16:00").replace(tzinfo=ZoneInfo("America/New_York")).timestamp() * 1000)
    rows = [row for row in day_rows() if (row["file_date"], row["date"]) == (day.replace("-", ""), day) and row["symbol"] not in TOO_BAD]
    names = {"o": "open", "h": "high", "l": "low", "c": "close"}.items()
    return [
        {"T": row["symbol"], "v": int(row["volume"]), **{ours: float(row[name]) for ours, name in names}, "t": closed_at} for row in rows
    ]  # fmt: skip


@cache
def treasury_years() -> dict[str, str]:
    """The Treasury's own file, cut into years."""
    header, *lines = (FEEDS / "treasury" / "par_yield_curve_1990-01-02_2022-03-31_official.csv").read_text().splitlines()
    years: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        years[line.split(",", 1)[0].strip('"')[-4:]].append(line)
    return {year: "\n".join([header, *found]) for year, found in years.items() if "2008" <= year <= "2018"}
