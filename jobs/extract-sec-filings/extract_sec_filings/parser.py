"""Parse the lists of a filer's filings: one row per filing. SEC sends columns, and an empty text where it has no value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from jobkit import lossless_json
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    columns: Columns = {}
    texts: dict[str, str | None] = {"": None}
    rows = 0
    for page in _read_pages(filer.filings, older, what):
        rows = _append(columns, rows, page, texts, what)
        if rows * MIN_BYTES_PER_FILING > len(body):
            raise BadDataError(f"{what} has {rows:,} filings in {len(body):,} bytes, which no list of filings has")
    return {partition: {"cik": [partition.removeprefix("cik=").lstrip("0")] * rows, **columns}}


def _read_pages(filings: Filings, older: Sequence[msgspec.Raw], what: str) -> Iterator[Page]:
    """Yield the recent filings, then those of each list of older ones. Raises BadDataError if a list lacks filings."""
    yield filings.recent
    for file, document in zip(filings.files, older, strict=True):
        page: Page = lossless_json.decode(bytes(document), f"{what}, {file.name!r:.60},", Page, "a list of filings as columns")
        if (count := len(page.get("accessionNumber", []))) < file.filingCount:
            raise BadDataError(f"{what} has {count:,} filings in {file.name!r:.60} of {file.filingCount:,}; run it again later")
        yield page


def _append(columns: Columns, rows: int, page: Page, texts: dict[str, str | None], what: str) -> int:
    """Append a page to the columns, which have `rows` filings; returns how many they have now. Equal texts are stored once, in `texts`."""
    size = len(page.get("accessionNumber", []))
    if any(len(column) != size for column in page.values()):
        raise BadDataError(f"{what} has columns of different lengths, or none with accession numbers")
    for name in page:
        columns.setdefault(name, [None] * rows)
    for name, column in columns.items():
        values: list[Any] = page.get(name, [None] * size)
        if name in FLAG_COLUMNS:
            values = [FLAGS[value] if value in (0, 1) else value for value in values]
        column += [texts.setdefault(value, value) if isinstance(value, str) else value for value in values]
    return rows + size
