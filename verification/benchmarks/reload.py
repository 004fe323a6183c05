"""Measure incremental loads: nothing new, one changed day of a thousand, a million restated rows, and the waits of readers."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

from verification.benchmarks import measurement
from verification.benchmarks.load import INDEXES
from verification.benchmarks.measurement import Measurement
from verification.benchmarks.samples import COLUMNS, DATASET, Days, open_committer
from verification.benchmarks.scratch_server import run_scratch_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from threading import Event

    from orchestration.local.postgres import Postgres

FIRST = date(2020, 1, 1)
SYMBOLS = 50_000
ONE = "month=2020-01"
COPIED, FEW, ALL = "delete and copy, without history", "load-warehouse, 1 % of the rows restated", "load-warehouse, every row restated"
HASH = f"select count(*), sum(hashtextextended(t::text, 0)) from (select {COLUMNS} from {{}}) as t"
CURRENT = "raw.prices where known_to = 'infinity'"
READ = "select count(*) from raw.prices where date = '2020-01-07' and symbol = 'S000000'"


class ReplaceResult(NamedTuple):
    """One way to replace a million rows: its runs, their WAL, and the longest wait of a reader."""

    runs: list[Measurement]
    wal_mb: list[float]
    waited_ms: list[float]


class ReloadResult(NamedTuple):
    """The measured runs. `rows` is the number of rows of the restated partition, a quarter of which each concurrent partition has."""

    rows: int
    day_rows: int
    days: dict[str, list[Measurement]]
    replaced: dict[str, ReplaceResult]
    at_once: dict[int, list[Measurement]]


class Environment(NamedTuple):
    """The measured server and lake."""

    server: Postgres
    admin: psycopg.Connection[Any]
    lake: Path

    def load(self, *words: str) -> Measurement:
        """Run the job, from its process's start to its exit."""
        where = ["--lake", str(self.lake), "--warehouse", self.server.url, "--warehouse-password", self.server.password_reference]
        return measurement.run_process([sys.executable, "-m", "load_warehouse", "run", *where, *words], server=self.server)

    def empty(self) -> None:
        """Empty the warehouse."""
        for schema in ("raw", "stage"):
            self.admin.execute(f"drop schema if exists {schema} cascade".encode())
        self.admin.execute(b"drop table if exists bench")  # its dead rows would be vacuumed meanwhile
        self.admin.execute(b"checkpoint")

    def must(self, query: str, expected: object) -> None:
        """Raise RuntimeError unless a query returns the expected rows."""
        if (found := self.admin.execute(query.encode()).fetchone()) != expected:
            raise RuntimeError(f"{query} gives {found}, expected {expected}")

    def hash(self, source: str) -> tuple[Any, ...] | None:
        """Return count and hash of rows."""
        return self.admin.execute(HASH.format(source).encode()).fetchone()


