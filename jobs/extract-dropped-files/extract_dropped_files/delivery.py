"""Read a sheet by its contract: map the bank's columns to fields, compare its totals with its rows, split its rows by lake partition.

A bank's file is one delivery. Its cells become text in the notation of contracts; a cell that cannot be read stays, marked, so that
validation reports its row. What makes the file as a whole doubtful (header, footer, totals, lots) raises BadDataError (65).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit import contracts
from jobkit.contracts import UNREADABLE, Field, Origin, ValidationResult
from jobkit.errors import BadDataError
from jobkit.names import ROW_NUMBER
from jobkit.notation import NotationError, build_cell_reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from arro3.core import Table
    from jobkit.contracts import Columns, Contract, Untyped

    from extract_dropped_files.parser import Footer, Sheet

TEXT = Field("text", "string")
DIGEST_CHARS = 16  # of a digest in a partition's name
PARTITION_CHARS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")


class Part(NamedTuple):
    """The rows of a file that fill one partition of a dataset, and the contract that they keep."""

    rules: Contract
    partition: str
    result: ValidationResult


class Delivery(NamedTuple):
    """The columns of a sheet by the names of the contract's fields, as text, and how they were read."""

    columns: Columns
    origin: Origin


def read(rules: Contract, sheet: Sheet) -> Delivery:
    """Read the columns of a sheet. Raises BadDataError (65) if its header, footer, totals or lots break the contract."""
    rows = len(next(iter(sheet.columns.values()), []))
    _check_footers(rules, sheet)
    if not rows:
        raise BadDataError("it has a header and no rows, so that nothing says what it replaces; nothing was changed. Send the rows")
    _check_header(rules, sheet)
    faults: Untyped = {}
    columns: Columns = {}
    for field in rules.fields:
        if field.constant is not None:
            columns[field.name] = [field.constant] * rows
        elif field.label in sheet.columns:
            columns[field.name], faults[field.name] = _read_column(field, rules, sheet)
    columns |= {name: _format_as_sent(values) for name, values in sheet.columns.items() if name not in _known_names(rules)}
    _number_lots(rules, columns, sheet)
    _check_totals(rules, sheet, columns, faults)
    sent = {name: _format_as_sent(values) for name, values in sheet.columns.items()}
    return Delivery(columns, Origin(sent, faults, sheet.place))


def _check_header(rules: Contract, sheet: Sheet) -> None:
    needed = [field.label for field in rules.fields if _is_needed(field)]
    missing = [name for name in needed if name not in sheet.columns]
    if missing:
        found = f"; it has {', '.join(map(repr, list(sheet.columns)[:30]))}" if rules.shows_values else ""
        raise BadDataError(f"it lacks the column {', '.join(map(repr, missing))}{found}. Are the names in the header as before?")
    more = [(number, name) for number, name in enumerate(sheet.columns, 1) if name not in _known_names(rules)]
    if more and rules.new_fields == "freeze":
        shown = ", ".join(repr(name) if rules.shows_values else f"number {number}" for number, name in more[:10])
        raise BadDataError(f"it has columns that its contract does not know: {shown}; leave them out, or have the contract name them")


def _known_names(rules: Contract) -> set[str]:
    """Return the column names that the contract mentions."""
    return {field.label for field in rules.fields if field.constant is None} | set(rules.layout.ignored)


def _is_needed(field: Field) -> bool:
    return (field.required or field.evolution == "freeze") and field.constant is None and not field.counted_within


def _read_column(field: Field, rules: Contract, sheet: Sheet) -> tuple[list[str | None], dict[str, str]]:
    """Return a column's cells in the notation of contracts, and the reason for each cell that cannot be read; such a cell is marked."""
    read_cell, faults = build_cell_reader(field, rules.layout), dict[str, str]()
    known: dict[tuple[type, Any], str | None] = {}

    def text(value: object) -> str | None:
        if sheet.is_typed and isinstance(value, str):
            return value or None
        try:
            return read_cell(value)
        except NotationError as error:
            marked = f"{UNREADABLE}{value}"
            faults[marked] = str(error)
            return marked

    for value in sheet.columns[field.label]:
        if (type(value), value) not in known:
            known[type(value), value] = text(value)
    return [known[type(value), value] for value in sheet.columns[field.label]], faults


def _format_as_sent(values: Sequence[object]) -> list[str | None]:
    """Return cells as text, in the form in which a quarantined row keeps them."""
    read_cell = build_cell_reader(TEXT, contracts.Layout())
    return [value if value is None or isinstance(value, str) else read_cell(value) for value in values]


def _number_lots(rules: Contract, columns: Columns, sheet: Sheet) -> None:
    """Number the rows of each position if the contract asks for it and the bank does not. Raises BadDataError if two rows are equal."""
    for field in rules.fields:
        if not field.counted_within or field.name in columns:
            continue
        seen: dict[tuple[Any, ...], int] = {}
        for row, cells in enumerate(zip(*sheet.columns.values(), strict=True), 1):
            if (before := seen.setdefault(cells, row)) != row:
                raise BadDataError(
                    f"{sheet.place(row)} is the same as {sheet.place(before)} in every column; two lots, or one lot twice? "
                    "Remove one, or send the lots with their numbers"
                )
        counts: Counter[tuple[Any, ...]] = Counter()
        numbers = []
        for position in zip(*(columns[name] for name in field.counted_within), strict=True):
            counts[position] += 1
            numbers.append(str(counts[position]))
        columns[field.name] = numbers


