"""FiscalData's tables: one request per table and year, in pages, without a key.

Auctions are selected by the day of the auction: FiscalData's own record date is that of the issue. Rows are sorted by their key, so that no
page repeats or loses one. Source: https://fiscaldata.treasury.gov/api-documentation/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jobkit.requests import Request, years

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from jobkit.http import Client, Response
    from jobkit.lake import Source

BASE_URL = "https://api.fiscaldata.treasury.gov"
PAGE_ROWS = 1_000  # an auction has 3.5 kB; the limit is 10,000


class Table(NamedTuple):
    """A table of FiscalData: its path, the column of the day by which it is selected, and the order of its rows."""

    path: str
    day: str
    sort: str


TABLES = {
    "debt": Table("v2/accounting/od/debt_to_penny", "record_date", "record_date"),
    "auctions": Table("v1/accounting/od/auctions_query", "auction_date", "auction_date,cusip"),
}


def build_requests(*, start: date, end: date, lookback_days: int, datasets: Sequence[str], **_: object) -> list[Request]:
    """Build one request per table and year. Raises UsageError (exit code 2) if `end` is before `start`."""
    return [_build_request(name, year) for name in dict.fromkeys(datasets) for year in years(start, end, lookback_days)]


def _build_request(name: str, year: int) -> Request:
    table = TABLES[name]
    days = f"{table.day}:gte:{year}-01-01,{table.day}:lte:{year}-12-31"
    query = (("filter", days), ("sort", table.sort), ("format", "json"))
    return Request(f"fiscaldata_{name}", (f"year={year}",), f"/services/api/fiscal_service/{table.path}", query)


def build_client(hosts: Sequence[str], *, base_url: str, **_: object) -> Client:
    """Build a client that accepts only JSON."""
    from jobkit.http import Client, Rate  # noqa: PLC0415  describe needs no network

    return Client(base_url, hosts=hosts, accept=("application/json",), rate=Rate(5, 1))


def fetch(client: Client, request: Request, _previous: Source | None) -> Response:
    """Return all pages. Their number comes from the number of rows: the links of a page are no addresses."""
    from jobkit import paging  # noqa: PLC0415  it needs msgspec

    pages = paging.Offset("data", PAGE_ROWS, "page[number]", "page[size]", first_page=1, total="meta.total-count")
    return paging.fetch(client, request, pages)
