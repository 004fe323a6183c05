"""goldencopy.gleif.org: the golden copy of eleven legal entities as of 2025-05-15, or of an earlier day, with deltas.

A version of a record is published at midnight (UTC) after its last update. Reporting exceptions have no date: no delta has one.
"""

from __future__ import annotations

import io
import re
import zipfile
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from verification.sample_vendors import sample
from verification.sample_vendors.wire import Answer, Request, not_found

if TYPE_CHECKING:
    from collections.abc import Sequence

PATH = re.compile(r"/api/v2/golden-copies/publishes/(lei2|rr|repex)/latest\.xml")
LAST_CONTENT = "2025-05-15"
DELTA_DAYS = {"LastDay": 1, "LastWeek": 7, "LastMonth": 31}
Row = dict[str, str]

DOCUMENTS = {
    "lei2": ("lei", "LEIData", "LEIHeader", "LEIRecords", "http://www.gleif.org/data/schema/leidata/2016"),
    "rr": ("rr", "RelationshipData", "Header", "RelationshipRecords", "http://www.gleif.org/data/schema/rr/2016"),
    "repex": ("repex", "ReportingExceptionData", "Header", "ReportingExceptions", "http://www.gleif.org/data/schema/repex/2016"),
}
REGISTRATION = """   <{p}:Registration>
      <{p}:InitialRegistrationDate>{first_registered}</{p}:InitialRegistrationDate>
      <{p}:LastUpdateDate>{updated}</{p}:LastUpdateDate>
      <{p}:RegistrationStatus>{registration_status}</{p}:RegistrationStatus>
      <{p}:NextRenewalDate>{renewal}</{p}:NextRenewalDate>
      <{p}:ManagingLOU>{lou}</{p}:ManagingLOU>
      <{p}:ValidationSources>{corroboration}</{p}:ValidationSources>
"""
ENTITY = (
    """<{p}:LEIRecord xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:{p}="{schema}">
   <{p}:LEI>{lei}</{p}:LEI>
   <{p}:Entity>
      <{p}:LegalName xml:lang="{language}">{legal_name}</{p}:LegalName>
      <{p}:LegalAddress xml:lang="{language}">
         <{p}:City>{city}</{p}:City>
         <{p}:Region>{region}</{p}:Region>
         <{p}:Country>{country}</{p}:Country>
         <{p}:PostalCode>{postal_code}</{p}:PostalCode>
      </{p}:LegalAddress>
      <{p}:HeadquartersAddress xml:lang="{language}">
         <{p}:City>{hq_city}</{p}:City>
         <{p}:Country>{hq_country}</{p}:Country>
      </{p}:HeadquartersAddress>
      <{p}:RegistrationAuthority>
         <{p}:RegistrationAuthorityID>{authority}</{p}:RegistrationAuthorityID>
         <{p}:RegistrationAuthorityEntityID>{authority_number}</{p}:RegistrationAuthorityEntityID>
      </{p}:RegistrationAuthority>
      <{p}:LegalJurisdiction>{jurisdiction}</{p}:LegalJurisdiction>
      <{p}:EntityCategory>{category}</{p}:EntityCategory>
      <{p}:LegalForm>
         <{p}:EntityLegalFormCode>{form}</{p}:EntityLegalFormCode>
      </{p}:LegalForm>
      <{p}:EntityStatus>{status}</{p}:EntityStatus>
      <{p}:EntityCreationDate>{created}</{p}:EntityCreationDate>
      <{p}:EntityExpirationDate>{ended}</{p}:EntityExpirationDate>{successors}
   </{p}:Entity>
"""
    + REGISTRATION
    + """   </{p}:Registration>
</{p}:LEIRecord>
"""
)
RELATIONSHIP = (
    """<{p}:RelationshipRecord xmlns:{p}="{schema}">
   <{p}:Relationship>
      <{p}:StartNode>
         <{p}:NodeID>{child}</{p}:NodeID>
         <{p}:NodeIDType>LEI</{p}:NodeIDType>
      </{p}:StartNode>
      <{p}:EndNode>
         <{p}:NodeID>{parent}</{p}:NodeID>
         <{p}:NodeIDType>LEI</{p}:NodeIDType>
      </{p}:EndNode>
      <{p}:RelationshipType>{type}</{p}:RelationshipType>
      <{p}:RelationshipPeriods>
         <{p}:RelationshipPeriod>
            <{p}:StartDate>{period_start}</{p}:StartDate>
            <{p}:EndDate>{period_end}</{p}:EndDate>
            <{p}:PeriodType>RELATIONSHIP_PERIOD</{p}:PeriodType>
         </{p}:RelationshipPeriod>{accounting}
      </{p}:RelationshipPeriods>
      <{p}:RelationshipStatus>{status}</{p}:RelationshipStatus>
   </{p}:Relationship>
"""
    + REGISTRATION
    + """      <{p}:ValidationDocuments>{documents}</{p}:ValidationDocuments>
   </{p}:Registration>{extension}
</{p}:RelationshipRecord>
"""
)
DELETION = """
   <{p}:Extension>
      <gleif:Deletion xmlns:gleif="http://www.gleif.org/data/schema/golden-copy/extensions/1.0">
         <gleif:DeletedAt>{deleted_at}</gleif:DeletedAt>
      </gleif:Deletion>
   </{p}:Extension>"""
