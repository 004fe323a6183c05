"""Parse a filing of Form 3, 4 or 5: one row per entry, which is an owner, a line of one of its two tables, a footnote or the remarks.

A value may be missing where a footnote stands for it: then it is null, not 0. Addresses and signatures are left out.
Source: SEC, EDGAR Ownership XML Technical Specification.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from jobkit import lossless_json
from jobkit.edgar.submission import find_text, iter_children, open_submission, to_day
from jobkit.errors import BadDataError
from jobkit.xml_documents import local_name, to_digits

from extract_sec_insider_transactions.source import FILINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from xml.etree.ElementTree import Element

    from jobkit.contracts import Columns
    from jobkit.requests import Request

TABLES = ("nonDerivativeTable", "derivativeTable")
# A filing has few of these columns, and the others are null.
NAMES = """
accession entry kind form filed accepted_at owner_ciks schemaVersion documentType periodOfReport dateOfOriginalSubmission
noSecuritiesOwned notSubjectToSection16 form3HoldingsReported form4TransactionsReported aff10b5One issuerCik issuerName
issuerTradingSymbol rptOwnerCik rptOwnerName isDirector isOfficer isTenPercentOwner isOther officerTitle otherText securityTitle
transactionDate deemedExecutionDate transactionFormType transactionCode equitySwapInvolved transactionTimeliness transactionShares
transactionTotalValue transactionPricePerShare transactionAcquiredDisposedCode sharesOwnedFollowingTransaction
valueOwnedFollowingTransaction directOrIndirectOwnership natureOfOwnership conversionOrExercisePrice exerciseDate expirationDate
underlyingSecurityTitle underlyingSecurityShares underlyingSecurityValue price_footnotes footnotes text
"""
MAX_ENTRIES = 30_000
SKIPPED = {"footnoteId", "reportingOwnerAddress"}
FLAG = re.compile(r"is[A-Z]\w+|equitySwapInvolved|noSecuritiesOwned|notSubjectToSection16|aff10b5One|form[34]\w+Reported")
NUMBER = re.compile(r"\w*(?:Shares|Value|Price|PricePerShare|OwnedFollowingTransaction)")
ZONE = re.compile(r"(\d{4}-\d\d-\d\d)(?:Z|[+-]\d\d:\d\d)", re.ASCII)  # an XML date may have one; it moves no day
Row = dict[str, str | None]


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Return the entries of a filing in its order, with the vendor's names.

    Raises BadDataError (exit code 65) if the filing is another, names no owner, or has an entry of another kind in a table.
    """
    (partition,) = request.partitions
    accession = partition.partition("=")[2]
    what = f"the filing {accession}"
    filing = open_submission(body, what)
    if filing.accession != accession or filing.form not in FILINGS.forms:
        raise BadDataError(f"{what} is {filing.form} {filing.accession}; expected one of {', '.join(FILINGS.forms)} with this number")
    document = filing.read_xml(filing.form, what)
    entries = list(islice(_iter_entries(document, what), MAX_ENTRIES + 1))
    if len(entries) > MAX_ENTRIES:
        raise BadDataError(f"{what} has more than {MAX_ENTRIES:,} entries; SEC's form has room for 30 in a table")
    owners = [entry.get("rptOwnerCik") or "" for entry in entries if entry["kind"] == "reportingOwner"]
    if not owners or not all(owners):
        raise BadDataError(f"{what} names no reporting owner, or one without a CIK; expected a reportingOwner with rptOwnerCik")
    head = [child for child in document if not len(child) and local_name(child) not in {*TABLES, "footnotes", "remarks"}]
    once: Row = {
        "accession": accession,
        "form": filing.form,
        "filed": to_day(filing.filed),
        "accepted_at": filing.accepted_at.isoformat(),
        "owner_ciks": " ".join(sorted(cik.lstrip("0") for cik in owners)),
        **_flatten([*head, *iter_children(document, "issuer")], what),
    }
    rows = len(entries)
    columns = lossless_json.build_columns(entries, NAMES.split())
    return {partition: {**columns, **{name: [text] * rows for name, text in once.items()}, "entry": list(range(1, rows + 1))}}


def _iter_entries(document: Element, what: str) -> Iterator[Row]:
    """Yield the entries of a document. Raises BadDataError for one that is of no known kind."""
    for owner in iter_children(document, "reportingOwner"):
        yield {"kind": "reportingOwner", **_flatten(owner, what)}
    for table in TABLES:
        kinds = [table.replace("Table", kind) for kind in ("Transaction", "Holding")]
        for line in (line for found in iter_children(document, table) for line in found):
            if (kind := local_name(line)) not in kinds:
                raise BadDataError(f"{what} has the entry {kind!r:.60} in {table}; expected {' or '.join(kinds)}")
            prices = [child for child in line.iter() if local_name(child) == "transactionPricePerShare"]
            notes = {"footnotes": _list_footnotes([line]), "price_footnotes": _list_footnotes(prices)}
            yield {"kind": kind, **notes, **_flatten(line, what)}
    for note in (note for notes in iter_children(document, "footnotes") for note in iter_children(notes, "footnote")):
        yield {"kind": "footnote", "footnotes": note.get("id"), "text": " ".join("".join(note.itertext()).split()) or None}
    if remarks := find_text(document, "remarks"):
        yield {"kind": "remarks", "text": remarks}


def _flatten(elements: Iterable[Element], what: str) -> Row:
    """Return the texts below some elements by the names of their elements. Raises BadDataError for a name with two texts."""
    row: Row = {}
    pending = [*elements][::-1]
    while pending:
        name = local_name(element := pending.pop())
        inner = [child for child in element if local_name(child) not in {"value", *SKIPPED}]
        if inner and name not in SKIPPED:
            pending += inner[::-1]
        elif name in row:
            raise BadDataError(f"{what} has {name[:60]} twice in one entry; expected each name once, as a value would be lost")
        elif name not in SKIPPED:
            row[name] = _to_text(name, find_text(element, "value") or find_text(element))
    return row


def _to_text(name: str, text: str | None) -> str | None:
    """Return a text as the contract has it: a day without a zone, true or false for 1 or 0, and a number with digits before its point."""
    if text and FLAG.fullmatch(name):
        return {"1": "true", "0": "false"}.get(text, text)
    if text and NUMBER.fullmatch(name):
        return to_digits(text)
    return ZONE.sub(r"\1", text) if text and ZONE.fullmatch(text) else text


def _list_footnotes(elements: Iterable[Element]) -> str | None:
    """Return the numbers of the footnotes below some elements, each once, as in F1 F2."""
    below = (child for element in elements for child in element.iter() if local_name(child) == "footnoteId")
    return " ".join(dict.fromkeys(child.get("id") or "" for child in below)) or None
