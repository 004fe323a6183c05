"""Propose the data contract of a Singer stream from the output of its tap: the SCHEMA says names, types and key, the records add limits."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from jobkit import contracts
from jobkit.errors import BadDataError

from finelt import proposal
from finelt.contracts.lint import LOGICAL_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DECIMAL = "decimal(38,12)"  # wide enough for money, rates and quantities
TYPES = {"integer": "long", "number": DECIMAL, "boolean": "boolean"}
FORMATS = {"date": "date", "date-time": "timestamp"}
SCHEMA = re.compile(rb'^\s*\{[^{}]*"type"\s*:\s*"(SCHEMA|STATE)"', re.MULTILINE)


def is_output(body: bytes) -> bool:
    """Whether a file is the output of a tap: it begins with a message of Singer."""
    return SCHEMA.match(body) is not None


def propose_contract(body: bytes, file: str, name: str, stream: str | None) -> tuple[str, list[str]]:
    """Return the text of a contract for a stream, and its doubts, each a sentence. Raises BadDataError without exactly one such stream."""
    found = {message["stream"]: message for message in _read_schemas(body, file)}
    if stream is None and len(found) == 1:
        (stream,) = found
    if stream not in found:
        raise BadDataError(f"{file} has the streams {', '.join(map(repr, found)) or 'none'}; expected one, or one of them as --stream")
    schema, key = found[stream]["schema"], found[stream].get("key_properties") or []
    labels = [label for label in schema.get("properties", {}) if not label.startswith("_sdc_")]
    names = proposal.choose_column_names(labels)
    leaf = f"hash({names[key[0] if key else labels[0]]}, 1)" if labels else ""
    columns = [_describe_column(label, names[label], schema["properties"][label], key) for label in labels]
    text = proposal.fill_contract(name, [names[label] for label in key], proposal.list_properties(contracts.Layout(), leaf), columns)
    contracts.read_contract(text)
    doubts = [] if key else ["the tap names no key; find out what identifies a record, and mark it with primaryKey"]
    doubts += [f"{label}: text, as the tap says {_list_types(one)}" for label, one in schema["properties"].items() if _is_doubtful(one)]
    doubts.append("taps say little about limits: add required, minimum and enum where you know them")
    return proposal.annotate_contract(text, f"{file}, the stream {stream!r}", doubts)


def _read_schemas(body: bytes, file: str) -> Sequence[dict[str, Any]]:
    try:
        return [message for line in body.splitlines() if line.strip() and (message := json.loads(line)).get("type") == "SCHEMA"]
    except (ValueError, AttributeError):
        raise BadDataError(f"{file} has a line that is no JSON object; expected what a tap writes to stdout, without its log") from None


def _list_types(column: Mapping[str, Any]) -> list[str]:
    """Return the types of a column but null; those of anyOf too."""
    stated = column.get("type", [])
    types = [stated] if isinstance(stated, str) else list(stated)
    types += [one for choice in column.get("anyOf", []) for one in _list_types(choice)]
    return [one for one in dict.fromkeys(types) if one != "null"]


def _find_format(column: Mapping[str, Any]) -> str | None:
    return column.get("format") or next(filter(None, (choice.get("format") for choice in column.get("anyOf", []))), None)


def _is_doubtful(column: Mapping[str, Any]) -> bool:
    return _list_types(column) not in (["string"], ["integer"], ["number"], ["boolean"]) and _find_format(column) not in FORMATS


def _choose_type(column: Mapping[str, Any]) -> str:
    """Return the contract's type of a column; text for objects, arrays and for what may be of several types."""
    types = _list_types(column)
    if "string" in types:
        return FORMATS.get(str(_find_format(column)), "string")
    return TYPES.get(types[0], "string") if len(types) == 1 else DECIMAL if set(types) == {"integer", "number"} else "string"


def _describe_column(label: str, name: str, column: Mapping[str, Any], key: Sequence[str]) -> dict[str, Any]:
    kind = _choose_type(column)
    item: dict[str, Any] = {"name": name}
    item |= {"physicalName": label} if name != label else {}
    item |= {"logicalType": LOGICAL_TYPES.get(kind, "number"), "physicalType": kind}
    item |= {"required": True, "primaryKey": True, "primaryKeyPosition": key.index(label) + 1} if label in key else {}
    return item
