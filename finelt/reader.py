"""Read a mart or a dataset into a data frame: `finelt.read("fct_yield", as_of="2013-01-15")`.

    source                                  what is read
    none                                    the warehouse of the demo in .finelt, here or in a folder above
    a folder of a demo                      the warehouse of that demo, which ran with --dir
    compose, or a stack's name such as dev  the warehouse of that stack
    postgresql://user@host:port/database    a warehouse; PGPASSWORD or ~/.pgpass has the password
    a folder, s3:// or https://             a published site: a mart
    a folder or s3://                       a lake: a dataset, from committed files alone

As of a moment, a warehouse returns what had reached it and was public by then; a site its newest version published by then, without rows
that became public later; a lake the newest commit of each partition by then.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload
from urllib.parse import quote, urlencode, urlsplit
from zoneinfo import ZoneInfo

from jobkit import site_pointer
from jobkit.errors import BadDataError, MisconfiguredError, TemporaryError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from arro3.core import Array, ChunkedArray, Table
    from jobkit.commits import Commit
    from jobkit.lake import Lake

    from finelt.warehouse import Login

    Moment = str | date | datetime

FRAMES = ("pandas", "polars", "arrow")
DEMO = ".finelt"
HTTP_TIMEOUT_S = 60
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
NATIVE_TYPES = ("boolean", "smallint", "integer", "bigint", "real", "double precision", "text", "date", "timestamp with time zone")
MAX_DIGITS = 38  # of a decimal in Arrow
NOT_A_TIME = -(2**63)  # numpy's NaT
_COLUMNS = """
select a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type
from pg_attribute a where a.attrelid = to_regclass('{}') and a.attnum > 0 and not a.attisdropped order by a.attnum
"""
_TABLES = """
select c.relname::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = '{}' and c.relkind in ('r', 'p', 'v', 'm') and has_table_privilege(c.oid, 'select') order by 1
"""
_READABLE_FORMATS = """
select n.nspname::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relname = '_migrations' and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
"""


class Files(Protocol):
    """The files of a site or a lake."""

    url: str

    def get(self, key: str) -> bytes:
        """Return a file. Raises KeyError if there is none."""


@overload
def read(
    name: str,
    source: str | Path | None = None,
    *,
    as_of: Moment | None = None,
    columns: Sequence[str] | None = None,
    frame: Literal["pandas"] = "pandas",
) -> pd.DataFrame: ...


@overload
def read(
    name: str,
    source: str | Path | None = None,
    *,
    as_of: Moment | None = None,
    columns: Sequence[str] | None = None,
    frame: Literal["arrow"],
) -> Table: ...


@overload
def read(
    name: str,
    source: str | Path | None = None,
    *,
    as_of: Moment | None = None,
    columns: Sequence[str] | None = None,
    frame: Literal["polars"],
) -> Any: ...  # noqa: ANN401  a polars.DataFrame; polars is no dependency


def read(
    name: str,
    source: str | Path | None = None,
    *,
    as_of: Moment | None = None,
    columns: Sequence[str] | None = None,
    frame: Literal["pandas", "polars", "arrow"] = "pandas",
) -> Any:
    """Return a mart, or a dataset of a lake, as a frame; rows in the order of the key from a site, in any order from a warehouse.

    A date as `as_of` is its first moment in UTC. In pandas, dates are datetime64, numbers float64 or Int64, and texts str; Polars and
    Arrow keep decimals. `arrow` is a table that pyarrow, polars and duckdb take without a copy.

    Raises a JobError with one sentence: UsageError for a name, column or moment that cannot be right, MisconfiguredError for a source that
    is not there, TemporaryError for one that does not answer, BadDataError for a file that is not what was published or committed.
    """
    if frame not in FRAMES:
        raise UsageError(f"frame is {frame!r}; expected one of {', '.join(FRAMES)}")
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not the name of a mart or dataset; expected one such as fct_yield")
    moment = _to_moment(as_of)
    table = _select_columns(_read_table(name, source, moment), name, columns)
    if frame == "arrow":
        return table
    return _to_polars(table) if frame == "polars" else to_pandas(table)


def _to_moment(as_of: Moment | None) -> datetime | None:
    """Return the moment in UTC. Raises UsageError for one without a time zone, or in the future."""
    from finelt.warehouse import parse_moment  # noqa: PLC0415  the reader of a site or lake needs no driver of Postgres

    if as_of is None:
        return None
    moment = parse_moment(as_of if isinstance(as_of, str) else as_of.isoformat())
    if moment > datetime.now(UTC):
        raise UsageError(f"as_of is {as_of!s}, which is in the future; expected a moment that has passed")
    return moment


def _read_table(name: str, source: str | Path | None, moment: datetime | None) -> Table:
    place = "" if source is None else str(source)
    if not place or place.startswith(("postgresql://", "postgres://")) or _is_stack(place) or _is_demo(place):
        return _read_warehouse(name, place, moment)
    files = _open_files(place)
    if _has(files, site_pointer.NAME):
        return _read_site(name, files, moment)
    if not place.startswith(("http://", "https://")):
        return _read_lake(name, place, moment)
    raise MisconfiguredError(f"there is no published site at {place}: it has no latest.json; check the address")


def _is_stack(place: str) -> bool:
    return re.fullmatch(r"[\w-]+", place) is not None and not Path(place).exists()


def _is_demo(place: str | Path) -> bool:
    return bool(place) and (Path(place) / "postgres").is_dir()


def _select_columns(table: Table, name: str, columns: Sequence[str] | None) -> Table:
    if columns is None:
        return table
    if unknown := [column for column in columns if column not in table.column_names]:
        raise UsageError(f"{name} has no column {unknown[0]!r}; {_suggest(unknown[0], table.column_names)}")
    return table.select(list(columns))


def _suggest(wanted: str, known: Sequence[str]) -> str:
    close = get_close_matches(wanted, known, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(known) or 'none'}"


# a warehouse


def _read_warehouse(name: str, place: str, moment: datetime | None) -> Table:
    from finelt import warehouse  # noqa: PLC0415

    if place.startswith(("postgresql://", "postgres://")):
        return _query(name, place, moment)
    demo, stack = (Path(place), None) if _is_demo(place) else (_find_demo(), place or None)
    with warehouse.open_warehouse(demo, stack) as login:
        return _query(name, _with_password(login), moment)


def _find_demo() -> Path:
    """Return the directory of the demo: .finelt here or in a folder above, as a notebook may be in one below."""
    here = Path.cwd()
    return next((folder / DEMO for folder in (here, *here.parents) if _is_demo(folder / DEMO)), here / DEMO)


def _with_password(login: Login) -> str:
    """Return the connection string with the password, for the driver alone."""
    rest = dict(login.parameters)
    user, host, port, database = (quote(rest.pop(name), safe="") for name in ("user", "host", "port", "dbname"))
    return f"postgresql://{user}:{quote(login.password, safe='')}@{host}:{port}/{database}?{urlencode(rest, quote_via=quote)}"


def _query(name: str, url: str, moment: datetime | None) -> Table:
    """Read a mart through ADBC. Decimals come as text, which Arrow then casts without a loss."""
    try:
        import adbc_driver_postgresql  # noqa: PLC0415
        from adbc_driver_manager import AdbcConnection, Error  # noqa: PLC0415
    except ImportError:
        raise MisconfiguredError("adbc-driver-postgresql is not installed; install it with pip, or read a published site") from None
    from arro3.core import DataType  # noqa: PLC0415
    from jobkit import postgres  # noqa: PLC0415

    from finelt.warehouse import AS_OF, MARTS, session_options  # noqa: PLC0415

    options = quote(session_options(moment), safe="")
    url = f"{url.rstrip('?')}{'&' if '?' in url.rstrip('?') else '?'}options={options}&connect_timeout=10"
    schema, parts = AS_OF if moment else MARTS, urlsplit(url)
    where = f"the warehouse {parts.hostname}:{parts.port or 5432}{parts.path}"
    try:
        with adbc_driver_postgresql.connect(url) as database, AdbcConnection(database) as connection:
            _check_formats(connection, where)
            types = {row["name"]: row["type"] for row in _fetch_rows(connection, _COLUMNS.format(f"{schema}.{name}"))}
            if not types:
                known = [row["name"] for row in _fetch_rows(connection, _TABLES.format(schema))]
                raise UsageError(f"the warehouse has no mart {name}; {_suggest(name, known)}")
            selected = ", ".join(f"{_expression(column, type_)} as {_quoted(column)}" for column, type_ in types.items())
            table = _fetch(connection, f"select {selected} from {schema}.{name}")
    except Error as error:
        raise postgres.translate_error(where, str(error), error.sqlstate) or error from None
    for index, type_ in enumerate(types.values()):
        if digits := _digits(type_):
            column = table.column(index).cast(DataType.decimal128(*digits))
            table = table.set_column(index, table.field(index).with_type(column.type), column)
    return table


def _check_formats(connection: Any, where: str) -> None:  # noqa: ANN401  the driver is untyped
    """Raise NewerFormatError if a newer version migrated the warehouse. A login that may only read marts cannot see that."""
    from jobkit.migrations import OPS, RAW, check_schema  # noqa: PLC0415

    def execute(query: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in _fetch_rows(connection, query)]

    readable = {name for (name,) in execute(_READABLE_FORMATS)}
    for schema in (RAW, OPS):
        if schema.name in readable:
            check_schema(execute, schema, where)


def _fetch(connection: Any, query: str) -> Table:  # noqa: ANN401  the driver is untyped
    from adbc_driver_manager import AdbcStatement  # noqa: PLC0415
    from arro3.core import RecordBatchReader  # noqa: PLC0415

    with AdbcStatement(connection) as statement:
        statement.set_sql_query(query)
        handle, _ = statement.execute_query()
        return RecordBatchReader.from_arrow(handle).read_all()


def _fetch_rows(connection: Any, query: str) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    table = _fetch(connection, query)
    values = [table.column(name).to_pylist() for name in table.column_names]
    return (dict(zip(table.column_names, row, strict=True)) for row in zip(*values, strict=True))


def _expression(column: str, type_: str) -> str:
    """Return the column as a type that Arrow has."""
    if type_ in NATIVE_TYPES:
        return _quoted(column)
    return f"{_quoted(column)}::float8" if type_ == "numeric" else f"{_quoted(column)}::text"


def _digits(type_: str) -> tuple[int, int] | None:
    match = NUMERIC.fullmatch(type_)
    return (int(match[1]), int(match[2])) if match and int(match[1]) <= MAX_DIGITS else None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# a site


class _HttpFiles:
    """Files below an address."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/").removesuffix("/index.html")

    def get(self, key: str) -> bytes:
        """Return a file. Raises KeyError if there is none, TemporaryError if the server does not answer."""
        import urllib.error  # noqa: PLC0415
        import urllib.request  # noqa: PLC0415

        try:
            with urllib.request.urlopen(f"{self.url}/{quote(key)}", timeout=HTTP_TIMEOUT_S) as response:  # noqa: S310  http or https
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            if error.code in (403, 404):  # S3 and CloudFront say 403 for a file that is not there
                raise KeyError(key) from None
            raise TemporaryError(f"{self.url}/{key} answered {error.code}; try again later") from None
        except OSError as error:
            raise TemporaryError(f"{self.url} does not answer: {error}; check the address") from None


