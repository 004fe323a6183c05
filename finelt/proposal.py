"""Propose the data contract of a CSV file, and say what a person has to decide.

The proposal is read and the file's rows are validated as an extractor does. It is in the form of dropped files: `extract-dropped-files`
reads dates and numbers as it says; a parser of another extractor has to convert them.
"""

from __future__ import annotations

import math
import re
import unicodedata
from decimal import Decimal
from string import Template
from typing import TYPE_CHECKING, Any

import yaml
from jobkit import contracts, names
from jobkit.contracts import Layout, escape_text
from jobkit.errors import UsageError

from finelt.contracts.lint import LOGICAL_TYPES
from finelt.csv_profile import ISO, LONGEST_KEY, MAX_ROWS, find_keys, find_layout, profile_column, read_sheet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from finelt.csv_profile import Column, Sheet

FEW_ROWS, LONGEST_NAME = 100, 60
CONTRACT = Template("""\
apiVersion: v3.1.0
kind: DataContract
id: $name
version: 1.0.0
status: active
description:
  purpose: What the data is, and what you need it for.
  usage: When it is published, and what it may be used for.
slaProperties:
  - {property: frequency, value: 1, unit: d}
  - {property: latency, value: 5, unit: d}
schema:
  - name: $name
    physicalType: table
    description: $grain
    customProperties:
$properties
    properties:
$columns
""")
TERMS = {
    "classification": "internal",
    "licence": "ask the vendor",
    "redistribution": "internal-use-only",
    "newFields": "freeze",
    "maxBadRows": 0.01,
}
EPOCH = "1970-01-01"  # an earlier day is more likely a mistake, if the file has none
DEFAULT_LAYOUT = Layout()
LAYOUT = {"encoding": "encoding", "delimiter": "delimiter", "decimal": "decimalSeparator", "thousands": "thousandsSeparator"}


def choose_name(wanted: str | None, file: Path) -> str:
    """Return the dataset's name: the wanted one, or one made of the file's name. Raises UsageError for one that no dataset may have."""
    words = re.findall(r"[a-z0-9]+", file.name.partition(".")[0].lower())
    name = wanted or "_".join(words if len(words) > 1 else ["vendor", *words])
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", name):
        raise UsageError(f"{name!r} is not a dataset's name; expected vendor_things in lower case, such as acme_gold: set --name")
    return name


def propose_contract(body: bytes, file: str, name: str) -> tuple[str, list[str]]:
    """Return the text of a contract for a CSV file, and its doubts, each a sentence. Raises BadDataError for another file."""
    sheet = read_sheet(body, file)
    layout, doubts = find_layout(sheet)
    labels = choose_column_names(sheet.header)
    cells = zip(*sheet.rows, strict=True)
    columns = [profile_column(label, texts, layout) for label, texts in zip(sheet.header, cells, strict=True)]
    keys = find_keys(columns)
    key = [column.label for column in keys[0]] if keys else []
    described = [_describe_column(column, labels[column.label], key) for column in columns]
    text = fill_contract(name, key, list_properties(layout, _choose_leaf(columns, key, labels)), described)
    contract = contracts.read_contract(text)
    result = contracts.validate(contract, {labels[column.label]: list(column.values) for column in columns})
    doubts += _doubt_file(sheet, result.read - result.table.num_rows)
    doubts += _doubt_key(keys)
    doubts += [f"{column.label}: {doubt}" for column in columns for doubt in [*column.doubts, *_doubt_limit(column)]]
    return annotate_contract(text, f"{file}, {len(sheet.rows):,} rows", doubts)


def annotate_contract(text: str, source: str, doubts: Sequence[str]) -> tuple[str, list[str]]:
    """Return the text of a contract below comments that say what to decide, and what these are: the doubts, and that about its terms."""
    terms = "the terms are a guess: write the licence, and who may see the data in classification and redistribution"
    lines = [f"# Proposed from {source}. Decide, then remove these lines:", *(f"# - {doubt}" for doubt in [*doubts, terms])]
    return "\n".join([*map(escape_text, lines), text]), [*doubts, terms]


def fill_contract(name: str, key: Sequence[str], properties: Sequence[dict[str, Any]], columns: Sequence[dict[str, Any]]) -> str:
    """Return the text of a contract with these custom properties and columns."""
    return CONTRACT.substitute(
        name=name,
        grain=f"One row per {' and '.join(key)}." if key else "One row per what? No column identifies it.",
        properties=_format_items(properties),
        columns=_format_items(columns),
    )


