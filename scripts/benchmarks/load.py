"""load-warehouse from a lake of monthly partitions, beside what the server's own COPY takes for the very same rows."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from adbc_driver_postgresql import dbapi
from arro3.core import Table
from arro3.io import write_parquet
from jobkit.lake import Draft, Lake

from orchestration.local import postgres
from scripts.benchmarks import took
from scripts.benchmarks.took import Took

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestration.local.postgres import Postgres

OURS = "load-warehouse"
MONTHS = 60
MONTH = """
select (row_number() over ())::int as "_row_number", 'S' || lpad((n / 20)::text, 6, '0') as symbol,
  (date '2020-01-01' + make_interval(months => {month}))::date + n % 20 as date, 'USD' as currency,
  round((50 + n % 977 * 0.13)::numeric, 2)::float8 as open, round((51 + n % 983 * 0.13)::numeric, 2)::float8 as high,
  round((49 + n % 991 * 0.13)::numeric, 2)::float8 as low, round((50 + n % 997 * 0.13)::numeric, 2)::float8 as close,
  (n::bigint * 7919 % 10000019) as volume, (case when n % 50 = 0 then null else n % 7 * 0.01 end)::float8 as dividend
from generate_series(0, {rows} - 1) as n
"""
COLUMNS = '"_row_number", symbol, date, currency, open, high, low, close, volume, dividend'
COUNT_AND_HASH = f"select count(*), sum(hashtextextended(t::text, 0)) from (select {COLUMNS} from {{}} as rows) as t"
INDEXES = """
select split_part(indexdef, ' INDEX ', 1) || ' index on bench using ' || split_part(indexdef, ' USING ', 2)
from pg_indexes where schemaname = 'raw' and tablename = 'prices-2020-01'
"""


class Loaded(NamedTuple):
    """Every run of every way to load so many rows."""

    rows: int
    runs: dict[str, list[Took]]


def measure(rows: int, times: int) -> Loaded:
    """Every run of every method, in turns after one that is not counted. Raises RuntimeError when a table is not what it should be."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        with postgres.running(home / "postgres") as server:
            return _measured(server, home, rows // MONTHS, times)


def _measured(server: Postgres, home: Path, month_rows: int, times: int) -> Loaded:
    lake = home / "lake"
    _fill(server, str(lake), month_rows)
    with psycopg.connect(server.url, password=server.password, autocommit=True) as connection:
        _ours(server, connection, lake)
        prepared = server.place.data / "bench.copy"
        connection.execute(f"copy (select * from raw.prices) to '{prepared}' (format binary)".encode())
        expected = _made(connection, month_rows)
        keys = [str(row[0]) for row in connection.execute(INDEXES.encode()).fetchall()]
        if not keys:
            raise RuntimeError("the loaded table has no key to compare with")
        ways: dict[str, Callable[[], Took]] = {
            "COPY BINARY, no key": lambda: _limit(server, connection, prepared, [], []),
            "COPY BINARY into a keyed table": lambda: _limit(server, connection, prepared, keys, []),
            "COPY BINARY, then the key": lambda: _limit(server, connection, prepared, [], keys),
            OURS: lambda: _ours(server, connection, lake),
        }
        found = took.in_turns(ways, times, lambda name: _same(connection, "raw.prices" if name == OURS else "bench", expected))
        return Loaded(month_rows * MONTHS, found)


def _made(connection: psycopg.Connection[Any], month_rows: int) -> tuple[int, int]:
    """Count and hash of the rows as they were made, before any file had them."""
    months = [
        connection.execute(COUNT_AND_HASH.format(f"({MONTH.format(month=month, rows=month_rows)})").encode()) for month in range(MONTHS)
    ]
    found = [cursor.fetchone() or (0, 0) for cursor in months]
    return sum(row[0] for row in found), sum(row[1] for row in found)


def _same(connection: psycopg.Connection[Any], table: str, expected: tuple[int, int]) -> None:
    """The table holds the rows that were made, each once."""
    found = connection.execute(COUNT_AND_HASH.format(table).encode()).fetchone()
    if found != expected:
        raise RuntimeError(f"{table} holds {found}, expected {expected}")


def _fill(server: Postgres, lake: str, month_rows: int) -> None:
    """A lake with a partition a month; the rows are made by the server."""
    url = server.url.replace("@", f":{server.password}@")
    writer = {"job": "bench", "version": "0"}
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        for month in range(MONTHS):
            cursor.execute(MONTH.format(month=month, rows=month_rows))
            file = io.BytesIO()
            write_parquet(Table.from_arrow(cursor.fetch_arrow()), file, compression="zstd(3)")
            draft = Draft(file.getvalue(), month_rows, None, 0, lambda: (), key=("date", "symbol"), leaf="month(date)", writer=writer)
            Lake(lake).commit("prices", f"month={2020 + month // 12}-{month % 12 + 1:02}", draft)


def _ours(server: Postgres, connection: psycopg.Connection[Any], lake: Path) -> Took:
    """The job, from its process's start to its exit, into an empty warehouse."""
    for schema in ("raw", "stage"):
        connection.execute(f"drop schema if exists {schema} cascade".encode())
    connection.execute(b"checkpoint")
    words = ["--lake", str(lake), "--warehouse", server.url, "--warehouse-password", server.password_reference]
    return took.process([sys.executable, "-m", "load_warehouse", "run", *words], server=server)


def _limit(server: Postgres, connection: psycopg.Connection[Any], prepared: Path, before: list[str], after: list[str]) -> Took:
    """The server's own COPY from a file it reads itself, in one transaction with the table's making."""
    connection.execute(b"drop table if exists bench")
    connection.execute(b"checkpoint")
    cpu_s, began_s = took.server_cpu_s(server), time.perf_counter()
    with psycopg.connect(server.url, password=server.password) as copier:
        copier.execute(b"create table bench (like raw.prices including defaults)")
        for key in before:
            copier.execute(key.encode())
        copier.execute(f"copy bench from '{prepared}' (format binary)".encode())
        for key in after:
            copier.execute(key.encode())
        copier.commit()
        wall_s = time.perf_counter() - began_s
        return Took(wall_s, server_cpu_s=took.server_cpu_s(server) - cpu_s)  # while its process lives: one that just ended is counted late


def page(found: Loaded) -> Iterator[str]:
    """A table of medians, each with what load-warehouse takes of its time, and rows a second as bars."""
    yield f"{found.rows:,} rows in {MONTHS} monthly partitions; medians of {len(found.runs[OURS])}."
    yield ""
    yield "The limits are the server's own COPY from a prepared file into one table that has every column of ours and, where keyed, the"
    yield "indexes of a leaf."
    yield "Each table is held against count and hash of the rows as they were made."
    yield ""
    yield from took.table(found.runs, OURS)
    rates = {name: found.rows / took.median(runs).wall_s / 1000 for name, runs in found.runs.items()}
    yield from took.plot("Rows loaded", "thousands a second", rates)