def measure(days: int, times: int, *, symbols: int = SYMBOLS) -> ReloadResult:
    """Measure everything, each part on its own server and lake. Raises RuntimeError if a table has other rows than expected."""
    month, day_symbols = Days("2020-01-01", days=20, symbols=symbols), max(1, symbols * 2 // 25)
    with environment() as one:
        daily = dict(_days(one, days, day_symbols, times))
    ways = {COPIED: _copied(month), FEW: _restated(month, 100), ALL: _restated(month, 1)}
    with environment() as one:
        replaced = {name: _replaced(one, method, times) for name, method in ways.items()}
    with environment() as one:
        return ReloadResult(month.rows, day_symbols, daily, replaced, _at_once(one, max(1, symbols // 4), times))


@contextmanager
def environment() -> Iterator[Environment]:
    """Create a server and a lake, and remove them afterwards."""
    with run_scratch_server() as (server, admin, home):
        yield Environment(server, admin, home / "lake")


def _days(environment: Environment, days: int, symbols: int, times: int) -> Iterator[tuple[str, list[Measurement]]]:
    version, changed = 0, f"date={(FIRST + timedelta(days=days // 2)).isoformat()}"
    with open_committer(environment.server, str(environment.lake)) as commit:
        for number in range(days):
            day = (FIRST + timedelta(days=number)).isoformat()
            commit(f"date={day}", Days(day, 1, symbols))
        yield f"{days:,} new days", [environment.load()]
        yield "nothing new", [environment.load() for _ in range(max(times, 1))]
        yield "nothing new, one day requested", [environment.load("--partition", changed) for _ in range(max(times, 1))]
        for name, words in (("one day changed", []), ("one day changed, requested", ["--partition", changed])):
            runs = []
            for _ in range(max(times, 1)):
                version += 1
                commit(changed, Days(changed.removeprefix("date="), 1, symbols, version))
                runs.append(environment.load(*words))
            yield name, runs
    environment.must(
        f"select count(*), count(*) filter (where known_to = 'infinity') from raw.{DATASET}", (symbols * (days + version), symbols * days)
    )


def _replaced(environment: Environment, method: Callable[[Environment], Callable[[], Measurement]], times: int) -> ReplaceResult:
    found = ReplaceResult([], [], [])
    for turn in range(times + 1):
        run = method(environment)
        environment.admin.execute(b"checkpoint")
        with _reading(environment.server) as waits:
            before = environment.admin.execute(b"select pg_current_wal_lsn()::text").fetchone()
            one = run()
        wrote = environment.admin.execute(b"select pg_wal_lsn_diff(pg_current_wal_lsn(), %s) / 1e6", before).fetchone()
        if turn or not times:
            found.runs.append(one)
            found.wal_mb.append(float(wrote[0]) if wrote else 0.0)
            found.waited_ms.append(max(waits) * 1000)
    return found


@contextmanager
def _reading(server: Postgres) -> Iterator[list[float]]:
    """Run small queries in a loop during the block, and collect the seconds of each."""
    waits = [0.0]

    def read(over: Event) -> None:
        with psycopg.connect(server.url, password=server.password, autocommit=True) as reader:
            while not over.is_set():
                started_s = time.perf_counter()
                reader.execute(READ.encode())
                waits.append(time.perf_counter() - started_s)
                time.sleep(0.002)

    with measurement.run_in_background(read):
        yield waits


def _first_version(environment: Environment, month: Days) -> None:
    environment.empty()
    with open_committer(environment.server, str(environment.lake)) as commit:
        commit(ONE, month)
    environment.load()


def _restated(month: Days, every: int) -> Callable[[Environment], Callable[[], Measurement]]:
    def method(environment: Environment) -> Callable[[], Measurement]:
        environment = environment._replace(lake=environment.lake.parent / f"lake-{time.monotonic_ns()}")  # a history of its own
        _first_version(environment, month)
        with open_committer(environment.server, str(environment.lake)) as commit:
            commit(ONE, month._replace(version=1, every=every))

        def run() -> Measurement:
            one = environment.load()
            wanted = environment.hash(f"({month._replace(version=1, every=every).query}) as made")
            if environment.hash(CURRENT) != wanted:
                raise RuntimeError(f"{CURRENT} holds other rows than were made")
            return one

        return run

    return method


def _copied(month: Days) -> Callable[[Environment], Callable[[], Measurement]]:
    """Delete and copy the same rows in one transaction, in a table with the same columns and indexes."""

    def method(environment: Environment) -> Callable[[], Measurement]:
        environment = environment._replace(lake=environment.lake.parent / f"lake-{time.monotonic_ns()}")
        _first_version(environment, month)
        prepared = environment.server.home.data / "month.copy"
        keys = [str(row[0]) for row in environment.admin.execute(INDEXES.encode()).fetchall()]
        for statement in (
            "create table bench (like raw.prices including defaults)",
            "insert into bench select * from raw.prices",
            f"copy bench to '{prepared}' (format binary)",
            *keys,
        ):
            environment.admin.execute(statement.encode())
        before = environment.hash("bench")

        def run() -> Measurement:
            cpu_s, started_s = measurement.server_cpu_s(environment.server), time.perf_counter()
            with environment.admin.transaction():
                environment.admin.execute(b"delete from bench")
                environment.admin.execute(f"copy bench from '{prepared}' (format binary)".encode())
            one = Measurement(time.perf_counter() - started_s, server_cpu_s=measurement.server_cpu_s(environment.server) - cpu_s)
            if environment.hash("bench") != before:
                raise RuntimeError("bench holds other rows than were copied")
            return one

        return run

    return method


def _at_once(environment: Environment, symbols: int, times: int) -> dict[int, list[Measurement]]:
    """Load eight new partitions of twenty days, by concurrency."""
    with open_committer(environment.server, str(environment.lake)) as commit:
        for number in range(1, 9):
            commit(f"month=2020-{number:02}", Days(f"2020-{number:02}-01", 20, symbols))

    def method(workers: int) -> Callable[[], Measurement]:
        def run() -> Measurement:
            environment.empty()
            return environment.load("--workers", str(workers))

        return run

    found = measurement.run_in_turns({str(workers): method(workers) for workers in (1, 2, 4, 8)}, times)
    environment.must(f"select count(*), count(distinct _load_id) from raw.{DATASET}", (8 * 20 * symbols, 8))
    return {int(workers): runs for workers, runs in found.items()}


def page(found: ReloadResult) -> Iterator[str]:
    """Yield three tables."""
    yield f"Days of {found.day_rows:,} rows, one lake partition per day, one leaf per month; the whole job from process start to exit."
    yield ""
    yield "| load-warehouse | seconds | CPU s | server CPU s | MiB |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, runs in found.days.items():
        middle = measurement.median(runs)
        yield f"| {name} | {middle.wall_s:.2f} | {middle.cpu_s:.2f} | {middle.server_cpu_s:.2f} | {middle.peak_mib:.0f} |"
    yield ""
    yield f"{found.rows:,} rows of one partition replaced in a keyed table. load-warehouse keeps every version: after 1 % is restated"
    yield f"there are {found.rows * 1.01:,.0f} rows, after all are restated twice as many. WAL is counted from a checkpoint."
    yield "A reader queries one row in a loop meanwhile."
    yield ""
    copied = measurement.median(found.replaced[COPIED].runs).wall_s
    yield "| way | seconds | relative to delete and copy | WAL MB | longest wait of a reader, ms | CPU s | server CPU s | MiB |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, one in found.replaced.items():
        middle = measurement.median(one.runs)
        figures = f"{middle.wall_s:.2f} | {middle.wall_s / copied:.2f} | {max(one.wal_mb):.0f} | {max(one.waited_ms):.0f}"
        yield f"| {name} | {figures} | {middle.cpu_s:.2f} | {middle.server_cpu_s:.2f} | {middle.peak_mib:.0f} |"
    yield ""
    yield f"Eight new partitions of {found.rows // 4:,} rows."
    yield ""
    yield "| concurrency | seconds | relative to 1 | MiB |"
    yield "| ---: | ---: | ---: | ---: |"
    alone = measurement.median(found.at_once[1]).wall_s
    for workers, runs in found.at_once.items():
        middle = measurement.median(runs)
        yield f"| {workers} | {middle.wall_s:.2f} | {middle.wall_s / alone:.2f} | {middle.peak_mib:.0f} |"
