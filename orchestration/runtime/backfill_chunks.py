"""Split a backfill into chunks, one run of a job for each, so that only partitions missing from the lake are fetched.

The verb `plan` of a job names the partitions of a range and the commit that the lake holds of each. Missing neighbours form one chunk if
one vendor request fills them, or if they are days of one month: within a run, a job keeps to its vendor's rate limit. So do partitions that
no option of the job tells apart, such as those of two datasets or two series of one year.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

DATE_KEYS = ("year", "month", "date")


@dataclass(frozen=True)
class PartitionSpan:
    """The first and last day of a partition, both None if its name has no date. `subject` is the rest of the name, by key."""

    first: date | None
    last: date | None
    subject: Mapping[str, str]

    @property
    def period(self) -> str:
        """The month (2012-03), or the year (2012) of a span over several months; empty without dates."""
        if self.first is None or self.last is None:
            return ""
        return f"{self.first:%Y-%m}" if (self.first.year, self.first.month) == (self.last.year, self.last.month) else f"{self.first:%Y}"


@dataclass(frozen=True)
class Chunk:
    """Partitions that one run of a job fills, the dataset of each, and the options of that run."""

    job: str
    partitions: tuple[str, ...]
    datasets: tuple[str, ...]
    options: Mapping[str, object]

    @property
    def subject(self) -> str:
        """The first and last partition, for the name of the run."""
        first, last = self.partitions[0], self.partitions[-1]
        return first if first == last else f"{first} to {last}"

    @property
    def keys(self) -> list[tuple[str, str, str]]:
        """Job, dataset and partition of each; datasets of a job may have partitions of the same name."""
        return [(self.job, dataset, partition) for dataset, partition in zip(self.datasets, self.partitions, strict=True)]


def parse_partition(partition: str) -> PartitionSpan:
    """Parse a partition's name: year=2012, month=2012-03, date=2012-03-05, ticker=AAPL/year=2012 or cik=0000320193."""
    subject = dict(part.split("=", 1) for part in partition.split("/"))
    text = next((subject.pop(key) for key in DATE_KEYS if key in subject), None)
    if text is None:
        return PartitionSpan(None, None, subject)
    year, month, day = ([int(number) for number in text.split("-")] + [0, 0])[:3]
    first = date(year, month or 1, day or 1)
    last_month = month or 12
    return PartitionSpan(first, date(year, last_month, day or monthrange(year, last_month)[1]), subject)


def plan_chunks(
    job: str, options: Mapping[str, object], plan: Sequence[Mapping[str, Any]], *, supported: Collection[str], refetch: bool
) -> list[Chunk]:
    """Return the chunks of a job's plan, in its order. `supported` are the options that the job has.

    With `refetch`, include partitions that are committed already.
    """
    needed = [refetch or entry["commit"] is None for entry in plan]
    groups: list[list[Mapping[str, Any]]] = []
    for index, entry in enumerate(plan):
        if not needed[index]:
            continue
        if index and needed[index - 1] and _is_same_chunk(plan[index - 1], entry):
            groups[-1].append(entry)
        else:
            groups.append([entry])
    chunks: dict[str, Chunk] = {}
    for group in groups:
        partitions, datasets = (tuple(str(entry[key]) for entry in group) for key in ("partition", "dataset"))
        narrowed = _narrow(options, partitions, supported)
        same = chunks.get(repr(narrowed))
        if same:  # no option tells them apart, so one run fills both
            partitions, datasets = same.partitions + partitions, same.datasets + datasets
        chunks[repr(narrowed)] = Chunk(job, partitions, datasets, narrowed)
    return list(chunks.values())


def period_of(partition: str) -> str:
    """Return the month of a partition, or its year if it is a year; empty without dates."""
    return parse_partition(partition).period


def _is_same_chunk(previous: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    if previous["dataset"] != entry["dataset"]:
        return False
    previous_span, span = parse_partition(previous["partition"]), parse_partition(entry["partition"])
    same_month = "" != previous_span.period == span.period
    return previous_span.subject == span.subject and (previous["asks"] == entry["asks"] or same_month)


def _narrow(options: Mapping[str, object], partitions: Sequence[str], supported: Collection[str]) -> dict[str, object]:
    """Return the options of the range, narrowed to the dates and the subject of these partitions."""
    first, last = parse_partition(partitions[0]), parse_partition(partitions[-1])
    narrowed: dict[str, object] = {f"{key}s": [value] for key, value in first.subject.items() if f"{key}s" in supported}
    if first.first and last.last and {"start", "end"} <= set(supported):
        start, end = str(options["start"]), str(options["end"])
        narrowed |= {"start": max(start, str(first.first)), "end": min(end, str(last.last))}
    return {**options, **narrowed}
