"""Parse a vendor's XML without a document type, whose entities are how XML attacks its reader.

Hand-written: a search for <!DOCTYPE in the bytes misses UTF-16, and defusedxml has had no release since 2021.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

NUMBER = re.compile(r"[+-]?(?:[0-9]{1,99}\.?[0-9]{0,99}|\.[0-9]{1,99})(?:[Ee][+-]?[0-9]{1,3})?")


class DocumentTypeError(ValueError):
    """The document has a document type, which no vendor's data needs."""


class _Builder(ET.TreeBuilder):
    def doctype(self, *_: object) -> None:
        raise DocumentTypeError("it has a document type")


def parse(document: bytes) -> Element:
    """Return the root of a document. Raises DocumentTypeError if it has a document type, ValueError if it is not XML."""
    try:
        root: Element = ET.fromstring(document, ET.XMLParser(target=_Builder()))  # noqa: S314  without a document type there are no entities
    except (ET.ParseError, LookupError) as error:  # the last for an encoding that Python has not
        raise ValueError(str(error)) from None
    return root


def local_name(element: Element) -> str:
    """Return the name of an element without its namespace, whose prefix senders choose freely."""
    return element.tag.rpartition("}")[2]


def to_digits(text: str) -> str:
    """Return a decimal or a double of XML Schema as contracts read numbers: .5 is 0.5, +1. is 1, 1.5E-4 is 0.00015.

    Other text is unchanged, for the contract to refuse.
    """
    return format(Decimal(text), "f") if NUMBER.fullmatch(text) else text
