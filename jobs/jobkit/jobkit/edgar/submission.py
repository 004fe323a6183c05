"""Open a filing of EDGAR: the complete submission, which is a header in SGML and documents, some of them XML.

The header has the moment of acceptance in Eastern time. The submissions API has it, too, for some filers in UTC and for others not.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from jobkit import xml_documents
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

EASTERN = ZoneInfo("America/New_York")
_DOCUMENT = re.compile(rb"<DOCUMENT>\s*<TYPE>([^\r\n<]+)(.*?)</DOCUMENT>", re.DOTALL)
_XML = re.compile(rb"<XML>(.*?)</XML>", re.DOTALL)
_ACCEPTED = re.compile(rb"<ACCEPTANCE-DATETIME>(\d{14})\s")


class Submission(NamedTuple):
    """A filing: its number, form, the days of its filing and its period (YYYYMMDD), when SEC accepted it, and its documents by type."""

    accession: str
    form: str
    filed: str
    period: str
    accepted_at: datetime
    documents: list[tuple[str, bytes]]

    def read_xml(self, kind: str, what: str) -> Element:
        """Return the root of the only XML document of a type. Raises BadDataError (65) if there is none, or if it is not XML."""
        found = [match[1] for name, body in self.documents if name == kind and (match := _XML.search(body))]
        if len(found) != 1:
            raise BadDataError(f"{what} has {len(found)} XML documents of the type {kind}; expected one")
        try:
            return xml_documents.parse(found[0].strip())
        except xml_documents.DocumentTypeError:
            raise BadDataError(f"{what} has a document type or an entity in {kind}; expected plain XML") from None
        except ValueError as error:
            raise BadDataError(f"{what} has no XML in {kind}: {error}") from None


def open_submission(body: bytes, what: str) -> Submission:
    """Read the header of a complete submission and split its documents. Raises BadDataError (65), which names `what`, for another text."""
    head, found, _ = body.partition(b"</SEC-HEADER>")
    accepted = _ACCEPTED.search(head)
    text = head.decode("latin-1")
    names = ("ACCESSION NUMBER", "CONFORMED SUBMISSION TYPE", "FILED AS OF DATE", "CONFORMED PERIOD OF REPORT")
    accession, form, filed, period = (_find_field(name, text) for name in names)
    if not found or not accepted or not (accession and form and filed and period) or b"</SEC-DOCUMENT>" not in body[-100:]:
        raise BadDataError(f"{what} is not a whole submission of EDGAR; it begins {body[:60]!r}")
    try:
        moment = datetime.strptime(accepted[1].decode(), "%Y%m%d%H%M%S").replace(tzinfo=EASTERN).astimezone(UTC)
    except ValueError:
        raise BadDataError(f"{what} was accepted at {accepted[1]!r}, which is no moment") from None
    documents = [(match[1].strip().decode("latin-1"), match[2]) for match in _DOCUMENT.finditer(body)]
    return Submission(accession, form, filed, period, moment, documents)


def _find_field(name: str, header: str) -> str:
    """Return the value of a line of the header; empty if it has none."""
    match = re.search(rf"^{name}:[ \t]*(\S[^\r\n]*?)[ \t]*\r?$", header, re.MULTILINE)
    return match[1] if match else ""


def find_text(element: Element, *path: str) -> str | None:
    """Return the text of the first element at a path of local names; None if there is none or if it is empty."""
    for name in path:
        following = next(iter_children(element, name), None)
        if following is None:
            return None
        element = following
    return (element.text or "").strip() or None


def iter_children(element: Element, name: str) -> Iterator[Element]:
    """Yield the children with a local name, whatever the prefix of its namespace."""
    return (child for child in element if xml_documents.local_name(child) == name)


def to_day(text: str) -> str:
    """Return a day of the header, YYYYMMDD, as a contract has it; another text as it is, for the contract to refuse."""
    try:
        return str(datetime.strptime(text, "%Y%m%d").date())  # noqa: DTZ007  a day has no zone
    except ValueError:
        return text
