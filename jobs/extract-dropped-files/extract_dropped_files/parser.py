"""Parse a dropped file into a sheet of cells: CSV, Excel, Parquet or JSON lines, plain, gzipped, or alone in a zip.

The ending of the name says which. The contract's layout says how text is written; `delivery` interprets the cells.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import signal
import subprocess
import sys
import zipfile
import zlib
from datetime import date, datetime, time
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from jobkit import lossless_json
from jobkit.contracts import Layout
from jobkit.errors import BadDataError
from jobkit.zip_errors import UNZIP_ERRORS

from extract_dropped_files import excel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from jobkit.contracts import Columns

MAX_BYTES = 64 << 20  # of a file once unpacked
MAX_RATIO, SUSPECT_BYTES = 200, 1 << 20  # figures compress ten to one, a zip bomb a thousand to one
MAX_MEMBERS = 1000  # of a zip
ENCRYPTED = 1  # the flag of a zip's member
MIN_BYTES_PER_LINE = 32  # rows cost more memory than their bytes
EXTENSION = re.compile(r"\.(csv|xlsx|parquet|jsonl|ndjson|gz|zip)$", re.IGNORECASE)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]*")
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
MAC_METADATA = re.compile(r"__MACOSX/")  # added by macOS
BYTE_ORDER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
SEPARATOR_LINE = re.compile("sep=(.)", re.IGNORECASE)  # a first line that only Excel writes
EXPECTED = "expected .csv, .xlsx, .parquet, .jsonl or .ndjson, as it is, with .gz, or alone in a .zip"
READ_ERRORS = (*UNZIP_ERRORS, OSError)  # of an archive in memory
TRIAL_READER = f"""
import io, sys
from arro3.io import read_parquet
size = 0
try:
    for batch in read_parquet(io.BytesIO(sys.stdin.buffer.read())):
        size += batch.nbytes
        if size > {MAX_BYTES}:
            break
except BaseException as error:
    print(str(error).partition(chr(10))[0] or type(error).__name__)
