"""load-warehouse from a lake of monthly partitions, beside what the server's own COPY takes for the very same rows."""

from __future__ import annotations

import io
import os
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil  # type: ignore[import-untyped]
import psycopg
from adbc_driver_postgresql import dbapi
from arro3.core import Table
from arro3.io import write_parquet
from jobkit.lake import Draft, Lake

from orchestration.local import postgres

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestration.local.postgres import Postgres

MONTHS = 60
MIB = 1024
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


class Took(NamedTuple):
    """One run: seconds by the clock and of both processors' work, and the client's greatest memory in MiB."""

    wall_s: float
    client_cpu_s: float
    server_cpu_s: float
    peak_mib: float


def measure(rows: int, times: int) -> dict[str, Any]:
    """Every run of every method, in turns after one that is not counted. Raises RuntimeError when a table is not what it should be."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        with postgres.running(home / "postgres") as server:
            return _measured(server, home, rows // MONTHS, times)


def _measured(server: Postgres, home: Path, month_rows: int, times: int) -> dict[str, Any]:
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
            "load-warehouse": lambda: _ours(server, connection, lake),
        }
        found: dict[str, list[Took]] = {name: [] for name in ways}
        for turn in range(times + 1):
            for name, way in ways.items():
                took = way()
                _same(connection, "raw.prices" if name == "load-warehouse" else "bench", expected)
                if turn:
                    found[name].append(took)
        return {
            "rows": month_rows * MONTHS,
            "partitions": MONTHS,
            "runs": {name: [took._asdict() for took in all_] for name, all_ in found.items()},
        }


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
    before_s, began_s = _server_cpu_s(server), time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "load_warehouse", "run", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603
    said = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"load-warehouse ended with {process.returncode}: {said.decode(errors='replace')[-500:]}")
    return Took(wall_s, usage.ru_utime + usage.ru_stime, _server_cpu_s(server) - before_s, usage.ru_maxrss / MIB)


def _limit(server: Postgres, connection: psycopg.Connection[Any], prepared: Path, before: list[str], after: list[str]) -> Took:
    """The server's own COPY from a file it reads itself, in one transaction with the table's making."""
    connection.execute(b"drop table if exists bench")
    connection.execute(b"checkpoint")
    cpu_s, began_s = _server_cpu_s(server), time.perf_counter()
    with psycopg.connect(server.url, password=server.password) as copier:
        copier.execute(b"create table bench (like raw.prices including defaults)")
        for key in before:
            copier.execute(key.encode())
        copier.execute(f"copy bench from '{prepared}' (format binary)".encode())
        for key in after:
            copier.execute(key.encode())
        copier.commit()
        wall_s = time.perf_counter() - began_s
        return Took(wall_s, 0.0, _server_cpu_s(server) - cpu_s, 0.0)  # while its process lives: one that just ended is counted late


def _server_cpu_s(server: Postgres) -> float:
    """Processor seconds of the server: of its processes that live, and of those that ended."""
    parent = psutil.Process(server.pid)
    told = parent.cpu_times()
    total_s = told.user + told.system + told.children_user + told.children_system
    for child in parent.children():
        with suppress(psutil.NoSuchProcess):  # ended meanwhile
            total_s += sum(child.cpu_times()[:2])
    return float(total_s)


def page(result: dict[str, Any]) -> list[str]:
    """A table of medians, and each method's ratio to load-warehouse."""
    ours = statistics.median(run["wall_s"] for run in result["runs"]["load-warehouse"])
    lines = [
        f"{result['rows']:,} rows in {result['partitions']} monthly partitions; medians of {len(result['runs']['load-warehouse'])}.",
        "",
    ]
    lines += [
        "The limits are the server's own COPY from a prepared file into one table that has every column of ours and, where keyed, the",
        "indexes of a leaf.",
        "Each table is held against count and hash of the rows as they were made.",
        "",
        "| way | seconds [least] | load-warehouse is | client CPU s | server CPU s | client MiB |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for name, runs in result["runs"].items():
        middle = {key: statistics.median(run[key] for run in runs) for key in Took._fields}
        least = min(run["wall_s"] for run in runs)
        times = f"{ours / middle['wall_s']:.2f} of it"
        lines.append(
            f"| {name} | {middle['wall_s']:.2f} [{least:.2f}] | {times} | {middle['client_cpu_s']:.2f} "
            f"| {middle['server_cpu_s']:.2f} | {middle['peak_mib']:.0f} |"
        )
    return lines
