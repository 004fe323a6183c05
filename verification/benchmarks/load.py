"""Compare load-warehouse with the server's own COPY of the same rows, and with other tools."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from jobkit.lake import Lake
from load_warehouse import session

from verification.benchmarks import measurement, tools
from verification.benchmarks.measurement import Measurement
from verification.benchmarks.samples import COLUMNS, DATASET, Days, open_committer
from verification.benchmarks.scratch_server import run_scratch_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from orchestration.local.postgres import Postgres
    from verification.benchmarks.tools import Tool

OURS, UNKEYED = "load-warehouse", "load-warehouse, copy only, no key, one connection"
MONTHS, DAYS = 60, 20
# A tool may choose other types; the values must be the same.
AS_MADE = """
_row_number::int, symbol::text, date::date, currency::text, open::float8, high::float8, low::float8, close::float8, volume::bigint,
dividend::float8
"""
COUNT_AND_HASH = f"select count(*), sum(hashtextextended(t::text, 0)) from (select {AS_MADE} from {{}} as rows) as t"
INDEXES = """
select split_part(indexdef, ' INDEX ', 1) || ' index on bench using ' || split_part(indexdef, ' USING ', 2)
from pg_indexes where schemaname = 'raw' and tablename = 'prices-2020-01'
"""


class LoadResult(NamedTuple):
    """The runs of each way to load the rows, the time of each kind of index, and for each tool its rows and run, or why it is missing."""

    rows: int
    runs: dict[str, list[Measurement]]
    indexes: dict[str, Measurement]
    tools: dict[Tool, tuple[int, Measurement] | str]


class Environment(NamedTuple):
    """The measured server and lake. The lake's data files are in the order of their months."""

    server: Postgres
    admin: psycopg.Connection[Any]
    lake: Path
    months: Sequence[Days]
    files: Sequence[Path]

    def check_table(self, table: str, expected: tuple[int, ...]) -> None:
        """Raise RuntimeError unless a table has this count and hash of rows."""
        found = self.admin.execute(COUNT_AND_HASH.format(table).encode()).fetchone()
        if found != expected:
            raise RuntimeError(f"{table} holds {found}, expected {expected}")

    def made(self, months: int) -> tuple[int, ...]:
        """Return count and hash of the generated rows of the first months."""
        each = [self.admin.execute(COUNT_AND_HASH.format(f"({month.query})").encode()).fetchone() for month in self.months[:months]]
        return tuple(map(sum, zip(*(one for one in each if one), strict=True)))


