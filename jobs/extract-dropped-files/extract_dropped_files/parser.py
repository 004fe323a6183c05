"""From a dropped file to a sheet of cells: CSV, Excel, Parquet or JSON lines, as they are, gzipped, or alone in a zip.

The name's ending says which. How text is written says the contract's layout; what a cell means is not looked at here.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import re
import signal
import struct
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

from extract_dropped_files import excel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from jobkit.contracts import Columns

LARGEST_BYTES = 64 << 20  # of a file once unpacked; what is larger comes in several
LARGEST_RATIO, SUSPECT_BYTES = 200, 1 << 20  # a file of figures shrinks to a tenth; a bomb to a thousandth
BYTES_PER_LINE = 32  # rows cost more memory than their bytes
ENDING = re.compile(r"\.(csv|xlsx|parquet|jsonl|ndjson|gz|zip)$", re.IGNORECASE)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]*")
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
OF_A_MAC = re.compile(r"__MACOSX/")  # what macOS adds to an archive
BYTE_ORDER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
HINT = re.compile("sep=(.)", re.IGNORECASE)  # Excel's own first line
EXPECTED = "expected .csv, .xlsx, .parquet, .jsonl or .ndjson, as it is, with .gz, or alone in a .zip"
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
Scalar = str | bool | int | float | Decimal | date | datetime | None


class Footer(NamedTuple):
    """A line that closes a file: what a person calls it, and its cells by column."""

    place: str
    cells: dict[str, Scalar]


class Sheet(NamedTuple):
    """A file's cells by column, as many a column as there are rows, and what a person calls row 1, 2, ... of them.

    Text of a file that `is_typed` is in the form that contracts read.
    """

    columns: Columns
    place: Callable[[int], str]
    footers: tuple[Footer, ...] = ()
    is_typed: bool = False


def stem(name: str) -> str:
    """The name without its endings: a delivery is the same however it is packed. Raises BadDataError on one that no partition can have."""
    found = name
    while ENDING.search(found):
        found = ENDING.sub("", found)
    if not NAME.fullmatch(found) or ".." in found:
        raise BadDataError(f"{name!r} is no name for a file here; expected letters, digits, dots, dashes and underscores")
    return found


def parse(data: bytes, name: str, layout: Layout = Layout()) -> Sheet:  # noqa: B008  frozen
    """The file's cells, rows in its order; an empty cell is None.

    Raises BadDataError on a file that is of no kind we read, broken, too large, or not written as the layout says.
    """
    data, name = _unpacked(data, name)
    read = READERS.get(_ending(name))
    if read is None:
        raise BadDataError(f"{name} is of no kind that is read here; {EXPECTED}")
    if not data:
        raise BadDataError(f"{name} is empty; was it sent before it was written?")
    if read in (_csv, _json_lines) and _count_lines(data) * BYTES_PER_LINE > max(len(data), SUSPECT_BYTES):
        raise BadDataError(f"{name} has more than one line in {BYTES_PER_LINE} bytes, which no file of figures has")
    return read(data, name, layout)


def _count_lines(data: bytes) -> int:
    """How many lines there may be, whatever ends them."""
    return max(data.count(b"\n"), data.count(b"\r"))


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
            files = (member for member in archive.infolist() if not member.filename.endswith("/"))  # is_dir() takes no empty name
            members = [member for member in files if not OF_A_MAC.match(member.filename)]
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


def _csv(data: bytes, name: str, layout: Layout) -> Sheet:
    text = _decoded(data, name, layout)
    csv.field_size_limit(LARGEST_BYTES)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=layout.delimiter, strict=True)
    try:
        lines: list[tuple[int, Sequence[Scalar]]] = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise BadDataError(f"{name} is no CSV: {error} in line {reader.line_num}") from None
    hint = HINT.fullmatch(text[: text.find("\n")].rstrip("\r"))
    if hint and hint[1] == layout.delimiter:
        lines = lines[1:]
    elif hint:
        raise BadDataError(f"{name} says {hint[0]!r} in line 1, but its contract {_named(layout.delimiter)} between columns")
    return table(lines, name, layout, "line")


def _decoded(data: bytes, name: str, layout: Layout) -> str:
    """The text. Bytes that are none in its encoding become halves of surrogate pairs, and with them their row is a bad one."""
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


def table(lines: Iterable[tuple[int, Sequence[Scalar]]], name: str, layout: Layout, unit: str) -> Sheet:
    """Numbered lines of cells as a sheet: what stands before the header is left out, as are empty lines; footers are set apart."""
    rows = [(number, [None if cell == "" else cell for cell in cells]) for number, cells in lines]
    rows = [(number, cells) for number, cells in rows if any(cell is not None for cell in cells)]
    skipped = [(number, cells) for number, cells in rows if number >= layout.header_row]
    if not skipped:
        raise BadDataError(f"{name} has no header" + (f" in {unit} {layout.header_row}" if layout.header_row > 1 else ""))
    (at, header), *body = skipped
    if layout.header_row > 1 and at != layout.header_row:
        raise BadDataError(f"{name} has an empty {unit} {layout.header_row}, in which its contract says that the header is")
    names = _header(header, body, f"{name}, {unit} {at}", layout)
    body, footers = _without_footers(body, layout)
    for number, cells in body:
        if len(cells) < len(names) or any(cell is not None for cell in cells[len(names) :]):
            inside = f"is a cell with {DELIMITERS[layout.delimiter]} in quotes?"
            raise BadDataError(f"{name}: {unit} {number} has {len(cells)} cells, the header {len(names)}; {inside}")
    numbers = [number for number, _ in body]
    columns: Columns = {column: [cells[index] for _, cells in body] for index, column in enumerate(names)}
    told = tuple(Footer(f"{unit} {number}", dict(zip(names, cells, strict=False))) for number, cells in footers)
    return Sheet(columns, lambda row: f"{unit} {numbers[row - 1]}", told)


def _header(header: Sequence[Scalar], body: Sequence[tuple[int, Sequence[Scalar]]], where: str, layout: Layout) -> list[str]:
    """The names of the columns. Empty ones at the end are none where all below them is empty, too."""
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


def _without_footers(
    body: list[tuple[int, list[Scalar]]], layout: Layout
) -> tuple[list[tuple[int, list[Scalar]]], list[tuple[int, list[Scalar]]]]:
    """The rows, and the lines at the end that the contract says are none."""
    end = len(body)
    while layout.footer is not None and end and _is_footer(body[end - 1][1], layout.footer):
        end -= 1
    return body[:end], body[end:]


def _is_footer(cells: Sequence[Scalar], begins: str) -> bool:
    """Whether the first cell that is filled begins with these words."""
    first = str(next((cell for cell in cells if cell is not None), "")).strip().casefold()
    rest = first.removeprefix(begins.casefold())
    return first.startswith(begins.casefold()) and not rest[:1].isalnum()


def check_header(names: list[str], where: str) -> None:
    """Nothing, where each column has a name of its own. Raises BadDataError."""
    if "" in names:
        raise BadDataError(f"{where}: column {names.index('') + 1} of {len(names)} has no name")
    first = {name: number for number, name in reversed(list(enumerate(names, 1)))}
    if twice := next((number for number, name in enumerate(names, 1) if first[name] != number), None):
        raise BadDataError(f"{where}: columns {first[names[twice - 1]]} and {twice} have one name")
    if any("\udc80" <= character <= "\udcff" for name in names for character in name):
        raise BadDataError(f"{where}: the header is not in the encoding that the contract says; save the file in it")


def _excel(data: bytes, name: str, layout: Layout) -> Sheet:
    _check_members(data, name)
    found = excel.read(data, name, layout.sheet)
    for place, fault in found.unreadable:
        if place.row >= layout.header_row:
            raise BadDataError(f"{name}: cell {place.name} of the sheet {found.sheet!r} {fault}")
    return table(enumerate(found.rows, start=1), name, layout, "row")


def _check_members(data: bytes, name: str) -> None:
    """Nothing, where all that is packed in an Excel file fits into memory. What it says of sizes is not believed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if len(set(names)) != len(names):
                raise BadDataError(f"{name} holds two files of one name, which no spreadsheet writes")
            left = LARGEST_BYTES
            for member in archive.infolist():
                with archive.open(member) as file:
                    size = len(_small(file.read(left + 1), name, len(data)))
                left -= size
                if left < 0:
                    raise BadDataError(f"{name} has more than {LARGEST_BYTES >> 20} MiB once unpacked; split it into several files")
    except UNZIPPING as error:
        raise BadDataError(
            f"{name} is no Excel file (.xlsx) that can be read: {error}; is it protected by a password, or an older .xls?"
        ) from None


