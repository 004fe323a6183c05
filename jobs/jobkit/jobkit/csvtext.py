"""CSV as vendors publish it (RFC 4180): one header, and rows of the same length. Files of too many tiny rows are refused."""

from __future__ import annotations

import csv
import io

from jobkit.errors import BadDataError

MIN_BYTES_PER_ROW = 16  # a row costs more memory than its bytes; no file of figures is denser
SMALL_BYTES = 1 << 16  # in a file this small, any number of rows is harmless


def read(body: bytes, what: str, delimiter: str = ",") -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a UTF-8 file, without blank lines. `what` names the file in messages.

    Raises BadDataError (65) for other text, for rows longer or shorter than the header, for a repeated column name, and for a quote in the
    wrong place, which could make several rows one cell.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadDataError(f"{what} is empty or not CSV; it begins {body[:40]!r}") from None
    header: list[str] | None = None
    rows: list[list[str]] = []
    max_rows = max(SMALL_BYTES, len(body)) // MIN_BYTES_PER_ROW
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            if not row:
                continue
            if header is None:
                header = row
            elif len(row) != len(header):
                raise BadDataError(f"{what} has ragged rows: row {len(rows) + 1} has {len(row)} cells, its header {len(header)}")
            else:
                rows.append(row)
                if len(rows) > max_rows:
                    raise BadDataError(f"{what} has more than {max_rows:,} rows in {len(body):,} bytes, which no file of figures has")
    except csv.Error as error:
        problem = "a quoted cell does not end" if str(error) == "unexpected end of data" else error
        raise BadDataError(f"{what} is not CSV: {problem}; it begins {body[:40]!r}") from None
    if header is None:
        raise BadDataError(f"{what} is empty or not CSV; it begins {body[:40]!r}")
    names = [name.strip() for name in header if name.strip()]
    if len(set(names)) != len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise BadDataError(f"{what} has the column {repeated[:40]!r} twice; expected each name once, as a column would be lost")
    return header, rows
