"""The calendar that is kept in the project, held against those who know: exchange_calendars, the ECB's own days, the Treasury's."""

from __future__ import annotations

import csv
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import exchange_calendars
import pandas as pd
import pandas_market_calendars
import pytest
from dateutil.easter import easter

from verification.sample_vendors import sample

SEED = Path(__file__).parents[1] / "dbt" / "seeds" / "market_closures.csv"
FEEDS = Path(__file__).parents[2] / "shared" / "feeds"
FIRST = {"XNYS": date(1962, 1, 1), "TARGET": date(1999, 1, 1), "SIFMA": date(1990, 1, 1)}
LAST = date(2035, 12, 31)
# Good Fridays on which the labour report came out and the curve was published; days of mourning and the storm on which none was.
TREASURY_OPEN = ("1996-04-05", "1999-04-02", "2007-04-06", "2010-04-02", "2012-04-06", "2015-04-03")
TREASURY_SHUT = ("1994-04-27", "2001-09-11", "2001-09-12", "2004-06-11", "2012-10-30", "2018-12-05")


def closures(calendar: str) -> dict[date, str]:
    """The closures of a calendar, with the time of an early close."""
    with SEED.open(newline="") as lines:
        return {date.fromisoformat(row["closure_date"]): row["closes_at"] for row in csv.DictReader(lines) if row["calendar"] == calendar}


def weekdays(first: date, last: date) -> list[date]:
    return [day.date() for day in pd.bdate_range(first, last)]


def sessions(calendar: str, first: date, last: date) -> list[date]:
    """The days that dim_calendar would have."""
    known = closures(calendar)
    return [day for day in weekdays(first, last) if known.get(day, "early")]


@pytest.mark.filterwarnings("ignore:Series.values")  # inside exchange_calendars
def test_the_new_york_calendar_equals_exchange_calendars() -> None:
    """For future years, both follow rules only."""
    theirs = exchange_calendars.get_calendar("XNYS", start=FIRST["XNYS"].isoformat(), end=LAST.isoformat())
    assert sessions("XNYS", FIRST["XNYS"], LAST) == [day.date() for day in theirs.sessions]
    closes = theirs.schedule["close"].dt.tz_convert("America/New_York").dt.strftime("%H:%M")
    early = {day.date(): at for day, at in closes.items() if at != "16:00"}
    assert {day: at for day, at in closures("XNYS").items() if at} == early


def test_past_target_days_equal_the_ecb_file() -> None:
    import zipfile

    with zipfile.ZipFile(sample.wheel_file("currency_converter", "eurofxref-hist.zip")) as archive:
        days = sorted(date.fromisoformat(line[:10]) for line in archive.read("eurofxref-hist.csv").decode().splitlines()[1:])
    assert sessions("TARGET", days[0], days[-1]) == days


def test_future_target_days_follow_the_rule() -> None:
    expected = set()
    for year in range(2002, LAST.year + 1):
        sunday = easter(year)
        expected |= {
            date(year, 1, 1),
            sunday - timedelta(2),
            sunday + timedelta(1),
            date(year, 5, 1),
            date(year, 12, 25),
            date(year, 12, 26),
        }
    assert {day for day in closures("TARGET") if day.year >= 2002} == {day for day in expected if day.weekday() < 5}


def test_treasury_days_are_bond_market_days_except_a_few_that_it_decided() -> None:
    theirs = {day.date() for day in pandas_market_calendars.get_calendar("SIFMAUS").valid_days(FIRST["SIFMA"], LAST)}
    ours = set(sessions("SIFMA", FIRST["SIFMA"], LAST))
    assert sorted(map(str, ours - theirs)) == sorted(TREASURY_OPEN)
    assert sorted(map(str, theirs - ours)) == sorted(TREASURY_SHUT)


def test_the_sample_has_a_curve_on_every_treasury_day() -> None:
    days = [date.fromisoformat(row["date"]) for row in sample.table("treasury_par_yields") if row["10 Yr"]]
    assert sessions("SIFMA", days[0], days[-1]) == days


@pytest.mark.skipif(not FEEDS.exists(), reason="the vendors' own files are not on this machine")
def test_treasury_days_equal_its_own_file() -> None:
    table = pd.read_csv(FEEDS / "treasury" / "par_yield_curve_1990_2024_mdyy.csv").dropna(thresh=2)
    days = sorted(day.date() for day in pd.to_datetime(table.iloc[:, 0], format="%m/%d/%y"))
    assert sessions("SIFMA", days[0], days[-1]) == days


def test_the_calendars_cover_the_coming_years() -> None:
    """Extend market_closures.csv and dim_calendar when this fails."""
    assert datetime.now(UTC).date() + timedelta(days=3 * 365) < LAST
