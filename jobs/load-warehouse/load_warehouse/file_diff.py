"""Comparison of two versions of a partition's Parquet file, so that only changed rows are sent to Postgres.

Most rows of a restatement repeat those of the previous commit. Rows are paired in the order that both files share; whole columns are
compared first, single values only where columns differ. The remaining rows go to the warehouse, which pairs them by key. If the row
order differs, more rows are sent; the result is the same.

This is our own code because a library that joins Arrow data (Polars, DuckDB) is several times as large as this whole job.
"""

from __future__ import annotations

from itertools import compress
from operator import ne
from typing import TYPE_CHECKING, NamedTuple

from jobkit.names import ROW_NUMBER

from load_warehouse import parquet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from arro3.core import RecordBatch

    from load_warehouse.copy import ParquetFile
    from load_warehouse.policy import LoadPolicy


class FileDiff(NamedTuple):
    """The rows of each file that have no equal row in the other, and their numbers."""

    previous: ParquetFile
    previous_rows: int
    current: ParquetFile
    current_rows: int


def diff_files(previous: ParquetFile, current: ParquetFile, key: tuple[str, ...], policy: LoadPolicy) -> FileDiff | None:
    """Return the rows of each file that the other does not have; None if they exceed the limits of the policy.

    Both files have the same columns. Two rows are equal if all their values are, except the row number.
    """
    old, new = _FileCursor(previous), _FileCursor(current)
    values = [name for name in current.columns if name not in (*key, ROW_NUMBER)]
    while old.size and new.size and not _exceeds_limits(policy, old, new):
        old_rows, new_rows = _pair_rows(old.remaining, new.remaining, key)
        if old_rows:
            changed = _find_changed(_select_rows(old.remaining, old_rows), _select_rows(new.remaining, new_rows), values)
            old.consume(old_rows, changed)
            new.consume(new_rows, changed)
        else:
            min(old, new, key=lambda cursor: cursor.size).keep_rest()
    for cursor in (old, new):
        while cursor.size and not _exceeds_limits(policy, old, new):
            cursor.keep_rest()
    if _exceeds_limits(policy, old, new):
        return None
    return FileDiff(previous.with_batches(old.kept), old.rows_kept, current.with_batches(new.kept), new.rows_kept)


class _FileCursor:
    """A position in a file, and the rows kept for the diff so far.

    `remaining` is the unread rest of the current batch and `size` its number of rows, 0 at the end of the file.
    """

    def __init__(self, file: ParquetFile) -> None:
        self._batches = file.iter_batches()
        self.rows_read = self.rows_kept = self.size = 0
        self.kept: list[RecordBatch] = []
        self._advance()

    def _advance(self) -> None:
        while not self.size and (batch := next(self._batches, None)) is not None:
            self.remaining, self.size = batch, batch.num_rows

    def consume(self, paired: Sequence[int], changed: Iterable[int]) -> None:
        """Move past the last paired row. Keep the rows without a partner, and the paired rows at the positions in `changed`."""
        size = len(paired) if isinstance(paired, range) else max(paired) + 1
        unpaired = set(range(size)).difference(paired) if len(paired) < size else set()
        if rows := sorted(unpaired.union(paired[position] for position in changed)):
            self.kept.append(parquet.take_rows(self.remaining, rows))
            self.rows_kept += len(rows)
        self.rows_read, self.size = self.rows_read + size, self.size - size
        self.remaining = self.remaining.slice(size, self.size)
        self._advance()

    def keep_rest(self) -> None:
        """Keep the rest of the current batch and move past it."""
        self.consume(range(self.size), range(self.size))


def _exceeds_limits(policy: LoadPolicy, *cursors: _FileCursor) -> bool:
    """Return whether so many rows differ that it is cheaper to send the whole file. The first batch never exceeds the limits."""
    return any(
        cursor.rows_kept > min(policy.max_diff_rows, max(policy.batch_rows, cursor.rows_read * policy.max_diff_fraction))
        for cursor in cursors
    )


def _pair_rows(old: RecordBatch, new: RecordBatch, key: tuple[str, ...]) -> tuple[Sequence[int], Sequence[int]]:
    """Return the row positions in each batch of rows with equal keys, pair by pair."""
    size = min(old.num_rows, new.num_rows)
    if all(old.column(name).slice(0, size) == new.column(name).slice(0, size) for name in key):
        return range(size), range(size)
    positions = {values: position for position, values in enumerate(parquet.iter_rows(new, key))}
    pairs = [(position, positions[values]) for position, values in enumerate(parquet.iter_rows(old, key)) if values in positions]
    return tuple(zip(*pairs, strict=True)) if pairs else ((), ())  # type: ignore[return-value]


def _select_rows(batch: RecordBatch, rows: Sequence[int]) -> RecordBatch:
    return batch.slice(0, len(rows)) if isinstance(rows, range) else parquet.take_rows(batch, rows)


def _find_changed(old: RecordBatch, new: RecordBatch, names: Sequence[str]) -> set[int]:
    """Return the positions of rows whose values differ in any of these columns."""
    changed: set[int] = set()
    for name in names:
        old_column, new_column = old.column(name), new.column(name)
        if old_column != new_column:
            changed.update(compress(range(len(old_column)), map(ne, old_column.to_pylist(), new_column.to_pylist())))
    return changed
