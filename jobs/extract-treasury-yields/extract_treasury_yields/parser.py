"""From the Treasury's CSV to columns: one per tenor, par yield in percent."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from jobkit import csvtext
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from jobkit.contracts import Columns
    from jobkit.requests import Request


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """The year's columns, rows as in the file (newest first); nothing for a year without rows. Raises BadDataError on another file.

    Which tenors there are changes from year to year; an all-blank row (2010-10-11) is kept as the vendor sends it.
    """
    (partition,) = request.partitions
    header, rows = csvtext.read(body, f"the Treasury's answer for {partition}")
    if header[0] != "Date":
        raise BadDataError(f"the Treasury's file for {partition} does not begin with Date; its header is {header[:4]}")
    rows = [[_iso(row[0]), *row[1:]] for row in rows]
    if strays := {row[0][:4] for row in rows} - {partition.removeprefix("year=")}:
        raise BadDataError(f"the Treasury's file for {partition} holds days of {', '.join(sorted(strays))}")
    return {partition: {name: [row[i] or None for row in rows] for i, name in enumerate(header)}} if rows else {}


def _iso(text: str) -> str:
    """MM/DD/YYYY as ISO; anything else is left to the contract."""
    try:
        return datetime.strptime(text, "%m/%d/%Y").date().isoformat()  # noqa: DTZ007  a date, no time
    except ValueError:
        return text
