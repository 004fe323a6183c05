"""Dropped files of every kind are parsed; other files are refused."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zipfile
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from arro3.compute import cast
from arro3.core import Array, ChunkedArray, DataType, Table
from arro3.io import write_parquet
from extract_dropped_files.parser import MAX_BYTES, parse, stem
from hypothesis import given, settings, strategies
from jobkit.contracts import Layout
from jobkit.errors import BadDataError

COLUMNS = {"isin": ["US0378331005", "DE0007164600"], "quantity": ["10", "-2.5"], "note": ['two\nlines, "quoted"', None]}
TEXT = 'isin,quantity,note\nUS0378331005,10,"two\nlines, ""quoted"""\nDE0007164600,-2.5,\n'


def zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # the time of no day: names of tests tell the bytes
    return file.getvalue()


def parquet(columns: dict[str, ChunkedArray]) -> bytes:
    file = io.BytesIO()
    write_parquet(Table.from_pydict(columns), file)
    return file.getvalue()


ABORTING = base64.b64decode(  # two rows; a byte of its only page is another, at which arro3 ends the process
    "UEFSMRUEFRQVFEwVBBUAEgAAAQAAAHgBAAAAeRUAFRIVEiwVBBUQFQYVBgAAAgAAAP8BAQMCGRICGRgBeBkYAXkVAhkWACkmAAQAGRwWOBU0Fg"
    "AAGRYEABUCGSxIDGFycm93X3NjaGVtYRUCABUMJQIYAWElAEwcAAAAFgQZHBkcJgAcFQwZNQAGEBkYAWEVABYEFmQWZCY4JggcNgAoAXkYAXgR"
    "EQAZLBUAFRAVAgAVBBUAFQIAPBYEKSYABAAAFpYBFRoWbBUqABZkFgQmCBZkFAAAKBlwYXJxdWV0LXJzIHZlcnNpb24gNTkuMC4wGRwcAAAAng"
    "AAAFBBUjE="
)
LINES = "\n".join(json.dumps({name: values[row] for name, values in COLUMNS.items()}) for row in range(2)).encode()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (TEXT.encode(), "a.csv"),
        (TEXT.encode("utf-8-sig"), "a.CSV"),
        (TEXT.replace("-2.5,\n", "-2.5,\n\n").encode(), "a.csv"),
        (gzip.compress(TEXT.encode(), mtime=0), "a.csv.gz"),
        (gzip.compress(TEXT[:30].encode(), mtime=0) + gzip.compress(TEXT[30:].encode(), mtime=0), "a.csv.gz"),
        (zipped(("folder/", b""), ("folder/inside.csv", TEXT.encode())), "a.zip"),
        (LINES + b"\n\n", "a.jsonl"),
        (gzip.compress(LINES, mtime=0), "a.ndjson.gz"),
        (zipped(("a.jsonl", LINES)), "a.jsonl.zip"),
    ],
)
def test_a_file_has_the_same_columns_in_every_packing(data: bytes, name: str) -> None:
    assert parse(data, name).columns == COLUMNS


def test_windows_line_ends_and_declared_delimiters_are_read() -> None:
    for delimiter in ";\t|":
        text = TEXT.replace(',"two\nlines, ""quoted"""', ",").replace("\n", "\r\n").replace(",", delimiter)
        assert parse(text.encode(), "a.csv", Layout(delimiter=delimiter)).columns == {**COLUMNS, "note": [None, None]}
        with pytest.raises(BadDataError, match="between columns, its contract has commas; save it so"):
            parse(text.encode(), "a.csv")


def test_a_windows_line_break_in_quotes_is_kept() -> None:
    assert parse(b'a,b\r\n"1\r\n2",3\r\n', "a.csv").columns == {"a": ["1\r\n2"], "b": ["3"]}


def test_parquet_values_are_read_in_the_notation_of_contracts() -> None:
    message = {
        name: ChunkedArray([cast(Array(texts, type=DataType.utf8()), kind)])
        for name, kind, texts in (
            ("day", DataType.date32(), ["2026-11-20", None]),
            ("amount", DataType.decimal128(12, 2), ["1.50", "-2.00"]),
            ("at", DataType.timestamp("us", tz="UTC"), ["2026-11-20T17:00:00Z", None]),
            ("name", DataType.utf8(), ["x", "y"]),
        )
    }
    columns = parse(parquet(message), "a.parquet").columns
    assert columns["day"] == [date(2026, 11, 20), None]
    assert columns["amount"] == [Decimal("1.50"), Decimal("-2.00")]
    assert columns["at"] == [datetime(2026, 11, 20, 17, tzinfo=UTC), None]
    assert columns["name"] == ["x", "y"]