"""
Scalar = str | bool | int | float | Decimal | date | datetime | None


class Footer(NamedTuple):
    """A line at the end of a file that is not a row: its place for people, such as `line 7`, and its cells by column."""

    place: str
    cells: dict[str, Scalar]


class Sheet(NamedTuple):
    """A file's cells by column, all columns of one length. `place` names row 1, 2, ... for people, such as `line 7`.

    Text in a file that `is_typed` is in the notation that contracts read.
    """

    columns: Columns
    place: Callable[[int], str]
    footers: tuple[Footer, ...] = ()
    is_typed: bool = False


def stem(name: str, *, is_partition: bool = True) -> str:
    """Return the name without its extensions, the same for a plain and a packed file.

    Raises BadDataError if no partition can have it; where the partitions come from the rows, if it leads elsewhere or cannot be printed.
    """
    stem = name
    while EXTENSION.search(stem):
        stem = EXTENSION.sub("", stem)
    if not is_partition and stem and stem.isprintable() and "/" not in stem and ".." not in stem:
        return stem
    if not NAME.fullmatch(stem) or ".." in stem:
        raise BadDataError(f"{name!r} is not a valid file name; expected letters, digits, dots, dashes and underscores")
    return stem


def parse(data: bytes, name: str, layout: Layout = Layout()) -> Sheet:  # noqa: B008  frozen
    """Return the file's cells, rows in the file's order; an empty cell is None.

    Raises BadDataError (65) if the file is of another kind, broken, too large, or not written as the layout says.
    """
    members = unpack(data, name)
    if len(members) != 1:
        raise BadDataError(f"{name} holds {len(members)} files; expected one")
    data, name = members[0]
    read = READERS.get(_extension(name))
    if read is None:
        raise BadDataError(f"{name} is of an unknown kind; {EXPECTED}")
    if not data:
        raise BadDataError(f"{name} is empty; was it sent before it was written?")
    if read in (_parse_csv, _parse_json_lines) and _count_lines(data) * MIN_BYTES_PER_LINE > max(len(data), SUSPECT_BYTES):
        raise BadDataError(f"{name} has more than one line in {MIN_BYTES_PER_LINE} bytes, which no file of figures has")
    return read(data, name, layout)


def _count_lines(data: bytes) -> int:
    """Return how many lines there may be, whatever ends them."""
    return max(data.count(b"\n"), data.count(b"\r"))


def _extension(name: str) -> str:
    return name.rpartition(".")[2].lower()


def unpack(data: bytes, name: str) -> list[tuple[bytes, str]]:
    """Return the file, or the files inside it, with their names. Raises BadDataError (65) if it is broken or too large."""
    if _extension(name) == "gz":
        return [(_gunzip(data, name), name[: -len(".gz")])]
    if _extension(name) == "zip":
        return _unzip(data, name)
    return [(_check_size(data, name, len(data)), name)]


def _gunzip(data: bytes, name: str) -> bytes:
    try:
        with gzip.open(io.BytesIO(data)) as file:
            return _check_size(file.read(MAX_BYTES + 1), name, len(data))
    except (OSError, EOFError, zlib.error) as error:
        raise BadDataError(f"{name} is not a complete gzip file: {error}") from None


def _unzip(data: bytes, name: str) -> list[tuple[bytes, str]]:
    place = "it"  # a file inside has no name in a message: the name comes from outside, and may have an account's number
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = (member for member in archive.infolist() if not member.filename.endswith("/"))  # is_dir() fails on an empty name
            members = [member for member in files if not MAC_METADATA.match(member.filename)]
            contents: list[tuple[bytes, str]] = []
            size = 0
            for number, member in enumerate(members[:MAX_MEMBERS], 1):
                place = f"file {number} in it"
                if member.flag_bits & ENCRYPTED:
                    raise BadDataError(f"{name} is not a readable zip file: {place} is protected by a password; drop it without one")
                with archive.open(member) as file:  # its stated size is not trusted
                    content = _read_member(file)
                size += len(content)
                _check_total(size, name, len(data))
                contents.append((content, member.filename.rpartition("/")[2]))
    except NotImplementedError:
        raise BadDataError(f"{name} is not a readable zip file: {place} is compressed in an unusual way; expected deflate") from None
    except READ_ERRORS:
        raise BadDataError(f"{name} is not a readable zip file: {place} is damaged; was it cut off?") from None
    if len(members) > MAX_MEMBERS:
        raise BadDataError(f"{name} holds {len(members):,} files; expected at most {MAX_MEMBERS:,}")
    return contents


def _read_member(file: IO[bytes]) -> bytes:
    return file.read(MAX_BYTES + 1)


def _check_size(data: bytes, name: str, packed: int) -> bytes:
    """Check unpacked data and return it. Raises BadDataError if it is too large, or compressed better than any real file."""
    _check_total(len(data), name, packed)
    return data


def _check_total(size: int, name: str, packed: int) -> None:
    if size > MAX_BYTES:
        raise BadDataError(f"{name} has more than {MAX_BYTES >> 20} MiB; split it into several files")
    if size > max(SUSPECT_BYTES, MAX_RATIO * packed):
        raise BadDataError(f"{name} unpacks to {size // packed} times its size, which no file of figures does")


def _parse_csv(data: bytes, name: str, layout: Layout) -> Sheet:
    text = _decode(data, name, layout)
    csv.field_size_limit(MAX_BYTES)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=layout.delimiter, strict=True)
    try:
        lines: list[tuple[int, Sequence[Scalar]]] = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise BadDataError(f"{name} is not CSV: {error} in line {reader.line_num}") from None
    separator = SEPARATOR_LINE.fullmatch(text[: text.find("\n")].rstrip("\r"))
    if separator and separator[1] == layout.delimiter:
        lines = lines[1:]
    elif separator:
        raise BadDataError(f"{name} says {separator[0]!r} in line 1, but its contract {_named(layout.delimiter)} between columns")
    return build_sheet(lines, name, layout, "line")


def _decode(data: bytes, name: str, layout: Layout) -> str:
    """Decode the file. Invalid bytes become halves of surrogate pairs, which make their row a bad one. Raises BadDataError."""
    mark = next((mark for mark in BYTE_ORDER_MARKS if data.startswith(mark)), None)
    if mark and not layout.encoding.startswith("utf-16"):
        raise BadDataError(f"{name} is UTF-16, its contract says {layout.encoding}; save it as that, or have the contract say utf-16")
    if not mark and layout.encoding == "utf-16":
        raise BadDataError(f"{name} has no byte order mark; have its contract say utf-16-le or utf-16-be, or save the file as utf-16")
    if not layout.encoding.startswith("utf-16") and data[:400].count(0) * 3 > len(data[:400]):
        raise BadDataError(f"{name} is full of NUL, as UTF-16 without a byte order mark is; save it as {layout.encoding}")
    try:
        text = data.decode(layout.encoding, "surrogatepass" if layout.encoding.startswith("utf-16") else "surrogateescape")
    except UnicodeDecodeError as error:
        raise BadDataError(f"{name} is not {layout.encoding}: {error.reason} at byte {error.start}") from None
    return text.removeprefix("\ufeff")


def _named(delimiter: str) -> str:
    return f"has {DELIMITERS[delimiter]}"


def build_sheet(lines: Iterable[tuple[int, Sequence[Scalar]]], name: str, layout: Layout, unit: str) -> Sheet:
    """Build a sheet from numbered lines of cells: without empty lines and lines above the header, footers separate. Raises BadDataError."""
    rows = [(number, [None if cell == "" else cell for cell in cells]) for number, cells in lines]
    rows = [(number, cells) for number, cells in rows if any(cell is not None for cell in cells)]
    from_header = [(number, cells) for number, cells in rows if number >= layout.header_row]
    if not from_header:
        raise BadDataError(f"{name} has no header" + (f" in {unit} {layout.header_row}" if layout.header_row > 1 else ""))
    (header_number, header), *body = from_header
    if layout.header_row > 1 and header_number != layout.header_row:
        raise BadDataError(f"{name} has an empty {unit} {layout.header_row}, in which its contract says that the header is")
    names = _read_header(header, body, f"{name}, {unit} {header_number}", layout)
    body, footers = _split_footers(body, layout)
    for number, cells in body:
        if len(cells) < len(names) or any(cell is not None for cell in cells[len(names) :]):
            inside = f"is a cell with {DELIMITERS[layout.delimiter]} in quotes?"
            raise BadDataError(f"{name}: {unit} {number} has {len(cells)} cells, the header {len(names)}; {inside}")
    numbers = [number for number, _ in body]
    columns: Columns = {column: [cells[index] for _, cells in body] for index, column in enumerate(names)}
    footer_lines = tuple(Footer(f"{unit} {number}", dict(zip(names, cells, strict=False))) for number, cells in footers)
    return Sheet(columns, lambda row: f"{unit} {numbers[row - 1]}", footer_lines)


def _read_header(header: Sequence[Scalar], body: Sequence[tuple[int, Sequence[Scalar]]], where: str, layout: Layout) -> list[str]:
    """Return the names of the columns, without empty columns at the end. Raises BadDataError."""
    names = ["" if cell is None else str(cell).strip() for cell in header]
    while names and not names[-1] and all(cell is None for _, cells in body for cell in cells[len(names) - 1 : len(names)]):
        names.pop()
    if len(names) == 1:
        other = next((sign for sign in DELIMITERS if sign != layout.delimiter and sign in names[0]), None)
        if other:
            declared = _named(layout.delimiter)
            raise BadDataError(
                f"{where}: the file {_named(other)} between columns, its contract {declared}; save it so, or change the contract"
            )
    check_header(names, where)
    return names


def _split_footers(
    body: list[tuple[int, list[Scalar]]], layout: Layout
) -> tuple[list[tuple[int, list[Scalar]]], list[tuple[int, list[Scalar]]]]:
    """Split the lines into rows and, at the end, the footers that the contract declares."""
    end = len(body)
    while layout.footer is not None and end and _is_footer(body[end - 1][1], layout.footer):
        end -= 1
    return body[:end], body[end:]


def _is_footer(cells: Sequence[Scalar], prefix: str) -> bool:
    """Whether the first cell that is not empty begins with these words."""
    first = str(next((cell for cell in cells if cell is not None), "")).strip().casefold()
    rest = first.removeprefix(prefix.casefold())
    return first.startswith(prefix.casefold()) and not rest[:1].isalnum()


def check_header(names: list[str], where: str) -> None:
    """Raise BadDataError if a column has no name, the name of another column, or bytes that are invalid in the encoding."""
    if "" in names:
        raise BadDataError(f"{where}: column {names.index('') + 1} of {len(names)} has no name")
    first = {name: number for number, name in reversed(list(enumerate(names, 1)))}
    if twice := next((number for number, name in enumerate(names, 1) if first[name] != number), None):
        raise BadDataError(f"{where}: columns {first[names[twice - 1]]} and {twice} have one name")
    if any("\udc80" <= character <= "\udcff" for name in names for character in name):
        raise BadDataError(f"{where}: the header is not in the encoding that the contract says; save the file in it")


def _parse_excel(data: bytes, name: str, layout: Layout) -> Sheet:
    _check_members(data, name)
    sheet = excel.read(data, name, layout.sheet)
    for place, fault in sheet.unreadable:
        if place.row >= layout.header_row:
            raise BadDataError(f"{name}: cell {place.name} of the sheet {sheet.sheet!r} {fault}")
    return build_sheet(enumerate(sheet.rows, start=1), name, layout, "row")


def _check_members(data: bytes, name: str) -> None:
    """Raise BadDataError if the content of an Excel file does not fit into memory. Its stated sizes are not trusted."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if len(set(names)) != len(names):
                raise BadDataError(f"{name} holds two files of one name, which no spreadsheet writes")
            left = MAX_BYTES
            for member in archive.infolist():
                with archive.open(member) as file:
                    size = len(_check_size(file.read(left + 1), name, len(data)))
                left -= size
                if left < 0:
                    raise BadDataError(f"{name} has more than {MAX_BYTES >> 20} MiB once unpacked; split it into several files")
    except READ_ERRORS as error:
        raise BadDataError(
            f"{name} is not a readable Excel file (.xlsx): {error}; is it protected by a password, or an older .xls?"
        ) from None


