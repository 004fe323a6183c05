"""data-api.ecb.europa.eu: the euro short-term rate of 2025-01-02 to 2025-01-10 with its percentiles and volumes, as SDMX-CSV.

Each row has the key of the series, its dimensions and all attributes; most attributes are empty. A series or days without observations
are a 404, and before 2024 a 200 without a body: the service has answered either. Answers have a Last-Modified, and conditional requests
are answered with 304. Nothing was updated after the service's own day. The path may lack /service, so that the base URL is the host, as
for the other vendors.
"""

from __future__ import annotations

import csv
import io
import re
from typing import NamedTuple

from verification.sample_vendors import sample
from verification.sample_vendors.wire import Answer, Request

PATH = re.compile(r"(?:/service)?/data/(?:ECB,)?EST/B\.EU000A2X2A25\.(\w+)")
UPDATED_AT = "2025-01-13T07:00:05+00:00"
PUBLISHED_AT = "Mon, 13 Jan 2025 07:00:05 GMT"
FIRST_COLUMNS = ("KEY", "FREQ", "BENCHMARK_ITEM", "DATA_TYPE_EST", "TIME_PERIOD", "OBS_VALUE", "OBS_STATUS", "CONF_STATUS")
OF_OBSERVATIONS = ("PRE_BREAK_VALUE", "COMMENT_OBS", "CALCUL_START_DATE", "CALCUL_END_DATE")
OF_SERIES = (
    *("TIME_FORMAT", "BREAKS", "COMMENT_TS", "COMPILING_ORG", "COVERAGE", "DATA_COMP", "DECIMALS", "DISS_ORG", "PUBL_ECB", "PUBL_MU"),
    *("PUBL_PUBLIC", "TIME_PER_COLLECT", "TITLE", "TITLE_COMPL", "UNIT_INDEX_BASE", "UNIT_MEASURE", "UNIT_MULT"),
)
COLUMNS = (*FIRST_COLUMNS, *OF_OBSERVATIONS, *OF_SERIES)
SILENT_BEFORE = "2024"
COVERAGE = "ESA 2010 Sectors: S.121, S.122, S.123, S.124, S.125, S.126, S.127, S.128, S.129"


class Item(NamedTuple):
    """What the series of an item say about themselves."""

    title: str
    decimals: int
    unit: str
    power: int
    collected: str


ITEMS = {
    "WT": Item("Volume-weighted trimmed mean rate", 3, "PC", 0, "A"),
    "R25": Item("Rate at 25th percentile of volume", 2, "PC", 0, "V"),
    "R75": Item("Rate at 75th percentile of volume", 2, "PC", 0, "V"),
    "TT": Item("Total volume", 0, "EUR", 6, "S"),
    "NT": Item("Number of transactions", 0, "_Z", 0, "S"),
    "NB": Item("Number of active banks", 0, "_Z", 0, "S"),
    "VL": Item("Share of volume of the 5 largest active banks", 0, "PC", 0, "V"),
}


def answer(request: Request) -> Answer:
    """Return the requested days of a series, or 304 if the client has the current answer."""
    asked = PATH.fullmatch(request.path)
    first, last = request.query.get("startPeriod", ""), min(request.query.get("endPeriod", request.today), request.today)
    if request.query.get("updatedAfter", "") > UPDATED_AT:
        return Answer(404, b"No results found.", "text/plain")
    body = observations(asked[1], first, last) if asked and asked[1] in ITEMS and request.query.get("format") == "csvdata" else ""
    if not body and asked and last < SILENT_BEFORE:
        return Answer(200, b"", "text/csv")
    if not body:
        return Answer(404, b"No results found.", "text/plain")
    validators = {"Last-Modified": PUBLISHED_AT}
    if request.headers.get("If-Modified-Since") == PUBLISHED_AT:
        return Answer(304, b"", "text/csv", validators)
    return Answer(200, body.encode(), "text/csv", validators)


def observations(item: str, first: str, last: str) -> str:
    """Return the days of an item from `first` to `last` as the service writes them; nothing at all if there are none."""
    days = [row for row in sample.table("ecb_euro_short_term_rate") if first <= row["TIME_PERIOD"] <= last]
    text = io.StringIO()
    lines = csv.DictWriter(text, COLUMNS, restval="")
    lines.writeheader()
    lines.writerows(_write_day(item, row["TIME_PERIOD"], row[item]) for row in days)
    return text.getvalue() if days else ""


def _write_day(item: str, day: str, value: str) -> dict[str, str | int]:
    about = ITEMS[item]
    return {
        "KEY": f"EST.B.EU000A2X2A25.{item}",
        "FREQ": "B",
        "BENCHMARK_ITEM": "EU000A2X2A25",
        "DATA_TYPE_EST": item,
        "TIME_PERIOD": day,
        "OBS_VALUE": value,
        "OBS_STATUS": "A",
        "CONF_STATUS": "F",
        "TIME_FORMAT": "P1D",
        "COVERAGE": COVERAGE,
        "DECIMALS": about.decimals,
        "TIME_PER_COLLECT": about.collected,
        "TITLE": "Euro short-term rate" + (f", {about.title}" if item != "WT" else ""),
        "TITLE_COMPL": f"Euro short-term rate, {about.title} - Unsecured - Overnight - Borrowing - Financial corporations",
        "UNIT_MEASURE": about.unit,
        "UNIT_MULT": about.power,
    }
