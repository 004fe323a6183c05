"""The cells of one sheet of an Excel file, by calamine; and, from the sheet's own XML, the cells of which calamine makes empty ones.

calamine 0.9 gives an error such as #N/A, and a formula that was saved without its value, as an empty cell (its `to_python`): figures would
be missing without a word. It also makes room for the whole rectangle between the first and the last cell, so that is measured first.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from typing import Any, NamedTuple
from xml.parsers import expat

from jobkit.errors import BadDataError

MOST_CELLS = 5_000_000
MAIN = "xl/workbook.xml"
PLACE = re.compile("([A-Z]{1,3})([0-9]{1,7})")
SHOWN_CHARACTERS = 100


class Place(NamedTuple):
    """A cell's name, such as B7, and its row."""

    name: str
    row: int


class Found(NamedTuple):
    """A sheet's rows from the first on, and the cells that hold something that could not be read, each with what is wrong with it."""

    sheet: str
    rows: list[list[Any]]
    unreadable: list[tuple[Place, str]]


def read(data: bytes, name: str, sheet: str | None) -> Found:
    """The cells of the named sheet, or of the only one that is visible and holds any. Raises BadDataError."""
    try:
        return _read(data, name, sheet)
    except BadDataError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # how the reader gives up
            raise
        raise BadDataError(f"{name} is no Excel file (.xlsx) that can be read: {str(error).partition(chr(10))[0]}") from None


def _read(data: bytes, name: str, sheet: str | None) -> Found:
    from python_calamine import CalamineWorkbook, SheetVisibleEnum  # noqa: PLC0415  one of several kinds of file

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        scanned = {title: scan(archive.read(path), f"{name}, sheet {title!r}") for title, path in _sheets(archive).items()}
    workbook = CalamineWorkbook.from_filelike(io.BytesIO(data))
    visible = [meta.name for meta in workbook.sheets_metadata if meta.visible == SheetVisibleEnum.Visible]
    filled = [title for title in visible if title in scanned and scanned[title].cells]
    chosen = sheet if sheet is not None else filled[0] if len(filled) == 1 else None
    if chosen is None:
        raise BadDataError(f"{name} has {len(filled)} sheets that hold something ({_listed(filled)}); have its contract say which (sheet)")
    if chosen not in workbook.sheet_names:
        raise BadDataError(f"{name} has no sheet {chosen!r}, which its contract names; it has {_listed(workbook.sheet_names)}")
    found = workbook.get_sheet_by_name(chosen)
    merged = [
        (Place(_name(first), first[0] + 1), f"is merged with others down to {_name(last)}; split them")
        for first, last in found.merged_cell_ranges or ()
    ]
    return Found(chosen, found.to_python(skip_empty_area=False), [*scanned[chosen].unreadable, *merged])


def _listed(titles: list[str]) -> str:
    return ", ".join(repr(title) for title in titles[:10]) or "none"


def _name(at: tuple[int, int]) -> str:
    """A cell's name from row and column, which count from 0."""
    row, column = at
    letters, column = "", column + 1
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return f"{letters}{row + 1}"


def _sheets(archive: zipfile.ZipFile) -> dict[str, str]:
    """The path of each sheet's XML by its title, as the workbook says."""
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
    _parse(archive.read(MAIN), sheet)
    return {title: targets[number] for number, title in titles.items() if number in targets}


class Scanned(NamedTuple):
    """How many cells a sheet's XML has, and those that calamine gives as empty although something is in them."""

    cells: int
    unreadable: list[tuple[Place, str]]


def scan(content: bytes, where: str) -> Scanned:
    """Read a sheet's XML. Raises BadDataError where the rectangle around its cells is larger than memory should hold."""
    found = _Scan(where)
    _parse(content, found.start, found.end, found.text)
    return Scanned(found.cells, found.unreadable)


class _Scan:
    """What is known of a sheet so far: the cell that is being read, and the rectangle around all."""

    def __init__(self, where: str) -> None:
        self.where, self.cells, self.unreadable = where, 0, list[tuple[Place, str]]()
        self.row, self.column = 0, 0
        self.rectangle: tuple[int, int, int, int] | None = None
        self.place: Place | None = None
        self.kind, self.is_formula, self.content = "", False, ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """A row, a cell, or a formula in it begins."""
        if tag == "row":
            self.row, self.column = int(attributes.get("r", self.row + 1)), 0
        elif tag == "c":
            named = PLACE.fullmatch(attributes.get("r", ""))
            self.row, self.column = (int(named[2]), _number(named[1])) if named else (self.row, self.column + 1)
            self.place = Place(_name((self.row - 1, self.column - 1)), self.row)
            self.kind, self.is_formula, self.content = attributes.get("t", ""), False, ""
            self.cells += 1
            self._widen()
        elif tag == "f":
            self.is_formula = True

    def text(self, piece: str) -> None:
        """A value, or a part of it."""
        if len(self.content) < SHOWN_CHARACTERS:
            self.content += piece

    def end(self, tag: str) -> None:
        """A formula's text is none of a value; at the end of a cell is known whether it has one."""
        if tag == "f":
            self.content = ""
        elif tag == "c" and self.place:
            if self.kind == "e":
                self.unreadable.append((self.place, f"holds the error {self.content.strip()}; correct it and export the file again"))
            elif self.is_formula and self.kind != "str" and not self.content.strip():
                self.unreadable.append((self.place, "holds a formula without its value; open the file in a spreadsheet and save it again"))
            self.place = None

    def _widen(self) -> None:
        top, left, bottom, right = self.rectangle or (self.row, self.column, self.row, self.column)
        self.rectangle = top, left, bottom, right = (
            min(top, self.row),
            min(left, self.column),
            max(bottom, self.row),
            max(right, self.column),
        )
        if (size := (bottom - top + 1) * (right - left + 1)) > MOST_CELLS:
            raise BadDataError(
                f"{self.where}: its cells reach over a rectangle of {size:,}, more than {MOST_CELLS:,}; delete what is far out"
            )


def _number(letters: str) -> int:
    """A column's number from its letters: A is 1."""
    found = 0
    for letter in letters:
        found = found * 26 + ord(letter) - 64
    return found


def _parse(content: bytes, start: Any, end: Any = None, text: Any = None) -> None:  # noqa: ANN401  expat's handlers
    """Read XML without name spaces. A document type is refused: spreadsheets have none, and entities can fill the memory."""
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda tag, attributes: start(tag.rpartition(":")[2], attributes)
    parser.StartDoctypeDeclHandler = _refuse_doctype
    if end:
        parser.EndElementHandler = lambda tag: end(tag.rpartition(":")[2])
        parser.CharacterDataHandler = text
    parser.Parse(content, True)


def _refuse_doctype(*_: object) -> None:
    raise BadDataError("an XML document inside declares a document type, which no spreadsheet writes")
