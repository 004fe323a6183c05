"""Parse FRED's JSON: one row per observation and vintage, per description of a series, per release, per date of a release.

FRED writes a missing or withdrawn value as ".", which becomes null: the row stays, because it says since when there is no value.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from jobkit import lossless_json, paging
from jobkit.errors import BadDataError

from extract_fred_series.source import REAL_TIME

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from jobkit.contracts import Columns
    from jobkit.requests import Request

LISTS = {
    "fred_observations": "observations",
    "fred_series": "seriess",  # as FRED spells it
    "fred_series_releases": "releases",
    "fred_release_dates": "release_dates",
}
(_, FIRST_DAY), (_, LAST_DAY) = REAL_TIME
REQUESTED = {"units": "lin", "output_type": 1}


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Return the columns of the series or release, in the order of the response; empty if it has no rows.

    The series is added to rows that do not name it. Raises BadDataError (exit code 65) if the body is another document, or covers other
    vintages than all: the first and last days of its intervals would be those of the request.
    """
    (partition,) = request.partitions
    key, _, name = partition.partition("=")
    what = f"FRED's answer for {request.dataset} of {partition}"
    pages = paging.read_pages(body, what)
    if request.dataset == "fred_observations":
        rows = _join_windows(pages, what)
    else:
        rows = [row for page in pages for row in paging.read_rows(page, LISTS[request.dataset], what)]
    if key == "series" and request.dataset != "fred_series":
        rows = [{"series_id": name, **row, **({"value": None} if row.get("value") == "." else {})} for row in rows]
    if request.dataset == "fred_series" and {row.get("id") for row in rows} - {name}:
        raise BadDataError(f"{what} describes another series: {rows[0].get('id')!r}")
    return {partition: lossless_json.build_columns(rows)} if rows else {}


def _join_windows(pages: Sequence[dict[str, Any]], what: str) -> list[dict[str, Any]]:
    """Return the rows of all windows of real time, with the parts of one that windows cut joined.

    FRED never repeats a value in two intervals of a period that touch (seen in all 3,199 of GDP), so equal values mean a cut.
    """
    windows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for page in pages:
        if other := {name: page.get(name) for name, value in REQUESTED.items() if page.get(name) != value}:
            raise BadDataError(f"{what} has {other} where {REQUESTED} was requested; look at --base-url")
        window = str(page.get("realtime_start")), str(page.get("realtime_end"))
        windows.setdefault(window, []).extend(paging.read_rows(page, LISTS["fred_observations"], what))
    _check_windows(list(windows), what)
    rows: list[dict[str, Any]] = []
    cut: dict[str, dict[str, Any]] = {}  # the rows that the previous window cut, by period
    for (first, last), found in windows.items():
        before, cut = cut, {}
        for row in found:
            earlier = before.get(str(row.get("date")))
            if earlier and row.get("realtime_start") == first and row.get("value") == earlier.get("value"):
                earlier["realtime_end"] = row.get("realtime_end")
            else:
                rows.append(earlier := row)
            if earlier.get("realtime_end") == last:
                cut[str(row.get("date"))] = earlier
    return rows


def _check_windows(windows: Sequence[tuple[str, str]], what: str) -> None:
    """Raise BadDataError unless the windows cover all of real time, one after the other: else their edges would look like vintages."""
    try:
        follows = [last if last == LAST_DAY else (date.fromisoformat(last) + timedelta(days=1)).isoformat() for _, last in windows]
    except ValueError:
        follows = []
    if [FIRST_DAY, *follows] != [*(first for first, _ in windows), LAST_DAY]:
        raise BadDataError(f"{what} covers real time {windows} where {FIRST_DAY} to {LAST_DAY} was requested; look at --base-url")
