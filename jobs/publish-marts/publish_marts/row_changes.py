"""The number of a mart's rows that changed between two publications."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

CHUNK_ROWS = 100_000


@dataclass(frozen=True)
class RowChanges:
    """How many rows of a mart were added, removed, or kept their key but changed a value."""

    added: int
    removed: int
    changed: int


def compare_versions(before: IO[bytes], after: Path, key: Sequence[str]) -> RowChanges:
    """Compare two CSV files of a mart. Without a key in both files, a changed row counts as one removed and one added.

    Rows are compared by 64-bit hashes, so that memory is 16 bytes per row.
    """
    import numpy as np  # noqa: PLC0415

    digests_before, digests_after = _hash_rows(before, key), _hash_rows(after, key)
    common, index_before, index_after = np.intersect1d(digests_before[0], digests_after[0], return_indices=True)
    changed = int((digests_before[1][index_before] != digests_after[1][index_after]).sum())
    return RowChanges(added=len(digests_after[0]) - len(common), removed=len(digests_before[0]) - len(common), changed=changed)


def _hash_rows(csv: IO[bytes] | Path, key: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Hash each row's key, and each whole row."""
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    keys, rows = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    for chunk in pd.read_csv(csv, dtype=str, keep_default_na=False, chunksize=CHUNK_ROWS):
        key_columns = list(key) if key and set(key) <= set(chunk.columns) else list(chunk.columns)
        keys.append(pd.util.hash_pandas_object(chunk[key_columns], index=False).to_numpy().astype(np.uint64))
        rows.append(pd.util.hash_pandas_object(chunk, index=False).to_numpy().astype(np.uint64))
    return np.concatenate(keys), np.concatenate(rows)
