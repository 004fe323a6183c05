"""Profile the columns of a CSV file: the type that all cells of a column have, and what a person has to decide.

A file shows some rows, not the rules behind them. What could be read in two ways is a doubt, in one sentence.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from jobkit import csvtext, identifiers, notation
from jobkit.contracts import Field, Layout
from jobkit.contracts.type_checks import find_untyped
from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DELIMITERS = (",", ";", "\t", "|")
SEPARATORS = ((".", ""), (".", ","), (",", "."), (",", ""), (".", " "), (",", " "), (".", "'"))  # before decimals, between thousands
NEGATIVES = (("-1",), ("-1", "1-"), ("-1", "(1)"))
ISO = "yyyy-MM-dd"
DATE_FORMATS = (ISO, "MM/dd/yyyy", "dd/MM/yyyy", "dd.MM.yyyy", "yyyy/MM/dd", "MM-dd-yyyy", "dd-MM-yyyy", "dd-MMM-yyyy", "yyyyMMdd")
YEARS = range(1900, 2100)  # in which eight digits are a date
IDENTIFIERS = ("isin", "cusip", "sedol", "lei", "figi", "currency")
MAX_ROWS = 50_000  # a few seconds
LONGEST_KEY = 3
MAX_EXCEPTIONS = 0.2  # of the cells of a column, but at least one; more are no exceptions
DIGITS, SCALE, MAX_DIGITS = 18, 6, 38  # of a decimal: usual, usual after the point, and the most that there can be


class Sheet(NamedTuple):
    """The cells of a file, by row, and how it is written. `is_cut` is whether the file has more rows."""

    header: list[str]
    rows: list[list[str]]
    encoding: str
    delimiter: str
    is_cut: bool


@dataclass(frozen=True)
class Column:
    """A column: its header, its values as contracts write them (None for an empty cell), its type, how dates or identifiers are written.

    `trim` is whether cells have spaces around their values.
    """

    label: str
    values: Sequence[str | None]
    type: str
    format: str | None = None
    trim: bool = False
    doubts: tuple[str, ...] = ()


def read_sheet(body: bytes, what: str) -> Sheet:
    """Read a file with a header. `what` names it in messages. Raises BadDataError if it is no CSV file, or has no rows."""
    encoding, text = _decode(body, what)
    delimiter = max(DELIMITERS, key=partial(_count_names, text.lstrip()))
    header, rows = csvtext.read(text.encode(), what, delimiter)
    labels = [label.strip() for label in header]
    if "" in labels:
        raise BadDataError(f"{what} has no name for column {labels.index('') + 1} in its header; expected a name for each column: add it")
    if not rows:
        raise BadDataError(f"{what} has a header and no rows; expected at least one row, from which types can be read")
    return Sheet(labels, rows[:MAX_ROWS], encoding, delimiter, len(rows) > MAX_ROWS)


def _count_names(text: str, delimiter: str) -> int:
    """Return the number of names in the header if this is the delimiter; 0 if it cannot be read."""
    try:
        return len(next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), []))
    except csv.Error:
        return 0


def _decode(body: bytes, what: str) -> tuple[str, str]:
    """Return the encoding and the text. Raises BadDataError for a file that is no text."""
    is_utf16 = body[:2] in (b"\xff\xfe", b"\xfe\xff")
    if not is_utf16 and (b"\0" in body or not body.strip()):
        raise BadDataError(f"{what} is {'not text' if body else 'empty'}; expected a CSV file with a header and rows")
    for encoding in ("utf-16",) if is_utf16 else ("utf-8-sig", "cp1252"):
        try:
            return encoding.removesuffix("-sig"), body.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise BadDataError(f"{what} is neither UTF-8 nor Windows-1252; expected text in one of them: convert it, for example with iconv")


def find_layout(sheet: Sheet) -> tuple[Layout, list[str]]:
    """Return how the file writes numbers, and doubts. The notation that reads most columns is taken, the plainest one first."""
    columns = [sorted({text.strip() for text in cells} - {""}) for cells in zip(*sheet.rows, strict=True)]
    layouts = [Layout(sheet.encoding, sheet.delimiter, *signs, negative) for negative in NEGATIVES for signs in SEPARATORS]
    readings = {layout: [_read_all(texts, partial(notation.parse_number, layout=layout)) for texts in columns] for layout in layouts}
    counts = {layout: sum(values is not None for values in readings[layout]) for layout in layouts}
    best = max(layouts, key=counts.__getitem__)
    for other in (layout for layout in layouts if counts[layout] == counts[best]):
        for label, texts, values, others in zip(sheet.header, columns, readings[best], readings[other], strict=True):
            if values and others and values != others:
                text, one, two = next(triple for triple in zip(texts, values, others, strict=True) if triple[1] != triple[2])
                return best, [f"{label}: {text} was read as {one}; it may be {two}: check decimalSeparator and thousandsSeparator"]
    return best, []


def _read_all(texts: Sequence[str], read: Callable[[str], str]) -> list[str] | None:
    """Return all texts as the function reads them; None if there are none, or if it cannot read one of them."""
    try:
        return [read(text) for text in texts] or None
    except notation.NotationError:
        return None


def profile_column(label: str, cells: Sequence[str], layout: Layout) -> Column:
    """Return the column with the first type that all its cells have: boolean, date, timestamp, number, else text."""
    stripped = [text.strip() for text in cells]
    texts, trim = sorted(set(stripped) - {""}), stripped != list(cells)
    if not texts:
        return Column(label, [None] * len(cells), "string", doubts=("it is empty in each row, so it was taken for text",))

    def build(kind: str, values: Sequence[str], form: str | None = None, *doubts: str) -> Column:
        known = dict(zip(texts, values, strict=True))
        return Column(label, [known.get(text) for text in stripped], kind, form, trim, doubts)

    for kind in ("boolean", "timestamp"):
        if not find_untyped(Field(label, kind), texts, {}):
            return build(kind, texts)
    dates = {form: days for form in DATE_FORMATS if (days := _read_all(texts, partial(notation.parse_date, form=form)))}
    dates = {form: days for form, days in dates.items() if form != "yyyyMMdd" or all(int(day[:4]) in YEARS for day in days)}
    if dates:
        form, *others = dates
        doubts = [f"its dates may be written {' or '.join(dates)}; {form} was taken"] if others else []
        return build("date", dates[form], form, *doubts)
    numbers = _read_all(texts, partial(notation.parse_number, layout=layout))
    if numbers and not any(re.fullmatch(r"0\d+", text) for text in texts):
        return build(choose_number_type(numbers), numbers)
    doubts = ["it has leading zeros, so it was taken for text"] if numbers else find_exceptions(texts, stripped, layout)
    identifier = next((name for name in IDENTIFIERS if not any(map(identifiers.CHECKS[name], texts))), None)
    return build("string", texts, identifier, *doubts)


def choose_number_type(numbers: Sequence[str]) -> str:
    """Return the type of numbers in the notation of contracts: long, or a decimal with room for more digits than the file shows."""
    parts = [number.lstrip("-").partition(".") for number in numbers]
    whole, scale = max(len(part[0]) for part in parts), max(len(part[2]) for part in parts)
    if not scale and not find_untyped(Field("number", "long"), numbers, {}):
        return "long"
    scale = max(scale, SCALE if scale else 0)
    return f"decimal({min(max(DIGITS, whole + scale + 2), MAX_DIGITS)},{min(scale, MAX_DIGITS - whole)})"


def find_exceptions(texts: Sequence[str], cells: Sequence[str], layout: Layout) -> list[str]:
    """Return a doubt if most cells of a text column are numbers or dates: the others may stand for a missing value, or be mistakes."""
    counts = Counter(filter(None, cells))
    filled = counts.total()
    readers = [("numbers", partial(notation.parse_number, layout=layout))]
    readers += [("dates", partial(notation.parse_date, form=form)) for form in DATE_FORMATS if form != "yyyyMMdd"]
    for kind, read in readers:
        others = [text for text in texts if _read_all([text], read) is None]
        exceptions = sum(counts[text] for text in others)
        if exceptions <= max(1, MAX_EXCEPTIONS * filled) and exceptions * 2 < filled:
            shown = ", ".join(repr(text) for text in others[:3])
            return [f"most cells are {kind}, but not {exceptions} of {filled} ({shown}), so it was taken for text"]
    return []


def find_keys(columns: Sequence[Column]) -> list[tuple[Column, ...]]:
    """Return the smallest sets of complete columns that identify each row, dates and texts before whole numbers; empty if none does.

    Decimals are no keys: a price that appears once may appear again. A date next to a security's or company's identifier is a key together
    with it: that one day has one row is chance.
    """
    candidates = [column for column in columns if None not in column.values and column.type in ("date", "timestamp", "string", "long")]
    candidates.sort(key=lambda column: column.type == "long")
    rows = len(columns[0].values)
    for size in range(1, LONGEST_KEY + 1):
        sets = combinations(candidates, size)
        if found := [key for key in sets if len(set(zip(*(column.values for column in key), strict=True))) == rows]:
            named = [column for column in candidates if column.format in IDENTIFIERS and column.format != "currency"]
            together = [(*key, one) for key in found if size == 1 and key[0].type == "date" for one in named[:1]]
            return together + found
    return []
