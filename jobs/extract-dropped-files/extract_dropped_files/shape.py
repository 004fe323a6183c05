"""From a dropped file to columns: CSV, Parquet or JSON lines, as they are, gzipped, or alone in a zip. The name's ending says which."""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import re
import signal
import struct
import subprocess
import sys
import zipfile
import zlib
from datetime import datetime
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any

from jobkit import jsontext
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobkit.contract import Columns

LARGEST_BYTES = 64 << 20  # of a file once unpacked; what is larger comes in several
LARGEST_RATIO, SUSPECT_BYTES = 200, 1 << 20  # a file of figures shrinks to a tenth; a bomb to a thousandth
BYTES_PER_LINE = 32  # rows cost more memory than their bytes
ENDING = re.compile(r"\.(csv|parquet|jsonl|ndjson|gz|zip)$", re.IGNORECASE)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]*")
DELIMITERS = ",;\t|"
EXPECTED = "expected .csv, .parquet, .jsonl or .ndjson, as it is, with .gz, or alone in a .zip"
UNZIPPING = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, RuntimeError, ValueError)  # all it raises
FIRST_READER = f"""
import io, sys
from arro3.io import read_parquet
size = 0
try:
    for batch in read_parquet(io.BytesIO(sys.stdin.buffer.read())):
        size += batch.nbytes
        if size > {LARGEST_BYTES}:
            break
except BaseException as error:
    print(str(error).partition(chr(10))[0] or type(error).__name__)
"""
Scalar = str | bool | int | float | Decimal | None


def partition(name: str) -> str:
    """The partition that a file fills: its name without endings, so that the same delivery packed otherwise is the same.

    Raises BadDataError on a name that no partition can have.
    """
    stem = name
    while ENDING.search(stem):
        stem = ENDING.sub("", stem)
    if not NAME.fullmatch(stem) or ".." in stem:
        raise BadDataError(f"{name!r} is no name for a file here; expected letters, digits, dots, dashes and underscores")
    return f"file={stem}"


def shape(data: bytes, name: str) -> Columns:
    """The file's columns, rows in its order, values as text or JSON scalars; an empty CSV cell is None.

    Raises BadDataError on a file that is of no kind we read, broken, or too large.
    """
    data, name = _unpacked(data, name)
    read = READERS.get(_ending(name))
    if read is None:
        raise BadDataError(f"{name} is of no kind that is read here; {EXPECTED}")
    if not data:
        raise BadDataError(f"{name} is empty; was it sent before it was written?")
    if read is not _parquet and data.count(b"\n") * BYTES_PER_LINE > max(len(data), SUSPECT_BYTES):
        raise BadDataError(f"{name} has more than one line in {BYTES_PER_LINE} bytes, which no file of figures has")
    return read(data, name)


def _ending(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _unpacked(data: bytes, name: str) -> tuple[bytes, str]:
    """The file inside, and its name."""
    if _ending(name) == "gz":
        return _gunzipped(data, name), name[: -len(".gz")]
    if _ending(name) == "zip":
        return _unzipped(data, name)
    return _small(data, name, len(data)), name


def _gunzipped(data: bytes, name: str) -> bytes:
    try:
        with gzip.open(io.BytesIO(data)) as file:
            return _small(file.read(LARGEST_BYTES + 1), name, len(data))
    except (OSError, EOFError, zlib.error) as error:
        raise BadDataError(f"{name} is no whole gzip file: {error}") from None


def _unzipped(data: bytes, name: str) -> tuple[bytes, str]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) != 1:
                raise BadDataError(f"{name} holds {len(members)} files; expected one")
            with archive.open(members[0]) as file:  # what it says of its size is not believed
                return _small(_read(file), name, len(data)), members[0].filename.rpartition("/")[2]
    except UNZIPPING as error:
        raise BadDataError(f"{name} is no zip file that can be read: {error}") from None


def _read(file: IO[bytes]) -> bytes:
    return file.read(LARGEST_BYTES + 1)