ACCOUNTING = """
         <{p}:RelationshipPeriod>
            <{p}:StartDate>{accounting_start}</{p}:StartDate>
            <{p}:EndDate>{accounting_end}</{p}:EndDate>
            <{p}:PeriodType>ACCOUNTING_PERIOD</{p}:PeriodType>
         </{p}:RelationshipPeriod>"""
SUCCESSOR = """
      <{p}:SuccessorEntity>
         <{p}:SuccessorLEI>{lei}</{p}:SuccessorLEI>
      </{p}:SuccessorEntity>"""
EXCEPTION = """<{p}:Exception xmlns:{p}="{schema}">
   <{p}:LEI>{lei}</{p}:LEI>
   <{p}:ExceptionCategory>{category}</{p}:ExceptionCategory>
   <{p}:ExceptionReason>{reason}</{p}:ExceptionReason>{extension}
</{p}:Exception>
"""
FORMS = {"lei2": ENTITY, "rr": RELATIONSHIP, "repex": EXCEPTION}


def answer(request: Request) -> Answer:
    """Return the zip file of the newest golden copy, or of the requested delta to it."""
    asked = PATH.fullmatch(request.path)
    days = DELTA_DAYS.get(request.query.get("delta", ""), 0)
    if asked is None or (not days and "delta" in request.query):
        return not_found()
    content = f"{min(request.today, LAST_CONTENT)}T00:00:00Z"
    start = before(content, days) if days else ""
    return Answer(200, pack(document(asked[1], select(asked[1], content, start), content, start)), "application/zip")


def before(content: str, days: int) -> str:
    """Return the moment some days before another."""
    return (datetime.fromisoformat(content) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def select(file: str, content: str, start: str) -> list[Row]:
    """Return the newest version of each record as of `content`, if it changed after `start`."""
    if file == "repex":
        return [] if start else sample.table("gleif_exceptions")
    rows = sample.table("gleif_entities" if file == "lei2" else "gleif_relationships")
    newest = {row.get("lei", row.get("child")): row for row in rows if row["updated"] < content}
    return [row for row in newest.values() if row["updated"] >= start]


def document(file: str, rows: Sequence[Row], content: str, start: str = "", count: int | None = None) -> bytes:
    """Return a file as GLEIF writes it. `count` is the number of records that its header states.

    A row with `deleted_at` is a deletion; its `successors` are LEIs with blanks between.
    """
    prefix, root, header, container, schema = DOCUMENTS[file]
    delta = f"\n    <{prefix}:DeltaStart>{start}</{prefix}:DeltaStart>" if start else ""
    records = "".join(_write(file, row, prefix, schema) for row in rows)
    return f"""<?xml version="1.0" encoding="UTF-8"?><{prefix}:{root} xmlns:{prefix}="{schema}">
  <{prefix}:{header}>
    <{prefix}:ContentDate>{content}</{prefix}:ContentDate>
    <{prefix}:FileContent>GLEIF_{"DELTA" if start else "FULL"}_PUBLISHED</{prefix}:FileContent>{delta}
    <{prefix}:RecordCount>{len(rows) if count is None else count}</{prefix}:RecordCount>
  </{prefix}:{header}>
  <{prefix}:{container}>
{records}  </{prefix}:{container}>
</{prefix}:{root}>
""".encode()


def pack(text: bytes) -> bytes:
    """Return a zip file with the document, the same bytes each time."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("golden-copy.xml"), text)
    return packed.getvalue()


def _write(file: str, row: Row, prefix: str, schema: str) -> str:
    values = {name: escape(value) for name, value in row.items()}
    blocks = {
        "extension": DELETION.format(p=prefix, **values) if row.get("deleted_at") else "",
        "accounting": ACCOUNTING.format(p=prefix, **values) if row.get("accounting_start") else "",
        "successors": "".join(SUCCESSOR.format(p=prefix, lei=lei) for lei in row.get("successors", "").split()),
    }
    lines = FORMS[file].format(p=prefix, schema=schema, **{"period_end": "", "ended": "", **values, **blocks}).splitlines(keepends=True)
    return "".join(line for line in lines if not re.search(r">\s*</", line))  # GLEIF writes no empty element
