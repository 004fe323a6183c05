"""Decode SEC's lists of a filer's filings: the recent ones, with the names of lists of older ones.

Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from jobkit import lossless_json
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def decode(body: bytes, cik: str) -> Filings:
    """Return the list of a filer. Raises BadDataError (65) for another document."""
    filer: Filer = _decode(body, cik, Filer)
    return filer.filings


def decode_page(body: bytes, cik: str) -> Page:
    """Return a list of older filings. Raises BadDataError (65) for another document."""
    page: Page = _decode(body, cik, Page)
    return page


def list_rows(page: Page, cik: str) -> Iterator[tuple[str, str, str]]:
    """Yield form, day and accession number of each filing. Raises BadDataError (65) if they are not columns of one length."""
    if not len(page.form) == len(page.filingDate) == len(page.accessionNumber):
        raise BadDataError(f"SEC's list of the filings of {cik} has columns of different lengths")
    yield from zip(page.form, page.filingDate, page.accessionNumber, strict=True)


def _decode(body: bytes, cik: str, kind: type[msgspec.Struct]) -> Any:  # noqa: ANN401  of the kind
    expected = "a list with the columns form, filingDate and accessionNumber"
    return lossless_json.decode(body, f"SEC's list of the filings of {cik}", kind, expected)
