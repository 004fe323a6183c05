"""From the ECB's zipped CSV to columns: one per currency, units of it per euro."""

from __future__ import annotations

import io
import zipfile
import zlib
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING

from jobkit import csvtext
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from jobkit.contracts import Columns
    from jobkit.requests import Request

MAX_CSV_BYTES = 8 << 20  # the same as of the zip file: what the declared memory holds


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Columns by partition, rows as in the file (newest first). Raises BadDataError when the bytes are no such file.

    The unnamed last column, left by a trailing comma on every line, is not a field; N/A is no value.
    """
    names, cells = csvtext.read(_csv(body), "the ECB file")
    header = [name.strip() for name in names]
    if header[:2] != ["Date", "USD"]:
        raise BadDataError(f"the ECB file does not begin with Date, USD; its header is {header[:5]}")
    rows = [[_iso(row[0].strip()), *(cell.strip() for cell in row[1:])] for row in cells]
    key = (lambda row: f"date={row[0]}") if request.dataset == "ecb_fx_rates_daily" else (lambda row: f"year={row[0][:4]}")
    grouped = groupby(sorted(rows, key=key), key)
    return {partition: _columns(header, list(part)) for partition, part in grouped if partition in request.partitions}


def _csv(body: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            (member,) = archive.infolist()
            with archive.open(member) as file:  # what it says of its size is not believed
                data = file.read(MAX_CSV_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError) as error:  # RuntimeError: encrypted, or packed otherwise
        raise BadDataError(f"the ECB answer is no zip with one CSV inside: {error}") from None
    if len(data) > MAX_CSV_BYTES:
        raise BadDataError(f"the ECB file unpacks to more than the {MAX_CSV_BYTES:,} bytes that this job has the memory for")
    return data


def _iso(text: str) -> str:
    """The daily file writes `30 October 2026` where the history writes 2026-10-30; anything else is left to the contract."""
    try:
        return datetime.strptime(text, "%d %B %Y").date().isoformat()  # noqa: DTZ007  a date, no time
    except ValueError:
        return text


def _columns(header: list[str], rows: list[list[str]]) -> Columns:
    return {name: [None if row[i] in ("N/A", "") else row[i] for row in rows] for i, name in enumerate(header) if name}