def _parse_json_lines(data: bytes, name: str, _layout: Layout) -> Sheet:
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        if not line.strip():
            continue
        row = _decode_line(line)
        if not isinstance(row, dict):  # the message has no value: it may be confidential
            raise BadDataError(f"{name} line {number} is not a JSON object")
        rows.append({column: _to_scalar(value) for column, value in row.items()})
        numbers.append(number)
    columns = lossless_json.build_columns(rows)
    check_header(list(columns), name)
    return Sheet(columns, lambda row: f"line {numbers[row - 1]}", is_typed=True)


def _decode_line(line: bytes) -> object:
    """Decode a line, None if it is not JSON. Invalid UTF-8 and halves of surrogate pairs are left for validation to refuse."""
    try:
        return lossless_json.decode(line, "")
    except BadDataError:
        text = line.decode("utf-8", "surrogateescape")
    try:
        return json.loads(text, parse_float=lossless_json.expand_exponent, parse_constant=_refuse_constant, object_pairs_hook=_check_unique)
    except (ValueError, RecursionError):
        return None


def _refuse_constant(text: str) -> None:
    raise ValueError(text)


def _check_unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is there twice")
    return members


def _parse_parquet(data: bytes, name: str, _layout: Layout) -> Sheet:
    if reason := _find_parquet_problem(data):
        raise BadDataError(f"{name} is not a readable Parquet file: {reason}")
    try:
        return Sheet(_read_parquet(data, name), lambda row: f"row {row}")
    except BadDataError:
        raise
    except BaseException as error:
        if (
            not isinstance(error, Exception) and type(error).__name__ != "PanicException"
        ):  # the reader's own exception; no module exports it
            raise
        raise BadDataError(f"{name} is not a readable Parquet file: {str(error).partition(chr(10))[0]}") from None


