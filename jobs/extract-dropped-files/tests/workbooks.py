"""Excel files for tests, as little XML as Excel and calamine take."""

from __future__ import annotations

import io
import zipfile
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
SPREADSHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml"
STYLES = f'<styleSheet xmlns="{MAIN}"><cellXfs count="3"><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="22"/></cellXfs></styleSheet>'


class Raw(str):
    """A cell as XML, without its tag and place: attributes, then content after a bar."""

    __slots__ = ()


def workbook(sheets: Mapping[str, Sequence[Sequence[object]]], hidden: Sequence[str] = (), merged: str = "") -> bytes:
    """The file. Cells are text, numbers, dates, None or Raw."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        kinds = "".join(
            f'<Override PartName="/xl/worksheets/s{number}.xml" ContentType="{SPREADSHEET}.worksheet+xml"/>'
            for number in range(len(sheets))
        )
        related = "application/vnd.openxmlformats-package.relationships+xml"
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" ContentType="{related}"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{SPREADSHEET}.sheet.main+xml"/>{kinds}</Types>',
        )
        archive.writestr("_rels/.rels", relations([("r1", "officeDocument", "xl/workbook.xml")]))
        listed = [(f"r{number}", "worksheet", f"worksheets/s{number}.xml") for number in range(len(sheets))]
        archive.writestr("xl/_rels/workbook.xml.rels", relations([*listed, ("rs", "styles", "styles.xml")]))
        archive.writestr("xl/styles.xml", STYLES)
        titles = "".join(
            f'<sheet name="{escape(title)}" sheetId="{number + 1}" r:id="r{number}" state="{"hidden" if title in hidden else "visible"}"/>'
            for number, title in enumerate(sheets)
        )
        archive.writestr("xl/workbook.xml", f'<workbook xmlns="{MAIN}" xmlns:r="{RELATIONS}"><sheets>{titles}</sheets></workbook>')
        for number, rows in enumerate(sheets.values()):
            body = "".join(
                f'<row r="{at}">{"".join(cell(value, at, column) for column, value in enumerate(row))}</row>'
                for at, row in enumerate(rows, 1)
            )
            merges = f'<mergeCells><mergeCell ref="{merged}"/></mergeCells>' if merged else ""
            archive.writestr(f"xl/worksheets/s{number}.xml", f'<worksheet xmlns="{MAIN}"><sheetData>{body}</sheetData>{merges}</worksheet>')
    return file.getvalue()


def relations(items: Sequence[tuple[str, str, str]]) -> str:
    """A relationship file."""
    listed = "".join(f'<Relationship Id="{name}" Type="{RELATIONS}/{kind}" Target="{target}"/>' for name, kind, target in items)
    return f'<Relationships xmlns="{PACKAGE}/relationships">{listed}</Relationships>'


def cell(value: object, row: int, column: int) -> str:
    """A cell's XML."""
    place = f'r="{chr(65 + column)}{row}"'
    if value is None:
        return ""
    if isinstance(value, Raw):
        attributes, _, content = value.partition("|")
        return f"<c {place} {attributes}>{content}</c>"
    if isinstance(value, datetime):
        return f'<c {place} s="2"><v>{(value - datetime(1899, 12, 30)) / timedelta(days=1)!r}</v></c>'  # noqa: DTZ001  as Excel counts
    if isinstance(value, date):
        return f'<c {place} s="1"><v>{(value - date(1899, 12, 30)).days}</v></c>'
    if isinstance(value, int | float):
        return f"<c {place}><v>{value!r}</v></c>"
    return f'<c {place} t="inlineStr"><is><t xml:space="preserve">{escape(str(value))}</t></is></c>'