def _open_files(place: str) -> Files:
    if place.startswith(("http://", "https://")):
        return _HttpFiles(place)
    from jobkit.stores import open_store  # noqa: PLC0415

    if "://" not in place and not Path(place).is_dir():
        raise MisconfiguredError(f"there is no folder {Path(place).absolute()}; expected a published site or a lake")
    return open_store(place)


def _has(files: Files, key: str) -> bool:
    try:
        files.get(key)
    except KeyError:
        return False
    return True


def _read_site(name: str, files: Files, moment: datetime | None) -> Table:
    """Read a mart from the Parquet file of the current version, or of the newest version that was published by the moment."""
    version = str(site_pointer.parse(files.get(site_pointer.NAME), f"{files.url}/{site_pointer.NAME}")["version"])
    catalogue = _find_version(files, version, moment)
    marts: Mapping[str, Any] = catalogue["marts"]
    if name not in marts:
        raise UsageError(f"the site {files.url} has no mart {name}; {_suggest(name, sorted(marts))}")
    file = marts[name]["files"]["parquet"]
    data = _get(files, f"v/{catalogue['version']}/{file['path']}")
    if hashlib.sha256(data).hexdigest() != file["sha256"]:
        raise BadDataError(f"{files.url}/v/{catalogue['version']}/{file['path']} is not the file that was published; publish it again")
    table = _read_parquet(data)
    return _keep_public_rows(table, moment) if moment else table


