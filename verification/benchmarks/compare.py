"""Run this build and another one side by side, alternating, on the same rows. Each build runs its own code.

The lake's commits are written in format 1, which every build reads, and each build has a database of its own. The vendor's document is
served on loopback. A part checks that both builds leave the same rows.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from adbc_driver_postgresql import dbapi
from arro3.core import Table
from arro3.io import write_parquet
from psycopg import sql

from orchestration.polling import wait_until
from verification import http_server
from verification.benchmarks import extract, marts, measurement, publishing
from verification.benchmarks.samples import COLUMNS, DATASET, Days
from verification.benchmarks.scratch_server import run_scratch_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from orchestration.local.postgres import Postgres
    from verification.benchmarks.builds import Build
    from verification.benchmarks.measurement import Measurement

MONTHS, MONTH_DAYS = 60, 20
DAY_SYMBOLS = 4000
DISCONNECT_S = 60.0  # only ends a benchmark that hangs
FIRST_DAY = date(2020, 1, 1)
NEW_DAYS = ("2013-03-01", "2013-03-04", "2013-03-05", "2013-03-06", "2013-03-07", "2013-03-08", "2013-03-11", "2013-03-12")
KNOWN = datetime(2020, 1, 1, tzinfo=UTC)
HASH = f"select count(*), sum(hashtextextended(t::text, 0)) from (select {COLUMNS} from {{}}) as t"
STATISTICS = "select pg_current_wal_lsn() - '0/0'::pg_lsn, (select sum(temp_bytes) from pg_stat_database)"
OTHERS = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
Runs = dict[str, dict[str, list["Measurement"]]]  # by what is measured, then by build


class Size(NamedTuple):
    """How much is measured: rows of load, restatement and mart, tickers of the marts, facts of the document; and how often."""

    rows: int
    tickers: int
    facts: int
    times: int


class Database(NamedTuple):
    """A build's database on a running server."""

    build: Build
    server: Postgres
    admin: psycopg.Connection[Any]
    url: str

    @property
    def options(self) -> list[str]:
        """The options by which a job finds the database."""
        return ["--warehouse", self.url, "--warehouse-password", self.server.password_reference]

    def run(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> Measurement:
        """Run a program of the build, and measure it with what the server writes for it."""
        self.admin.execute(b"checkpoint")
        wal, temporary = self._statistics()
        found = measurement.run_process(command, server=self.server, env={**self.build.env, **(env or {})})
        if not wait_until(self._is_alone, timeout_s=DISCONNECT_S, poll_every_s=0.01):  # a connection adds its figures when it ends
            raise RuntimeError(f"{' '.join(command[:3])} ended, but its connections to the server did not")
        wal_after, temporary_after = self._statistics()
        return found._replace(wal_mb=(wal_after - wal) / 1e6, temporary_mb=(temporary_after - temporary) / 1e6)

    def _is_alone(self) -> bool:
        return self.admin.execute(OTHERS.encode()).fetchone() == (0,)

    def _statistics(self) -> tuple[float, float]:
        self.admin.execute(b"select pg_stat_clear_snapshot()")
        wal, temporary = self.admin.execute(STATISTICS.encode()).fetchone() or (0, 0)
        return float(wal), float(temporary)

    def load(self, lake: Path, *words: str) -> Measurement:
        """Run load-warehouse."""
        return self.run(self.build.module("load_warehouse", "run", "--lake", str(lake), *self.options, *words))

    def empty(self) -> None:
        """Drop what a loader made."""
        for schema in ("raw", "stage"):
            self.admin.execute(f"drop schema if exists {schema} cascade".encode())

    def check(self, relation: str, expected: object) -> None:
        """Raise RuntimeError unless a relation has the expected count and hash of rows."""
        if (found := self.admin.execute(HASH.format(relation).encode()).fetchone()) != expected:
            raise RuntimeError(f"{self.build.name} leaves {found} in {relation}, expected {expected}")


def measure(part: str, builds: Sequence[Build], size: Size) -> Runs:
    """Measure one part. Raises RuntimeError if a build leaves other rows than expected, FailedError if one of its jobs fails."""
    return PARTS[part](builds, size)


def _run_in_turns(databases: Sequence[Database], times: int, step: Callable[[Database], Iterator[tuple[str, Measurement]]]) -> Runs:
    """Run a step with each build in turn, the first one last every other time. A step yields what it measured, by name.

    The first turn is a warm-up, which counts only if there is no other.
    """
    found: Runs = {}
    for turn in range(times + 1):
        for one in databases if turn % 2 else databases[::-1]:
            for name, run in step(one):
                runs = found.setdefault(name, {each.build.name: [] for each in databases})
                if turn or not times:
                    runs[one.build.name].append(run)
    return found


@contextmanager
def _databases(builds: Sequence[Build]) -> Iterator[tuple[list[Database], Path]]:
    """Yield a database for each build on one server, and a folder."""
    with run_scratch_server() as (server, admin, home), ExitStack() as closing:
        found = []
        for number, build in enumerate(builds):
            name = f"{server.database}_{number}"
            admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
            url = server.url_of(server.user, name)
            connection = closing.enter_context(psycopg.connect(url, password=server.password, autocommit=True))
            found.append(Database(build, server, connection, url))
        yield found, home


class Lake:
    """A lake whose commits have format 1, which every build reads."""

    def __init__(self, path: Path, server: Postgres) -> None:
        self.path, self._server = path, server
        self._commits = count(1)

    def commit(self, partition: str, days: Days, number: int = 1) -> None:
        """Commit generated days as a version of a partition."""
        with dbapi.connect(self._server.url.replace("@", f":{self._server.password}@")) as connection, connection.cursor() as cursor:
            cursor.execute(days.query)
            file = io.BytesIO()
            write_parquet(Table.from_arrow(cursor.fetch_arrow()), file, compression="zstd(3)")
        data = file.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        key = f"raw/{DATASET}/{partition}/{digest}.parquet"
        known_at = (KNOWN + timedelta(minutes=next(self._commits))).isoformat(timespec="microseconds").replace("+00:00", "Z")
        document = {
            "dataset": DATASET, "partition": partition, "number": number, "known_at": known_at, "rows_read": days.rows,
            "data": {"path": key, "sha256": digest, "bytes": len(data), "rows": days.rows}, "quarantine": None, "source": [],
            "key": ["date", "symbol"], "leaf": "month(date)", "writer": {"job": "bench", "version": "0"},
        }  # fmt: skip
        commit = self.path / "raw" / DATASET / partition / "_commits" / f"{number:06}.json"
        commit.parent.mkdir(parents=True, exist_ok=True)
        (self.path / key).write_bytes(data)
        commit.write_text(json.dumps(document, indent=1, sort_keys=True), encoding="utf-8")


def _hash(admin: psycopg.Connection[Any], *days: Days) -> tuple[int, ...]:
    """Return count and hash of generated days."""
    each = [admin.execute(HASH.format(f"({one.query}) as made").encode()).fetchone() or (0, 0) for one in days]
    return tuple(map(sum, zip(*each, strict=True)))


def _load(builds: Sequence[Build], size: Size) -> Runs:
    """Load 60 monthly partitions into an empty warehouse."""
    symbols = max(1, size.rows // MONTHS // MONTH_DAYS)
    months = [Days(f"{2020 + number // 12}-{number % 12 + 1:02}-01", MONTH_DAYS, symbols) for number in range(MONTHS)]
    with _databases(builds) as (databases, home):
        lake = Lake(home / "lake", databases[0].server)
        for month in months:
            lake.commit(f"month={month.first[:7]}", month)
        expected = _hash(databases[0].admin, *months)

        def step(one: Database) -> Iterator[tuple[str, Measurement]]:
            one.empty()
            yield f"{expected[0]:,} rows in {MONTHS} partitions", one.load(lake.path)
            one.check("raw.prices", expected)
            yield "nothing new", one.load(lake.path)

        return _run_in_turns(databases, size.times, step)


def _reload(builds: Sequence[Build], size: Size) -> Runs:
    """Restate a partition: every hundredth row, and every row."""
    month = Days("2020-01-01", MONTH_DAYS, max(1, size.rows // MONTH_DAYS))
    changed = {
        "1 % of the rows restated": month._replace(version=1, every=100),
        "every row restated": month._replace(version=1),
    }
    with _databases(builds) as (databases, home):
        lakes = {name: Lake(home / f"lake-{number}", databases[0].server) for number, name in enumerate(("", *changed))}
        for name, lake in lakes.items():
            lake.commit("month=2020-01", month)
            if name:
                lake.commit("month=2020-01", changed[name], 2)
        expected = {name: _hash(databases[0].admin, days) for name, days in changed.items()}

        def step(one: Database) -> Iterator[tuple[str, Measurement]]:
            for name in changed:
                one.empty()
                one.load(lakes[""].path)
                yield f"{name}, of {month.rows:,}", one.load(lakes[name].path)
                one.check("raw.prices where known_to = 'infinity'", expected[name])

        return _run_in_turns(databases, size.times, step)


def _day(builds: Sequence[Build], size: Size) -> Runs:
    """Load one changed day of many, named and not named. Each build has a copy of the lake."""
    number = max(2, min(1000, size.rows // DAY_SYMBOLS))
    days = [Days((FIRST_DAY + timedelta(days=one)).isoformat(), 1, DAY_SYMBOLS) for one in range(number)]
    changed, partition = days[number // 2], f"date={days[number // 2].first}"
    with _databases(builds) as (databases, home):
        original = Lake(home / "lake", databases[0].server)
        for day in days:
            original.commit(f"date={day.first}", day)
        lakes = {one.build.name: Lake(home / f"lake-{one.url[-1]}", one.server) for one in databases}
        versions = {one.build.name: count(1) for one in databases}
        for one in databases:
            shutil.copytree(original.path, lakes[one.build.name].path)
            one.load(lakes[one.build.name].path)

        def step(one: Database) -> Iterator[tuple[str, Measurement]]:
            connect = f"import psycopg; psycopg.connect({one.url!r}, password={one.server.password!r}).close()"
            yield "import psycopg, connect", one.run([str(one.build.python), "-c", connect])
            for name, words in (("named", ["--dataset", DATASET, "--partition", partition]), ("not named", [])):
                version = next(versions[one.build.name])
                lakes[one.build.name].commit(partition, changed._replace(version=version), version + 1)
                yield f"one changed day of {number:,}, {DAY_SYMBOLS:,} rows, {name}", one.load(lakes[one.build.name].path, *words)
                where = f"raw.prices where known_to = 'infinity' and date = '{changed.first}'"
                one.check(where, _hash(one.admin, changed._replace(version=version)))

        return _run_in_turns(databases, size.times, step)


def measure_marts(builds: Sequence[Build], size: Size, servers: Sequence[Postgres] = ()) -> Runs:
    """Build the marts in full, after one new day and as of a moment. `servers` have the warehouse of a demo, which is run otherwise."""
    if size.times >= len(NEW_DAYS):
        raise ValueError(f"{size.times} times need more new days than {len(NEW_DAYS)}")
    with ExitStack() as ends:
        folder = Path(ends.enter_context(TemporaryDirectory(ignore_cleanup_errors=True)))
        databases = []
        for number, build in enumerate(builds):
            server = servers[number] if servers else ends.enter_context(build.run_demo_server(folder / str(number)))
            admin = ends.enter_context(psycopg.connect(server.url, password=server.password, autocommit=True))
            marts.fill(admin, 1, size.tickers)
            databases.append(Database(build, server, admin, server.url))
        days = {one.build.name: iter(NEW_DAYS) for one in databases}

        def transform(one: Database, *words: str) -> Measurement:
            return one.run(one.build.module("transform_warehouse", "run", *one.options, *words))

        def step(one: Database) -> Iterator[tuple[str, Measurement]]:
            one.admin.execute(b"delete from ops.transforms")
            yield "everything", transform(one)
            day = next(days[one.build.name])
            marts.add_day(one.admin, (1, size.tickers), day, day)
            yield "after one new day", transform(one)
            yield "as of a moment", transform(one, "--as-of", "2020-01-01T00:00:00Z")

        return _run_in_turns(databases, size.times, step)


def _publish(builds: Sequence[Build], size: Size) -> Runs:
    """Publish a mart: its Parquet alone, a new site, the same rows again after another transform, and one new day."""
    tickers = min(publishing.TICKERS, max(1, size.rows // 4))
    with _databases(builds) as (databases, home):
        for one in databases:
            rows = publishing.fill(one.admin, tickers, size.rows // tickers)

        def step(one: Database) -> Iterator[tuple[str, Measurement]]:
            site, file = home / f"site-{one.url[-1]}", home / "rows.parquet"
            shutil.rmtree(site, ignore_errors=True)
            url = one.url.replace("@", f":{one.server.password}@")
            yield "Parquet only", one.run(one.build.exporter("ours", str(rows), publishing.MART, str(file)), {"BENCH_URL": url})
            publish = one.build.module("publish_marts", "run", *one.options, "--site", str(site), "--marts", publishing.MART)
            yield f"a new site with {rows:,} rows", one.run(publish)
            one.admin.execute(publishing.NEW_TRANSFORM.encode())
            yield "the same rows of a new transform", one.run(publish)
            one.admin.execute(publishing.NEW_DAY.encode())
            yield "one new day", one.run(publish)
            one.admin.execute(publishing.REMOVE_DAY.encode())
            one.admin.execute(f"vacuum marts.{publishing.MART}".encode())

        return _run_in_turns(databases, size.times, step)


def _extract(builds: Sequence[Build], size: Size) -> Runs:
    """Extract a companyfacts document to committed Parquet, next to json.load and flattening."""
    document = json.dumps(extract.build_company(size.facts)).encode()
    with http_server.serve(_answer_with(document)) as url, _databases(builds) as (databases, home):
        file, runner = home / "document.json", str(Path(__file__).with_name("tool_runner.py"))
        file.write_bytes(document)
        lakes = count()

        def step(one: Database) -> Iterator[tuple[str, Measurement]]:
            yield "json.load and flatten", one.run([sys.executable, runner, "flatten", str(file)])
            lake = home / f"extracted-{next(lakes)}"
            words = ["--lake", str(lake), "--ciks", str(extract.CIK), "--contact", "Example Ltd admin@example.com", "--base-url", url]
            yield f"companyfacts of {len(document) / 1e6:.0f} MB", one.run(one.build.module("extract_sec_company_facts", "run", *words))
            if not list(lake.glob("raw/sec_company_facts/*/_commits/000001.json")):
                raise RuntimeError(f"{one.build.name} committed nothing")
            shutil.rmtree(lake)

        return _run_in_turns(databases, size.times, step)


def _answer_with(document: bytes) -> type[BaseHTTPRequestHandler]:
    """Return a handler that answers every request with one document."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(document)))
            self.end_headers()
            self.wfile.write(document)

    return Handler


PARTS: dict[str, Callable[[Sequence[Build], Size], Runs]] = {
    "load": _load,
    "reload": _reload,
    "day": _day,
    "marts": measure_marts,
    "publish": _publish,
    "extract": _extract,
}


def page(found: Runs, builds: Sequence[Build]) -> Iterator[str]:
    """Yield a table of medians, each with its ratio to the other build's."""
    other = builds[-1].name
    yield f"Medians, the builds in turn; in brackets the ratio to {other}."
    yield ""
    yield "| what | build | seconds | CPU s, client and server | WAL MB | temporary MB | MiB |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for what, runs in found.items():
        base = measurement.median(runs[other])
        for build, each in runs.items():
            middle = measurement.median(each)
            cpu_s, base_cpu_s = middle.cpu_s + middle.server_cpu_s, base.cpu_s + base.server_cpu_s
            ratios = [f" [{middle.wall_s / base.wall_s:.2f}]", f" [{cpu_s / base_cpu_s:.2f}]"] if build != other else ["", ""]
            cells = [f"{middle.wall_s:.2f}{ratios[0]}", f"{cpu_s:.2f}{ratios[1]}", f"{middle.wal_mb:.1f}", f"{middle.temporary_mb:.1f}"]
            yield f"| {what} | {build} | {' | '.join(cells)} | {middle.peak_mib:.0f} |"
