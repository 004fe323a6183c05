"""Marts as files: Parquet streamed from the warehouse, CSV and JSON from that Parquet, so that the three say the same.

Rows are in the order of the mart's key, text compared byte by byte: the same rows give the same bytes on any machine.
numeric(p,s) is a decimal in Parquet and the same digits in CSV and JSON; double precision stays a double; what Arrow has no type for
(numeric without a precision, jsonb, arrays, intervals) is its text. An endless date is 9999-12-31, an endless beginning 0001-01-01, so
that `known_from <= d and known_to > d` holds in the files as it does in the warehouse. In CSV an empty cell is null, and a text that a
spreadsheet would run as a formula gets an apostrophe in front; Parquet and JSON keep it as it is.
"""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from jobkit.errors import BadDataError, MisconfiguredError

from publish_marts.terms import DATASET_COLUMN
from publish_marts.warehouse import Sql, compose, literal, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from arro3.core import Array, RecordBatch, RecordBatchReader, Schema

    from publish_marts.warehouse import Warehouse

FORMATS = {"parquet": "application/vnd.apache.parquet", "csv": "text/csv; charset=utf-8", "json": "application/json"}
PARQUET: dict[str, Any] = {"compression": "zstd(3)", "max_row_group_size": 250_000}  # a group is held in memory until it is whole
BATCH_ROWS = 65_536
ENDLESS = {"date": "date", "timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz"}
_AS_IT_IS = ("boolean", "smallint", "integer", "bigint", "real", "double precision", "text")
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
_MOST_DIGITS = 38  # of Arrow's 128-bit decimal
_MOST_DIGITS_BIGINT = 18
_NO_NUMBER = 10**_MOST_DIGITS_BIGINT  # in place of NaN; has a digit too many for any numeric that is sent as bigint
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_AFTER_FORMULAS = "A"  # by their bytes
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class Column:
    """One column of a mart: its type as Postgres writes it, its description in dbt."""

    name: str
    type: str
    description: str

    @property
    def digits(self) -> tuple[int, int] | None:
        """Precision and scale of a decimal, None for any other type."""
        match = _NUMERIC.fullmatch(self.type)
        return (int(match[1]), int(match[2])) if match and int(match[1]) <= _MOST_DIGITS else None


@dataclass(frozen=True)
class Mart:
    """One table of the schema marts. `key` is empty where no unique index says what it is.

    Of a mart that is published by dataset, only rows of `datasets` count.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    datasets: tuple[str, ...] | None = None

    @property
    def where(self) -> Sql:
        """The rows that count, as a condition."""
        return (
            Sql("true")
            if self.datasets is None
            else Sql(f"{quoted(DATASET_COLUMN)} in ({', '.join(map(literal, self.datasets)) or 'null'})")
        )


@dataclass(frozen=True)
class File:
    """A file made of a mart."""

    format: str
    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Exported:
    """A mart and its files on this machine."""

    mart: Mart
    rows: int
    files: tuple[File, ...]

    def path(self, format_: str) -> Path:
        """The file in a format."""
        return next(file.path for file in self.files if file.format == format_)

    def digest(self, format_: str) -> str:
        """The SHA-256 of the file in a format."""
        return next(file.sha256 for file in self.files if file.format == format_)


def marts(warehouse: Warehouse, wanted: Sequence[str]) -> list[Mart]:
    """The tables of the schema marts, or those wanted; sorted by name. Raises MisconfiguredError when there are none."""
    columns: dict[str, list[Column]] = {}
    descriptions: dict[str, str] = {}
    for row in warehouse.rows(_COLUMNS):
        descriptions[row["mart"]] = row["mart_description"]
        columns.setdefault(row["mart"], []).append(Column(row["name"], row["type"], row["description"]))
    names = [name for name in sorted(columns) if _NAME.fullmatch(name) and "__dbt_" not in name]
    if not names:
        raise MisconfiguredError(f"the warehouse {warehouse.where} has no table in the schema marts; run transform-warehouse first")
    if strangers := sorted(set(wanted) - set(names)):
        raise MisconfiguredError(f"no mart {', '.join(strangers)} in the warehouse {warehouse.where}; there are {', '.join(names)}")
    keys = {row["mart"]: tuple(row["key"]) for row in warehouse.rows(_KEYS)}
    return [Mart(name, descriptions[name], tuple(columns[name]), keys.get(name, ())) for name in names if not wanted or name in wanted]


_COLUMNS = """
select
    c.relname::text as mart,
    coalesce(obj_description(c.oid, 'pg_class'), '') as mart_description,
    a.attname::text as name,
    format_type(a.atttypid, a.atttypmod) as type,
    coalesce(col_description(c.oid, a.attnum), '') as description
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relnamespace = (select oid from pg_namespace where nspname = 'marts') and c.relkind in ('r', 'p', 'm')
order by c.relname, a.attnum
"""

_KEYS = """
select distinct on (i.indrelid)
    c.relname::text as mart,
    array(
        select a.attname::text
        from unnest(i.indkey) with ordinality as k (attnum, position)
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
        where k.position <= i.indnkeyatts
        order by k.position
    ) as key