def _find_version(files: Files, version: str | None, moment: datetime | None) -> dict[str, Any]:
    """Return the catalogue of a version, or of the newest before it that was published by the moment. Raises UsageError."""
    first = None
    while version:
        catalogue: dict[str, Any] = json.loads(_get(files, f"v/{version}/catalogue.json"))
        if moment is None:
            return catalogue
        first = datetime.fromisoformat(json.loads(_get(files, f"v/{version}/published.json"))["published_at"])
        if first <= moment:
            return catalogue
        version = catalogue["previous"]
        if version and not _has(files, f"v/{version}/published.json"):
            break  # withdrawn
    raise UsageError(
        f"the site {files.url} has no version of {moment:%Y-%m-%dT%H:%M}Z or before, its first is of {first:%Y-%m-%dT%H:%M}Z; "
        "read the warehouse, which keeps every version of a row"
    )


def _get(files: Files, key: str) -> bytes:
    try:
        return files.get(key)
    except KeyError:
        raise BadDataError(f"{files.url}/{key} is missing, although the site names it; publish the site again") from None


def _keep_public_rows(table: Table, moment: datetime) -> Table:
    """Return the rows that were public at the moment, by the same columns as the warehouse's views of the schema as_of."""
    from arro3.core import DataType  # noqa: PLC0415

    if "known_at" in table.column_names:
        name, last = "known_at", int(moment.timestamp() * 1_000_000)
    elif "known_from" in table.column_names and DataType.is_date32(table.field("known_from").type):
        name, last = "known_from", (moment.astimezone(ZoneInfo("America/New_York")).date() - date(1970, 1, 1)).days
    else:
        return table
    return _take(table, [index for index, known in enumerate(_to_integers(table.column(name))) if known is not None and known <= last])


