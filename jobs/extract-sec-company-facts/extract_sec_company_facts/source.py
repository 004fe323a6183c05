"""EDGAR's company facts: one request per filer. SEC allows ten requests per second and requires a User-Agent with a contact.

Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import requests
from jobkit.refusals import Meaning
from jobkit.requests import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.http import Client, Response
    from jobkit.lake import Source

BASE_URL = "https://data.sec.gov"

FAIR_ACCESS = "https://www.sec.gov/search-filings/edgar-search-assistance/accessing-edgar-data"
TEN_MINUTES_S = 600.0
MEANINGS = (
    Meaning(403, "undeclared automated tool", "refused", FAIR_ACCESS, "2025-01"),
    Meaning(403, "request rate threshold|rate limit|too many requests|traffic limit", "temporary", FAIR_ACCESS, "2021-05", TEN_MINUTES_S),
)


def build_requests(*, ciks: Sequence[str], **_: object) -> list[Request]:
    """Build one request per filer."""
    padded = dict.fromkeys(cik.zfill(10) for cik in ciks)
    return [Request("sec_company_facts", (f"cik={cik}",), f"/api/xbrl/companyfacts/CIK{cik}.json") for cik in padded]


def build_client(hosts: Sequence[str], *, base_url: str, contact: str, **_: object) -> Client:
    """Build a client that sends the contact as its User-Agent, as SEC requires."""
    from jobkit.http import Client, Rate  # noqa: PLC0415  describe needs no network

    return Client(base_url, hosts=hosts, accept=("application/json",), rate=Rate(10, 1), headers={"User-Agent": contact})


def fetch(client: Client, request: Request, previous: Source | None) -> Response:
    """Return the response. Raises ResourceNotFoundError (exit code 65) for an unknown filer."""
    from jobkit.http import ResourceNotFoundError  # noqa: PLC0415

    try:
        return requests.fetch(client, request, previous)
    except ResourceNotFoundError:
        raise ResourceNotFoundError(
            f"SEC has no reported facts for {request.partitions[0]}; look the number up with extract-sec-filers"
        ) from None
