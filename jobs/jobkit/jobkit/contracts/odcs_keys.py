"""The keys of the Open Data Contract Standard v3 that finelt implements, by place, and the type of each value.

A key that is not listed is refused by name, so that nobody trusts a rule that no code enforces. Keys that only describe may hold anything.
Standard: https://bitol-io.github.io/open-data-contract-standard/
"""

from __future__ import annotations

from decimal import Decimal
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from jobkit.contracts.model import ContractError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

TEXT, NUMBER, INTEGER, BOOLEAN, LIST, MAPPING, ANYTHING = "text", "a number", "a whole number", "true or false", "a list", "a mapping", ""
TYPES: dict[str, tuple[type, ...]] = {
    TEXT: (str,),
    NUMBER: (int, Decimal),
    INTEGER: (int,),
    BOOLEAN: (bool,),
    LIST: (list,),
    MAPPING: (dict,),
}

ABOUT = dict.fromkeys(("id", "name", "description", "businessName", "tags", "authoritativeDefinitions"), ANYTHING)
CONTRACT = {
    **dict.fromkeys(("domain", "tenant", "tags", "support", "team", "authoritativeDefinitions", "contractCreatedTs", "name"), ANYTHING),
    **dict.fromkeys(("apiVersion", "kind", "id", "version", "status"), TEXT),
    "description": MAPPING,
    "slaProperties": LIST,
    "schema": LIST,
}
DESCRIPTION = {"purpose": TEXT, "usage": TEXT, "limitations": TEXT, "authoritativeDefinitions": LIST}
SLA = {"property": TEXT, "value": ANYTHING, "unit": TEXT, "description": TEXT, "id": TEXT}
SCHEMA = {
    **ABOUT,
    **dict.fromkeys(("logicalType", "dataGranularityDescription"), ANYTHING),
    **dict.fromkeys(("name", "physicalType", "description"), TEXT),
    **dict.fromkeys(("properties", "quality", "customProperties"), LIST),
}
COLUMN = {
    **ABOUT,
    "examples": LIST,
    **dict.fromkeys(("name", "logicalType", "physicalType", "physicalName", "description"), TEXT),
    **dict.fromkeys(("required", "unique", "primaryKey", "partitioned"), BOOLEAN),
    **dict.fromkeys(("primaryKeyPosition", "partitionKeyPosition"), INTEGER),
    "logicalTypeOptions": MAPPING,
    **dict.fromkeys(("enum", "quality", "customProperties"), LIST),
}
ENUM = {"value": ANYTHING, "label": ANYTHING, **ABOUT}
CUSTOM = {"property": TEXT, "value": ANYTHING, "description": TEXT, "id": TEXT}
QUALITY = {
    **ABOUT,
    **dict.fromkeys(("dimension", "businessImpact"), ANYTHING),
    **dict.fromkeys(("type", "engine", "implementation", "severity", "metric"), TEXT),
    "arguments": MAPPING,
    "mustBe": NUMBER,
}
SCHEMA_CUSTOM = {
    **dict.fromkeys(("leaf", "licence", "licenceUrl", "classification", "redistribution", "newFields", "newFieldType", "asOfFrom"), TEXT),
    **dict.fromkeys(("maxBadRows", "maxMissingRows"), NUMBER),
    **dict.fromkeys(("encoding", "delimiter", "decimalSeparator", "thousandsSeparator", "sheet", "revision", "repeatedKey"), TEXT),
    **dict.fromkeys(("negativeNumbers", "ignoredColumns", "footerTotals"), LIST),
    **dict.fromkeys(("footer", "footerCount"), TEXT),
    "footerRequired": BOOLEAN,
    "footerTolerance": NUMBER,
    "headerRow": INTEGER,
}
COLUMN_CUSTOM = {
    **dict.fromkeys(("unit", "policy", "evolution", "rounding", "case", "constant"), TEXT),
    **dict.fromkeys(("trim", "percent"), BOOLEAN),
    "countedWithin": LIST,
}
NUMBER_OPTIONS = dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), NUMBER)
TIME_OPTIONS = dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), TEXT)
TYPE_OPTIONS: dict[str, dict[str, str]] = {  # logicalTypeOptions, by the name of the physical type
    "string": {"minLength": INTEGER, "maxLength": INTEGER, "pattern": TEXT, "format": TEXT},
    "date": {**TIME_OPTIONS, "format": TEXT},
    "timestamp": TIME_OPTIONS,
    "boolean": {},
    **dict.fromkeys(("int", "long", "double", "decimal"), NUMBER_OPTIONS),
}


def check_keys(where: str, value: object, supported: Mapping[str, str], needed: Collection[str] = ()) -> dict[str, Any]:
    """Return the value as a mapping of supported keys, each with a value of its type. Raises ContractError naming the key."""
    mapping: dict[str, Any] = check_type(where, value, MAPPING)
    for key, entry in mapping.items():
        if key not in supported:
            close = get_close_matches(key, supported, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"it takes {', '.join(supported) or 'none'}"
            raise ContractError(f"{where} has the key {key!r}, which is not implemented, so no code would enforce it; remove it ({hint})")
        if supported[key]:
            check_type(f"{where}: {key}", entry, supported[key])
    if missing := [key for key in needed if key not in mapping]:
        raise ContractError(f"{where} lacks {missing[0]!r}")
    return mapping


def check_type(where: str, value: object, expected: str) -> Any:  # noqa: ANN401  what the YAML contains
    """Return the value if it is of a type of TYPES. Raises ContractError. True and false are no numbers."""
    if not isinstance(value, TYPES[expected]) or (isinstance(value, bool) and expected != BOOLEAN):
        shown = "empty" if value is None else f"a {type(value).__name__}" if isinstance(value, dict | list) else repr(str(value))
        quotes = ", in quotes" if expected == TEXT and value is not None else ""
        raise ContractError(f"{where} is {shown}; expected {expected}{quotes}")
    return value


def check_texts(where: str, values: Sequence[object]) -> tuple[str, ...]:
    """Return the items of a list of texts. Raises ContractError."""
    return tuple(check_type(where, value, TEXT) for value in values)


def choose(properties: Mapping[str, Any], name: str, choices: Sequence[str], default: Any, where: str = "schema") -> Any:  # noqa: ANN401  a literal
    """Return a property that is one of the choices, or the default if it is not set. Raises ContractError."""
    value = properties.get(name, default)
    if value is not default and value not in choices:
        raise ContractError(f"{where}: {name} is {value!r}; choose one of {', '.join(choices)}")
    return value


def read_custom(where: str, item: Mapping[str, Any], supported: Mapping[str, str], needed: Collection[str] = ()) -> dict[str, Any]:
    """Return the custom properties of a schema or column by name, each of its type. Raises ContractError."""
    properties: dict[str, Any] = {}
    for value in item.get("customProperties", ()):
        entry = check_keys(f"{where}: customProperties", value, CUSTOM, ("property", "value"))
        if entry["property"] in properties:
            raise ContractError(f"{where}: the custom property {entry['property']!r} appears twice; keep one of them")
        properties[entry["property"]] = entry["value"]
    return check_keys(f"{where}: customProperties", properties, supported, needed)