from pg_index i
join pg_class c on c.oid = i.indrelid
where
    c.relnamespace = (select oid from pg_namespace where nspname = 'marts')
    and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
order by i.indrelid, i.indisprimary desc, i.indnkeyatts, i.indexrelid
"""


def export(warehouse: Warehouse, mart: Mart, folder: Path) -> Exported:
    """Write a mart's files into a folder. Memory stays flat however long the mart is.

    Raises BadDataError for a numeric that is NaN or infinite, which no decimal can hold.
    """
    paths = {format_: folder / f"{mart.name}.{format_}" for format_ in FORMATS}
    counted = parquet(warehouse, mart, paths["parquet"])
    _write_csv(paths["parquet"], paths["csv"])
    _write_json(paths["parquet"], paths["json"])
    return Exported(mart, counted, tuple(_file(format_, path) for format_, path in paths.items()))


def query(mart: Mart) -> str:
    """The select that gives a mart's rows in order, in types that Arrow has."""
    columns = Sql(", ".join(f"{_expression(column)} as {quoted(column.name)}" for column in mart.columns))
    in_order = [*mart.key, *(column.name for column in mart.columns if column.name not in mart.key)]
    types = {column.name: column.type for column in mart.columns}
    order = Sql(", ".join(_ordering(name, types[name]) for name in in_order))
    template = "select {columns} from marts.{mart} as mart where {where} order by {order}"
    return compose(template, columns=columns, mart=quoted(mart.name), where=mart.where, order=order)


def _expression(column: Column) -> str:
    name = f"mart.{quoted(column.name)}"
    if column.type in ENDLESS:
        kind = ENDLESS[column.type]
        last, first = (f"{kind} {literal(day)}" for day in ("9999-12-31", "0001-01-01"))
        return f"case {name} when 'infinity' then {last} when '-infinity' then {first} else {name} end"
    if column.digits and column.digits[0] <= _MOST_DIGITS_BIGINT:  # its last digit's units: a third of the work of digits as text
        return f"case {name} when 'NaN' then {_NO_NUMBER} else ({name} * {10 ** column.digits[1]})::bigint end"
    return name if column.type in _AS_IT_IS else f"{name}::text"


def _ordering(name: str, type_: str) -> str:
    """One term of the order: numbers and dates by value, all else by the bytes of its text."""
    by_value = type_ in ENDLESS or type_.startswith("numeric") or (type_ in _AS_IT_IS and type_ != "text")
    return f"mart.{quoted(name)}" if by_value else f'mart.{quoted(name)}::text collate "C"'


def parquet(warehouse: Warehouse, mart: Mart, path: Path) -> int:
    """Stream the mart into a Parquet file; gives its rows. Raises BadDataError for a numeric that is NaN or infinite."""
    from arro3.io import write_parquet  # noqa: PLC0415

    counted = 0

    def typed(batches: Iterable[RecordBatch]) -> Iterator[RecordBatch]:
        nonlocal counted
        for batch in batches:
            counted += batch.num_rows
            yield _typed(batch, mart)

    with warehouse.stream(query(mart)) as answer:
        _pass(typed(answer.batches), _schema(answer.schema, mart), lambda batches: write_parquet(batches, path, **PARQUET))
    return counted