def _json_lines(data: bytes, name: str, _layout: Layout) -> Sheet:
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        if not line.strip():
            continue
        row = _json_line(line)
        if not isinstance(row, dict):  # what it holds may be confidential
            raise BadDataError(f"{name} line {number} is no JSON object")
        rows.append({column: _scalar(value) for column, value in row.items()})
        numbers.append(number)
    columns = lossless_json.columns(rows)
    check_header(list(columns), name)
    return Sheet(columns, lambda row: f"line {numbers[row - 1]}", is_typed=True)


def _json_line(line: bytes) -> object:
    """What a line says, None where it is no JSON. Bytes that are no UTF-8 and halves of surrogate pairs are left to the contract."""
    try:
        return lossless_json.decode(line, "")
    except BadDataError:
        text = line.decode("utf-8", "surrogateescape")
    try:
        return json.loads(text, parse_float=lossless_json.plain, parse_constant=_refuse, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return None


def _refuse(text: str) -> None:
    raise ValueError(text)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _parquet(data: bytes, name: str, _layout: Layout) -> Sheet:
    if reason := _broken(data):
        raise BadDataError(f"{name} is no Parquet file that can be read: {reason}")
    try:
        return Sheet(_read_parquet(data, name), lambda row: f"row {row}")
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
    check_header(names, name)
    columns: dict[str, list[Scalar]] = {column: [] for column in names}
    size = 0
    for batch in reader:
        size += batch.nbytes
        if size > LARGEST_BYTES:
            raise BadDataError(f"{name} has more than {LARGEST_BYTES >> 20} MiB once read; split it into several files")
        for column in names:
            columns[column] += _cells(batch.column(column))
    return columns


def _cells(array: Any) -> list[Scalar]:  # noqa: ANN401  arro3's Array
    """An array's values. Of times to the nanosecond those that have some are text with all digits, which no contract takes."""
    from arro3.compute import cast  # noqa: PLC0415
    from arro3.core import DataType  # noqa: PLC0415

    values = [_scalar(value) for value in array.to_pylist()]
    if DataType.is_timestamp(array.type) and array.type.time_unit == "ns":
        for index, count in enumerate(cast(array, DataType.int64()).to_pylist()):
            if count is not None and count % 1000:
                second = str(values[index].isoformat(timespec="seconds"))  # type: ignore[union-attr,call-arg]
                values[index] = f"{second[:19]}.{count % 10**9:09}{second[19:]}"
    return values


def _scalar(value: object) -> Scalar:
    """A value as cells have it. Bytes are text; nested values are JSON."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if value is None or isinstance(value, str | bool | int | float | Decimal | date):
        return value
    if isinstance(value, time):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else str(value)


READERS: dict[str, Callable[[bytes, str, Layout], Sheet]] = {
    "csv": _csv,
    "xlsx": _excel,
    "jsonl": _json_lines,
    "ndjson": _json_lines,
    "parquet": _parquet,
}