def _take(table: Table, rows: Sequence[int]) -> Table:
    from arro3.compute import take  # noqa: PLC0415
    from arro3.core import Array, DataType, Table  # noqa: PLC0415

    indices = Array(list(rows), DataType.uint64())
    columns = [take(table.column(name).combine_chunks(), indices) for name in table.column_names]
    return Table.from_arrays(columns, schema=table.schema)


# a lake


def _read_lake(name: str, place: str, moment: datetime | None) -> Table:
    """Read the newest commit of each partition, or the newest made by the moment; every file is checked against its digest."""
    from jobkit.lake import Lake  # noqa: PLC0415

    lake = Lake(place)
    if name not in lake.datasets():
        known = lake.datasets()
        if not known:
            raise MisconfiguredError(f"{place} is neither a published site nor a lake: it has no latest.json and no dataset below raw/")
        raise UsageError(f"the lake {place} has no dataset {name}; {_suggest(name, known)}")
    found = (_find_commit(lake, name, partition, moment) if moment else lake.head(name, partition) for partition in lake.partitions(name))
    commits = [commit for commit in found if commit]
    if not commits:
        raise UsageError(f"the lake {place} has no commit of {name} by {moment}; the first was made later")
    tables = [_read_parquet(lake.read(commit.data)) for commit in commits]
    newest = max(range(len(commits)), key=lambda place: commits[place].known)
    return _concatenate(name, tables, [*tables, tables[newest]])


def _find_commit(lake: Lake, name: str, partition: str, moment: datetime) -> Commit | None:
    """Return the newest commit of a partition by the moment; None if all are later. Raises UsageError if it has expired."""
    from jobkit import expired_commits  # noqa: PLC0415

    history = lake.examine(name, partition)
    for error in history.damaged.values():
        raise error
    past = [commit for commit in history.commits.values() if commit.known <= moment]
    gone = [commit.number for commit in expired_commits.read(lake.store, name, partition)[0].values() if commit.known <= moment]
    if gone and (not past or max(gone) > past[-1].number):
        raise UsageError(
            f"{name}/{partition} as of {moment:%Y-%m-%dT%H:%M}Z has expired by the retention in its contract, which keeps month ends only "
            "that far back; ask as of the end of a month, or ask the warehouse, which keeps every version of a row"
        )
    return past[-1] if past else None


def _concatenate(dataset: str, tables: Sequence[Table], typed: Sequence[Table]) -> Table:
    """Return all rows, with the columns of all tables; a column that a table lacks is null there.

    The last of `typed` that has a column decides its type. Raises UsageError if a value has no exact equal of that type.
    """
    from arro3.core import Schema, Table  # noqa: PLC0415

    fields = {name: table.field(name).with_nullable(True) for table in typed for name in table.column_names if not name.startswith("_")}
    schema = Schema(list(fields.values()))
    filled = (table for table in tables if table.num_rows)  # arro3 0.9 cannot concatenate the chunks of a column that has none
    batches = [batch for table in filled for batch in _align(dataset, table, fields, schema).to_batches()]
    return Table.from_batches(batches, schema=schema)


