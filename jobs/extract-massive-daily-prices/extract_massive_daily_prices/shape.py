"""From Massive's grouped daily answer to columns: T ticker, o h l c in USD, v volume, vw average price, t epoch ms, n trades."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import jsontext
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from jobkit.contract import Columns
    from jobkit.extract import Ask

FIELDS = ("date", "T", "v", "vw", "o", "c", "h", "l", "t", "n")


def shape(body: bytes, ask: Ask) -> dict[str, Columns]:
    """The day's columns, rows as sent; none of them on a day when the market was closed.

    Raises BadDataError when the answer is an error inside a 200, holds fewer rows than it says, or is split-adjusted.
    """
    (partition,) = ask.partitions
    day = partition.removeprefix("date=")
    answer = jsontext.decode(body, f"Massive's answer for {day}")
    if not isinstance(answer, dict) or answer.get("status") not in ("OK", "DELAYED"):
        raise BadDataError(f"Massive's answer for {day} is an error or another document; it begins {body[:80]!r}")
    rows = answer.get("results") or []
    if answer.get("resultsCount", len(rows)) != len(rows):
        raise BadDataError(f"Massive's answer for {day} says {answer['resultsCount']} rows and holds {len(rows)}")
    if rows and answer.get("adjusted"):
        raise BadDataError(f"Massive's answer for {day} is split-adjusted as of today; it was asked for with adjusted=false")
    return {partition: jsontext.columns([{"date": day, **row} for row in rows], FIELDS)}