def choose_column_names(labels: Sequence[str]) -> dict[str, str]:
    """Return a name for each header that a column may have: the header itself if possible."""
    chosen: dict[str, str] = {}
    for number, label in enumerate(labels, 1):
        plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode()
        name = label if names.is_plain(label) else re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")[:LONGEST_NAME]
        chosen[label] = name if names.is_plain(name) and name not in {*labels[: number - 1], *chosen.values()} else f"column_{number}"
    return chosen


def _format_items(items: Sequence[dict[str, Any]]) -> str:
    """Return items as lines of a YAML list, one line each."""
    options: dict[str, Any] = {"default_flow_style": True, "sort_keys": False, "width": math.inf, "allow_unicode": True}
    return "\n".join(f"      - {str(yaml.safe_dump(item, **options)).strip()}" for item in items)


def list_properties(layout: Layout, leaf: str) -> list[dict[str, Any]]:
    """Return the custom properties of a contract: its leaf, terms that are a guess, and how the file is written."""
    written = {name: getattr(layout, field) for field, name in LAYOUT.items() if getattr(layout, field) != getattr(DEFAULT_LAYOUT, field)}
    if layout.negative != DEFAULT_LAYOUT.negative:
        written["negativeNumbers"] = list(layout.negative)
    return [{"property": name, "value": value} for name, value in {"leaf": leaf, **TERMS, **written}.items()]


def _choose_leaf(columns: Sequence[Column], key: Sequence[str], labels: dict[str, str]) -> str:
    """Return how the raw table is partitioned: by year of the first date, one of the key if possible, else by a hash of the key."""
    dates = sorted(
        (column.label for column in columns if column.type == "date" and None not in column.values), key=lambda one: one not in key
    )
    return f"year({labels[dates[0]]})" if dates else f"hash({labels[key[0] if key else columns[0].label]}, 1)"


def _describe_column(column: Column, name: str, key: Sequence[str]) -> dict[str, Any]:
    """Return the column as the contract has it."""
    options: dict[str, Any] = {"format": column.format} if column.format not in (None, ISO) else {}
    if column.type == "date" and min(filter(None, column.values)) >= EPOCH:
        options["minimum"] = EPOCH
    elif (limits := _find_limits(column)) and limits[0] >= 0:
        options["minimum"] = 0
    item: dict[str, Any] = {"name": name}
    item |= {"physicalName": column.label} if name != column.label else {}
    item |= {"logicalType": LOGICAL_TYPES.get(column.type, "number"), "physicalType": column.type}
    item |= {"required": True} if None not in column.values else {}
    item |= {"primaryKey": True, "primaryKeyPosition": key.index(column.label) + 1} if column.label in key else {}
    item |= {"logicalTypeOptions": options} if options else {}
    return item | ({"customProperties": [{"property": "trim", "value": True}]} if column.trim else {})


def _find_limits(column: Column) -> tuple[Decimal, Decimal] | None:
    """Return the smallest and largest number of a column; None if it is not numeric."""
    if not column.type.startswith(("long", "decimal")):
        return None
    numbers = [Decimal(text) for text in set(column.values) if text is not None]
    return min(numbers), max(numbers)


def _doubt_file(sheet: Sheet, bad_rows: int) -> list[str]:
    """Return what the file as a whole leaves open."""
    doubts = (
        [f"the file has few rows ({len(sheet.rows)}), which prove little about types, key and limits"] if len(sheet.rows) < FEW_ROWS else []
    )
    doubts += [f"only the first {MAX_ROWS:,} rows were read"] if sheet.is_cut else []
    doubts += ["the encoding is a guess: the file is not UTF-8, and Windows-1252 reads any text"] if sheet.encoding == "cp1252" else []
    return doubts + ([f"{bad_rows:,} rows break the contract; `finelt quarantine` will show the reasons"] if bad_rows else [])


def _doubt_key(keys: Sequence[Sequence[Column]]) -> list[str]:
    """Return what is uncertain about the key: another one that is as short, or none."""
    if not keys:
        return [f"no {LONGEST_KEY} complete columns identify a row; find out what does, and mark it with primaryKey"]
    shown = [" and ".join(column.label for column in key) for key in keys]
    return (
        [f"the key is {shown[0]}, but it may be {' or '.join(shown[1:4])}; no two rows of the file agree in any of these"]
        if len(keys) > 1
        else []
    )


def _doubt_limit(column: Column) -> list[str]:
    """Return the range of a numeric column, and which limit was proposed."""
    if (limits := _find_limits(column)) is None:
        return []
    proposed = "minimum 0 is proposed" if limits[0] >= 0 else "no limit is proposed"
    return [f"from {limits[0]:f} to {limits[1]:f}; {proposed}"]
