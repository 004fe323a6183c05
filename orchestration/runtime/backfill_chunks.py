"""A backfill cut into pieces, a run of a job each: what the lake does not hold, by the job's own word, and no more.

The verb `plan` of a job names the partitions of a range and the commit the lake holds of each. Neighbours that hold nothing are one
piece when one question of the vendor's fills them, or when they are days of one month: inside a run a job keeps to its vendor's limits.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

DATES = ("year", "month", "date")


@dataclass(frozen=True)
class Span:
    """The days of a partition, from its name; None and None where it names none. `subject` is the rest of the name, by key."""

    first: date | None
    last: date | None
    subject: Mapping[str, str]

    @property
    def period(self) -> str:
        """The month, or the year of a longer span; empty without days."""
        if self.first is None or self.last is None:
            return ""
        return f"{self.first:%Y-%m}" if (self.first.year, self.first.month) == (self.last.year, self.last.month) else f"{self.first:%Y}"


@dataclass(frozen=True)
class Piece:
    """Neighbouring partitions of a dataset that one run of a job fills, and the options of that run."""

    job: str
    partitions: tuple[str, ...]
    options: Mapping[str, object]

    @property
    def subject(self) -> str:
        """The first and last partition."""
        return self.partitions[0] if len(self.partitions) == 1 else f"{self.partitions[0]} to {self.partitions[-1]}"


def span(partition: str) -> Span:
    """What a partition's name says: year=2012, month=2012-03, date=2012-03-05, ticker=AAPL/year=2012, cik=0000320193."""
    subject = dict(part.split("=", 1) for part in partition.split("/"))
    told = next((subject.pop(key) for key in DATES if key in subject), None)
    if told is None:
        return Span(None, None, subject)
    year, month, day = ([int(number) for number in told.split("-")] + [0, 0])[:3]
    first = date(year, month or 1, day or 1)
    last_month = month or 12
    return Span(first, date(year, last_month, day or monthrange(year, last_month)[1]), subject)


def cut(job: str, options: Mapping[str, object], plan: Sequence[Mapping[str, Any]], *, known: Collection[str], again: bool) -> list[Piece]:
    """The pieces of a job's plan, in its order. `known` are the options the job has; `again` asks for what is committed too."""
    wanted = [again or entry["commit"] is None for entry in plan]
    groups: list[list[Mapping[str, Any]]] = []
    for number, entry in enumerate(plan):
        if not wanted[number]:
            continue
        if number and wanted[number - 1] and _together(plan[number - 1], entry):
            groups[-1].append(entry)
        else:
            groups.append([entry])
    return [_piece(job, options, [str(entry["partition"]) for entry in group], known) for group in groups]


def period(partition: str) -> str:
    """The month of a partition, or its year where it is one; empty for one without days."""
    return span(partition).period


def _together(before: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    if before["dataset"] != entry["dataset"]:
        return False
    one, other = span(before["partition"]), span(entry["partition"])
    return one.subject == other.subject and (before["asks"] == entry["asks"] or "" != one.period == other.period)


def _piece(job: str, options: Mapping[str, object], partitions: Sequence[str], known: Collection[str]) -> Piece:
    """One run: the dates and the one subject of its partitions go before the range and the list that were given."""
    first, last = span(partitions[0]), span(partitions[-1])
    narrowed: dict[str, object] = {f"{key}s": [value] for key, value in first.subject.items() if f"{key}s" in known}
    if first.first and last.last and {"start", "end"} <= set(known):
        start, end = str(options["start"]), str(options["end"])
        narrowed |= {"start": max(start, str(first.first)), "end": min(end, str(last.last))}
    return Piece(job, tuple(partitions), {**options, **narrowed})
