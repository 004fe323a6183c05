"""api.stlouisfed.org: GDP with its vintages up to 2013-02-28, and the calendars of its release and of the CPI's; any key but `refused`.

As the service does, it answers a bad request with 400 and tells the reasons apart only by words, refuses observations of more than
MAX_VINTAGES vintages, cuts intervals at the edges of the requested real time, and sends pages that say how many rows there are in all.
"""

from __future__ import annotations

from datetime import date, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from verification.sample_vendors import sample
from verification.sample_vendors.wire import Answer, Request, json_answer, not_found

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Row = dict[str, object]
LAST_DAY, OPEN_END = "2013-02-28", "9999-12-31"
FIRST_VINTAGE = "1991-12-04"
MAX_VINTAGES = 2000
PATHS = {f"/fred/series{path}" for path in ("", "/release", "/vintagedates", "/observations")} | {"/fred/release/dates"}
SERIES = {
    "title": "Gross Domestic Product",
    "observation_start": "1947-01-01",
    "observation_end": "2012-10-01",
    "frequency": "Quarterly",
    "frequency_short": "Q",
    "units": "Billions of Dollars",
    "units_short": "Bil. of $",
    "seasonal_adjustment": "Seasonally Adjusted Annual Rate",
    "seasonal_adjustment_short": "SAAR",
    "last_updated": "2013-02-28 07:54:01-06",
    "popularity": 93,
    "notes": "BEA Account Code: A191RC",
}
RELEASES = {"10", "53"}
RELEASE = {"id": 53, "name": "Gross Domestic Product", "press_release": True, "link": "https://www.bea.gov/data/gdp/gross-domestic-product"}


def answer(request: Request) -> Answer:
    """Serve /fred/series, its /release and its /observations for GDP, and /fred/release/dates, to clients with a key."""
    if request.path not in PATHS:
        return not_found()
    today = min(request.today, LAST_DAY)
    first, last = request.query.get("realtime_start", today), request.query.get("realtime_end", today)
    return _find_problem(request, first, last, today) or _answer(request, first, last, today)


def _find_problem(request: Request, first: str, last: str, today: str) -> Answer | None:
    """Return the service's refusal of a request, if it refuses it."""
    key, of_series = request.query.get("api_key", ""), request.path.startswith("/fred/series")
    if key in {"", "refused"}:
        return _error(f"The value for variable api_key {'is not registered' if key else 'has not been set'}.")
    if last > today and last != OPEN_END:
        return _error(
            f"Variable realtime_end can not be after today's date ({today}) unless it's equal to the real-time max date {OPEN_END}."
        )
    if of_series and request.query.get("series_id") != "GDP":
        return _error("The series does not exist.")
    if request.path == "/fred/series/observations" and (count := len(vintage_dates(first, last, today))) > MAX_VINTAGES:
        return _error(
            f"There are {count} vintage dates in the specified real-time period: {first} to {last}.  "
            f"This exceeds the maximum number of vintage dates allowed ({MAX_VINTAGES})."
        )
    if request.path == "/fred/release/dates" and request.query.get("release_id") not in RELEASES:
        return _error("The release does not exist.")
    return None


def _answer(request: Request, first: str, last: str, today: str) -> Answer:
    window: Row = {"realtime_start": first, "realtime_end": last}
    interval: Row = {"realtime_start": max(first, FIRST_VINTAGE), "realtime_end": last}
    match request.path:
        case "/fred/series":
            return json_answer(200, {**window, "seriess": [{"id": "GDP", **interval, **SERIES}]})
        case "/fred/series/release":
            return json_answer(200, {**window, "releases": [{**RELEASE, **interval}]})
        case "/fred/series/vintagedates":
            return _page(request, window, "vintage_dates", vintage_dates(first, last, today), 10_000)
        case "/fred/series/observations":
            asked: Row = {**window, "observation_start": "1600-01-01", "observation_end": OPEN_END, "units": "lin", "output_type": 1}
            return _page(request, asked, "observations", list(observations(first, last, today)), 100_000)
    number, upcoming = request.query["release_id"], request.query.get("include_release_dates_with_no_data") == "true"
    days = [row["date"] for row in sample.table("fred_release_dates") if row["release_id"] == number]
    rows: list[Row] = [{"release_id": int(number), "date": day} for day in days if upcoming or day <= today]
    return _page(request, window, "release_dates", rows, 10_000)


def vintage_dates(first: str, last: str, today: str) -> list[str]:
    """Return the days from `first` to `last` on which values of GDP were published."""
    return sorted(
        {row["realtime_start"] for row in sample.table("fred_gdp_vintages") if first <= row["realtime_start"] <= min(last, today)}
    )


def observations(first: str = "1776-07-04", last: str = OPEN_END, today: str = LAST_DAY) -> Iterator[Row]:
    """Yield the versions of GDP that were current on some day from `first` to `last`, each with its interval cut to these days."""
    known = [row for row in sample.table("fred_gdp_vintages") if row["realtime_start"] <= today]
    for period, group in groupby(known, lambda row: row["date"]):
        versions = list(group)
        ends = [_day_before(row["realtime_start"]) for row in versions[1:]] + [OPEN_END]
        for row, end in zip(versions, ends, strict=True):
            if row["realtime_start"] <= last and end >= first:
                interval = {"realtime_start": max(row["realtime_start"], first), "realtime_end": min(end, last)}
                yield {**interval, "date": period, "value": row["value"]}


def _page(request: Request, head: Row, name: str, rows: Sequence[object], most: int) -> Answer:
    offset, limit = int(request.query.get("offset", "0")), min(int(request.query.get("limit", str(most))), most)
    page = {"count": len(rows), "offset": offset, "limit": limit, name: rows[offset : offset + limit]}
    return json_answer(200, {**head, "sort_order": "asc", **page})


def _day_before(day: str) -> str:
    return (date.fromisoformat(day) - timedelta(days=1)).isoformat()


def _error(text: str) -> Answer:
    return json_answer(400, {"error_code": 400, "error_message": f"Bad Request.  {text}"})._replace(content_type="text/xml;charset=UTF-8")
