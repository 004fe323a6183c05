"""Parse EDGAR's companyfacts document: one row per fact and filing that reports it."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
from jobkit import lossless_json
from jobkit.errors import BadDataError
from msgspec import UNSET, UnsetType

if TYPE_CHECKING:
    from jobkit.contracts import Columns
    from jobkit.requests import Request


FIELDS = ("start", "end", "accn", "fy", "fp", "form", "filed", "frame")
BYTES_PER_FACT = 64  # the shortest facts have a hundred
COLUMNS = ("cik", "entityName", "taxonomy", "tag", "unit", "start", "end", "val", "accn", "fy", "fp", "form", "filed", "frame")
GETTERS = {name: attrgetter(name) for name in FIELDS}


class Fact(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A fact as reported in one filing. `fy` and `fp` belong to the filing, not to the fact. An instant has no `start`."""

    val: msgspec.Raw | UnsetType = UNSET
    start: str | UnsetType | None = UNSET
    end: str | UnsetType | None = UNSET
    accn: str | UnsetType | None = UNSET
    fy: int | UnsetType | None = UNSET
    fp: str | UnsetType | None = UNSET
    form: str | UnsetType | None = UNSET
    filed: str | UnsetType | None = UNSET
    frame: str | UnsetType | None = UNSET


class Concept(msgspec.Struct):
    """The facts of a tag, by unit. `label` and `description` are declared so that their keys are checked; their text is not kept."""

    units: dict[str, list[Fact]]
    label: msgspec.Raw | UnsetType = UNSET
    description: msgspec.Raw | UnsetType = UNSET


class Company(msgspec.Struct):
    """The document: undecoded concepts by taxonomy and tag. SEC writes `cik` as a number, or as text with leading zeros."""

    cik: int | str
    entityName: str  # noqa: N815  the vendor's name
    facts: dict[str, dict[str, msgspec.Raw]] = {}


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Return the columns of the filer, facts in the document's order.

    Concepts are decoded one at a time and equal texts are stored once: a document of 100 MiB has 700,000 facts on 30,000 dates and filings.
    Raises BadDataError (exit code 65) if the body is another document, or the document of another filer.
    """
    (partition,) = request.partitions
    label, expected = f"SEC's answer for {partition}", "the companyfacts document"
    company: Company = lossless_json.decode(body, label, Company, expected)
    cik = str(company.cik).lstrip("0")
    if f"cik={cik:0>10}" != partition:
        raise BadDataError(f"{label} is about cik {company.cik!r:.40}")
    columns: Columns = {name: [] for name in ("taxonomy", "tag", "unit", "val", *FIELDS)}
    texts = {UNSET: None}
    for taxonomy, tags in company.facts.items():
        for tag, raw in tags.items():
            concept: Concept = lossless_json.decode(bytes(raw), f"{label}, {taxonomy}.{tag},", Concept, expected, dense=BYTES_PER_FACT)
            for unit, facts in concept.units.items():
                _add(columns, (taxonomy, tag, unit), facts, texts)
    count = len(columns["val"])
    filled = {"cik": [cik] * count, "entityName": [company.entityName] * count, **columns}
    return {partition: {name: filled[name] for name in COLUMNS}}


def _add(columns: Columns, names: tuple[str, str, str], facts: list[Fact], texts: dict[Any, Any]) -> None:
    """Append facts to the columns. `texts` maps each text to its first copy, and UNSET to None."""
    for column, name in zip(("taxonomy", "tag", "unit"), names, strict=True):
        columns[column] += [name] * len(facts)
    for name, value_of in GETTERS.items():
        values = list(map(value_of, facts))
        columns[name] += map(texts.setdefault, values, values)
    numbers = [b"null" if fact.val is UNSET else bytes(fact.val) for fact in facts]
    columns["val"] += [str(number, "ascii") if number.isdigit() else _number(str(number, "utf-8")) for number in numbers]


def _number(text: str) -> str | None:
    """Return the number with the digits that SEC wrote; None for null."""
    return None if text == "null" else lossless_json.expand_exponent(text)
