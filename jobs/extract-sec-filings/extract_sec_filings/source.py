"""EDGAR's lists of filings: the recent ones of a filer in one document, the older ones in others, which together are one response.

In bulk, the documents are members of one archive, built nightly at about 3:00 in New York: 991,042 members, 1.56 GB, of which the directory
is 63 MB. Only members of named filers are kept of it, and a filer is read if one of its documents changed.

Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit.edgar.filer_documents import FilerDocuments

if TYPE_CHECKING:
    from jobkit.http import Client, Response
    from jobkit.lake import Source
    from jobkit.requests import Request

LISTS = FilerDocuments(
    dataset="sec_filings",
    folder="/submissions",
    archive="/Archives/edgar/daily-index/bulkdata/submissions.zip",
    member=r"CIK(\d{10})(?:-submissions-\d+)?\.json",
)


def fetch(client: Client, request: Request, previous: Source | None) -> Response:
    """Return all lists of a filer, or no content if none of its members in the archive has changed.

    Raises ResourceNotFoundError (exit code 2) for an unknown filer, BadDataError (65) for another document.
    """
    from jobkit import paging  # noqa: PLC0415  describe needs no network
    from jobkit.archives import ArchiveClient  # noqa: PLC0415
    from jobkit.edgar import filing_list  # noqa: PLC0415
    from jobkit.http import Response  # noqa: PLC0415

    folder, _, name = request.path.rpartition("/")
    cik = name.removeprefix("CIK").removesuffix(".json")
    etag = client.find_etag(f"CIK{cik}") if isinstance(client, ArchiveClient) else None
    if etag and previous and previous.etag == etag:
        return Response(None, client.url(request.path), previous.media_type, etag, None)
    lists = filing_list.fetch(client, folder, cik)
    return paging.join(client, (response for response, _ in lists), request.path)._replace(etag=etag)
