"""SEC's list of tickers and filers: one file with the current list. Its history is that of the commits in the lake.

Source: https://www.sec.gov/search-filings/edgar-search-assistance/accessing-edgar-data
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit.refusals import Meaning
from jobkit.requests import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.http import Client

BASE_URL = "https://www.sec.gov"

FAIR_ACCESS = "https://www.sec.gov/search-filings/edgar-search-assistance/accessing-edgar-data"
TEN_MINUTES_S = 600.0
MEANINGS = (
    Meaning(403, "undeclared automated tool", "refused", FAIR_ACCESS, "2025-01"),
    Meaning(403, "request rate threshold|rate limit|too many requests|traffic limit", "temporary", FAIR_ACCESS, "2021-05", TEN_MINUTES_S),
)


def build_requests(**_: object) -> list[Request]:
    """Build the only request."""
    return [Request("sec_filers", ("file=company_tickers",), "/files/company_tickers.json")]


def build_client(hosts: Sequence[str], *, base_url: str, contact: str, **_: object) -> Client:
    """Build a client that sends the contact as its User-Agent, as SEC requires."""
    from jobkit.http import Client, Rate  # noqa: PLC0415  describe needs no network

    return Client(base_url, hosts=hosts, accept=("application/json",), rate=Rate(10, 1), headers={"User-Agent": contact})
