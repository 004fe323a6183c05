"""From EDGAR's companyfacts document to columns: one row per fact and filing that states it."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec
from jobkit import jsontext
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from jobkit.contract import Columns
    from jobkit.extract import Ask


FIELDS = ("start", "end", "accn", "fy", "fp", "form", "filed", "frame")


class Fact(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """One fact as a filing states it. `fy` and `fp` are the filing's, not the fact's; an instant has no start."""

    val: msgspec.Raw = msgspec.Raw(b"null")
    start: str | None = None
    end: str | None = None
    accn: str | None = None
    fy: int | None = None
    fp: str | None = None
    form: str | None = None
    filed: str | None = None
    frame: str | None = None


class Concept(msgspec.Struct):
    """A tag's facts by unit; its label and description are not kept."""

    units: dict[str, list[Fact]]


class Company(msgspec.Struct):
    """The document: facts by taxonomy and tag."""

    cik: int
    entityName: str  # noqa: N815  the vendor's name
    facts: dict[str, dict[str, Concept]]


def shape(body: bytes, ask: Ask) -> dict[str, Columns]:
    """The filer's columns, facts in the document's order. Raises BadDataError on another document or another filer's."""
    (partition,) = ask.partitions
    try:
        company = msgspec.json.decode(body, type=Company)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadDataError(f"SEC's answer for {partition} is not the companyfacts document: {error}; it begins {body[:60]!r}") from None
    if f"cik={company.cik:010}" != partition:
        raise BadDataError(f"SEC's answer for {partition} is about cik {company.cik}")
    stated = [
        ((taxonomy, tag, unit), facts)
        for taxonomy, tags in company.facts.items()
        for tag, concept in tags.items()
        for unit, facts in concept.units.items()
    ]
    facts = [fact for _, of_unit in stated for fact in of_unit]
    named = zip(*map(attrgetter(*FIELDS), facts), strict=True) if facts else [()] * len(FIELDS)
    columns = dict(zip(FIELDS, map(list, named), strict=True))
    start, end = columns.pop("start"), columns.pop("end")
    return {
        partition: {
            "cik": [str(company.cik)] * len(facts),
            "entityName": [company.entityName] * len(facts),
            **{name: [words[i] for words, of_unit in stated for _ in of_unit] for i, name in enumerate(("taxonomy", "tag", "unit"))},
            "start": start,
            "end": end,
            "val": [_number(str(fact.val, "utf-8")) for fact in facts],
            **columns,
        }
    }


def _number(text: str) -> str | None:
    """The digits as SEC wrote them."""
    if text.isdigit():
        return text
    return None if text == "null" else jsontext.plain(text)
