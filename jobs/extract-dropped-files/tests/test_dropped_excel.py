"""Excel files are read by their only sheet with cells; what calamine would silently drop is refused."""

from __future__ import annotations

import io
import zipfile

import pytest
from extract_dropped_files import parser
from jobkit.errors import BadDataError

from .workbooks import Raw, workbook


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (workbook({"a": [["x"]], "b": [["y"]]}), "has 2 sheets that hold something ('a', 'b'); have its contract say which"),
        (workbook({"a": [], "b": []}), "has 0 sheets"),
        (workbook({"a": [["h"], ["x"]]}, merged="A2:B2"), "cell A2 of the sheet 'a' is merged with others down to B2"),
        (b"PK\x03\x04 no zip", "not a readable Excel file (.xlsx)"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "is it protected by a password, or an older .xls?"),
        (workbook({"a": [["h"], [Raw('t="n"|<v>1</v>')]]}).replace(b"PK\x05\x06", b"PK\x05\x07"), "not a readable Excel file"),
    ],
)
def test_an_ambiguous_or_broken_excel_file_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(BadDataError) as error:
        parser.parse(data, "a.xlsx")
    assert message in str(error.value)


def test_a_hidden_sheet_is_ignored() -> None:
    sheet = parser.parse(workbook({"a": [["h"], ["x"]], "b": [["y"]]}, hidden=["b"]), "a.xlsx")
    assert (sheet.columns, sheet.place(1)) == ({"h": ["x"]}, "row 2")


def test_a_distant_cell_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extract_dropped_files.excel.MAX_CELLS", 100)
    with pytest.raises(BadDataError):
        parser.parse(workbook({"a": [["h", None, "x"], *[[] for _ in range(99)], ["y"]]}), "a.xlsx")


def test_a_document_type_in_an_excel_file_is_refused() -> None:
    data = workbook({"a": [["h"]]})
    with pytest.raises(BadDataError):
        parser.parse(repacked(data, "xl/worksheets/s0.xml", b"<!DOCTYPE x><worksheet/>"), "a.xlsx")


def repacked(data: bytes, name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))
    return file.getvalue()
