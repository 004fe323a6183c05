"""Loading again: what nothing new costs, a day that changed among a thousand, a million rows restated, and what readers notice."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

from orchestration.local import postgres
from verification.benchmarks import measurement
from verification.benchmarks.load import INDEXES
from verification.benchmarks.measurement import Took
from verification.benchmarks.samples import COLUMNS, DATASET, Days, committing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event

    from orchestration.local.postgres import Postgres

FIRST = date(2020, 1, 1)
CHANGED = "date=2021-06-15"
MONTH = Days("2020-01-01", days=20, symbols=50_000)
ONE = "month=2020-01"
COPIED, FEW, ALL = "delete and copy, which forgets", "load-warehouse, 1 % of the rows restated", "load-warehouse, every row restated"
HASH = f"select count(*), sum(hashtextextended(t::text, 0)) from (select {COLUMNS} from {{}}) as t"
CURRENT = "raw.prices where known_to = 'infinity'"
READ = "select count(*) from raw.prices where date = '2020-01-07' and symbol = 'S000042'"


class Replaced(NamedTuple):
    """One way to replace a million rows: its runs, the WAL they wrote and the longest that a reader waited."""

    runs: list[Took]
    wal_mb: list[float]
    waited_ms: list[float]


class Reloaded(NamedTuple):
    """What was measured."""

    days: dict[str, list[Took]]
    replaced: dict[str, Replaced]
    at_once: dict[int, list[Took]]


class Place(NamedTuple):
    """Where it is measured."""

    server: Postgres
    admin: psycopg.Connection[Any]
    lake: Path

    def load(self, *words: str) -> Took:
        """Run the job, from its process's start to its exit."""
        where = ["--lake", str(self.lake), "--warehouse", self.server.url, "--warehouse-password", self.server.password_reference]
        return measurement.process([sys.executable, "-m", "load_warehouse", "run", *where, *words], server=self.server)

    def empty(self) -> None:
        """Nothing is loaded any more."""
        for schema in ("raw", "stage"):
            self.admin.execute(f"drop schema if exists {schema} cascade".encode())
        self.admin.execute(b"drop table if exists bench")  # its dead rows would be vacuumed meanwhile
        self.admin.execute(b"checkpoint")

    def must(self, query: str, expected: object) -> None:
        """Raise RuntimeError unless a query gives what it must."""
        if (found := self.admin.execute(query.encode()).fetchone()) != expected:
            raise RuntimeError(f"{query} gives {found}, expected {expected}")

    def hash(self, source: str) -> tuple[Any, ...] | None:
        """Count and hash of rows."""
        return self.admin.execute(HASH.format(source).encode()).fetchone()


def measure(days: int, times: int) -> Reloaded:
    """All of it, on servers and lakes of its own. Raises RuntimeError when a table is not what it should be."""
    with place() as one:
        daily = dict(_days(one, days, times))
    with place() as one:
        replaced = {name: _replaced(one, way, times) for name, way in _WAYS.items()}
    with place() as one:
        return Reloaded(daily, replaced, _at_once(one, times))


