"""Parse SEC's company_tickers.json: one row per ticker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import lossless_json
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from jobkit.contracts import Columns
    from jobkit.requests import Request


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Return cik_str, ticker and title of each listing, in file order. Raises BadDataError (exit code 65) for another document."""
    (partition,) = request.partitions
    document = lossless_json.decode(body, "SEC's company_tickers.json")
    if not isinstance(document, dict) or not document or not all(isinstance(row, dict) for row in document.values()):
        raise BadDataError(f"SEC's company_tickers.json is not an object of filers; it begins {body[:60]!r}")
    return {partition: lossless_json.build_columns(list(document.values()))}
