"""What changed in a mart between two publications, row by row."""

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
class Changes:
    """Rows of a mart whose key is new, gone, or has other values than before."""

    added: int
    removed: int
    changed: int


def between(before: IO[bytes], after: Path, key: Sequence[str]) -> Changes:
    """The changes from one CSV of a mart to the next. Without a key, or when it is new, a changed row is one removed and one added.

    Rows are compared by 64-bit digests: 16 bytes a row are held, not the rows.
    """
    import numpy as np  # noqa: PLC0415

    old, new = _digests(before, key), _digests(after, key)
    both, in_old, in_new = np.intersect1d(old[0], new[0], return_indices=True)
    differing = int((old[1][in_old] != new[1][in_new]).sum())
    return Changes(added=len(new[0]) - len(both), removed=len(old[0]) - len(both), changed=differing)


def _digests(csv: IO[bytes] | Path, key: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The digests of each row's key and of each row."""
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    keys, rows = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    for chunk in pd.read_csv(csv, dtype=str, keep_default_na=False, chunksize=CHUNK_ROWS):
        known = list(key) if key and set(key) <= set(chunk.columns) else list(chunk.columns)
        keys.append(pd.util.hash_pandas_object(chunk[known], index=False).to_numpy().astype(np.uint64))
        rows.append(pd.util.hash_pandas_object(chunk, index=False).to_numpy().astype(np.uint64))
    return np.concatenate(keys), np.concatenate(rows)