def _check_footers(rules: Contract, sheet: Sheet) -> None:
    """Raise BadDataError if the footer that the contract requires is missing, or if a footer could be a row."""
    layout = rules.layout
    if layout.footer_required and not sheet.footers:
        raise BadDataError(f"it does not end with a line that begins with {layout.footer!r}, as its contract says; was it cut off?")
    needed = [field.label for field in rules.fields if _is_needed(field)]
    for footer in sheet.footers:
        if all(footer.cells.get(name) is not None for name in needed):
            raise BadDataError(f"{footer.place} begins with {layout.footer!r} and is filled like a row; is it a position or a total?")


def _check_totals(rules: Contract, sheet: Sheet, columns: Columns, faults: Untyped) -> None:
    """Raise BadDataError if the totals in the file's last line differ from its rows."""
    if not sheet.footers:
        return
    layout, last = rules.layout, sheet.footers[-1]
    fields = {field.name: field for field in rules.fields}
    if layout.footer_count:
        _check_count(last, fields[layout.footer_count], len(next(iter(sheet.columns.values()))), rules)
    for name in layout.footer_totals:
        if not any(text in faults.get(name, {}) for text in columns.get(name, ()) if text):
            _check_total(rules, last, fields[name], columns.get(name, ()))


def _check_count(footer: Footer, field: Field, rows: int, rules: Contract) -> None:
    stated = _read_footer_number(rules, footer, field)
    if stated is not None and stated != rows:
        raise BadDataError(f"{footer.place} says that there are {stated} rows, but there are {rows}; was the file cut or changed?")


def _check_total(rules: Contract, footer: Footer, field: Field, texts: Sequence[str | None]) -> None:
    stated = _read_footer_number(rules, footer, field)
    if stated is None:
        return
    try:
        total = sum((Decimal(text) for text in texts if text), Decimal(0))
    except ArithmeticError:
        return  # validation reports the row with the value that is not a number
    if abs(total - stated) > rules.layout.footer_tolerance:
        shown = f" says {stated:,}, its rows add up to {total:,}" if rules.shows_values else " is not the sum of its rows"
        raise BadDataError(f"the total of {field.label!r} in {footer.place}{shown}; is a row missing, changed or there twice?")


def _read_footer_number(rules: Contract, footer: Footer, field: Field) -> Decimal | None:
    """Return a number in the footer; None if the cell is empty and the contract requires no footer. Raises BadDataError."""
    try:
        text = build_cell_reader(Field(field.name, "decimal(38,0)", trim=True), rules.layout)(footer.cells.get(field.label))
        if text is not None:
            return Decimal(text)
    except (NotationError, ArithmeticError):
        text = None
    if rules.layout.footer_required or footer.cells.get(field.label) is not None:
        raise BadDataError(f"{footer.place} has no number that can be read in the column {field.label!r}")
    return None


def split_parts(rules: Contract, delivery: Delivery, good: ValidationResult, name: str) -> Iterator[Part]:
    """Yield each lake partition that the rows fill with its rows: by the contract's partition columns, else by the file's name.

    Raises BadDataError if no valid row names a partition.
    """
    if not rules.partition:
        yield Part(rules, f"file={name}", good)
        return
    partitions = [format_partition(rules, cells) for cells in zip(*(delivery.columns[column] for column in rules.partition), strict=True)]
    found = list(dict.fromkeys(partitions[number - 1] for number in good.table.column(ROW_NUMBER).to_pylist()))
    if not found:
        raise BadDataError(f"no row says {' and '.join(rules.partition)}, by which the lake keeps them")
    if len(found) == 1:
        yield Part(rules, found[0], good)
        return
    for place, name_of_part in enumerate(found):
        inside = {number for number, one in enumerate(partitions, 1) if one == name_of_part or (one not in found and place == 0)}
        table = _select_rows(good.table, inside)
        rejected = _select_rows(good.rejected_keys, inside) if good.rejected_keys else None
        bad = _select_rows(good.quarantine, inside) if good.quarantine else None
        quarantined, rejected_rows = bad.num_rows if bad else 0, rejected.num_rows if rejected else 0
        read, warnings = table.num_rows + rejected_rows, good.warnings if place == 0 else ()
        result = ValidationResult(table, bad if quarantined else None, read, rejected_rows - quarantined, warnings, rejected)
        yield Part(rules, name_of_part, result)


def format_partition(rules: Contract, cells: Sequence[str | None]) -> str:
    """Return the name of the lake partition of rows with these values. Names are public: confidential values but days are hashed."""
    return "/".join(f"{name}={_format_value(rules, name, cell or '')}" for name, cell in zip(rules.partition, cells, strict=True))


def _format_value(rules: Contract, name: str, text: str) -> str:
    is_day = any(field.name == name and field.type == "date" for field in rules.fields)
    return (
        _escape(text) if is_day or rules.shows_values else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_CHARS]
    )


def _escape(text: str) -> str:
    """Replace each character that a partition may not have by _ and its bytes in hexadecimal. Different texts stay different."""
    return "".join(
        character if character in PARTITION_CHARS else "".join(f"_{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
        for character in text
    )


def _select_rows(table: Table, numbers: set[int]) -> Table:
    """Return the rows with these row numbers."""
    from arro3.core import Array, ChunkedArray, DataType, Table  # noqa: PLC0415  heavy; only extracting needs it

    selected = [index for index, number in enumerate(table.column(ROW_NUMBER).to_pylist()) if number in numbers]
    indices = Array(selected, type=DataType.uint32())
    return Table.from_pydict({name: ChunkedArray([table.column(name).combine_chunks().take(indices)]) for name in table.column_names})
