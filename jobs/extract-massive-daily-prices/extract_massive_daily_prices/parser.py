"""From Massive's grouped daily answer to columns: T ticker, o h l c in USD, v volume, vw average price, t epoch ms, n trades."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from jobkit import lossless_json
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from jobkit.contract import Columns
    from jobkit.requests import Request

NEW_YORK = ZoneInfo("America/New_York")
FIELDS = ("date", "T", "v", "vw", "o", "c", "h", "l", "t", "n")


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """The day's columns, rows as sent; none of them on a day when the market was closed. A bar whose time is of another day has no date.

    Raises BadDataError when the answer is an error inside a 200, holds fewer rows than it says, is split-adjusted or of another day.
    """
    (partition,) = request.partitions
    day = partition.removeprefix("date=")
    answer = lossless_json.decode(body, f"Massive's answer for {day}")
    if not isinstance(answer, dict) or answer.get("status") not in ("OK", "DELAYED"):
        raise BadDataError(f"Massive's answer for {day} is an error or another document; it begins {body[:80]!r}")
    rows = answer.get("results") or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadDataError(f"Massive's answer for {day} has results that are no list of bars; it begins {body[:80]!r}")
    if answer.get("resultsCount", len(rows)) != len(rows):
        raise BadDataError(f"Massive's answer for {day} says {answer['resultsCount']} rows and holds {len(rows)}")
    if rows and answer.get("adjusted"):
        raise BadDataError(f"Massive's answer for {day} is split-adjusted as of today; it was asked for with adjusted=false")
    days = {time: _day(time) for time in {str(row.get("t")) for row in rows}}
    if days and day not in days.values():
        others = ", ".join(sorted(set(days.values())))[:80]
        raise BadDataError(f"Massive's answer for {day} holds bars of {others}, none of the day asked for")
    dated = [{"date": day if days[str(row.get("t"))] == day else None, **row} for row in rows]
    return {partition: lossless_json.build_columns(dated, FIELDS)}


def _day(time: str) -> str:
    """The day in New York that a bar's time is on, be it the session's close or the midnight before; the time itself where it is none."""
    try:
        return datetime.fromtimestamp(int(time) / 1000, NEW_YORK).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return time
