"""XML is parsed without document types, whatever its encoding."""

from __future__ import annotations

import pytest
from jobkit import xml_documents

PLAIN = '<a:root xmlns:a="urn:a"><a:child>\u00fc</a:child></a:root>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_a_document_is_parsed_and_one_with_a_document_type_is_refused(encoding: str) -> None:
    root = xml_documents.parse(PLAIN.encode(encoding))
    assert (xml_documents.local_name(root), root[0].text) == ("root", "\u00fc")
    with pytest.raises(xml_documents.DocumentTypeError):
        xml_documents.parse(f'<!DOCTYPE root [<!ENTITY e "x">]>{PLAIN}'.encode(encoding))


@pytest.mark.parametrize("document", [b"", b"<a>", b'<?xml version="1.0" encoding="none"?><a/>', b"<a>&e;</a>"])
def test_what_is_not_xml_is_a_value_error(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w") as refused:
        xml_documents.parse(document)
    assert not isinstance(refused.value, xml_documents.DocumentTypeError)


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        (".5", "0.5"),
        ("190.", "190"),
        ("+1.20", "1.20"),
        ("-.5", "-0.5"),
        ("007", "7"),
        ("1.5E-4", "0.00015"),
        ("1e+06", "1000000"),
        *((other, other) for other in ("", ".", "1,5", "1E9999", "INF", "NaN", "\u0661", "$1", " 1")),
    ],
)
def test_a_number_of_xml_schema_becomes_digits(text: str, digits: str) -> None:
    assert xml_documents.to_digits(text) == digits
