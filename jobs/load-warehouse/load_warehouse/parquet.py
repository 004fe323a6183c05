"""Reading of Parquet as Arrow batches: with arro3, or with pyarrow (ten times its size) where arro3 cannot be installed."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

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
