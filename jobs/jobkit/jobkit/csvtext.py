"""CSV as vendors publish it: one header, rows as long as the header, and no more of either than the memory is meant for."""

from __future__ import annotations

import csv
import io

from jobkit.errors import BadDataError

BYTES_PER_ROW = 16  # of a file of figures; a denser one is none, and rows cost more memory than their bytes
SMALL = 1 << 16


def read(body: bytes, what: str) -> tuple[list[str], list[list[str]]]:
    """The header and the rows, blank lines left out. Raises BadDataError on another text, ragged rows and doubled names."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadDataError(f"{what} is empty or no CSV; it begins {body[:40]!r}") from None
    header: list[str] | None = None
    rows: list[list[str]] = []
    most = max(SMALL, len(body)) // BYTES_PER_ROW
    try:
        for row in csv.reader(io.StringIO(text, newline="")):
            if not row:
                continue
            if header is None:
                header = row
            elif len(row) != len(header):
                raise BadDataError(f"{what} has ragged rows: row {len(rows) + 1} has {len(row)} cells, its header {len(header)}")
            else:
                rows.append(row)
                if len(rows) > most:
                    raise BadDataError(f"{what} has more than {most:,} rows in {len(body):,} bytes, which no file of figures has")
    except csv.Error as error:
        raise BadDataError(f"{what} is no CSV: {error}; it begins {body[:40]!r}") from None
    if header is None:
        raise BadDataError(f"{what} is empty or no CSV; it begins {body[:40]!r}")
    names = [name.strip() for name in header if name.strip()]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadDataError(f"{what} has the column {twice[:40]!r} twice; expected each name once, as a column would be lost")
    return header, rows
