"""home.treasury.gov: the daily par yield curve as CSV, 2009 to 2013, by year, by month or in one piece.

Dates are MM/DD/YYYY, newest first, the tenors quoted and different by year; 2010-10-11 is a row of blanks; a year
without data is a header row alone. Neither ETag nor Last-Modified: none is known of the real host.
"""

from __future__ import annotations

import re
from datetime import date

from verification.sample_vendors import sample
from verification.sample_vendors.wire import LAST_DAY, Answer, Request, not_found

FOLDER = "/resource-center/data-chart-center/interest-rates/daily-treasury-rates.csv/"
PERIOD = re.compile(r"(\d{4}|all)/(\d{6}|all)")
TENOR_SINCE = {
    "1 Mo": 2001, "1.5 Month": 2025, "2 Mo": 2018, "3 Mo": 1990, "4 Mo": 2022, "6 Mo": 1990, "1 Yr": 1990,
    "2 Yr": 1990, "3 Yr": 1990, "5 Yr": 1990, "7 Yr": 1990, "10 Yr": 1990, "20 Yr": 1990, "30 Yr": 1990,
}  # fmt: skip


def answer(request: Request) -> Answer:
    """Serve the curves of a year (2012/all), of a month (all/201210) or of all days (all/all)."""
    asked = PERIOD.fullmatch(request.path.removeprefix(FOLDER))
    if asked is None or request.query.get("type") != "daily_treasury_yield_curve":
        return not_found()
    year, month = (part if part != "all" else "" for part in asked.groups())
    period = f"{month[:4]}-{month[4:]}" if month else year
    disposition = {"Content-Disposition": 'attachment; filename="daily-treasury-rates.csv"'}
    return Answer(200, curve(period, request.today).encode(), "text/csv; charset=UTF-8", disposition)


def curve(period: str, today: str = LAST_DAY) -> str:
    """Return the CSV of the days up to today whose ISO date starts with the period; all days if it is empty."""
    year = int(period[:4] or sample.LAST_SESSION[:4])
    tenors = [tenor for tenor, since in TENOR_SINCE.items() if since <= year]
    header = ",".join(["Date", *(f'"{tenor}"' for tenor in tenors)])
    rows = [row for row in reversed(sample.table("treasury_par_yields")) if row["date"].startswith(period) and row["date"] <= today]
    return "\n".join([header, *(_day(row, tenors) for row in rows)])


def _day(row: dict[str, str], tenors: list[str]) -> str:
    return ",".join([f"{date.fromisoformat(row['date']):%m/%d/%Y}", *(row[tenor] for tenor in tenors)])
