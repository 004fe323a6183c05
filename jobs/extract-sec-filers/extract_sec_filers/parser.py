"""From SEC's company_tickers.json to columns: one row per ticker, in the file's order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import lossless_json
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from jobkit.contract import Columns
    from jobkit.requests import Request


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """cik_str, ticker and title of every listing. Raises BadDataError on another document."""
    (partition,) = request.partitions
    document = lossless_json.decode(body, "SEC's company_tickers.json")
    if not isinstance(document, dict) or not document or not all(isinstance(row, dict) for row in document.values()):
        raise BadDataError(f"SEC's company_tickers.json is no object of filers; it begins {body[:60]!r}")
    return {partition: lossless_json.build_columns(list(document.values()))}
