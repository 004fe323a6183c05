"""The limits between the loader's paths, for its waits and for its memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LoadPolicy:
    """The limits that decide which path a load takes. Every policy gives the same rows; only the cost differs.

    The defaults come from measurements (docs/decisions/0009-warehouse-loading.md). Tests pass other values; there is no option for them.

    Attributes:
        batch_rows: rows in one Arrow batch, the unit of reading, encoding and comparing.
        copy_buffer_bytes: bytes to collect before each write when rows are copied between two connections.
        min_diff_rows: if either file has fewer rows, the whole file is sent: that is as fast as reading the previous file.
        max_diff_rows: if more rows differ in either file, the whole file is sent.
        max_diff_fraction: if a larger fraction of the rows read so far differs, the whole file is sent.
        swap_rows: if at least this many rows change, a leaf may be rebuilt and swapped in instead of changed in place.
        swap_fraction: the same as a fraction of the commit's rows; both limits must be reached.
        lock_timeout_ms: how long one attempt waits for a table lock. Readers queue behind the waiting loader, so keep it short.
        swap_tries: attempts at a table lock that excludes readers; the default gives up after about eight seconds.
        attach_tries: attempts at a table lock that excludes no reader; the default gives up after about four minutes.
        max_lookups: up to this many partitions are looked up one by one; for more, the dataset's commits are listed.

    """

    batch_rows: int = 16_384
    copy_buffer_bytes: int = 1 << 18
    min_diff_rows: int = 20_000
    max_diff_rows: int = 100_000
    max_diff_fraction: float = 0.5
    swap_rows: int = 20_000
    swap_fraction: float = 0.5
    lock_timeout_ms: int = 100
    swap_tries: int = 12
    attach_tries: int = 300
    max_lookups: int = 16
