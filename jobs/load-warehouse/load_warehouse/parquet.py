"""Parquet as Arrow batches, by arro3, or by pyarrow, ten times its size, where arro3 is not to be had: it is before 1.0 as well."""

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
# What pyarrow prints of a type, and arro3 of the same.
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


def read(data: bytes, batch_rows: int) -> tuple[Schema, Iterable[RecordBatch]]:
    """The schema and the rows, so many in a batch."""
    if read_parquet is not None:
        reader = read_parquet(io.BytesIO(data), batch_size=batch_rows)
        return reader.schema, reader
    from pyarrow.parquet import ParquetFile  # type: ignore[import-not-found]  # noqa: PLC0415

    file = ParquetFile(io.BytesIO(data))
    return file.schema_arrow, file.iter_batches(batch_rows)


def rows(batch: RecordBatch, names: Iterable[str]) -> Iterable[tuple[Any, ...]]:
    """The values of these columns, row by row."""
    return zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def take(batch: RecordBatch, places: Sequence[int]) -> RecordBatch:
    """The rows at these places."""
    if read_parquet is not None:
        return batch.take(Array(places, type=Type.uint32()))
    return batch.take(list(places))


def type_name(of: DataType) -> str:
    """An Arrow type's name as arro3 prints it, whichever of both has read it."""
    told = str(of).strip()
    if match := _ARRO3.match(told):
        return match[1]
    if match := _PYARROW_DECIMAL.fullmatch(told):
        return f"Decimal128{match[1]}"
    if match := _PYARROW_TIMESTAMP.fullmatch(told):
        return f'Timestamp(µs, "{match[1]}")'
    return _PYARROW.get(told, told)
