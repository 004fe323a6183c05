"""Files of a mart: Parquet is streamed from the warehouse, and CSV and JSON are made from that Parquet (`text_files`).

Rows are in the order of the mart's key, with text compared byte by byte, so that the same rows give the same bytes on any machine.

numeric(p,s)                      a decimal in Parquet, the same digits in CSV and JSON
double precision                  a double
a type that Arrow does not have   its text (numeric without a precision, jsonb, arrays, intervals)
infinity, -infinity               9999-12-31, 0001-01-01, so that `known_from <= d and known_to > d` also works on the files
"""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from jobkit.errors import BadDataError, MisconfiguredError

from publish_marts import text_files
from publish_marts.terms import DATASET_COLUMN
from publish_marts.warehouse import Sql, compose, quote_name, quote_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from arro3.core import Array, RecordBatch, Schema

    from publish_marts.warehouse import Warehouse

FORMATS = {"parquet": "application/vnd.apache.parquet", "csv": "text/csv; charset=utf-8", "json": "application/json"}
PARQUET: dict[str, Any] = {"compression": "zstd(3)", "max_row_group_size": 100_000}  # a row group is in memory until it is written
CONCURRENT_ROWS = 50_000  # a process for the JSON file takes longer to start than so many rows to write
INFINITY_TYPES = {"date": "date", "timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz"}
_NATIVE_TYPES = ("boolean", "smallint", "integer", "bigint", "real", "double precision", "text")
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
_MAX_DIGITS = 38  # of Arrow's 128-bit decimal
_MAX_BIGINT_DIGITS = 18
_NAN_SENTINEL = 10**_MAX_BIGINT_DIGITS  # stands for NaN; it has more digits than any numeric that is sent as bigint
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class Column:
    """A column of a mart, with its Postgres type and its dbt description."""

    name: str
    type: str
    description: str

    @property
    def digits(self) -> tuple[int, int] | None:
        """The precision and scale of a decimal; None for any other type."""
        match = _NUMERIC.fullmatch(self.type)
        return (int(match[1]), int(match[2])) if match and int(match[1]) <= _MAX_DIGITS else None


@dataclass(frozen=True)
class Mart:
    """A table of the schema marts. `key` is empty if the table has no unique index.

    If `datasets` is set, only rows of these datasets are published.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    datasets: tuple[str, ...] | None = None

    @property
    def where(self) -> Sql:
        """The SQL condition of the rows to publish."""
        return (
            Sql("true")
            if self.datasets is None
            else Sql(f"{quote_name(DATASET_COLUMN)} in ({', '.join(map(quote_text, self.datasets)) or 'null'})")
        )


@dataclass(frozen=True)
class ExportedFile:
    """A file exported from a mart."""

    format: str
    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ExportedMart:
    """A mart and its local files. `state` is a hash that changes when a row of the mart does, None if it was not read."""

    mart: Mart
    rows: int
    files: tuple[ExportedFile, ...]
    state: str | None = None

    def path(self, format_: str) -> Path:
        """Return the path of the file in this format."""
        return next(file.path for file in self.files if file.format == format_)

    def digest(self, format_: str) -> str:
        """Return the SHA-256 of the file in this format, in hex."""
        return next(file.sha256 for file in self.files if file.format == format_)


def list_marts(warehouse: Warehouse, requested: Sequence[str]) -> list[Mart]:
    """List the requested tables of the schema marts, or all if none is requested, sorted by name.

    Raises MisconfiguredError if a requested table does not exist or there is no table at all.
    """
    columns: dict[str, list[Column]] = {}
    descriptions: dict[str, str] = {}
    for row in warehouse.fetch_rows(_COLUMNS):
        descriptions[row["mart"]] = row["mart_description"]
        columns.setdefault(row["mart"], []).append(Column(row["name"], row["type"], row["description"]))
    names = [name for name in sorted(columns) if _NAME.fullmatch(name) and "__dbt_" not in name]
    if not names:
        raise MisconfiguredError(f"the warehouse {warehouse.where} has no table in the schema marts; run transform-warehouse first")
    if unknown := sorted(set(requested) - set(names)):
        raise MisconfiguredError(f"no mart {', '.join(unknown)} in the warehouse {warehouse.where}; it has {', '.join(names)}")
    keys = {row["mart"]: tuple(row["key"]) for row in warehouse.fetch_rows(_KEYS)}
    return [
        Mart(name, descriptions[name], tuple(columns[name]), keys.get(name, ())) for name in names if not requested or name in requested
    ]


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


def read_state(warehouse: Warehouse, mart: Mart) -> str:
    """Hash what changes whenever a row of a mart does, by one pass over the row headers.

    Each insert and update leaves a transaction number in the row that is greater than all before, and each deletion changes the sum. The
    end of the first transform tells warehouses apart that repeat the same numbers.
    """
    (counts,) = warehouse.fetch_rows(compose(_STATE, mart=quote_name(mart.name)))
    return hashlib.sha256(json.dumps([asdict(mart), counts], sort_keys=True).encode()).hexdigest()


_STATE = """
select
    (select min(ended_at)::text from ops.transforms) as first_transform,
    coalesce(json_agg(part order by part.oid)::text, '[]') as parts
from (
    select tableoid::bigint as oid, count(*) as rows, sum(xmin::text::bigint) as sum, max(xmin::text::bigint) as newest
    from marts.{mart} group by tableoid
) as part
"""


def reuse_mart(mart: Mart, state: str, published: Mapping[str, Any] | None, folder: Path) -> ExportedMart | None:
    """Return a mart as published, if the catalogue's entry has the same state. Its files are not in the folder yet."""
    if not published or published.get("state") != state:
        return None
    files = published["files"]
    return ExportedMart(
        mart,
        published["rows"],
        tuple(ExportedFile(name, folder / f"{mart.name}.{name}", files[name]["bytes"], files[name]["sha256"]) for name in FORMATS),
        state,
    )


