"""Parse the lists of a filer's filings: one row per filing. SEC sends columns, and an empty text where it has no value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from jobkit import lossless_json
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from jobkit.contracts import Columns
    from jobkit.requests import Request

FLAGS = {0: "false", 1: "true"}
FLAG_COLUMNS = ("isXBRL", "isInlineXBRL")
MIN_BYTES_PER_VALUE, MIN_BYTES_PER_FILING = 5, 64  # SEC's own have 10 and 160
Page = dict[str, list[Any]]  # a filing is at the same place in each column


class OlderPage(msgspec.Struct):
    """A list of older filings, and how many it has."""

    name: str
    filingCount: int  # noqa: N815  the vendor's name


class Filings(msgspec.Struct):
    """The recent filings, and where the older ones are."""

    recent: Page
    files: list[OlderPage] = []


class Filer(msgspec.Struct):
    """The first document of a filer. SEC writes `cik` as a number, or as text with or without leading zeros."""

    cik: int | str
    filings: Filings


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Return the filings of a filer in the order of its lists, with the vendor's names; those of a page after those of the one before.

    Raises BadDataError (exit code 65) for another document, that of another filer, and if a list is missing or lacks filings.
    """
    (partition,) = request.partitions
    what = f"SEC's list of the filings of {partition}"
    if len(body) > lossless_json.SMALL_BYTES and body.count(b",") * MIN_BYTES_PER_VALUE > len(body):
        raise BadDataError(f"{what} has {body.count(b','):,} values in {len(body):,} bytes, which no list of filings has")
    first, *older = lossless_json.decode(body, what, list[msgspec.Raw], "a list of documents") or [msgspec.Raw()]
    filer: Filer = lossless_json.decode(bytes(first), what, Filer, "the document of a filer")
    if f"cik={str(filer.cik).lstrip('0'):0>10}" != partition:
        raise BadDataError(f"{what} is about cik {filer.cik!r:.40}")
    if len(older) != len(filer.filings.files):
        raise BadDataError(f"{what} has {len(older)} lists of older filings; expected {len(filer.filings.files)}")
    pages = [filer.filings.recent]
    for file, document in zip(filer.filings.files, older, strict=True):
        pages.append(lossless_json.decode(bytes(document), f"{what}, {file.name!r:.60},", Page, "a list of filings as columns"))
        if (count := len(pages[-1].get("accessionNumber", []))) < file.filingCount:
            raise BadDataError(f"{what} has {count:,} filings in {file.name!r:.60} of {file.filingCount:,}; run it again later")
    sizes = [len(page.get("accessionNumber", [])) for page in pages]
    if any(len(column) != size for page, size in zip(pages, sizes, strict=True) for column in page.values()):
        raise BadDataError(f"{what} has columns of different lengths, or none with accession numbers")
    if (rows := sum(sizes)) * MIN_BYTES_PER_FILING > len(body):
        raise BadDataError(f"{what} has {rows:,} filings in {len(body):,} bytes, which no list of filings has")
    columns: Columns = {"cik": [partition.removeprefix("cik=").lstrip("0")] * rows}
    for name in dict.fromkeys(name for page in pages for name in page):
        is_flag = name in FLAG_COLUMNS
        values = [value for page, size in zip(pages, sizes, strict=True) for value in page.get(name, [None] * size)]
        columns[name] = [None if value == "" else FLAGS[value] if is_flag and value in (0, 1) else value for value in values]
    return {partition: columns}
