"""Parse the New York Fed's JSON: one row per day of a rate, in the order of the answer (newest first).

Each rate has columns of its own: EFFR has the target range, SOFR's averages have no rate at all. What a rate does not have is null, and so
is what the Fed did not publish of a day, which it writes as the text NA (SOFR's percentiles of 2019-05-31 and 2021-08-05).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import lossless_json, paging
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from jobkit.contracts import Columns
    from jobkit.requests import Request


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Return the columns of the requested rate and year; empty for a year without rates.

    Raises BadDataError (exit code 65) if the body is another document, or has another rate or days of another year.
    """
    (partition,) = request.partitions
    what = f"the New York Fed's answer for {partition}"
    rows = [row for page in paging.read_pages(body, what) for row in paging.read_rows(page, "refRates", what)]
    name, year = (part.partition("=")[2] for part in partition.split("/"))
    if strays := {f"{row.get('type')} of {row.get('effectiveDate')}" for row in rows if not _is_of(row, name.upper(), year)}:
        raise BadDataError(f"{what} has {', '.join(sorted(strays)[:3])}")
    rows = [{column: None if value == "NA" else value for column, value in row.items()} for row in rows]
    return {partition: lossless_json.build_columns(rows)} if rows else {}


def _is_of(row: dict[str, object], name: str, year: str) -> bool:
    return row.get("type") == name and str(row.get("effectiveDate")).startswith(f"{year}-")
