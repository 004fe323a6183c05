"""Request SEC's lists of a filer's filings: the recent ones, with the names of lists of older ones.

Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from jobkit import lossless_json
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobkit.http import Client, Response


class Page(msgspec.Struct):
    """Filings as columns of one length."""

    form: list[str]
    filingDate: list[str]  # noqa: N815  the vendor's name
    accessionNumber: list[str]  # noqa: N815  the vendor's name


class OlderPage(msgspec.Struct):
    """The file with the filings up to a day."""

    name: str
    filingTo: str  # noqa: N815  the vendor's name


class Filings(msgspec.Struct):
    """The recent filings, and the files with older ones."""

    recent: Page
    files: list[OlderPage] = []


class Filer(msgspec.Struct):
    """The document of a filer."""

    filings: Filings


def fetch(client: Client, folder: str, cik: str, first: str = "") -> Iterator[tuple[Response, Page]]:
    """Request the lists of a filer and yield each response with its filings: recent ones, then older ones that reach the first day (ISO).

    `folder` is the path of the lists, which may be that of an archive. Raises ResourceNotFoundError (2) for a filer that SEC does not know,
    BadDataError (65) for another document.
    """
    response = _request(client, folder, f"CIK{cik}.json", cik)
    filer: Filer = _decode(response.body or b"", cik, Filer)
    yield response, filer.filings.recent
    for older in filer.filings.files:
        if older.filingTo >= first:
            response = _request(client, folder, older.name, cik)
            yield response, _decode(response.body or b"", cik, Page)


def _request(client: Client, folder: str, name: str, cik: str) -> Response:
    from jobkit.http import ResourceNotFoundError  # noqa: PLC0415  describe needs no network

    try:
        return client.get(f"{folder}/{name}")
    except ResourceNotFoundError:
        raise ResourceNotFoundError(f"SEC has no {name} with filings of {cik}; look the number up with extract-sec-filers") from None


def list_rows(page: Page, cik: str) -> Iterator[tuple[str, str, str]]:
    """Yield form, day and accession number of each filing. Raises BadDataError (65) if they are not columns of one length."""
    if not len(page.form) == len(page.filingDate) == len(page.accessionNumber):
        raise BadDataError(f"SEC's list of the filings of {cik} has columns of different lengths")
    yield from zip(page.form, page.filingDate, page.accessionNumber, strict=True)


def _decode(body: bytes, cik: str, kind: type[msgspec.Struct]) -> Any:  # noqa: ANN401  of the kind
    expected = "a list with the columns form, filingDate and accessionNumber"
    return lossless_json.decode(body, f"SEC's list of the filings of {cik}", kind, expected)
