"""Read the cells of one sheet of an Excel file with calamine, and find the cells that calamine would silently return as empty.

calamine 0.9 (`to_python`) returns an error such as #N/A, and a formula that was saved without its value, as an empty cell. It also
allocates the whole rectangle between the first and the last cell. So the sheet's own XML is scanned first for both.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from typing import Any, NamedTuple
from xml.parsers import expat

from jobkit.errors import BadDataError

MAX_CELLS = 5_000_000
WORKBOOK = "xl/workbook.xml"
CELL_NAME = re.compile("([A-Z]{1,3})([0-9]{1,7})")
MAX_SHOWN_CHARS = 100


class Place(NamedTuple):
    """A cell's name, such as B7, and its row."""

    name: str
    row: int


class ExcelSheet(NamedTuple):
    """A sheet's rows from the first on, and the cells whose content cannot be read, each with the reason."""

    sheet: str
    rows: list[list[Any]]
    unreadable: list[tuple[Place, str]]


def read(data: bytes, name: str, sheet: str | None) -> ExcelSheet:
    """Read the named sheet, or the only visible sheet that has cells. Raises BadDataError (65)."""
    try:
        return _read(data, name, sheet)
    except BadDataError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # the reader's own exception
            raise
        raise BadDataError(f"{name} is not a readable Excel file (.xlsx): {str(error).partition(chr(10))[0]}") from None


def _read(data: bytes, name: str, sheet: str | None) -> ExcelSheet:
    from python_calamine import CalamineWorkbook, SheetVisibleEnum  # noqa: PLC0415  one of several kinds of file

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        scanned = {title: scan(archive.read(path), f"{name}, sheet {title!r}") for title, path in _find_sheets(archive).items()}
    workbook = CalamineWorkbook.from_filelike(io.BytesIO(data))
    visible = [meta.name for meta in workbook.sheets_metadata if meta.visible == SheetVisibleEnum.Visible]
    filled = [title for title in visible if title in scanned and scanned[title].cells]
    chosen = sheet if sheet is not None else filled[0] if len(filled) == 1 else None
    if chosen is None:
        raise BadDataError(
            f"{name} has {len(filled)} sheets that hold something ({_format_titles(filled)}); have its contract say which (sheet)"
        )
    if chosen not in workbook.sheet_names:
        raise BadDataError(f"{name} has no sheet {chosen!r}, which its contract names; it has {_format_titles(workbook.sheet_names)}")
    cells = workbook.get_sheet_by_name(chosen)
    merged = [
        (Place(_cell_name(first), first[0] + 1), f"is merged with others down to {_cell_name(last)}; split them")
        for first, last in cells.merged_cell_ranges or ()
    ]
    return ExcelSheet(chosen, cells.to_python(skip_empty_area=False), [*scanned[chosen].unreadable, *merged])


def _format_titles(titles: list[str]) -> str:
    return ", ".join(repr(title) for title in titles[:10]) or "none"


def _cell_name(position: tuple[int, int]) -> str:
    """Return the name, such as B7, of the cell at a row and column, counted from 0."""
    row, column = position
    letters, column = "", column + 1
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return f"{letters}{row + 1}"


def _find_sheets(archive: zipfile.ZipFile) -> dict[str, str]:
    """Return the path of each sheet's XML by its title, in the order of the workbook."""
    targets: dict[str, str] = {}
    titles: dict[str, str] = {}

    def relation(tag: str, attributes: dict[str, str]) -> None:
        if tag == "Relationship" and attributes.get("Type", "").endswith("/worksheet"):
            target = attributes["Target"]
            targets[attributes["Id"]] = target.lstrip("/") if target.startswith("/") else posixpath.normpath(posixpath.join("xl", target))

    def sheet(tag: str, attributes: dict[str, str]) -> None:
        if tag == "sheet":
            titles[next(value for key, value in attributes.items() if key.rpartition(":")[2] == "id")] = attributes["name"]

    _parse(archive.read("xl/_rels/workbook.xml.rels"), relation)
    _parse(archive.read(WORKBOOK), sheet)
    return {title: targets[number] for number, title in titles.items() if number in targets}


class SheetScan(NamedTuple):
    """How many cells a sheet's XML has, and the cells with content that calamine returns as empty."""

    cells: int
    unreadable: list[tuple[Place, str]]


def scan(content: bytes, where: str) -> SheetScan:
    """Scan a sheet's XML. Raises BadDataError if the rectangle around its cells has more than MAX_CELLS."""
    scanner = _Scanner(where)
    _parse(content, scanner.start, scanner.end, scanner.text)
    return SheetScan(scanner.cells, scanner.unreadable)


class _Scanner:
    """The state of a scan: the current cell, and the rectangle around all cells so far."""

    def __init__(self, where: str) -> None:
        self.where, self.cells, self.unreadable = where, 0, list[tuple[Place, str]]()
        self.row, self.column = 0, 0
        self.rectangle: tuple[int, int, int, int] | None = None
        self.place: Place | None = None
        self.kind, self.is_formula, self.content = "", False, ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Handle the start of a row, a cell, or a formula."""
        if tag == "row":
            self.row, self.column = int(attributes.get("r", self.row + 1)), 0
        elif tag == "c":
            name = CELL_NAME.fullmatch(attributes.get("r", ""))
            self.row, self.column = (int(name[2]), _column_number(name[1])) if name else (self.row, self.column + 1)
            self.place = Place(_cell_name((self.row - 1, self.column - 1)), self.row)
            self.kind, self.is_formula, self.content = attributes.get("t", ""), False, ""
            self.cells += 1
            self._extend_rectangle()
        elif tag == "f":
            self.is_formula = True

    def text(self, piece: str) -> None:
        """Handle a value, or a part of it."""
        if len(self.content) < MAX_SHOWN_CHARS:
            self.content += piece

    def end(self, tag: str) -> None:
        """Handle the end of a formula, whose text is not the value, and of a cell."""
        if tag == "f":
            self.content = ""
        elif tag == "c" and self.place:
            if self.kind == "e":
                self.unreadable.append((self.place, f"holds the error {self.content.strip()}; correct it and export the file again"))
            elif self.is_formula and self.kind != "str" and not self.content.strip():
                self.unreadable.append((self.place, "holds a formula without its value; open the file in a spreadsheet and save it again"))
            self.place = None

    def _extend_rectangle(self) -> None:
        top, left, bottom, right = self.rectangle or (self.row, self.column, self.row, self.column)
        self.rectangle = top, left, bottom, right = (
            min(top, self.row),
            min(left, self.column),
            max(bottom, self.row),
            max(right, self.column),
        )
        if (size := (bottom - top + 1) * (right - left + 1)) > MAX_CELLS:
            raise BadDataError(
                f"{self.where}: its cells reach over a rectangle of {size:,}, more than {MAX_CELLS:,}; delete what is far out"
            )


def _column_number(letters: str) -> int:
    """Return a column's number; A is 1."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def _parse(content: bytes, start: Any, end: Any = None, text: Any = None) -> None:  # noqa: ANN401  expat's handlers
    """Parse XML, ignoring namespaces. Refuse a document type: spreadsheets have none, and entities can fill the memory."""
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda tag, attributes: start(tag.rpartition(":")[2], attributes)
    parser.StartDoctypeDeclHandler = _refuse_doctype
    if end:
        parser.EndElementHandler = lambda tag: end(tag.rpartition(":")[2])
        parser.CharacterDataHandler = text
    parser.Parse(content, True)


def _refuse_doctype(*_: object) -> None:
    raise BadDataError("an XML document inside declares a document type, which no spreadsheet writes")
