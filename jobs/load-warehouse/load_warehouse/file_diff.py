"""What a commit's file has and the one before has not, and the other way round: found in the two files, before anything is sent.

A restatement mostly repeats what was there. Whole columns are compared, and value by value only where they differ; rows are put beside
each other in the order that both files have. What is left goes to the warehouse, which pairs it by key: where the order is another,
more is left, and the same comes of it.
Hand-written: a library that joins Arrow data (Polars, DuckDB) is several times as large as all that this job is made of.
"""

from __future__ import annotations

from itertools import compress
from operator import ne
from typing import TYPE_CHECKING, NamedTuple

from load_warehouse import parquet
from load_warehouse.copy import BATCH_ROWS
from load_warehouse.types import ROW_NUMBER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from arro3.core import RecordBatch

    from load_warehouse.copy import Parquet

FEWEST = 20_000  # rows; fewer are sent as fast as the file before is read
MOST_ROWS, MOST_PART = 100_000, 0.5  # where more is left, or a larger part of what was read, the warehouse compares it all


class Left(NamedTuple):
    """The rows without an equal in the other file, and how many they are."""

    former: Parquet
    former_rows: int
    fresh: Parquet
    fresh_rows: int


def left(former: Parquet, fresh: Parquet, key: tuple[str, ...]) -> Left | None:
    """What is left when every row that is in both files was struck out; None where that is too much to be worth it.

    Both have the same columns. Rows are equal when all their values are, but for the row's number.
    """
    old, new = _Rows(former), _Rows(fresh)
    values = [name for name in fresh.columns if name not in (*key, ROW_NUMBER)]
    while old.size and new.size and not _too_many(old, new):
        ones, others = _beside(old.rest, new.rest, key)
        if ones:
            differ = _differ(_pick(old.rest, ones), _pick(new.rest, others), values)
            old.read(ones, differ)
            new.read(others, differ)
        else:
            min(old, new, key=lambda rows: rows.size).leave()
    for rows in (old, new):
        while rows.size and not _too_many(old, new):
            rows.leave()
    return None if _too_many(old, new) else Left(former.only(old.parts), old.left, fresh.only(new.parts), new.left)


class _Rows:
    """A file's rows: the `rest` of a batch, of `size`, that was not read yet, how many were, and the `parts` that are left."""

    def __init__(self, file: Parquet) -> None:
        self._batches = file.batches()
        self.seen = self.left = self.size = 0
        self.parts: list[RecordBatch] = []
        self._next()

    def _next(self) -> None:
        while not self.size and (batch := next(self._batches, None)) is not None:
            self.rest, self.size = batch, batch.num_rows

    def read(self, paired: Sequence[int], differ: Iterable[int]) -> None:
        """Go on behind the last of these rows; those at the places `differ` among them are left, and what has no partner."""
        size = len(paired) if isinstance(paired, range) else max(paired) + 1
        alone = set(range(size)).difference(paired) if len(paired) < size else set()
        if rows := sorted(alone.union(paired[place] for place in differ)):
            self.parts.append(parquet.take(self.rest, rows))
            self.left += len(rows)
        self.seen, self.size = self.seen + size, self.size - size
        self.rest = self.rest.slice(size, self.size)
        self._next()

    def leave(self) -> None:
        """The rest is left as it is."""
        self.read(range(self.size), range(self.size))


def _too_many(*files: _Rows) -> bool:
    return any(rows.left > min(MOST_ROWS, max(BATCH_ROWS, rows.seen * MOST_PART)) for rows in files)


def _beside(old: RecordBatch, new: RecordBatch, key: tuple[str, ...]) -> tuple[Sequence[int], Sequence[int]]:
    """The rows of each that have the same keys, in pairs."""
    size = min(old.num_rows, new.num_rows)
    if all(old.column(name).slice(0, size) == new.column(name).slice(0, size) for name in key):
        return range(size), range(size)
    places = {values: place for place, values in enumerate(parquet.rows(new, key))}
    pairs = [(place, places[values]) for place, values in enumerate(parquet.rows(old, key)) if values in places]
    return tuple(zip(*pairs, strict=True)) if pairs else ((), ())  # type: ignore[return-value]


def _pick(batch: RecordBatch, rows: Sequence[int]) -> RecordBatch:
    return batch.slice(0, len(rows)) if isinstance(rows, range) else parquet.take(batch, rows)


def _differ(old: RecordBatch, new: RecordBatch, names: Sequence[str]) -> set[int]:
    """The rows that have not the same values."""
    differ: set[int] = set()
    for name in names:
        one, other = old.column(name), new.column(name)
        if one != other:
            differ.update(compress(range(len(one)), map(ne, one.to_pylist(), other.to_pylist())))
    return differ