def export_mart(warehouse: Warehouse, mart: Mart, folder: Path, state: str | None = None) -> ExportedMart:
    """Write a mart's files into a folder. Memory use does not depend on the number of rows.

    Raises BadDataError for a numeric that is NaN or infinite, because a decimal cannot represent it.
    """
    paths = {format_: folder / f"{mart.name}.{format_}" for format_ in FORMATS}
    row_count = write_parquet_file(warehouse, mart, paths["parquet"])
    if row_count < CONCURRENT_ROWS:
        text_files.write_json(paths["parquet"], paths["json"])
        text_files.write_csv(paths["parquet"], paths["csv"])
    else:
        with text_files.start_json(paths["parquet"], paths["json"]):
            text_files.write_csv(paths["parquet"], paths["csv"])
    with ThreadPoolExecutor() as threads:  # hashing does not hold the interpreter's lock
        return ExportedMart(mart, row_count, tuple(threads.map(describe_file, paths, paths.values())), state)


def build_query(mart: Mart) -> str:
    """Build the query for a mart's rows, sorted, with types that Arrow has."""
    columns = Sql(", ".join(f"{_select_expression(column)} as {quote_name(column.name)}" for column in mart.columns))
    sort_columns = [*mart.key, *(column.name for column in mart.columns if column.name not in mart.key)]
    types = {column.name: column.type for column in mart.columns}
    order = Sql(", ".join(_sort_expression(name, types[name]) for name in sort_columns))
    template = "select {columns} from marts.{mart} as mart where {where} order by {order}"
    return compose(template, columns=columns, mart=quote_name(mart.name), where=mart.where, order=order)


def _select_expression(column: Column) -> str:
    name = f"mart.{quote_name(column.name)}"
    if column.type in INFINITY_TYPES:
        type_name = INFINITY_TYPES[column.type]
        last, first = (f"{type_name} {quote_text(day)}" for day in ("9999-12-31", "0001-01-01"))
        return f"case {name} when 'infinity' then {last} when '-infinity' then {first} else {name} end"
    if column.digits and column.digits[0] <= _MAX_BIGINT_DIGITS:  # as an integer: a third of the cost of text
        return f"case {name} when 'NaN' then {_NAN_SENTINEL} else ({name} * {10 ** column.digits[1]})::bigint end"
    return name if column.type in _NATIVE_TYPES else f"{name}::text"


def _sort_expression(name: str, type_: str) -> str:
    """Sort numbers and dates by value, everything else by the bytes of its text."""
    by_value = type_ in INFINITY_TYPES or type_.startswith("numeric") or (type_ in _NATIVE_TYPES and type_ != "text")
    return f"mart.{quote_name(name)}" if by_value else f'mart.{quote_name(name)}::text collate "C"'


def write_parquet_file(warehouse: Warehouse, mart: Mart, path: Path) -> int:
    """Stream a mart into a Parquet file. Return the number of rows. Raises BadDataError for a numeric that is NaN or infinite."""
    from arro3.io import write_parquet  # noqa: PLC0415

    row_count = 0

    def convert(batches: Iterable[RecordBatch]) -> Iterator[RecordBatch]:
        nonlocal row_count
        for batch in batches:
            row_count += batch.num_rows
            yield _convert_numerics(batch, mart)

    with warehouse.stream(build_query(mart)) as stream:
        schema = _decimal_schema(stream.schema, mart)
        text_files.write_batches(convert(stream.batches), schema, lambda batches: write_parquet(batches, path, **PARQUET))
    return row_count


def _decimal_schema(schema: Schema, mart: Mart) -> Schema:
    """Replace the types of the mart's numeric columns with decimals."""
    from arro3.core import DataType  # noqa: PLC0415

    for index, column in enumerate(mart.columns):
        if column.digits:
            schema = schema.set(index, schema.field(index).with_type(DataType.decimal128(*column.digits)))
    return schema


def _convert_numerics(batch: RecordBatch, mart: Mart) -> RecordBatch:
    """Convert the numeric columns of a batch to decimals."""
    for index, column in enumerate(mart.columns):
        if column.digits:
            values = batch.column(index)
            decimals = _decimals(values, *column.digits)
            if decimals.null_count != values.null_count:
                where = f"marts.{mart.name}.{column.name}"
                raise BadDataError(
                    f"{where} contains NaN or infinity, which a decimal cannot represent; make it null or double precision in the mart"
                )
            batch = batch.set_column(index, batch.schema.field(index).with_type(decimals.type), decimals)
    return batch


def _decimals(values: Array, precision: int, scale: int) -> Array:
    """Convert what the query returns to decimals: integers in units of the last digit, or text for long ones. NaN becomes null."""
    from arro3.compute import cast  # noqa: PLC0415
    from arro3.core import Array, DataType  # noqa: PLC0415

    decimal = DataType.decimal128(precision, scale)
    if precision > _MAX_BIGINT_DIGITS:
        return cast(values, decimal)
    counts = cast(values, DataType.decimal128(precision, 0))
    return Array.from_arrow_pycapsule(decimal.__arrow_c_schema__(), counts.__arrow_c_array__()[1])  # decimals have the same buffer


def describe_file(format_: str, path: Path) -> ExportedFile:
    """Return a local file with its size and digest."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ExportedFile(format_, path, path.stat().st_size, digest)
