"""From the ECB's zipped CSV to columns: one per currency, units of it per euro."""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING

from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from jobkit.contract import Columns
    from jobkit.extract import Ask

MAX_CSV_BYTES = 64 << 20


def shape(body: bytes, ask: Ask) -> dict[str, Columns]:
    """Columns by partition, rows as in the file (newest first). Raises BadDataError when the bytes are no such file.

    The unnamed last column, left by a trailing comma on every line, is not a field; N/A is no value.
    """
    try:
        header, *rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(_csv(body))) if row]
    except (ValueError, csv.Error) as error:
        raise BadDataError(f"the ECB file is empty or no CSV: {error}") from None
    if header[:2] != ["Date", "USD"] or any(len(row) != len(header) for row in rows):
        raise BadDataError(f"the ECB file does not begin with Date, USD or has ragged rows; its header is {header[:5]}")
    if len(named := [name for name in header if name]) > len(set(named)):
        raise BadDataError(f"the ECB file has two columns of one name; its header is {', '.join(header)[:300]}")
    rows = [[_iso(row[0]), *row[1:]] for row in rows]
    key = (lambda row: f"date={row[0]}") if ask.dataset == "ecb_fx_rates_daily" else (lambda row: f"year={row[0][:4]}")
    grouped = groupby(sorted(rows, key=key), key)
    return {partition: _columns(header, list(part)) for partition, part in grouped if partition in ask.partitions}


def _csv(body: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            (member,) = archive.infolist()
            if member.file_size > MAX_CSV_BYTES:
                raise BadDataError(f"the ECB file unpacks to {member.file_size:,} bytes, more than the {MAX_CSV_BYTES:,} it may be")
            return archive.read(member).decode("utf-8-sig")
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError) as error:  # RuntimeError: encrypted, or packed otherwise
        raise BadDataError(f"the ECB answer is no zip with one CSV inside: {error}") from None


def _iso(text: str) -> str:
    """The daily file writes `30 October 2026` where the history writes 2026-10-30; anything else is left to the contract."""
    try:
        return datetime.strptime(text, "%d %B %Y").date().isoformat()  # noqa: DTZ007  a date, no time
    except ValueError:
        return text


def _columns(header: list[str], rows: list[list[str]]) -> Columns:
    return {name: [None if row[i] in ("N/A", "") else row[i] for row in rows] for i, name in enumerate(header) if name}
