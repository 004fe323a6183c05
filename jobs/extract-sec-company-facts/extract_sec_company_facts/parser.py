"""From EDGAR's companyfacts document to columns: one row per fact and filing that states it."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
from jobkit import lossless_json
from jobkit.errors import BadDataError
from msgspec import UNSET, UnsetType

if TYPE_CHECKING:
    from jobkit.contract import Columns
    from jobkit.requests import Request


FIELDS = ("start", "end", "accn", "fy", "fp", "form", "filed", "frame")
BYTES_PER_FACT = 64  # the shortest have a hundred
COLUMNS = ("cik", "entityName", "taxonomy", "tag", "unit", "start", "end", "val", "accn", "fy", "fp", "form", "filed", "frame")
GETTERS = {name: attrgetter(name) for name in FIELDS}


class Fact(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """One fact as a filing states it. `fy` and `fp` are the filing's, not the fact's; an instant has no start."""

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
    """A tag's facts by unit. Its label and description are read for their keys and not kept."""

    units: dict[str, list[Fact]]
    label: msgspec.Raw | UnsetType = UNSET
    description: msgspec.Raw | UnsetType = UNSET


class Company(msgspec.Struct):
    """The document: concepts by taxonomy and tag, each still JSON. SEC writes `cik` as a number, and as text with its zeros."""

    cik: int | str
    entityName: str  # noqa: N815  the vendor's name
    facts: dict[str, dict[str, msgspec.Raw]]


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """The filer's columns, facts in the document's order. Raises BadDataError on another document or another filer's.

    One concept is decoded at a time and equal texts are kept once: a document of 100 MiB has 700,000 facts on 30,000 dates and filings.
    """
    (partition,) = request.partitions
    what, form = f"SEC's answer for {partition}", "the companyfacts document"
    company: Company = lossless_json.decode(body, what, Company, form)
    cik = str(company.cik).lstrip("0")
    if f"cik={cik:0>10}" != partition:
        raise BadDataError(f"{what} is about cik {company.cik!r:.40}")
    columns: Columns = {name: [] for name in ("taxonomy", "tag", "unit", "val", *FIELDS)}
    kept = {UNSET: None}
    for taxonomy, tags in company.facts.items():
        for tag, raw in tags.items():
            concept: Concept = lossless_json.decode(bytes(raw), f"{what}, {taxonomy}.{tag},", Concept, form, dense=BYTES_PER_FACT)
            for unit, facts in concept.units.items():
                _add(columns, (taxonomy, tag, unit), facts, kept)
    count = len(columns["val"])
    found = {"cik": [cik] * count, "entityName": [company.entityName] * count, **columns}
    return {partition: {name: found[name] for name in COLUMNS}}


def _add(columns: Columns, words: tuple[str, str, str], facts: list[Fact], kept: dict[Any, Any]) -> None:
    """Add facts to the columns; `kept` has each text that came before, and None for what a fact has not."""
    for name, word in zip(("taxonomy", "tag", "unit"), words, strict=True):
        columns[name] += [word] * len(facts)
    for name, value_of in GETTERS.items():
        values = list(map(value_of, facts))
        columns[name] += map(kept.setdefault, values, values)
    columns["val"] += [None if fact.val is UNSET else _number(str(fact.val, "utf-8")) for fact in facts]


def _number(text: str) -> str | None:
    """The digits as SEC wrote them."""
    if text.isdigit():
        return text
    return None if text == "null" else lossless_json.expand_exponent(text)
