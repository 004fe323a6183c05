"""The Arrow tables and Parquet bytes of a partition. arro3 is imported where it is used: `describe` and `plan` do without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import column_types
from jobkit.contracts.storable_text import escape_text
from jobkit.names import ROW_NUMBER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arro3.core import DataType, Table

    from jobkit.contracts.model import Columns, Field
    from jobkit.contracts.values import Texts

VENDOR_NAME = "vendor_name"  # in a Parquet column's metadata: the vendor's name of it, as JSON, if that is not a plain name


def build_table(fields: Sequence[Field], texts: Texts, rows: Sequence[int]) -> Table:
    """Return the rows, by their indices, as typed columns after `_row_number` (int32, from 1). May be empty.

    Raises RuntimeError if the cast changes a text that was checked to be a value into null: a bug.
    """
    from arro3.compute import cast  # noqa: PLC0415  heavy; only extracting needs it
    from arro3.core import Array, ChunkedArray, DataType, Table  # noqa: PLC0415

    arrays: dict[str, Array] = {ROW_NUMBER: Array([row + 1 for row in rows], type=DataType.int32())}
    for field in fields:
        values = texts[field.name]
        selected = values if isinstance(rows, range) else [values[row] for row in rows]
        text = Array(selected, type=DataType.utf8())
        array = text if field.type == "string" else cast(text, arrow_type(field.type))
        if array.null_count != text.null_count:
            raise RuntimeError(f"{field.name}: a value that was checked as {field.type} was not stored")
        arrays[field.name] = array
    table = Table.from_pydict({name: ChunkedArray([array]) for name, array in arrays.items()})
    vendor_names = {field.name: field.vendor_name for field in fields if field.vendor_name is not None}
    return _add_vendor_names(table, vendor_names) if vendor_names else table


def _add_vendor_names(table: Table, vendor_names: dict[str, str]) -> Table:
    """Return the table with the vendor's names of columns in the metadata of those columns, as ASCII."""
    import json  # noqa: PLC0415  few columns are renamed

    from arro3.core import Schema  # noqa: PLC0415

    fields = [table.schema.field(index) for index in range(len(table.schema))]
    metadata = {name: {VENDOR_NAME: json.dumps(vendor_name)} for name, vendor_name in vendor_names.items()}
    return table.with_schema(Schema([field.with_metadata(metadata[field.name]) if field.name in metadata else field for field in fields]))


def build_quarantine(cells: Columns, reasons: dict[int, str]) -> Table | None:
    """Return the quarantined rows: `_row_number` (int32, from 1), `raw_row` (the row as sent, as JSON) and `reasons`; None without any.

    `reasons` are by row index, in the order of the rows.
    """
    if not reasons:
        return None
    from arro3.core import Array, ChunkedArray, DataType, Table  # noqa: PLC0415  heavy; only extracting needs it

    raw = [_row_to_json({name: values[row] for name, values in cells.items()}) for row in reasons]
    arrays = {
        ROW_NUMBER: Array([row + 1 for row in reasons], type=DataType.int32()),
        "raw_row": Array(raw, type=DataType.utf8()),
        "reasons": Array([*reasons.values()], type=DataType.utf8()),
    }
    return Table.from_pydict({name: ChunkedArray([array]) for name, array in arrays.items()})


def _row_to_json(row: dict[str, str | None]) -> str:
    """Return the row as JSON that Postgres reads: names and values are `escape_text`."""
    import json  # noqa: PLC0415  few rows are bad

    return json.dumps(
        {escape_text(name): value if value is None else escape_text(value) for name, value in row.items()}, ensure_ascii=False
    )


def arrow_type(kind: str) -> DataType:
    """Return the Arrow type of a contract type. Raises KeyError if the type is unknown."""
    from arro3.core import DataType  # noqa: PLC0415  heavy; only extracting needs it

    if match := column_types.DECIMAL.fullmatch(kind):
        return DataType.decimal128(int(match[1]), int(match[2]))
    if kind == column_types.TIMESTAMP:
        return DataType.timestamp("us", tz="UTC")
    arrow: DataType = getattr(DataType, column_types.TYPES[kind].constructor)()
    return arrow


def to_parquet(table: Table) -> bytes:
    """Encode the table as Parquet, compressed with zstd. The same table and arro3 version give the same bytes."""
    import io  # noqa: PLC0415

    from arro3.io import write_parquet  # noqa: PLC0415  heavy; only extracting needs it

    file = io.BytesIO()
    write_parquet(table, file, compression="zstd(3)")
    return file.getvalue()
