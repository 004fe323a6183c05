"""When the loader takes which path, how long it waits for locks, and how much it holds in memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LoadPolicy:
    """Limits that choose between load paths. The result of a load is the same under every policy; its cost is not.

    The defaults are measured (docs/decisions/0009-warehouse-loading.md). Operators have no option for them; tests pass their own.

    Attributes:
        batch_rows: rows of one Arrow batch, which is the unit of reading, encoding and diffing.
        copy_buffer_bytes: bytes to collect before one write when rows are copied between two connections.
        min_diff_rows: below this number of rows in either file, a restatement is sent whole: that is as fast as reading the previous file.
        max_diff_rows: above this number of differing rows in either file, the restatement is sent whole.
        max_diff_fraction: above this fraction of differing rows among those read, the restatement is sent whole.
        swap_rows: from this number of changed rows on, a leaf may be rebuilt and swapped in instead of changed in place.
        swap_fraction: the same limit as a fraction of the commit's rows; both limits must be reached.
        lock_timeout_ms: how long one attempt at a table lock may wait. Readers queue behind a waiting lock, so keep it short.
        swap_tries: attempts to lock a table against readers; the default gives up after about eight seconds.
        attach_tries: attempts at locks that exclude no reader; the default gives up after about four minutes.
        max_lookups: up to this number of partitions are looked up one by one; for more, the dataset's commits are listed.

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
