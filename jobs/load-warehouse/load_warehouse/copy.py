"""Parquet to Postgres: Arrow batches encoded as binary COPY, one after the other, so that memory does not grow with the file.

arro3 and pgpq because together they are 15 MB and load 5 million rows in 1.2 times the server's own COPY; pyarrow alone is 168 MB
(docs/decisions/0009-warehouse-loading.md).
Where pgpq is not to be had, psycopg encodes row by row: the same bytes, some ten times slower; where arro3 is not,
pyarrow reads.
"""

from __future__ import annotations

from copy import copy as shallow
from typing import TYPE_CHECKING, Any

from jobkit import failpoints
from jobkit.errors import BadDataError
from psycopg import sql

from load_warehouse import parquet, types

try:
    import pgpq
except ImportError:  # before 1.0, and not built for every Python and machine
    pgpq = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import psycopg
    from arro3.core import RecordBatch

    from load_warehouse.session import Session

BATCH_ROWS = 16_384
POUR_BYTES = 1 << 18
_MAGIC = b"PAR1"
_SMALLEST = 12


class Parquet:
    """A Parquet file to copy: its columns with their Postgres types, and its batches. Raises BadDataError on anything else.

    `with_nulls` are the columns in which a null was seen so far.
    """

    def __init__(self, data: bytes, where: str) -> None:
        if len(data) < _SMALLEST or not data.startswith(_MAGIC) or not data.endswith(_MAGIC):
            raise BadDataError(f"{where}: the committed file is no Parquet file; commit the partition again")
        self.where = where
        self._read: Callable[[], Iterable[RecordBatch]] = lambda: parquet.read(data, BATCH_ROWS)[1]
        self.schema, batches = parquet.read(data, BATCH_ROWS)
        self.columns = types.columns(self.schema, where)
        self._first = next(iter(batches), None)
        self.with_nulls: set[str] = set()

    @property
    def order(self) -> list[str]:
        """The columns as they stand in the file."""
        return [self.schema.field(index).name for index in range(len(self.schema))]

    def first_value(self, column: str) -> Any:  # noqa: ANN401  whatever the column holds
        """The column's value in the first row; None in a file without rows."""
        return self._first.column(column)[0].as_py() if self._first is not None and self._first.num_rows else None

    def batches(self) -> Iterator[RecordBatch]:
        """The rows."""
        for batch in self._read():
            self.with_nulls.update(name for name in self.columns if batch.column(name).null_count)
            yield batch

    def only(self, batches: Sequence[RecordBatch]) -> Parquet:
        """The same file as if it had these of its rows."""
        other = shallow(self)
        other._read = lambda: batches  # noqa: SLF001  one of us
        return other


def copy(
    session: Session, table: sql.Identifier, file: Parquet, *, freeze: bool, rows: int, into: psycopg.Connection[Any] | None = None
) -> None:
    """Copy a file into a table, in the open transaction of the main connection or of another.

    Raises BadDataError when it has not as many rows as its commit says.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, file.order))
    options = sql.SQL("format binary, freeze" if freeze else "format binary")
    statement = sql.SQL("copy {} ({}) from stdin ({})").format(table, names, options)
    write = _rows if pgpq is None else _batches
    with (into or session.main).cursor() as cursor:
        with failpoints.surround("copy"), cursor.copy(statement) as stream:
            for _ in write(stream, file):
                session.keep_going()
                failpoints.hit("within copy")
        if cursor.rowcount != rows:
            raise BadDataError(f"{file.where}: the file has {cursor.rowcount:,} rows, its commit says {rows:,}; commit the partition again")


def _batches(stream: psycopg.Copy, file: Parquet) -> Iterator[None]:
    """Write batch by batch. The encoder keeps a buffer of its own: what `finish` returns are rows, too."""
    encoder = pgpq.ArrowToPostgresBinaryEncoder(file.schema)
    stream.write(encoder.write_header())
    for batch in file.batches():
        stream.write(encoder.write_batch(batch))
        yield
    stream.write(encoder.finish())


def _rows(stream: psycopg.Copy, file: Parquet) -> Iterator[None]:
    """Write row by row."""
    stream.set_types([types.without_collation(file.columns[name]).partition("(")[0] for name in file.order])
    for batch in file.batches():
        for row in parquet.rows(batch, file.order):
            stream.write_row(row)
        yield


def pour(session: Session, source: sql.Composed, connection: psycopg.Connection[Any], target: sql.Composed) -> None:
    """Copy from a COPY TO on the main connection to a COPY FROM on another. The server sends row by row; many are handed on at once."""
    rows = bytearray()
    with (
        failpoints.surround("pour"),
        session.main.cursor() as out,
        connection.cursor() as into,
        out.copy(source) as reader,
        into.copy(target) as writer,
    ):
        for row in reader:
            rows += row
            if len(rows) >= POUR_BYTES:
                session.keep_going()
                writer.write(rows)
                rows.clear()
        writer.write(rows)
