"""CSV and JSON of a mart, made from its Parquet file, so that all three agree.

In CSV an empty cell is null, and text that a spreadsheet would run as a formula is prefixed with an apostrophe. `start_json` writes JSON
in a process of its own: arro3 holds Python's interpreter lock while it writes, so threads would take turns on one core.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from arro3.core import Array, RecordBatch, RecordBatchReader, Schema

BATCH_ROWS = 16_384  # larger batches leave the processor's cache, and their memory is returned to the system after each
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_FIRST_SAFE_CHARACTER = "A"  # all formula characters sort before it


def write_csv(parquet: Path, path: Path) -> None:
    """Write the rows of a Parquet file as CSV."""
    from arro3.io import read_parquet, write_csv  # noqa: PLC0415

    reader = read_parquet(parquet, batch_size=BATCH_ROWS)
    schema = reader.schema
    write_batches((_escape_formulas(batch) for batch in reader), schema, lambda batches: write_csv(batches, path))
    if not path.stat().st_size:  # the writer omits the header if there are no rows
        path.write_bytes(_csv_header(schema))


def write_json(parquet: Path, path: Path) -> None:
    """Write the rows of a Parquet file as a JSON array of objects."""
    from arro3.io import read_parquet, write_json  # noqa: PLC0415

    reader = read_parquet(parquet, batch_size=BATCH_ROWS)
    write_batches(reader, reader.schema, lambda batches: write_json(batches, path, explicit_nulls=True))


@contextmanager
def start_json(parquet: Path, path: Path) -> Iterator[None]:
    """Write JSON in another process during the block, and wait for its end. Raises RuntimeError if it fails."""
    command = [sys.executable, "-m", __name__, str(parquet), str(path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:  # noqa: S603
        try:
            yield
            _, stderr = process.communicate()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise RuntimeError(f"{path.name} was not written: {stderr.decode(errors='replace').strip()[-500:]}")


def write_batches(batches: Iterable[RecordBatch], schema: Schema, write: Callable[[RecordBatchReader], None]) -> None:
    """Write batches through a Python iterator, so that SIGTERM is handled. Raise the iterator's own error, whose type Arrow loses."""
    from arro3.core import RecordBatchReader  # noqa: PLC0415

    errors: list[BaseException] = []

    def iterate() -> Iterator[RecordBatch]:
        try:
            for batch in batches:  # noqa: UP028  Python handles signals in a loop, not inside `yield from`
                yield batch
        except GeneratorExit:
            raise
        except BaseException as error:
            errors.append(error)
            raise

    try:
        write(RecordBatchReader.from_batches(schema, iterate()))
    except Exception:
        if errors:
            raise errors[0] from None
        raise


def _csv_header(schema: Schema) -> bytes:
    line = StringIO()
    csv.writer(line, lineterminator="\n").writerow(schema.names)
    return line.getvalue().encode()


def _escape_formulas(batch: RecordBatch) -> RecordBatch:
    """Put an apostrophe before each text that a spreadsheet would run as a formula."""
    from arro3.core import Array, DataType  # noqa: PLC0415

    for index in range(batch.num_columns):
        field = batch.schema.field(index)
        if DataType.is_string(field.type) and _may_contain_formulas(batch.column(index)):
            cells = batch.column(index).to_pylist()
            if any(cell and cell.startswith(FORMULA_STARTS) for cell in cells):
                escaped = [f"'{cell}" if cell and cell.startswith(FORMULA_STARTS) else cell for cell in cells]
                batch = batch.set_column(index, field, Array(escaped, field.type))
    return batch


def _may_contain_formulas(texts: Array) -> bool:
    """Return whether a column may contain formulas, judged by its smallest text. For most columns this takes 1 % of a full check."""
    from arro3.compute import min as smallest  # noqa: PLC0415

    first = smallest(texts).as_py()
    return first is not None and first < _FIRST_SAFE_CHARACTER


if __name__ == "__main__":
    write_json(*map(Path, sys.argv[1:]))
