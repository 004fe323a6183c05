"""Reading of Parquet as Arrow batches: with arro3, or with pyarrow (ten times its size) where arro3 cannot be installed."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from jobkit.column_types import DECIMAL, TIMESTAMP, TYPES

try:
    from arro3.core import Array
    from arro3.core import DataType as Type
    from arro3.io import read_parquet
except ImportError:
    read_parquet = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from arro3.core import DataType, RecordBatch, Schema

_ARRO3 = re.compile(r"arro3\.core\.DataType<(.*)>", re.DOTALL)
# Type names as pyarrow prints them, and as arro3 does.
_PYARROW = {
    "int32": "Int32",
    "int64": "Int64",
    "double": "Float64",
    "string": "Utf8",
    "large_string": "LargeUtf8",
    "string_view": "Utf8View",
    "date32[day]": "Date32",
    "bool": "Boolean",
}
# The functions of pyarrow that make the types of contracts.
_PYARROW_TYPES = {"string": "string", "date": "date32", "int": "int32", "long": "int64", "double": "float64", "boolean": "bool_"}
_PYARROW_DECIMAL = re.compile(r"decimal128(\(\d+, \d+\))")
_PYARROW_TIMESTAMP = re.compile(r"timestamp\[us, tz=(.+)\]")


def read_batches(data: bytes, batch_rows: int) -> tuple[Schema, Iterable[RecordBatch]]:
    """Return the schema, and the rows in the order of the file in batches of at most `batch_rows`."""
    if read_parquet is not None:
        reader = read_parquet(io.BytesIO(data), batch_size=batch_rows)
        return reader.schema, reader
    from pyarrow.parquet import ParquetFile  # noqa: PLC0415

    file = ParquetFile(io.BytesIO(data))
    return file.schema_arrow, file.iter_batches(batch_rows)


def iter_rows(batch: RecordBatch, names: Iterable[str]) -> Iterable[tuple[Any, ...]]:
    """Yield the values of these columns row by row."""
    return zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def take_rows(batch: RecordBatch, positions: Sequence[int]) -> RecordBatch:
    """Return the rows at these positions, in this order."""
    if read_parquet is not None:
        return batch.take(Array(positions, type=Type.uint32()))
    return batch.take(list(positions))


def cast_texts(texts: Sequence[str | None], kind: str) -> Array:
    """Return texts as values of a contract's type. The caller has checked them: a text that is no value becomes null or is rounded."""
    decimal = DECIMAL.fullmatch(kind)
    if read_parquet is not None:
        if decimal:
            arrow_type = Type.decimal128(int(decimal[1]), int(decimal[2]))
        else:
            arrow_type = Type.timestamp("us", tz="UTC") if kind == TIMESTAMP else getattr(Type, TYPES[kind].constructor)()
        return Array(texts, type=Type.utf8()).cast(arrow_type)
    import pyarrow as pa  # noqa: PLC0415

    if decimal:
        other_type = pa.decimal128(int(decimal[1]), int(decimal[2]))
    else:
        other_type = pa.timestamp("us", tz="UTC") if kind == TIMESTAMP else getattr(pa, _PYARROW_TYPES[kind])()
    return pa.array(texts, pa.string()).cast(other_type)


def replace_column(batch: RecordBatch, name: str, column: Array) -> RecordBatch:
    """Return the rows with other values, of any type, in one column."""
    index = batch.schema.names.index(name)
    return batch.set_column(index, batch.schema.field(index).with_type(column.type), column)


def replace_type(schema: Schema, name: str, kind: str) -> Schema:
    """Return the schema with a contract's type for one column."""
    index = schema.names.index(name)
    return schema.set(index, schema.field(index).with_type(cast_texts([], kind).type))


def type_name(arrow_type: DataType) -> str:
    """Return an Arrow type's name as arro3 prints it, also for a type of pyarrow."""
    printed = str(arrow_type).strip()
    if match := _ARRO3.match(printed):
        return match[1]
    if match := _PYARROW_DECIMAL.fullmatch(printed):
        return f"Decimal128{match[1]}"
    if match := _PYARROW_TIMESTAMP.fullmatch(printed):
        return f'Timestamp(µs, "{match[1]}")'
    return _PYARROW.get(printed, printed)
