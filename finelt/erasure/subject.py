"""What is to be erased, a value of a column of a dataset, and how it is recognised in rows, in quarantined rows and in documents."""

from __future__ import annotations

import gzip
import html
import io
import json
import re
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from arro3.core import Array, DataType, Table
from arro3.io import read_parquet
from jobkit.lake import PARQUET_MAGIC, is_parquet

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_NESTING = 3  # archives in archives
GZIP_MAGIC = b"\x1f\x8b"
WIDE = ("utf-16-le", "utf-16-be")
NARROW = ("utf-8", "cp1252")
_WORD, _LE, _BE = rb"[0-9A-Za-z]", rb"[0-9A-Za-z]\x00", rb"\x00[0-9A-Za-z]"


@dataclass(frozen=True)
class Subject:
    """A value of a column of a dataset. The value is as the typed rows have it; it is never printed or stored."""

    dataset: str
    column: str
    value: str

    def find_rows(self, table: Table) -> list[int]:
        """Return the positions of the rows that have the value. Empty if the table lacks the column."""
        if self.column not in table.column_names:
            return []
        return [row for row, cell in enumerate(table.column(self.column).to_pylist()) if cell is not None and str(cell) == self.value]

    def find_quarantined_rows(self, table: Table) -> list[int]:
        """Return the positions of the rows in quarantine that have the value in any of the vendor's columns, or in their reasons."""
        rows = zip(table.column("raw_row").to_pylist(), table.column("reasons").to_pylist(), strict=True)
        return [row for row, (raw, reasons) in enumerate(rows) if self.is_in_quarantined_row(json.loads(raw), reasons)]

    def is_in_quarantined_row(self, raw_row: Any, reasons: str) -> bool:  # noqa: ANN401  any JSON
        """Whether a quarantined row has the value. Such rows were never trimmed or converted, so spaces and case do not count."""
        wanted = self.value.casefold()
        return any(str(cell).strip().casefold() == wanted for cell in _flatten(raw_row)) or self._is_quoted(reasons)

    def is_in_document(self, data: bytes, nesting: int = 0) -> bool:
        """Whether a document has the value as a whole word: text in the usual encodings, also compressed, in Excel, Parquet or an archive.

        A number or a date is found only as the typed rows write it.
        """
        if nesting > MAX_NESTING:
            return True  # what cannot be looked into counts as if it had the value
        if data.startswith(PARQUET_MAGIC):
            if not is_parquet(data):
                return True
            table = read_table(data)
            return any(self._is_cell(cell) for name in table.column_names for cell in table.column(name).to_pylist())
        try:
            members = _unpack(data)
        except (OSError, EOFError, zlib.error, RuntimeError, zipfile.BadZipFile, NotImplementedError):  # encrypted, cut off, unknown method
            return True
        return any(self.is_in_document(member, nesting + 1) for member in members) if members else self._is_text(data)

    def is_in_text(self, text: str) -> bool:
        """Whether a text, such as a URL, has the value as a whole word."""
        return self._is_text(text.encode())

    def _is_cell(self, cell: object) -> bool:
        text = str(cell)
        return text == self.value or (isinstance(cell, str) and self.value.casefold() in text.casefold() and self.is_in_text(text))

    def _is_quoted(self, text: str) -> bool:
        return any(f"{mark}{self.value}{mark}" in text for mark in "'\"")

    def _is_text(self, data: bytes) -> bool:
        return any(pattern.search(data) for pattern in self._patterns)

    @cached_property
    def _patterns(self) -> list[re.Pattern[bytes]]:
        """The value as a whole word in each encoding, as it is and as JSON, HTML, CSV and URLs write it. Case does not count."""
        forms = {self.value, json.dumps(self.value)[1:-1], html.escape(self.value), self.value.replace('"', '""')}
        patterns = []
        for encoding in (*NARROW, *WIDE):
            before, after = {"utf-16-le": (_LE, _LE), "utf-16-be": (_BE, _BE)}.get(encoding, (_WORD, _WORD))
            for form in forms:
                try:
                    word = re.escape(form.encode(encoding))
                except UnicodeEncodeError:
                    continue
                patterns.append(re.compile(rb"(?<!" + before + rb")" + word + rb"(?!" + after + rb")", re.IGNORECASE))
        return patterns


def _unpack(data: bytes) -> list[bytes]:
    """Return the members of an archive or a workbook, or what was compressed; empty for any other document."""
    if data.startswith(GZIP_MAGIC):
        return [gzip.decompress(data)]
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [archive.read(name) for name in archive.namelist()]


def _flatten(document: Any) -> list[Any]:  # noqa: ANN401  any JSON
    """Return the scalars of a JSON document."""
    if isinstance(document, dict):
        return [cell for value in document.values() for cell in _flatten(value)]
    if isinstance(document, list):
        return [cell for value in document for cell in _flatten(value)]
    return [document]


def read_table(data: bytes) -> Table:
    """Return the rows of a Parquet file."""
    return read_parquet(io.BytesIO(data)).read_all()


def remove_rows(table: Table, rows: Collection[int]) -> Table:
    """Return the table without the rows at these positions."""
    gone = set(rows)
    kept = [row for row in range(table.num_rows) if row not in gone]
    batch = table.combine_chunks().to_batches()[0]
    return Table.from_batches([batch.take(Array(kept, type=DataType.uint32()))], schema=table.schema)
