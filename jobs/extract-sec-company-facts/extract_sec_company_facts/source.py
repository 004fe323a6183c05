"""EDGAR's company facts: one request per filer. SEC allows ten requests per second and requires a User-Agent with a contact.

In bulk, a filer's document is a member of one archive, built nightly at about 3:00 in New York: 15,000 to 20,000 members, 1.4 GB. Members
are read as parts of the archive, and only those that differ in CRC or size from what the lake has.

Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import requests
from jobkit.edgar.filer_documents import FilerDocuments
from jobkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jobkit.archives import ArchiveClient
    from jobkit.http import Client, Response
    from jobkit.lake import Source
    from jobkit.requests import Request

FACTS = FilerDocuments(
    dataset="sec_company_facts",
    folder="/api/xbrl/companyfacts",
    archive="/Archives/edgar/daily-index/xbrl/companyfacts.zip",
    member=r"CIK(\d{10})\.json",
)


def build_requests(*, ciks: Sequence[str], bulk: bool = False, **_: object) -> list[Request]:
    """Build one request per named filer. Raises UsageError (2) if none is named and the archive cannot say which there are."""
    if not ciks and not bulk:
        raise UsageError("no filer is named; repeat --ciks for each, or take all with --bulk")
    return FACTS.build_requests(ciks=ciks, bulk=bulk)


def find_lister(*, bulk: bool, **_: object) -> Callable[[ArchiveClient, list[Request]], list[Request]] | None:
    """Return what lists the archive's filers, if they are taken in bulk."""
    return list_requests if bulk else None


def list_requests(client: ArchiveClient, named: list[Request]) -> list[Request]:
    """Return the named requests, or one for each filer of the archive if none is named, in its order."""
    return named or build_requests(ciks=[name[3:13] for name in client.list_members()], bulk=True)


def fetch(client: Client, request: Request, previous: Source | None) -> Response:
    """Return the response. Raises ResourceNotFoundError (exit code 65) for an unknown filer."""
    from jobkit.http import ResourceNotFoundError  # noqa: PLC0415

    try:
        return requests.fetch(client, request, previous)
    except ResourceNotFoundError:
        raise ResourceNotFoundError(
            f"SEC has no reported facts for {request.partitions[0]}; look the number up with extract-sec-filers"
        ) from None