def test_nanoseconds_are_not_silently_cut() -> None:
    counts = Array([1_372_406_400_000_001_000, 1_372_406_400_000_000_001, None, -1], type=DataType.int64())
    for zone, end in (("UTC", "+00:00"), (None, "")):
        columns = parse(parquet({"at": ChunkedArray([cast(counts, DataType.timestamp("ns", tz=zone))])}), "a.parquet").columns
        assert [value if value is None or isinstance(value, str) else value.microsecond for value in columns["at"]] == [
            1,
            f"2013-06-28T08:00:00.000000001{end}",
            None,
            f"1969-12-31T23:59:59.999999999{end}",
        ]


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        (b"x", "a.xls", r"a\.xls is of an unknown kind; expected \.csv, \.xlsx"),
        (b"x", "a", "of an unknown kind"),
        (b"", "a.csv", "a.csv is empty"),
        (gzip.compress(b"", mtime=0), "a.csv.gz", "a.csv is empty"),
        (b"\n\n", "a.csv", "has no header"),
        (b"a,a\n1,2\n", "a.csv", "columns 1 and 2 have one name"),
        (b"a,\n1,2\n", "a.csv", "column 2 of 2 has no name"),
        (b"a,b\n1,2\n3\n", "a.csv", "line 3 has 1 cells, the header 2"),
        (b'a,b\n1,"2\n', "a.csv", "is not CSV"),
        ("a,Köln\n1,2\n".encode("latin-1"), "a.csv", "the header is not in the encoding that the contract says"),
        ("a,b\n1,2\n".encode("utf-16"), "a.csv", "is UTF-16, its contract says utf-8"),
        ("a,b\n1,2\n".encode("utf-16-le"), "a.csv", "as UTF-16 without a byte order mark is"),
        (b"sep=;\na;b\n1;2\n", "a.csv", "says 'sep=;' in line 1, but its contract has commas"),
        (b"a,b,\n1,2,3\n", "a.csv", "column 3 of 3 has no name"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-9], "a.csv.gz", "not a complete gzip file"),
        (b"no gzip", "a.csv.gz", "not a complete gzip file"),
        (b"no zip", "a.zip", "not a readable zip file"),
        (zipped(), "a.zip", "holds 0 files; expected one"),
        (zipped(("a.csv", b"a\n1\n"), ("b.csv", b"a\n1\n")), "a.zip", "holds 2 files; expected one"),
        (zipped(("a.txt", b"a\n1\n")), "a.csv.zip", "a.txt is of an unknown kind"),
        (b'{"a": 1}\n[1]\n', "a.jsonl", "line 2 is not a JSON object"),
        (b'{"a": 1}\n{"a"\n', "a.jsonl", "line 2 is not a JSON object"),
        (b'{"\xff": 1}\n', "a.jsonl", "the header is not in the encoding"),
        (b'{"a": NaN}\n', "a.jsonl", "line 1 is not a JSON object"),
        (b'{"a": "\xff", "a": 1}\n', "a.jsonl", "line 1 is not a JSON object"),
        (b'{"a":' * 100_000, "a.jsonl", "line 1 is not a JSON object"),
        (b"PAR1no parquetPAR1", "a.parquet", "not a readable Parquet file"),
        (ABORTING, "a.parquet", "not a readable Parquet file"),
    ],
)
def test_a_file_without_figures_is_refused_with_a_message(data: bytes, name: str, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadDataError, match=message) as error:
        parse(data, name)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (gzip.compress(b"a\n" + b"1" * (3 << 20), mtime=0), "a.csv.gz"),
        (zipped(("a.csv", b"a\n" + b"1" * (3 << 20))), "a.zip"),
    ],
)
def test_a_bomb_is_refused_by_its_compression_ratio(data: bytes, name: str) -> None:
    with pytest.raises(BadDataError, match="times its size, which no file of figures does"):
        parse(data, name)


def test_a_bomb_is_unpacked_up_to_the_limit_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extract_dropped_files.parser.MAX_BYTES", 1000)
    for data, name in ((gzip.compress(bytes(100_000)), "a.csv.gz"), (zipped(("a.csv", bytes(100_000))), "a.zip"), (bytes(2000), "a.csv")):
        with pytest.raises(BadDataError, match="split it into several files"):
            parse(data, name)
    assert MAX_BYTES > 1000


def test_a_zip_with_a_false_size_is_read_up_to_the_limit_only() -> None:
    data = bytearray(zipped(("a.csv", TEXT.encode() * 10)))
    for mark, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):  # the unpacked size in both headers
        at = data.index(mark) + offset
        data[at : at + 4] = (5).to_bytes(4, "little")
    with pytest.raises(BadDataError):
        parse(bytes(data), "a.zip")


def test_a_delivery_has_one_name_in_every_packing() -> None:
    for name in ("bank-2026-11-20.csv", "bank-2026-11-20.csv.gz", "bank-2026-11-20.CSV.ZIP", "bank-2026-11-20.parquet"):
        assert stem(name) == "bank-2026-11-20"
    for name in ("my positions.csv", ".csv", "a..b.csv", "a/b.csv", "=x.csv"):
        with pytest.raises(BadDataError, match="not a valid file name"):
            stem(name)
    for name in ("Kontoauszug 2026.xml", "Kontoauszug M\u00e4rz.xml", "2026-11-20_(1).xml"):
        assert stem(name, is_partition=False) == name
    for name in (".zip", "a/b.xml", "a..b.xml", "a\nb.xml", "a\x1b[2J.xml"):
        with pytest.raises(BadDataError, match="not a valid file name"):
            stem(name, is_partition=False)