def _align(dataset: str, table: Table, fields: Mapping[str, Any], schema: Any) -> Table:  # noqa: ANN401
    from arro3.core import Array, DataType, Table  # noqa: PLC0415

    columns: list[Array | ChunkedArray] = []
    for name, field in fields.items():
        if name in table.column_names:
            column = table.column(name).combine_chunks()
            columns.append(column if column.type == field.type else _cast_exactly(dataset, name, column, field.type))
        else:
            columns.append(Array([None] * table.num_rows, DataType.utf8()).cast(field.type))
    return Table.from_arrays(columns, schema=schema)


def _cast_exactly(dataset: str, name: str, column: Any, type_: Any) -> Any:  # noqa: ANN401
    """Cast a column to another type. Arrow rounds decimals and makes nulls of what it cannot cast, so the way back has to give the same."""
    from arro3.core import DataType  # noqa: PLC0415

    is_moment = DataType.is_temporal(column.type) and DataType.is_temporal(type_)  # a date names no moment
    try:
        cast = None if is_moment else column.cast(type_)
        if cast is not None and cast.cast(column.type).to_pylist() == column.to_pylist():  # == compares arrays with their field, too
            return cast
    except Exception as error:  # arro3 0.9 has no class for it
        if not str(error).startswith("Cast error"):
            raise
    raise UsageError(
        f"the column {name!r} of {dataset} changed its type, and Arrow does not convert the values of older partitions exactly; ask the "
        f"warehouse, whose table `finelt reload {dataset}` converts, or read the Parquet files of the partitions"
    )


def _read_parquet(data: bytes) -> Table:
    from arro3.io import read_parquet  # noqa: PLC0415

    return read_parquet(io.BytesIO(data)).read_all()


# frames


def _to_polars(table: Table) -> Any:  # noqa: ANN401
    try:
        import polars as pl  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415
    except ImportError:
        raise MisconfiguredError("polars is not installed; run pip install polars, or read a pandas or Arrow frame") from None
    return pl.DataFrame(table)


def to_pandas(table: Table) -> pd.DataFrame:
    """Return an Arrow table as a pandas frame, without pyarrow. A date has the unit s, so that 9999-12-31 is one."""
    try:
        import pandas as pd  # noqa: PLC0415
    except ImportError:
        raise MisconfiguredError("pandas is not installed; run pip install pandas, or read a polars or Arrow frame") from None
    return pd.DataFrame({name: _to_series(table.column(name)) for name in table.column_names})


def _to_series(column: ChunkedArray) -> pd.Series[Any]:
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415
    from arro3.core import DataType  # noqa: PLC0415

    kind = column.type
    if DataType.is_date(kind) or DataType.is_timestamp(kind):
        unit, resolution = ("D", "s") if DataType.is_date(kind) else (kind.time_unit, kind.time_unit)
        integers = [NOT_A_TIME if value is None else value for value in _to_integers(column)]
        series = pd.Series(np.array(integers, "int64").view(f"M8[{unit}]").astype(f"M8[{resolution}]"))
        return series.dt.tz_localize("UTC") if DataType.is_timestamp(kind) and kind.tz else series
    if DataType.is_decimal(kind):  # by way of their digits: a direct cast may end beside the nearest double
        column = column.cast(DataType.utf8()).cast(DataType.float64())
        kind = column.type
    if not column.null_count and column.num_chunks and not DataType.is_string(kind):
        return pd.Series(column.to_numpy())
    if DataType.is_floating(kind):
        return pd.Series(np.array(column.to_pylist(), "float64"))
    if DataType.is_integer(kind):
        return pd.Series(column.to_pylist(), dtype="Int64")
    if DataType.is_boolean(kind):
        return pd.Series(column.to_pylist(), dtype="boolean")
    return pd.Series(column.to_pylist(), dtype="str" if DataType.is_string(kind) else object)


def _to_integers(column: ChunkedArray) -> list[int | None]:
    """Return dates as days and timestamps as units since 1970."""
    from arro3.core import DataType  # noqa: PLC0415

    return list(column.cast(DataType.int32() if DataType.is_date32(column.type) else DataType.int64()).to_pylist())
