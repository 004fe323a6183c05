"""The number of a mart's rows that changed between two publications."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

CHUNK_ROWS = 20_000


@dataclass(frozen=True)
class RowChanges:
    """How many rows of a mart were added, removed, or kept their key but changed a value."""

    added: int
    removed: int
    changed: int


def compare_versions(before: Path, after: Path, key: Sequence[str]) -> RowChanges:
    """Compare two CSV files of a mart. Without a key in both files, a changed row counts as one removed and one added.

    Equal rows at the beginning of both files are skipped. The others are compared by 64-bit hashes, so that memory is 16 bytes per row.
    """
    import numpy as np  # noqa: PLC0415

    with before.open("rb") as file_before, after.open("rb") as file_after:
        header_before, header_after = file_before.readline(), file_after.readline()
        if header_before == header_after:
            _skip_equal_rows(file_before, file_after)
        digests_before, digests_after = _hash_rows(header_before, file_before, key), _hash_rows(header_after, file_after, key)
    common, index_before, index_after = np.intersect1d(digests_before[0], digests_after[0], return_indices=True)
    changed = int((digests_before[1][index_before] != digests_after[1][index_after]).sum())
    return RowChanges(added=len(digests_after[0]) - len(common), removed=len(digests_before[0]) - len(common), changed=changed)


def _skip_equal_rows(before: IO[bytes], after: IO[bytes]) -> None:
    """Move both files past the rows with which they begin alike. A row ends with a line after which all quotes are closed."""
    start, position, open_quotes = before.tell(), before.tell(), 0
    for line in before:
        if line != after.readline():
            break
        position += len(line)
        open_quotes ^= line.count(b'"') & 1
        if not open_quotes:
            start = position
    before.seek(start)
    after.seek(start)


def _hash_rows(header: bytes, rows: IO[bytes], key: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Hash each row's key, and each whole row, of a CSV file that is open behind its header."""
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    names = next(csv.reader([header.decode()]))
    key_columns = list(key) if key and set(key) <= set(names) else names
    keys, wholes = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    if rows.read(1):
        rows.seek(-1, os.SEEK_CUR)
        for chunk in pd.read_csv(rows, names=names, dtype=str, keep_default_na=False, chunksize=CHUNK_ROWS):
            keys.append(pd.util.hash_pandas_object(chunk[key_columns], index=False).to_numpy().astype(np.uint64))
            wholes.append(pd.util.hash_pandas_object(chunk, index=False).to_numpy().astype(np.uint64))
    return np.concatenate(keys), np.concatenate(wholes)
