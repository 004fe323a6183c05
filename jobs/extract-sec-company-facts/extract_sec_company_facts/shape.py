"""From EDGAR's companyfacts document to columns: one row per fact and filing that states it."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
from jobkit import jsontext
from jobkit.errors import BadDataError
from msgspec import UNSET, UnsetType

if TYPE_CHECKING:
    from jobkit.contract import Columns
    from jobkit.extract import Ask


FIELDS = ("start", "end", "accn", "fy", "fp", "form", "filed", "frame")


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
    """The document: facts by taxonomy and tag. SEC writes `cik` as a number, and as text with its zeros."""

    cik: int | str
    entityName: str  # noqa: N815  the vendor's name
    facts: dict[str, dict[str, Concept]]


def shape(body: bytes, ask: Ask) -> dict[str, Columns]:
    """The filer's columns, facts in the document's order. Raises BadDataError on another document or another filer's."""
    (partition,) = ask.partitions
    company: Company = jsontext.decode(body, f"SEC's answer for {partition}", Company, "the companyfacts document")
    cik = str(company.cik).lstrip("0")
    if f"cik={cik:0>10}" != partition:
        raise BadDataError(f"SEC's answer for {partition} is about cik {company.cik!r:.40}")
    stated = [
        ((taxonomy, tag, unit), facts)
        for taxonomy, tags in company.facts.items()
        for tag, concept in tags.items()
        for unit, facts in concept.units.items()
    ]
    facts = [fact for _, of_unit in stated for fact in of_unit]
    named = zip(*map(attrgetter(*FIELDS), facts), strict=True) if facts else [()] * len(FIELDS)
    columns = dict(zip(FIELDS, map(_present, named), strict=True))
    start, end = columns.pop("start"), columns.pop("end")
    return {
        partition: {
            "cik": [cik] * len(facts),
            "entityName": [company.entityName] * len(facts),
            **{name: [words[i] for words, of_unit in stated for _ in of_unit] for i, name in enumerate(("taxonomy", "tag", "unit"))},
            "start": start,
            "end": end,
            "val": [None if fact.val is UNSET else _number(str(fact.val, "utf-8")) for fact in facts],
            **columns,
        }
    }


def _present(values: tuple[Any, ...]) -> list[Any]:
    """The column, None where a fact has it not."""
    return [None if value is UNSET else value for value in values]


def _number(text: str) -> str | None:
    """The digits as SEC wrote them."""
    if text.isdigit():
        return text
    return None if text == "null" else jsontext.plain(text)
