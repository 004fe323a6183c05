"""Parse FRED's JSON: one row per observation and vintage, per description of a series, per release, per date of a release.

FRED writes a missing or withdrawn value as ".", which becomes null: the row stays, because it says since when there is no value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import lossless_json, paging
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from typing import Any

    from jobkit.contracts import Columns
    from jobkit.requests import Request

LISTS = {
    "fred_observations": "observations",
    "fred_series": "seriess",  # as FRED spells it
    "fred_series_releases": "releases",
    "fred_release_dates": "release_dates",
}
ASKED = {"realtime_start": "1776-07-04", "realtime_end": "9999-12-31", "units": "lin", "output_type": 1}


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Return the columns of the series or release, in the order of the response; empty if it has no rows.

    The series is added to rows that do not name it. Raises BadDataError (exit code 65) if the body is another document, or covers other
    vintages than all: the first and last days of its intervals would be those of the request.
    """
    (partition,) = request.partitions
    key, _, name = partition.partition("=")
    what = f"FRED's answer for {request.dataset} of {partition}"
    rows: list[dict[str, Any]] = []
    for page in paging.read_pages(body, what):
        if request.dataset == "fred_observations":
            _check_window(page, what)
        rows += paging.read_rows(page, LISTS[request.dataset], what)
    if key == "series" and request.dataset != "fred_series":
        rows = [{"series_id": name, **row, **({"value": None} if row.get("value") == "." else {})} for row in rows]
    if request.dataset == "fred_series" and {row.get("id") for row in rows} - {name}:
        raise BadDataError(f"{what} describes another series: {rows[0].get('id')!r}")
    return {partition: lossless_json.build_columns(rows)} if rows else {}


def _check_window(page: dict[str, Any], what: str) -> None:
    """Raise BadDataError if observations are not those of all vintages, in the series' own units and one row per interval."""
    if other := {name: page.get(name) for name, value in ASKED.items() if page.get(name) != value}:
        raise BadDataError(f"{what} has {other} where { ({name: ASKED[name] for name in other}) } was requested; look at --base-url")
