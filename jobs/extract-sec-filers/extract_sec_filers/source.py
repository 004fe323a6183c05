"""SEC's list of tickers and filers: one file with the current list. Its history is that of the commits in the lake.

Source: https://www.sec.gov/search-filings/edgar-search-assistance/accessing-edgar-data
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import edgar
from jobkit.requests import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.http import Client

BASE_URL = "https://www.sec.gov"


def build_requests(**_: object) -> list[Request]:
    """Build the only request."""
    return [Request("sec_filers", ("file=company_tickers",), "/files/company_tickers.json")]


def build_client(hosts: Sequence[str], *, base_url: str, contact: str, **_: object) -> Client:
    """Build a client that keeps SEC's limit and names the contact."""
    from jobkit.http import Client  # noqa: PLC0415  describe needs no network

    return Client(base_url, hosts=hosts, accept=("application/json",), **edgar.client_options(contact))