WHOLE = {
    "a.csv": TEXT.encode(),
    "a.csv.gz": gzip.compress(TEXT.encode()),
    "a.zip": zipped(("a.csv", TEXT.encode())),
    "a.jsonl": LINES,
    "a.parquet": parquet({"a": ChunkedArray([Array(["x", "y"], type=DataType.utf8())])}),
}


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=60, deadline=None)
@given(data=strategies.data())
def test_any_bytes_give_columns_or_one_error_message(name: str, data: strategies.DataObject) -> None:
    """A whole file with some bytes changed and its end cut off: nothing else than a refusal comes of it."""
    torn = bytearray(WHOLE[name])
    for _ in range(data.draw(strategies.integers(1, 4))):
        torn[data.draw(strategies.integers(0, len(torn) - 1))] = data.draw(strategies.integers(0, 255))
    del torn[data.draw(strategies.one_of(strategies.just(len(torn)), strategies.integers(0, len(torn)))) :]
    with suppress(BadDataError):
        columns = parse(bytes(torn), name).columns
        assert len({len(values) for values in columns.values()}) <= 1


def test_a_zip_whose_file_has_no_name_is_refused() -> None:
    """A name ends at a NUL, and this one begins with it."""
    with pytest.raises(BadDataError, match="is of an unknown kind"):
        parse(zipped(("xa.csv", TEXT.encode())).replace(b"xa.csv", b"\0a.csv"), "a.zip")


def test_a_number_that_would_fill_the_memory_is_kept_as_text() -> None:
    line = b'{"a": 1e999999999, "b": -1E-99999, "c": 1.5e3}'
    assert parse(line, "a.jsonl").columns == {"a": ["1e999999999"], "b": ["-1E-99999"], "c": ["1500"]}


def test_nested_values_are_json_and_bytes_are_text() -> None:
    assert parse(b'{"a": {"b": [1, null]}, "c": "x"}', "a.jsonl").columns == {"a": ['{"b": [1, null]}'], "c": ["x"]}
    assert parse(b'{"a": "K\xf6ln", "b": 1.50}\n{"a": "\\ud83d", "b": 2}\n', "a.jsonl").columns == {
        "a": ["K\udcf6ln", "\ud83d"],
        "b": ["1.50", 2],
    }
    assert parse(b"a,b\n1,K\xf6ln\n2,x\n", "a.csv").columns == {"a": ["1", "2"], "b": ["K\udcf6ln", "x"]}


def test_a_cell_of_a_megabyte_and_one_with_nul_are_read() -> None:
    long = "x" * 1_000_000
    assert parse(f"a,b\n{long},y\0\n".encode(), "a.csv").columns == {"a": [long], "b": ["y\0"]}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "cp1252", "iso-8859-15", "utf-8-sig"])
def test_a_declared_encoding_is_read(encoding: str) -> None:
    data = "a,b\nKöln €,1\n".encode(encoding)
    assert parse(data, "a.csv", Layout(encoding=encoding.removesuffix("-sig"))).columns == {"a": ["Köln €"], "b": ["1"]}


def test_utf_16_without_a_byte_order_mark_is_refused() -> None:
    with pytest.raises(BadDataError, match="have its contract say utf-16-le or utf-16-be"):
        parse("a,b\n1,2\n".encode("utf-16-le"), "a.csv", Layout(encoding="utf-16"))


@pytest.mark.parametrize("text", ["sep=;\na;b\n1;2\n", "a;b;\n1;2;\n", "a;b\n1;2;\n", "a;b\n1;2\n;\n\n", "\ufeffa;b\n1;2"])
def test_empty_lines_and_columns_are_left_out(text: str) -> None:
    assert parse(text.encode(), "a.csv", Layout(delimiter=";")).columns == {"a": ["1"], "b": ["2"]}


def test_lines_before_the_header_are_left_out_and_rows_keep_their_line_numbers() -> None:
    sheet = parse(b'Bank,\nas of,2026\n\nisin,n\nX,1\n\n"Y\nZ",2\nTotal,3\n', "a.csv", Layout(header_row=4, footer="Total"))
    assert sheet.columns == {"isin": ["X", "Y\nZ"], "n": ["1", "2"]}
    assert [sheet.place(1), sheet.place(2), sheet.footers[0].place] == ["line 5", "line 8", "line 9"]
    assert sheet.footers[0].cells == {"isin": "Total", "n": "3"}
    with pytest.raises(BadDataError, match="empty line 3, in which its contract says that the header is"):
        parse(b"Bank,\nas of,2026\n\nisin,n\nX,1\n", "a.csv", Layout(header_row=3))


def test_a_row_whose_name_begins_like_a_footer_is_a_row() -> None:
    layout = Layout(footer="Total")
    assert parse(b"name,n\nTotalEnergies SE,1\n", "a.csv", layout).footers == ()
    assert len(parse(b"name,n\nX,1\nTOTAL:,1\n", "a.csv", layout).footers) == 1