@contextmanager
def place() -> Iterator[Place]:
    """A server and a lake of their own, gone afterwards."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        with (
            postgres.run_server(home / "postgres") as server,
            psycopg.connect(server.url, password=server.password, autocommit=True) as admin,
        ):
            yield Place(server, admin, home / "lake")


def _days(place: Place, days: int, times: int) -> Iterator[tuple[str, list[Took]]]:
    symbols, version = 4000, 0
    with committing(place.server, str(place.lake)) as commit:
        for number in range(days):
            day = (FIRST + timedelta(days=number)).isoformat()
            commit(f"date={day}", Days(day, 1, symbols))
        yield f"{days:,} new days", [place.load()]
        yield "nothing new", [place.load() for _ in range(times)]
        yield "nothing new, one day asked for", [place.load("--partition", CHANGED) for _ in range(times)]
        for name, words in (("one day changed", []), ("one day changed, asked for", ["--partition", CHANGED])):
            runs = []
            for _ in range(times):
                version += 1
                commit(CHANGED, Days(CHANGED.removeprefix("date="), 1, symbols, version))
                runs.append(place.load(*words))
            yield name, runs
    place.must(
        f"select count(*), count(*) filter (where known_to = 'infinity') from raw.{DATASET}", (symbols * (days + version), symbols * days)
    )


def _replaced(place: Place, way: Callable[[Place], Callable[[], Took]], times: int) -> Replaced:
    found = Replaced([], [], [])
    for turn in range(times + 1):
        run = way(place)
        place.admin.execute(b"checkpoint")
        with _reading(place.server) as waits:
            before = place.admin.execute(b"select pg_current_wal_lsn()::text").fetchone()
            one = run()
        wrote = place.admin.execute(b"select pg_wal_lsn_diff(pg_current_wal_lsn(), %s) / 1e6", before).fetchone()
        if turn:
            found.runs.append(one)
            found.wal_mb.append(float(wrote[0]) if wrote else 0.0)
            found.waited_ms.append(max(waits) * 1000)
    return found


@contextmanager
def _reading(server: Postgres) -> Iterator[list[float]]:
    """Seconds that each of many small queries took meanwhile."""
    waits = [0.0]

    def read(over: Event) -> None:
        with psycopg.connect(server.url, password=server.password, autocommit=True) as reader:
            while not over.is_set():
                began_s = time.perf_counter()
                reader.execute(READ.encode())
                waits.append(time.perf_counter() - began_s)
                time.sleep(0.002)

    with measurement.meanwhile(read):
        yield waits


def _first_version(place: Place) -> None:
    place.empty()
    with committing(place.server, str(place.lake)) as commit:
        commit(ONE, MONTH)
    place.load()


def _restated(every: int) -> Callable[[Place], Callable[[], Took]]:
    def way(place: Place) -> Callable[[], Took]:
        place = place._replace(lake=place.lake.parent / f"lake-{time.monotonic_ns()}")  # a history of its own
        _first_version(place)
        with committing(place.server, str(place.lake)) as commit:
            commit(ONE, MONTH._replace(version=1, every=every))

        def run() -> Took:
            one = place.load()
            wanted = place.hash(f"({MONTH._replace(version=1, every=every).query}) as made")
            if place.hash(CURRENT) != wanted:
                raise RuntimeError(f"{CURRENT} holds other rows than were made")
            return one

        return run

    return way


def _copied(place: Place) -> Callable[[], Took]:
    """The same rows deleted and copied in one transaction, in a table with the same columns and indexes."""
    place = place._replace(lake=place.lake.parent / f"lake-{time.monotonic_ns()}")
    _first_version(place)
    prepared = place.server.home.data / "month.copy"
    keys = [str(row[0]) for row in place.admin.execute(INDEXES.encode()).fetchall()]
    for statement in (
        "create table bench (like raw.prices including defaults)",
        "insert into bench select * from raw.prices",
        f"copy bench to '{prepared}' (format binary)",
        *keys,
    ):
        place.admin.execute(statement.encode())
    before = place.hash("bench")

    def run() -> Took:
        cpu_s, began_s = measurement.server_cpu_s(place.server), time.perf_counter()
        with place.admin.transaction():
            place.admin.execute(b"delete from bench")
            place.admin.execute(f"copy bench from '{prepared}' (format binary)".encode())
        one = Took(time.perf_counter() - began_s, server_cpu_s=measurement.server_cpu_s(place.server) - cpu_s)
        if place.hash("bench") != before:
            raise RuntimeError("bench holds other rows than were copied")
        return one

    return run


_WAYS = {COPIED: _copied, FEW: _restated(100), ALL: _restated(1)}


def _at_once(place: Place, times: int) -> dict[int, list[Took]]:
    """Eight new partitions of a quarter of a million rows, by how many are loaded at once."""
    with committing(place.server, str(place.lake)) as commit:
        for number in range(1, 9):
            commit(f"month=2020-{number:02}", Days(f"2020-{number:02}-01", 20, 12_500))

    def way(workers: int) -> Callable[[], Took]:
        def run() -> Took:
            place.empty()
            return place.load("--workers", str(workers))

        return run

    found = measurement.in_turns({str(workers): way(workers) for workers in (1, 2, 4, 8)}, times)
    place.must(f"select count(*), count(distinct _load_id) from raw.{DATASET}", (2_000_000, 8))
    return {int(workers): runs for workers, runs in found.items()}


def page(found: Reloaded) -> Iterator[str]:
    """Three tables."""
    yield "Days of 4,000 rows, a lake partition each, a month a leaf; the whole job from its process's start to its exit."
    yield ""
    yield "| load-warehouse | seconds | CPU s | server CPU s | MiB |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, runs in found.days.items():
        middle = measurement.median(runs)
        yield f"| {name} | {middle.wall_s:.2f} | {middle.cpu_s:.2f} | {middle.server_cpu_s:.2f} | {middle.peak_mib:.0f} |"
    yield ""
    yield f"{MONTH.rows:,} rows of one partition replaced, in a keyed table. load-warehouse keeps every version: 1 % restated leaves"
    yield f"{MONTH.rows * 1.01:,.0f} rows, all restated twice as many. WAL is counted from a checkpoint on. A reader asks for one row"
    yield "all the time."
    yield ""
    copied = measurement.median(found.replaced[COPIED].runs).wall_s
    yield "| way | seconds | of delete and copy | WAL MB | longest wait of a reader, ms | CPU s | server CPU s | MiB |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, one in found.replaced.items():
        middle = measurement.median(one.runs)
        figures = f"{middle.wall_s:.2f} | {middle.wall_s / copied:.2f} | {max(one.wal_mb):.0f} | {max(one.waited_ms):.0f}"
        yield f"| {name} | {figures} | {middle.cpu_s:.2f} | {middle.server_cpu_s:.2f} | {middle.peak_mib:.0f} |"
    yield ""
    yield "Eight new partitions of 250,000 rows."
    yield ""
    yield "| at once | seconds | of one at a time | MiB |"
    yield "| ---: | ---: | ---: | ---: |"
    alone = measurement.median(found.at_once[1]).wall_s
    for workers, runs in found.at_once.items():
        middle = measurement.median(runs)
        yield f"| {workers} | {middle.wall_s:.2f} | {middle.wall_s / alone:.2f} | {middle.peak_mib:.0f} |"
