"""Copying of Parquet files to Postgres. Arrow batches are encoded as binary COPY one by one, so that memory does not grow with the file.

arro3 and pgpq together are 15 MB and load 5 million rows in 1.2 times the server's own COPY; pyarrow alone is 168 MB
(docs/decisions/0009-warehouse-loading.md). If pgpq is not installed, psycopg encodes row by row: the same bytes, about ten times
slower. If arro3 is not installed, pyarrow reads the file.
"""

from __future__ import annotations

from copy import copy as shallow_copy
from typing import TYPE_CHECKING, Any

from jobkit import failpoints
from jobkit.errors import BadDataError
from jobkit.lake import is_parquet
from psycopg import sql

from load_warehouse import conversion, parquet, types
from load_warehouse.policy import LoadPolicy

try:
    import pgpq
except ImportError:  # before 1.0, and not built for every Python and machine
    pgpq = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import psycopg
    from arro3.core import RecordBatch

    from load_warehouse.session import Session


class ParquetFile:
    """A committed Parquet file: its columns with their Postgres types, and its rows in batches.

    `columns` maps names to Postgres types, `_row_number` last. `null_columns` names the columns in which a null was read so far.
    Raises BadDataError (65) if the bytes are not a Parquet file or a column has no exact Postgres type.
    """

    def __init__(self, data: bytes, where: str, batch_rows: int = LoadPolicy.batch_rows) -> None:
        if not is_parquet(data):
            raise BadDataError(f"{where}: the committed file is not a Parquet file; run its extractor again")
        self.where = where
        self._read: Callable[[], Iterable[RecordBatch]] = lambda: parquet.read_batches(data, batch_rows)[1]
        self.schema, batches = parquet.read_batches(data, batch_rows)
        self.columns = types.map_columns(self.schema, where)
        self._first = next(iter(batches), None)
        self.null_columns: set[str] = set()

    def convert(self, columns: Mapping[str, str]) -> ParquetFile:
        """Return a file whose columns have these Postgres types. Raises BadDataError (65) when it reads a value that has no exact equal.

        A file without rows is converted, too. Columns that `columns` does not name stay as they are.
        """
        conversions = conversion.plan_conversions(self.columns, columns, self.where)
        if not conversions:
            return self
        read, file = self._read, shallow_copy(self)

        def convert(batch: RecordBatch) -> RecordBatch:
            return conversion.convert_batch(batch, conversions, self.where)

        for name, planned in conversions.items():
            file.schema = parquet.replace_type(file.schema, name, planned.kind)
        file.columns = {name: columns.get(name, kind) for name, kind in self.columns.items()}
        file.null_columns = set()
        file._first = None if self._first is None else convert(self._first)  # noqa: SLF001  another instance of this class
        file._read = lambda: map(convert, read())  # noqa: SLF001
        return file

    @property
    def column_names(self) -> list[str]:
        """The column names in the order of the file."""
        return [self.schema.field(index).name for index in range(len(self.schema))]

    def read_first_value(self, column: str) -> Any:  # noqa: ANN401  any type a column may have
        """Return the column's value in the first row; None if the file has no rows."""
        return self._first.column(column)[0].as_py() if self._first is not None and self._first.num_rows else None

    def iter_batches(self) -> Iterator[RecordBatch]:
        """Yield the rows in batches, and note the columns with nulls."""
        for batch in self._read():
            self.null_columns.update(name for name in self.columns if batch.column(name).null_count)
            yield batch

    def with_batches(self, batches: Sequence[RecordBatch]) -> ParquetFile:
        """Return a file of the same schema that has these rows instead."""
        subset = shallow_copy(self)
        subset._read = lambda: batches  # noqa: SLF001  another instance of this class
        return subset


def copy_file(
    session: Session, table: sql.Identifier, file: ParquetFile, *, freeze: bool, rows: int, into: psycopg.Connection[Any] | None = None
) -> None:
    """Copy a file into a table, in the open transaction of the main connection or of `into`.

    `freeze` needs a table that was created in the same transaction. Raises BadDataError (65) if the file does not have exactly `rows` rows,
    the number in its commit.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, file.column_names))
    options = sql.SQL("format binary, freeze" if freeze else "format binary")
    statement = sql.SQL("copy {} ({}) from stdin ({})").format(table, names, options)
    write = _write_rows if pgpq is None else _write_batches
    with (into or session.main).cursor() as cursor:
        with failpoints.surround("copy"), cursor.copy(statement) as stream:
            for _ in write(stream, file):
                session.raise_if_stopping()
                failpoints.hit("within copy")
        if cursor.rowcount != rows:
            raise BadDataError(
                f"{file.where}: the file has {cursor.rowcount:,} rows, but its commit says {rows:,}; run its extractor again"
            )


def _write_batches(stream: psycopg.Copy, file: ParquetFile) -> Iterator[None]:
    """Write batch by batch. `finish` returns rows as well: the encoder buffers them."""
    encoder = pgpq.ArrowToPostgresBinaryEncoder(file.schema)
    stream.write(encoder.write_header())
    for batch in file.iter_batches():
        stream.write(encoder.write_batch(batch))
        yield
    stream.write(encoder.finish())


def _write_rows(stream: psycopg.Copy, file: ParquetFile) -> Iterator[None]:
    """Write row by row, yielding after each batch."""
    stream.set_types([types.strip_collation(file.columns[name]).partition("(")[0] for name in file.column_names])
    for batch in file.iter_batches():
        for row in parquet.iter_rows(batch, file.column_names):
            stream.write_row(row)
        yield


def copy_between_connections(session: Session, source: sql.Composed, connection: psycopg.Connection[Any], target: sql.Composed) -> None:
    """Stream a COPY TO of the main connection into a COPY FROM of another.

    The server sends one row at a time; a buffer collects rows, so that there are fewer writes.
    """
    buffer = bytearray()
    with (
        failpoints.surround("copy between connections"),
        session.main.cursor() as reading,
        connection.cursor() as writing,
        reading.copy(source) as reader,
        writing.copy(target) as writer,
    ):
        for row in reader:
            buffer += row
            if len(buffer) >= session.policy.copy_buffer_bytes:
                session.raise_if_stopping()
                writer.write(buffer)
                buffer.clear()
        writer.write(buffer)
