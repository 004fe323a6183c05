"""Parse Massive's grouped daily bars: one row per ticker.

Fields: T ticker; o, h, l, c prices in USD; v volume in shares; vw volume-weighted average price in USD; t epoch in ms; n number of trades.
"""

from __future__ import annotations

from datetime import datetime, tzinfo
from functools import cache
from typing import TYPE_CHECKING

from jobkit import lossless_json
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from jobkit.contracts import Columns
    from jobkit.requests import Request

FIELDS = ("date", "T", "v", "vw", "o", "c", "h", "l", "t", "n")


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Return the columns of the requested day, in the vendor's order; no rows if the market was closed. A bar of another day gets no date.

    Raises BadDataError (exit code 65) if the response is an error with status 200, has another number of rows than it states, is
    split-adjusted, or has only bars of other days.
    """
    (partition,) = request.partitions
    day = partition.removeprefix("date=")
    answer = lossless_json.decode(body, f"Massive's answer for {day}")
    if not isinstance(answer, dict) or answer.get("status") not in ("OK", "DELAYED"):
        raise BadDataError(f"Massive's answer for {day} is an error or another document; it begins {body[:80]!r}")
    rows = answer.get("results") or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadDataError(f"Massive's answer for {day} has results that are not a list of bars; it begins {body[:80]!r}")
    if answer.get("resultsCount", len(rows)) != len(rows):
        raise BadDataError(f"Massive's answer for {day} states {answer['resultsCount']} rows and has {len(rows)}")
    if rows and answer.get("adjusted"):
        raise BadDataError(f"Massive's answer for {day} is split-adjusted as of today, although the request has adjusted=false")
    days = {time: _day(time) for time in {str(row.get("t")) for row in rows}}
    if days and day not in days.values():
        others = ", ".join(sorted(set(days.values())))[:80]
        raise BadDataError(f"Massive's answer for {day} has bars of {others}, none of the requested day")
    dated = [{"date": day if days[str(row.get("t"))] == day else None, **row} for row in rows]
    return {partition: lossless_json.build_columns(dated, FIELDS)}


@cache
def _new_york() -> tzinfo:
    from zoneinfo import ZoneInfo  # noqa: PLC0415  describe does not parse

    return ZoneInfo("America/New_York")


def _day(time: str) -> str:
    """Return the day in New York of a bar's time, which is its session's close or the midnight before. Return other text unchanged."""
    try:
        return datetime.fromtimestamp(int(time) / 1000, _new_york()).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return time
