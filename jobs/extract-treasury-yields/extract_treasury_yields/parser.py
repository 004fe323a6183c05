"""Parse the Treasury's CSV: one row per day, one column per tenor, par yields in percent."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from jobkit import csvtext
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from jobkit.contracts import Columns
    from jobkit.requests import Request


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Return the columns of the requested year, in the order of the file (newest first); empty for a year without rows.

    The tenors change from year to year. A row without any yield (2010-10-11) is kept.
    Raises BadDataError (exit code 65) if the body is another file or has days of another year.
    """
    (partition,) = request.partitions
    header, rows = csvtext.read(body, f"the Treasury's answer for {partition}")
    if header[0] != "Date":
        raise BadDataError(f"the Treasury's file for {partition} does not begin with Date; its header is {header[:4]}")
    rows = [[_iso(row[0]), *row[1:]] for row in rows]
    if strays := {row[0][:4] for row in rows} - {partition.removeprefix("year=")}:
        raise BadDataError(f"the Treasury's file for {partition} has days of {', '.join(sorted(strays))}")
    return {partition: {name: [row[i] or None for row in rows] for i, name in enumerate(header)}} if rows else {}


def _iso(text: str) -> str:
    """Convert MM/DD/YYYY to ISO. Return other text unchanged, for the contract to judge."""
    try:
        return datetime.strptime(text, "%m/%d/%Y").date().isoformat()  # noqa: DTZ007  a date, no time
    except ValueError:
        return text