def _write_csv(parquet: Path, path: Path) -> None:
    from arro3.io import read_parquet, write_csv  # noqa: PLC0415

    reader = read_parquet(parquet, batch_size=BATCH_ROWS)
    schema = reader.schema
    _pass((_without_formulas(batch) for batch in reader), schema, lambda batches: write_csv(batches, path))
    if not path.stat().st_size:  # the writer has no headings for a mart without rows
        path.write_bytes(_headings(schema))


def _headings(schema: Schema) -> bytes:
    line = StringIO()
    csv.writer(line, lineterminator="\n").writerow(schema.names)
    return line.getvalue().encode()


def _write_json(parquet: Path, path: Path) -> None:
    from arro3.io import read_parquet, write_json  # noqa: PLC0415

    reader = read_parquet(parquet, batch_size=BATCH_ROWS)
    _pass(reader, reader.schema, lambda batches: write_json(batches, path, explicit_nulls=True))


def _pass(batches: Iterable[RecordBatch], schema: Schema, write: Callable[[RecordBatchReader], None]) -> None:
    """Hand batches to a writer, through Python, which obeys SIGTERM, and hand back the error that stopped them: Arrow takes its type."""
    from arro3.core import RecordBatchReader  # noqa: PLC0415

    reasons: list[BaseException] = []

    def watched() -> Iterator[RecordBatch]:
        try:
            for batch in batches:  # noqa: UP028  Python obeys signals in a loop, not while it yields from
                yield batch
        except GeneratorExit:
            raise
        except BaseException as reason:
            reasons.append(reason)
            raise

    try:
        write(RecordBatchReader.from_batches(schema, watched()))
    except Exception:
        if reasons:
            raise reasons[0] from None
        raise


def _schema(schema: Schema, mart: Mart) -> Schema:
    """The schema with decimals where the mart declares them."""
    from arro3.core import DataType  # noqa: PLC0415

    for at, column in enumerate(mart.columns):
        if column.digits:
            schema = schema.set(at, schema.field(at).with_type(DataType.decimal128(*column.digits)))
    return schema


def _typed(batch: RecordBatch, mart: Mart) -> RecordBatch:
    """The batch with its numerics as decimals."""
    for at, column in enumerate(mart.columns):
        if column.digits:
            given = batch.column(at)
            numbers = _decimals(given, *column.digits)
            if numbers.null_count != given.null_count:
                where = f"marts.{mart.name}.{column.name}"
                raise BadDataError(f"{where} holds NaN or an infinity, which no decimal has; make it null or double precision in the mart")
            batch = batch.set_column(at, batch.schema.field(at).with_type(numbers.type), numbers)
    return batch


def _decimals(given: Array, precision: int, scale: int) -> Array:
    """Decimals as the query gives them: as text or, where they fit, as counts of their last digit. Null where that is no number."""
    from arro3.compute import cast  # noqa: PLC0415
    from arro3.core import Array, DataType  # noqa: PLC0415

    decimal = DataType.decimal128(precision, scale)
    if precision > _MOST_DIGITS_BIGINT:
        return cast(given, decimal)
    counts = cast(given, DataType.decimal128(precision, 0))
    return Array.from_arrow_pycapsule(decimal.__arrow_c_schema__(), counts.__arrow_c_array__()[1])  # its buffer is that of the decimals


def _without_formulas(batch: RecordBatch) -> RecordBatch:
    """The batch with an apostrophe before each text that a spreadsheet would run."""
    from arro3.core import Array, DataType  # noqa: PLC0415

    for at in range(batch.num_columns):
        field = batch.schema.field(at)
        if DataType.is_string(field.type) and _may_hold_formulas(batch.column(at)):
            cells = batch.column(at).to_pylist()
            if any(cell and cell.startswith(_FORMULA) for cell in cells):
                tame = [f"'{cell}" if cell and cell.startswith(_FORMULA) else cell for cell in cells]
                batch = batch.set_column(at, field, Array(tame, field.type))
    return batch


def _may_hold_formulas(texts: Array) -> bool:
    """False, at a hundredth of what looking at each text costs, for names, codes and symbols: none is before A."""
    from arro3.compute import min as least  # noqa: PLC0415

    first = least(texts).as_py()
    return first is not None and first < _AFTER_FORMULAS


def _file(format_: str, path: Path) -> File:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return File(format_, path, path.stat().st_size, digest)