def _small(data: bytes, name: str, packed: int) -> bytes:
    """The data. Raises BadDataError when they are more than memory should hold, or shrank as no real file does."""
    if len(data) > LARGEST_BYTES:
        raise BadDataError(f"{name} has more than {LARGEST_BYTES >> 20} MiB; split it into several files")
    if len(data) > max(SUSPECT_BYTES, LARGEST_RATIO * packed):
        raise BadDataError(f"{name} unpacks to {len(data) // packed} times its size, which no file of figures does")
    return data


def _csv(data: bytes, name: str) -> Columns:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadDataError(f"{name} is not UTF-8: {error.reason} at byte {error.start}; save it as UTF-8") from None
    delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]
    except csv.Error as error:
        raise BadDataError(f"{name} is no CSV: {error}") from None
    if not rows:
        raise BadDataError(f"{name} has no header")
    header, *body = rows
    _check_header(header, name)
    for number, row in enumerate(body, start=1):
        if len(row) != len(header):
            raise BadDataError(f"{name}: row {number} has {len(row)} cells, the header {len(header)}; is a cell with a comma in quotes?")
    return {column: [row[index] or None for row in body] for index, column in enumerate(header)}


def _check_header(names: list[str], file: str) -> None:
    """Raises BadDataError naming columns by their place: without a header the first row is taken for one, and it may be confidential."""
    if "" in names:
        raise BadDataError(f"{file} has columns without a name: column {names.index('') + 1} is the first")
    if twice := [place for place, name in enumerate(names, 1) if names.index(name) + 1 < place]:
        raise BadDataError(f"{file} has two columns of one name: {names.index(names[twice[0] - 1]) + 1} and {twice[0]}")


def _json_lines(data: bytes, name: str) -> Columns:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = jsontext.decode(line, f"{name} line {number}")
        except BadDataError:
            row = None
        if not isinstance(row, dict):  # what it holds may be confidential
            raise BadDataError(f"{name} line {number} is no JSON object")
        rows.append({column: _scalar(value, f"{name} line {number}: {column}") for column, value in row.items()})
    return jsontext.columns(rows)


def _parquet(data: bytes, name: str) -> Columns:
    if reason := _broken(data):
        raise BadDataError(f"{name} is no Parquet file that can be read: {reason}")
    try:
        return _read_parquet(data, name)
    except BadDataError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # how the reader gives up; no module exports it
            raise
        raise BadDataError(f"{name} is no Parquet file that can be read: {str(error).partition(chr(10))[0]}") from None


def _broken(data: bytes) -> str:
    """Why a Parquet file cannot be read; nothing where it can.

    Another process reads it first: on broken pages the reader aborts its process, which nothing can catch, or writes a trace of its own.
    """
    first = subprocess.run([sys.executable, "-P", "-c", FIRST_READER], input=data, capture_output=True, check=False)  # noqa: S603
    if first.returncode in (-signal.SIGABRT, -signal.SIGSEGV):
        return "it aborts its reader"
    return first.stdout.decode(errors="replace").strip()


def _read_parquet(data: bytes, name: str) -> Columns:
    from arro3.io import read_parquet  # noqa: PLC0415  heavy; only extracting needs it

    reader = read_parquet(io.BytesIO(data))
    names = [reader.schema.field(index).name for index in range(len(reader.schema))]
    _check_header(names, name)
    columns: dict[str, list[Scalar]] = {column: [] for column in names}
    size = 0
    for batch in reader:
        size += batch.nbytes
        if size > LARGEST_BYTES:
            raise BadDataError(f"{name} has more than {LARGEST_BYTES >> 20} MiB once read; split it into several files")
        for column in names:
            columns[column] += [_scalar(value, f"{name}: {column}") for value in batch.column(column).to_pylist()]
    return columns


def _scalar(value: object, where: str) -> Scalar:
    """A value that contracts know. Raises BadDataError on nested and binary ones."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict | list | bytes):
        raise BadDataError(f"{where} holds a {type(value).__name__}; expected plain values")
    return value if value is None or isinstance(value, str | bool | int | float | Decimal) else str(value)


READERS: dict[str, Callable[[bytes, str], Columns]] = {
    "csv": _csv,
    "jsonl": _json_lines,
    "ndjson": _json_lines,
    "parquet": _parquet,
}
