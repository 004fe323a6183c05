"""Parse a part of the golden copy: one row per record, in file order; a file's header is one row of gleif_files.

A column has the text of one element, its name written with underscores; a list is a JSON array. What has no column (translations, events,
geocoding) is in the stored bytes. A record's number is its place in the file: of several records of one key in a delta the last is right.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from jobkit.errors import BadDataError
from jobkit.xml_documents import local_name

from extract_gleif_entities.golden_copy import PART_RECORDS, read_header, to_moment
from extract_gleif_entities.source import FILES, KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobkit.contracts import Columns
    from jobkit.requests import Request

_REGISTRATION = {
    "initial_registration_date": "Registration/InitialRegistrationDate",
    "last_update_date": "Registration/LastUpdateDate",
    "registration_status": "Registration/RegistrationStatus",
    "next_renewal_date": "Registration/NextRenewalDate",
    "managing_lou": "Registration/ManagingLOU",
    "validation_sources": "Registration/ValidationSources",
}
COLUMNS = {
    "gleif_entities": {
        "lei": "LEI",
        "legal_name": "Entity/LegalName",
        "legal_address_city": "Entity/LegalAddress/City",
        "legal_address_region": "Entity/LegalAddress/Region",
        "legal_address_country": "Entity/LegalAddress/Country",
        "legal_address_postal_code": "Entity/LegalAddress/PostalCode",
        "headquarters_address_city": "Entity/HeadquartersAddress/City",
        "headquarters_address_region": "Entity/HeadquartersAddress/Region",
        "headquarters_address_country": "Entity/HeadquartersAddress/Country",
        "registration_authority_id": "Entity/RegistrationAuthority/RegistrationAuthorityID",
        "registration_authority_entity_id": "Entity/RegistrationAuthority/RegistrationAuthorityEntityID",
        "legal_jurisdiction": "Entity/LegalJurisdiction",
        "entity_category": "Entity/EntityCategory",
        "entity_sub_category": "Entity/EntitySubCategory",
        "entity_legal_form_code": "Entity/LegalForm/EntityLegalFormCode",
        "other_legal_form": "Entity/LegalForm/OtherLegalForm",
        "entity_status": "Entity/EntityStatus",
        "entity_creation_date": "Entity/EntityCreationDate",
        "entity_expiration_date": "Entity/EntityExpirationDate",
        "entity_expiration_reason": "Entity/EntityExpirationReason",
        **_REGISTRATION,
    },
    "gleif_relationships": {
        "start_node_id": "Relationship/StartNode/NodeID",
        "start_node_id_type": "Relationship/StartNode/NodeIDType",
        "end_node_id": "Relationship/EndNode/NodeID",
        "end_node_id_type": "Relationship/EndNode/NodeIDType",
        "relationship_type": "Relationship/RelationshipType",
        "relationship_status": "Relationship/RelationshipStatus",
        **_REGISTRATION,
        "validation_documents": "Registration/ValidationDocuments",
        "deleted_at": "Extension/Deletion/DeletedAt",
    },
    "gleif_exceptions": {
        "lei": "LEI",
        "exception_category": "ExceptionCategory",
        "deleted_at": "Extension/Deletion/DeletedAt",
    },
}
LISTS = {
    "gleif_entities": {
        "other_entity_names": "Entity/OtherEntityNames/OtherEntityName",
        "successor_leis": "Entity/SuccessorEntity/SuccessorLEI",
    },
    "gleif_relationships": {"relationship_periods": "Relationship/RelationshipPeriods/RelationshipPeriod"},
    "gleif_exceptions": {"exception_reasons": "ExceptionReason", "exception_references": "ExceptionReference"},
}


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Return the columns of a part, or of a file's header. Raises BadDataError (exit code 65) for another document."""
    (partition,) = request.partitions
    content, file_kind, last = (step.partition("=")[2] for step in partition.split("/"))
    what = f"GLEIF's file of {request.dataset} {partition}"
    if request.dataset == FILES:
        return {partition: _describe_file(body, partition, what)}
    content_date = to_moment(content)
    texts, lists = COLUMNS[request.dataset], LISTS[request.dataset]
    columns: Columns = {name: [] for name in ("content_date", "file_kind", "record_number", *texts, *lists)}
    before = (int(last) - 1) * PART_RECORDS
    for number, record in enumerate(_iterate_records(body, KINDS[request.dataset].element, what), before + 1):
        columns["content_date"].append(content_date)
        columns["file_kind"].append(file_kind)
        columns["record_number"].append(number)
        for name, path in texts.items():
            columns[name].append(_text(record, path))
        for name, path in lists.items():
            found = [_value(element) for element in record.iterfind(path)]
            columns[name].append(json.dumps(found, ensure_ascii=False) if found else None)
    return {partition: columns}


def _describe_file(body: bytes, partition: str, what: str) -> Columns:
    """Return the header of a file as a row."""
    dataset, _, file_kind = (step.partition("=")[2] for step in partition.split("/"))
    header = read_header(body, what)
    return {
        "dataset": [dataset],
        "content_date": [header.content_date],
        "file_kind": [file_kind],
        "delta_start": [header.delta_start or None],
        "record_count": [header.record_count],
    }


def _iterate_records(body: bytes, name: str, what: str) -> Iterator[ET.Element]:
    """Yield each record, its elements without namespaces. One record is in memory at a time."""
    if b"<!DOCTYPE" in body:
        raise BadDataError(f"{what} has a DOCTYPE, which no file of GLEIF has")
    open_elements: list[ET.Element] = []
    try:
        for event, element in ET.iterparse(io.BytesIO(body), ("start", "end")):  # noqa: S314  without a DOCTYPE nothing expands
            if event == "start":
                element.tag = local_name(element)
                open_elements.append(element)
                continue
            open_elements.pop()
            if element.tag == name and len(open_elements) == 2:  # noqa: PLR2004  the document and the list
                yield element
                open_elements[-1].clear()
    except ET.ParseError as error:
        raise BadDataError(f"{what} is not XML: {error}; it begins {body[:60]!r}") from None


def _text(record: ET.Element, path: str) -> str | None:
    return (record.findtext(path) or "").strip() or None


def _value(element: ET.Element) -> str | dict[str, str]:
    """Return the text of an element, or its elements or attributes by name."""
    inner = {child.tag: (child.text or "").strip() for child in element}
    attributes = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
    text = (element.text or "").strip()
    return inner or ({"text": text, **attributes} if attributes else text)
