"""EDGAR's filings of Form 13F: the list of a manager's filings, then each filing as one text with its header and all documents.

SEC allows ten requests per second and requires a User-Agent with a contact.
Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import edgar, requests
from jobkit.errors import BadDataError
from jobkit.requests import Request, first_day

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date

    from jobkit.http import Client, Response
    from jobkit.lake import Source

BASE_URL, LIST_URL = "https://www.sec.gov", "https://data.sec.gov"
FORMS = ("13F-HR", "13F-HR/A")
FIRST_XML = "2013-05-20"  # tables of earlier filings are text in columns of any width


def build_requests(**_: object) -> list[Request]:
    """Build no request: only SEC's lists say which filings there are."""
    return []


def find_lister(
    *, managers: Sequence[str], start: date, end: date, lookback_days: int, base_url: str, **_: object
) -> Callable[[Client, list[Request]], list[Request]]:
    """Return what lists the managers' filings of the days. Raises UsageError (2) if `end` is before `start`."""
    first = max(FIRST_XML, str(first_day(start, end, lookback_days)))
    host = LIST_URL if base_url == BASE_URL else ""  # below another base URL, the lists are, too

    def list_requests(client: Client, _named: list[Request]) -> list[Request]:
        ciks = dict.fromkeys(cik.zfill(10) for cik in managers)
        return [request for cik in ciks for request in _list_filings(client, cik, first, str(end), host)]

    return list_requests


def _list_filings(client: Client, cik: str, first: str, last: str, host: str = "") -> Iterator[Request]:
    """Yield a request for each filing of a manager in the days, the oldest first."""
    filings = _iter_filings(client, cik, first, host)
    found = {accession: filed for form, filed, accession in filings if form in FORMS and first <= filed <= last}
    for accession in sorted(found, key=lambda accession: (found[accession], accession)):
        yield Request("sec_13f_holdings", (f"cik={cik}/accession={accession}",), f"/Archives/edgar/data/{int(cik)}/{accession}.txt")


def _iter_filings(client: Client, cik: str, first: str, host: str) -> Iterator[tuple[str, str, str]]:
    """Yield form, day and accession number of all filings of a filer, and of older lists as far as they reach the first day."""
    from extract_sec_13f_holdings import filing_list  # noqa: PLC0415  it needs msgspec

    def read(name: str) -> bytes:
        return client.get(f"{host}/submissions/{name}").body or b""

    filings = filing_list.decode(read(f"CIK{cik}.json"), cik)
    yield from filing_list.list_rows(filings.recent, cik)
    for page in filings.files:
        if page.filingTo >= first:
            yield from filing_list.list_rows(filing_list.decode_page(read(page.name), cik), cik)


def fetch(client: Client, request: Request, previous: Source | None) -> Response:
    """Return a filing. Raises BadDataError (65) if SEC lists it and does not have it."""
    from jobkit.http import ResourceNotFoundError  # noqa: PLC0415  describe needs no network

    try:
        return requests.fetch(client, request, previous)
    except ResourceNotFoundError as error:
        raise BadDataError(f"SEC lists a filing that it does not have: {error}; run it again later, or ask SEC's webmaster") from None


def build_client(hosts: Sequence[str], *, base_url: str, contact: str, **_: object) -> Client:
    """Build a client that keeps SEC's limit and names the contact."""
    from jobkit.http import Client  # noqa: PLC0415  describe needs no network

    return Client(base_url, hosts=hosts, accept=("text/plain", "application/json"), **edgar.client_options(contact))