def _find_parquet_problem(data: bytes) -> str:
    """Return why a Parquet file cannot be read; an empty text if it can.

    Another process reads it first: on broken pages the reader aborts its process, which cannot be caught, or prints its own traceback.
    """
    trial = subprocess.run([sys.executable, "-P", "-c", TRIAL_READER], input=data, capture_output=True, check=False)  # noqa: S603
    if trial.returncode in (-signal.SIGABRT, -signal.SIGSEGV):
        return "it aborts its reader"
    return trial.stdout.decode(errors="replace").strip()


def _read_parquet(data: bytes, name: str) -> Columns:
    from arro3.io import read_parquet  # noqa: PLC0415  heavy; only extracting needs it

    reader = read_parquet(io.BytesIO(data))
    names = [reader.schema.field(index).name for index in range(len(reader.schema))]
    check_header(names, name)
    columns: dict[str, list[Scalar]] = {column: [] for column in names}
    size = 0
    for batch in reader:
        size += batch.nbytes
        if size > MAX_BYTES:
            raise BadDataError(f"{name} has more than {MAX_BYTES >> 20} MiB once read; split it into several files")
        for column in names:
            columns[column] += _read_cells(batch.column(column))
    return columns


def _read_cells(array: Any) -> list[Scalar]:  # noqa: ANN401  arro3's Array
    """Return an array's values. Times with nanoseconds become text with all digits, which contracts refuse."""
    from arro3.compute import cast  # noqa: PLC0415
    from arro3.core import DataType  # noqa: PLC0415

    values = [_to_scalar(value) for value in array.to_pylist()]
    if DataType.is_timestamp(array.type) and array.type.time_unit == "ns":
        for index, count in enumerate(cast(array, DataType.int64()).to_pylist()):
            if count is not None and count % 1000:
                second = str(values[index].isoformat(timespec="seconds"))  # type: ignore[union-attr,call-arg]
                values[index] = f"{second[:19]}.{count % 10**9:09}{second[19:]}"
    return values


def _to_scalar(value: object) -> Scalar:
    """Convert a value to a cell: bytes to text, nested values to JSON."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if value is None or isinstance(value, str | bool | int | float | Decimal | date):
        return value
    if isinstance(value, time):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else str(value)


READERS: dict[str, Callable[[bytes, str, Layout], Sheet]] = {
    "csv": _parse_csv,
    "xlsx": _parse_excel,
    "jsonl": _parse_json_lines,
    "ndjson": _parse_json_lines,
    "parquet": _parse_parquet,
}
