"""Read a file of the golden copy as a stream, and cut it into parts that are documents of their own.

The XML file is read, not CSV or JSON: only XML has a header with content date, start of the delta and number of records; CSV cuts
lists off after five values; and XML and JSON alike unpack to many gigabytes, of which one read is in memory at a time. Records are cut
at their end tags instead of parsed, so that a part has the vendor's own bytes: what precedes the first record, some records, and what
closes the document.
"""

from __future__ import annotations

import re
import zipfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from jobkit import xml_documents
from jobkit.body import Body
from jobkit.errors import BadDataError
from jobkit.xml_documents import local_name
from jobkit.zip_errors import UNZIP_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

    from jobkit.http import Response

PART_RECORDS = 10_000  # of a part; about 50 MB of entities, 7 MB of exceptions
READ_BYTES = 1 << 20
MAX_RECORD_BYTES = 8 << 20  # the largest entity has some 100 kB


class Header(NamedTuple):
    """What a file says about itself. Moments are ISO 8601 in UTC; `delta_start` is empty for a full file."""

    content_date: str
    content: str
    delta_start: str
    record_count: int


class GoldenCopy:
    """A zip file with one XML document of records. Raises BadDataError (65) if it is another file, damaged or incomplete."""

    def __init__(self, response: Response, element: str, *, is_delta: bool) -> None:
        self._body = response.content or Body()  # its file is closed with it
        self._what = f"GLEIF's file {response.url.rpartition('/publishes/')[2]}"
        self._first = re.compile(rb"<(?:[\w.-]+:)?%b[\s>]" % element.encode())
        self._end = re.compile(rb"</(?:[\w.-]+:)?%b\s*>" % element.encode())
        try:
            self._zip = zipfile.ZipFile(self._body.open())
        except UNZIP_ERRORS as error:
            raise BadDataError(f"{self._what} is no zip file ({error}); look at --base-url") from None
        if len(self._zip.namelist()) != 1:
            raise BadDataError(f"{self._what} has {len(self._zip.namelist())} members; expected one XML document")
        self.head = next(self._cut())
        self.tail = _close(self.head, self._what)
        self.header = read_header(self.head + self.tail, self._what)
        expected = f"GLEIF_{'DELTA' if is_delta else 'FULL'}_PUBLISHED"
        if self.header.content != expected or is_delta != bool(self.header.delta_start):
            raise BadDataError(f"{self._what} says it is {self.header.content}; expected {expected}, with DeltaStart only in a delta")

    def check(self) -> None:
        """Read the whole file. Raises BadDataError (65) if it is damaged or has another number of records than its header says."""
        found = sum(1 for _ in self._records())
        if found != self.header.record_count:
            raise BadDataError(
                f"{self._what} has {found:,} records where its header says {self.header.record_count:,}; nothing of it was committed, "
                "run it again later"
            )

    def parts(self) -> Iterator[bytes]:
        """Yield the records, PART_RECORDS at a time, each time as a document."""
        records: list[bytes] = []
        for record in self._records():
            records.append(record)
            if len(records) == PART_RECORDS:
                yield b"".join((self.head, *records, self.tail))
                records.clear()
        if records:
            yield b"".join((self.head, *records, self.tail))

    def _records(self) -> Iterator[bytes]:
        pieces = self._cut()
        next(pieces)
        yield from pieces

    def _cut(self) -> Iterator[bytes]:
        """Yield what precedes the first record, then each record with what separates it from the one before."""
        try:
            with self._zip.open(self._zip.namelist()[0]) as document:
                rest, has_head = b"", False
                while data := document.read(READ_BYTES):
                    rest, begin = rest + data, 0
                    if not has_head and (first := self._first.search(rest)):
                        has_head, begin = True, first.start()
                        yield rest[:begin]
                    if has_head:
                        for match in self._end.finditer(rest, begin):
                            yield rest[begin : match.end()]
                            begin = match.end()
                        rest = rest[begin:]
                    if len(rest) > MAX_RECORD_BYTES:
                        raise BadDataError(f"{self._what} has a record of more than {MAX_RECORD_BYTES:,} bytes; is it another file?")
                if not has_head:
                    yield rest  # a delta without records
        except UNZIP_ERRORS as error:
            raise BadDataError(f"{self._what} is damaged ({error}); run it again later") from None


def read_header(document: bytes, what: str) -> Header:
    """Return the header of a document. Raises BadDataError (65) if it is no XML, has a DOCTYPE or lacks one of the fields."""
    found: dict[str, str] = {}
    root = _parse(document, what)
    for element in next((child for child in root if local_name(child).endswith("Header")), ()):
        found[local_name(element)] = (element.text or "").strip()
    try:
        return Header(
            to_utc(found["ContentDate"]),
            found["FileContent"],
            to_utc(found["DeltaStart"]) if found.get("DeltaStart") else "",
            int(found["RecordCount"]),
        )
    except (KeyError, ValueError):
        raise BadDataError(f"{what} has the header {found}; expected ContentDate, FileContent and RecordCount") from None


def _parse(document: bytes, what: str) -> Element:
    """Parse a document. Raises BadDataError (65) if it is no XML or has a document type."""
    try:
        return xml_documents.parse(document)
    except xml_documents.DocumentTypeError:
        raise BadDataError(f"{what} has a DOCTYPE, which no file of GLEIF has") from None
    except ValueError as error:
        raise BadDataError(f"{what} is not XML: {error}; it begins {document[:60]!r}") from None


def to_utc(text: str) -> str:
    """Return a moment as ISO 8601 in UTC, to the second. Raises ValueError for another text and for one without zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_partition_value(moment: str) -> str:
    """Return a moment of `to_utc` as it is in the name of a partition: 20230605T082051Z."""
    return moment.replace("-", "").replace(":", "")


def to_moment(value: str) -> str:
    """Return the moment, as `to_utc` does, of a value of `to_partition_value`."""
    return datetime.strptime(value, "%Y%m%dT%H%M%S%z").strftime("%Y-%m-%dT%H:%M:%SZ")


def _close(head: bytes, what: str) -> bytes:
    """Return the end tags of the elements that the head leaves open."""
    tags: list[str] = []
    for closing, name, empty in re.findall(rb"<(/?)([\w.:-]+)[^<>]*?(/?)>", head):
        if closing:
            if not tags or tags.pop() != name.decode():
                raise BadDataError(f"{what} is not XML that GLEIF writes; it begins {head[:60]!r}")
        elif not empty:
            tags.append(name.decode())
    return "".join(f"</{name}>" for name in reversed(tags)).encode()