def measure(rows: int, times: int, *, compared: Sequence[Tool]) -> LoadResult:
    """Run every method in turn, after a warm-up. Raises RuntimeError if a table has other rows than expected."""
    with run_scratch_server() as (server, admin, home):
        environment = _filled(server, admin, home / "lake", rows // MONTHS // DAYS)
        made = {files: environment.made(files) for files in {MONTHS, *(tool.files for tool in compared)}}
        runs = _limits(environment, times, made[MONTHS])
        indexes = {kind: _rebuilt(environment, ending) for kind, ending in (("keys", "key"), ("indexes of loads", "load"))}
        return LoadResult(made[MONTHS][0], runs, indexes, {tool: _measure_tool(environment, tool, made[tool.files]) for tool in compared})


def _filled(server: Postgres, admin: psycopg.Connection[Any], lake: Path, symbols: int) -> Environment:
    """Create a lake with one partition per month."""
    names = [f"{2020 + number // 12}-{number % 12 + 1:02}" for number in range(MONTHS)]
    months = [Days(f"{name}-01", DAYS, symbols) for name in names]
    with open_committer(server, str(lake)) as commit:
        for name, month in zip(names, months, strict=True):
            commit(f"month={name}", month)
    heads = [Lake(str(lake)).head(DATASET, f"month={name}") for name in names]
    return Environment(server, admin, lake, months, [lake / head.data.path for head in heads if head])


def _limits(environment: Environment, times: int, made: tuple[int, ...]) -> dict[str, list[Measurement]]:
    _ours(environment)
    prepared = {kind: environment.server.home.data / f"bench.{kind}" for kind in ("binary", "text")}
    for kind, path in prepared.items():
        environment.admin.execute(f"copy (select * from raw.prices) to '{path}' (format {kind})".encode())
    keys = [str(row[0]) for row in environment.admin.execute(INDEXES.encode()).fetchall()]
    if not keys:
        raise RuntimeError("the loaded table has no key to compare with")

    def limit(kind: str, before: Sequence[str], after: Sequence[str]) -> Callable[[], Measurement]:
        return lambda: _limit(environment, f"copy bench from '{prepared[kind]}' (format {kind})", before, after)

    methods: dict[str, Callable[[], Measurement]] = {
        "COPY BINARY, no key": limit("binary", [], []),
        "COPY of text, no key": limit("text", [], []),
        "COPY BINARY into a keyed table": limit("binary", keys, []),
        "COPY BINARY, then the key": limit("binary", [], keys),
        UNKEYED: lambda: _unkeyed(environment),
        OURS: lambda: _ours(environment),
    }

    return measurement.run_in_turns(methods, times, lambda name: environment.check_table("raw.prices" if name == OURS else "bench", made))


def _ours(environment: Environment) -> Measurement:
    """Run the job into an empty warehouse, from process start to exit."""
    for schema in ("raw", "stage"):
        environment.admin.execute(f"drop schema if exists {schema} cascade".encode())
    environment.admin.execute(b"checkpoint")
    words = [
        "--lake",
        str(environment.lake),
        "--warehouse",
        environment.server.url,
        "--warehouse-password",
        environment.server.password_reference,
    ]
    return measurement.run_process([sys.executable, "-m", "load_warehouse", "run", *words], server=environment.server)


def _rebuilt(environment: Environment, ending: str) -> Measurement:
    """Rebuild the indexes of one kind of all leaves on one connection."""
    named = f"select indexname from pg_indexes where schemaname = 'raw' and tablename like 'prices-%' and indexname like '%-{ending}'"
    names = [row[0] for row in environment.admin.execute(named.encode()).fetchall()]
    with session.connect(environment.server.url, environment.server.password) as loader:
        cpu_s, started_s = measurement.server_cpu_s(environment.server), time.perf_counter()
        for name in names:
            loader.execute(f'reindex index raw."{name}"'.encode())
        return Measurement(time.perf_counter() - started_s, server_cpu_s=measurement.server_cpu_s(environment.server) - cpu_s)


def _unkeyed(environment: Environment) -> Measurement:
    """Copy the same files into one plain table as the job does, from process start to exit."""
    _emptied(environment)
    environment.admin.execute(b"create table bench (like raw.prices including defaults)")
    for column, value in (("_load_id", "1"), ("known_from", "now()"), ("known_to", "'infinity'")):
        environment.admin.execute(f"alter table bench alter {column} set default {value}".encode())
    words = [
        environment.server.url,
        environment.server.password_reference,
        "bench",
        str(environment.months[0].rows),
        *map(str, environment.files),
    ]
    return measurement.run_process([sys.executable, "-m", "verification.benchmarks.copy_baseline", *words], server=environment.server)


def _emptied(environment: Environment) -> None:
    environment.admin.execute(b"drop table if exists bench")
    environment.admin.execute(b"checkpoint")


def _limit(environment: Environment, copy: str, before: Sequence[str], after: Sequence[str]) -> Measurement:
    """Run the server's own COPY from a file of the server, in one transaction with CREATE TABLE."""
    _emptied(environment)
    cpu_s, started_s = measurement.server_cpu_s(environment.server), time.perf_counter()
    with psycopg.connect(environment.server.url, password=environment.server.password) as copier:
        for statement in ("create table bench (like raw.prices including defaults)", *before, copy, *after):
            copier.execute(statement.encode())
        copier.commit()
        wall_s = time.perf_counter() - started_s
        return Measurement(
            wall_s, server_cpu_s=measurement.server_cpu_s(environment.server) - cpu_s
        )  # while its process lives: one that ended is counted late


def _measure_tool(environment: Environment, tool: Tool, made: tuple[int, ...]) -> tuple[int, Measurement] | str:
    """Return the number of rows and the run of a tool after a warm-up with one file, or the reason why it is missing."""
    try:
        for files in (environment.files[:1], environment.files[: tool.files]):
            if tool.csv:
                _as_csv(environment, files)
            for statement in ("drop schema if exists tool cascade", "drop schema if exists tool_staging cascade", "create schema tool"):
                environment.admin.execute(statement.encode())
            environment.admin.execute(b"checkpoint")
            run = tools.run_tool(tool, environment.server, files)
        environment.check_table("tool.prices", made)
    except tools.MissingError as reason:
        return f"missing: {reason}"
    except (RuntimeError, psycopg.Error) as reason:
        return f"its rows are not those it was given: {str(reason).splitlines()[0]}"
    return made[0], run


def _as_csv(environment: Environment, files: Sequence[Path]) -> None:
    """Write the files as one CSV next to the first. This is not measured."""
    path = files[0].parent / f"first-{len(files)}.csv"
    made = environment.server.home.data / "tool.csv"
    rows = " union all ".join(f"({month.query})" for month in environment.months[: len(files)])
    environment.admin.execute(f"copy (select {COLUMNS} from ({rows}) as rows) to '{made}' (format csv, header)".encode())
    shutil.copyfile(made, path)


def page(found: LoadResult) -> Iterator[str]:
    """Yield two tables of medians with the relative time of load-warehouse, and a chart of rows per second."""
    ours = measurement.median(found.runs[OURS])
    yield f"{found.rows:,} rows in {MONTHS} monthly partitions, in order of day and symbol; medians of {len(found.runs[OURS])}."
    yield ""
    yield "The lower bounds are the server's own COPY from a prepared file into one table with all columns of the loaded table"
    yield "and, if keyed, the indexes of a leaf."
    yield "Each table is compared by count and hash with the generated rows."
    yield ""
    yield from measurement.format_table(found.runs, OURS)
    yield ""
    for kind, built in found.indexes.items():
        yield f"Rebuilt on one connection, the {kind} take {built.wall_s:.2f} s and {built.server_cpu_s:.2f} CPU s of the server."
    rates = {name: found.rows / measurement.median(runs).wall_s / 1000 for name, runs in found.runs.items()}
    if found.tools:
        yield ""
        yield "Other tools, from process start to exit, one run each after a warm-up with a single file; slow tools with fewer rows."
        yield "Unless stated, none of them builds a key or keeps row versions, as load-warehouse does. Prices may be stored as"
        yield "floating point or numeric; values are compared as floating point."
        yield ""
        yield "| tool | rows | seconds | rows per second | load-warehouse, per row | CPU s | server CPU s | MiB |"
        yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
        for tool, one in found.tools.items():
            if isinstance(one, str):
                yield f"| {tool.name} | {one} | | | | | | |"
                continue
            rows, run = one
            faster = run.wall_s / rows / (ours.wall_s / found.rows)
            rates[tool.name] = rows / run.wall_s / 1000
            text = f"{run.wall_s:.3g} | {rows / run.wall_s:,.0f} | {faster:.3g} times as fast"
            figures = f"{text} | {run.cpu_s:.2f} | {run.server_cpu_s:.2f} | {run.peak_mib:.0f}"
            yield f"| {tool.name} | {rows:,} | {figures} |"
        yield ""
        yield "| tool | version | configuration |"
        yield "| --- | --- | --- |"
        for tool in found.tools:
            yield f"| {tool.name} | {tools.format_versions(tool)} | {tool.configuration} |"
        yield ""
        yield from (f"Not run: {name}; {reason}." for name, reason in tools.NOT_RUN.items())
    yield from measurement.format_chart("Rows loaded", "thousands per second", rates)
