"""What people drop, in every form, and what is no file of figures."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zipfile
from contextlib import suppress
from decimal import Decimal

import pytest
from arro3.compute import cast
from arro3.core import Array, ChunkedArray, DataType, Table
from arro3.io import write_parquet
from extract_dropped_files.shape import LARGEST_BYTES, partition, shape
from hypothesis import given, settings, strategies
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
def test_a_file_gives_the_same_columns_however_it_is_packed(data: bytes, name: str) -> None:
    assert shape(data, name) == COLUMNS


def test_windows_line_ends_and_other_delimiters_are_read() -> None:
    for delimiter in ";\t|":
        text = TEXT.replace(',"two\nlines, ""quoted"""', ",").replace("\n", "\r\n").replace(",", delimiter)
        assert shape(text.encode(), "a.csv") == {**COLUMNS, "note": [None, None]}


def test_a_line_break_of_windows_within_quotes_stays() -> None:
    assert shape(b'a,b\r\n"1\r\n2",3\r\n', "a.csv") == {"a": ["1\r\n2"], "b": ["3"]}


def test_parquet_gives_its_values_as_contracts_know_them() -> None:
    told = {
        name: ChunkedArray([cast(Array(texts, type=DataType.utf8()), kind)])
        for name, kind, texts in (
            ("day", DataType.date32(), ["2026-11-20", None]),
            ("amount", DataType.decimal128(12, 2), ["1.50", "-2.00"]),
            ("at", DataType.timestamp("us", tz="UTC"), ["2026-11-20T17:00:00Z", None]),
            ("name", DataType.utf8(), ["x", "y"]),
        )
    }
    columns = shape(parquet(told), "a.parquet")
    assert columns["day"] == ["2026-11-20", None]
    assert columns["amount"] == [Decimal("1.50"), Decimal("-2.00")]
    assert columns["at"] == ["2026-11-20T17:00:00+00:00", None]
    assert columns["name"] == ["x", "y"]


@pytest.mark.parametrize(
    ("data", "name", "told"),
    [
        (b"x", "a.xlsx", r"a\.xlsx is of no kind that is read here; expected \.csv, \.parquet"),
        (b"x", "a", "of no kind"),
        (b"", "a.csv", "a.csv is empty"),
        (gzip.compress(b"", mtime=0), "a.csv.gz", "a.csv is empty"),
        (b"\n\n", "a.csv", "has no header"),
        (b"a,a\n1,2\n", "a.csv", "two columns of one name: 1 and 2"),
        (b"a,\n1,2\n", "a.csv", "columns without a name"),
        (b"a,b\n1,2\n3\n", "a.csv", "row 2 has 1 cells, the header 2"),
        (b'a,b\n1,"2\n', "a.csv", "is no CSV"),
        ("a,b\n1,Köln\n".encode("latin-1"), "a.csv", "is not UTF-8: .* at byte 7"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-9], "a.csv.gz", "no whole gzip file"),
        (b"no gzip", "a.csv.gz", "no whole gzip file"),
        (b"no zip", "a.zip", "no zip file that can be read"),
        (zipped(), "a.zip", "holds 0 files; expected one"),
        (zipped(("a.csv", b"a\n1\n"), ("b.csv", b"a\n1\n")), "a.zip", "holds 2 files; expected one"),
        (zipped(("a.txt", b"a\n1\n")), "a.csv.zip", "a.txt is of no kind"),
        (b'{"a": 1}\n[1]\n', "a.jsonl", "line 2 is no JSON object"),
        (b'{"a": 1}\n{"a"\n', "a.jsonl", "line 2 is no JSON object"),
        (b'{"\xff": 1}\n', "a.jsonl", "line 1 is no JSON object"),
        (b'{"a":' * 100_000, "a.jsonl", "line 1 is no JSON object"),
        (b'{"a": {"b": 1}}\n', "a.jsonl", "line 1: a holds a dict; expected plain values"),
        (b"PAR1no parquetPAR1", "a.parquet", "no Parquet file that can be read"),
        (ABORTING, "a.parquet", "no Parquet file that can be read"),
    ],
)
def test_what_is_no_file_of_figures_is_refused_in_a_sentence(data: bytes, name: str, told: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadDataError, match=told) as error:
        shape(data, name)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (gzip.compress(b"a\n" + b"1" * (3 << 20), mtime=0), "a.csv.gz"),
        (zipped(("a.csv", b"a\n" + b"1" * (3 << 20))), "a.zip"),
    ],
)
def test_a_bomb_is_refused_by_how_much_it_shrank(data: bytes, name: str) -> None:
    with pytest.raises(BadDataError, match="times its size, which no file of figures does"):
        shape(data, name)


def test_a_bomb_of_any_size_is_unpacked_only_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extract_dropped_files.shape.LARGEST_BYTES", 1000)
    for data, name in ((gzip.compress(bytes(100_000)), "a.csv.gz"), (zipped(("a.csv", bytes(100_000))), "a.zip"), (bytes(2000), "a.csv")):
        with pytest.raises(BadDataError, match="split it into several files"):
            shape(data, name)
    assert LARGEST_BYTES > 1000


def test_a_zip_that_lies_about_its_size_is_read_no_further() -> None:
    data = bytearray(zipped(("a.csv", TEXT.encode() * 10)))
    for mark, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):  # the unpacked size in both headers
        at = data.index(mark) + offset
        data[at : at + 4] = (5).to_bytes(4, "little")
    with pytest.raises(BadDataError):
        shape(bytes(data), "a.zip")


def test_the_name_without_its_endings_is_the_partition() -> None:
    for name in ("bank-2026-11-20.csv", "bank-2026-11-20.csv.gz", "bank-2026-11-20.CSV.ZIP", "bank-2026-11-20.parquet"):
        assert partition(name) == "file=bank-2026-11-20"
    for name in ("my positions.csv", ".csv", "a..b.csv", "a/b.csv", "=x.csv"):
        with pytest.raises(BadDataError, match="no name for a file here"):
            partition(name)


WHOLE = {
    "a.csv": TEXT.encode(),
    "a.csv.gz": gzip.compress(TEXT.encode()),
    "a.zip": zipped(("a.csv", TEXT.encode())),
    "a.jsonl": LINES,
    "a.parquet": parquet({"a": ChunkedArray([Array(["x", "y"], type=DataType.utf8())])}),
}


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=150, deadline=None)
@given(data=strategies.data())
def test_whatever_the_bytes_are_they_give_columns_or_one_sentence(name: str, data: strategies.DataObject) -> None:
    """A whole file with some bytes changed and its end cut off: nothing else than a refusal comes of it."""
    torn = bytearray(WHOLE[name])
    for _ in range(data.draw(strategies.integers(1, 4))):
        torn[data.draw(strategies.integers(0, len(torn) - 1))] = data.draw(strategies.integers(0, 255))
    del torn[data.draw(strategies.one_of(strategies.just(len(torn)), strategies.integers(0, len(torn)))) :]
    with suppress(BadDataError):
        columns = shape(bytes(torn), name)
        assert len({len(values) for values in columns.values()}) <= 1


def test_a_number_that_would_fill_the_memory_stays_as_it_is() -> None:
    line = b'{"a": 1e999999999, "b": -1E-99999, "c": 1.5e3}'
    assert shape(line, "a.jsonl") == {"a": ["1e999999999"], "b": ["-1E-99999"], "c": ["1500"]}
