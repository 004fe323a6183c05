"""A mart as Parquet, and as a whole site, beside what the server takes to give its rows to a client at all, and beside pandas."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from adbc_driver_postgresql import dbapi
from arro3.io import read_parquet

from orchestration.local import postgres
from verification.benchmarks import measurement, peers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestration.local.postgres import Postgres
    from verification.benchmarks.measurement import Took

OURS, WHOLE, PART = "publish-marts, its Parquet", "publish-marts run: Parquet, CSV, JSON, site", "its Parquet, of a quarter of the rows"
ORDERED, UNORDERED = "COPY BINARY out, in the mart's order", "COPY BINARY out, in any order"
READ, WRITTEN = "pandas.read_sql, a fifth of the rows", "pandas.read_sql and to_parquet, a fifth of the rows"
SMALLER = {PART: 4, READ: 5, WRITTEN: 5}  # a fifth is some gigabytes in pandas
MART, QUARTER = "fct_price_daily", "quarter"
TICKERS = 4000
ORDER = 'trade_date, ticker collate "C"'
# As the model has them after a full build: by ticker, with a unique index by day.
MADE = """
create schema marts;
create schema ops;
create table ops.transforms as select 1 as transform_id, 'made' as fingerprint, null::timestamptz as as_of, now() as ended_at,
    '{{"marts": {{"fct_price_daily": {{"made_of": []}}, "quarter": {{"made_of": []}}}}, "datasets": {{}}}}'::jsonb as lineage;
create table marts.fct_price_daily (
    ticker text not null, trade_date date not null, open numeric(18,6), high numeric(18,6), low numeric(18,6), close numeric(18,6) not null,
    volume bigint, currency text not null, dividend_cash numeric(18,6), split_ratio numeric(18,8), split_factor double precision,
    total_return_factor double precision, adj_close double precision, close_eur double precision, fx_rate numeric(18,8), fx_date date,
    known_at timestamptz
);
insert into marts.fct_price_daily
select
    ticker, day, round(price * 0.997, 2), round(price * 1.01, 2), round(price * 0.99, 2), price, hashint4(k * 7919 + n) + 2147483648,
    'USD', case when n % 63 = 0 then 0.24 else 0 end, 1, 1, factor, (price::float8 * factor)::numeric::float8,
    (price / rate)::float8::numeric::float8, rate, day, (day + time '16:00') at time zone 'America/New_York'
from (
    select
        k, n, 'T' || lpad(k::text, 4, '0') as ticker, date '2015-01-02' + n * 7 / 5 as day,
        exp((n - 2000) / 8000.0 - k % 7 / 100.0)::float8 as factor,
        round((20 + k % 300 + 5 * sin(n / 40.0 + k) + hashint4(k * 100003 + n) % 1000 / 500.0)::numeric, 2) as price,
        round((1.1 + hashint4(n) % 1000 / 20000.0)::numeric, 4) as rate
    from generate_series(0, {tickers} - 1) as k cross join generate_series(0, {days} - 1) as n
) as made;
create unique index on marts.fct_price_daily (trade_date, ticker);
create index on marts.fct_price_daily (ticker, trade_date);
create table marts.quarter as select * from marts.fct_price_daily where ticker < 'T' || lpad(({tickers} / 4)::text, 4, '0');
create unique index on marts.quarter (trade_date, ticker);
"""
# A file's types are nearly the mart's; the values must be the same.
COLUMNS = f"""
select string_agg(format('%I::%s', attname, format_type(atttypid, atttypmod)), ', ' order by attnum)
from pg_attribute where attrelid = 'marts.{MART}'::regclass and attnum > 0
"""
HASH = "select count(*), sum(hashtextextended(t::text, 0)) from (select {columns} from {relation} as rows) as t"


class Published(NamedTuple):
    """Every run of every way to get so many rows out; why pandas is missing if it is."""

    rows: int
    runs: dict[str, list[Took]]
    missing: str


class Place(NamedTuple):
    """Where it is measured."""

    server: Postgres
    admin: psycopg.Connection[Any]
    home: Path
    rows: int

    @property
    def url(self) -> str:
        """With the password, for programs that are given it by their environment."""
        return self.server.url.replace("@", f":{self.server.password}@")

    @property
    def parquet(self) -> Path:
        """What the last way wrote, if it writes."""
        return self.home / "rows.parquet"

    def run(self, way: str, rows: int, *words: str, python: Path | str = sys.executable) -> Took:
        """A way of wipe_table.py, from its process's start to its exit."""
        program = [str(python), str(Path(__file__).with_name("wipe_table.py")), way, str(rows), *words]
        return measurement.process(program, server=self.server, env={"BENCH_URL": self.url})

    def hash(self, relation: str) -> tuple[int, ...]:
        """Count and hash of its rows, whatever their order."""
        (columns,) = self.admin.execute(COLUMNS.encode()).fetchone() or ("",)
        return self.admin.execute(HASH.format(columns=columns, relation=relation).encode()).fetchone() or ()


def measure(rows: int, times: int) -> Published:
    """Every run of every way, in turns after one that is not counted. Raises RuntimeError when a file has not the server's rows."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        with (
            postgres.run_server(home / "postgres") as server,
            psycopg.connect(server.url, password=server.password, autocommit=True) as admin,
        ):
            admin.execute(MADE.format(tickers=TICKERS, days=rows // TICKERS).encode())
            for table in (MART, QUARTER):
                admin.execute(f"vacuum analyze marts.{table}".encode())
            return _measured(Place(server, admin, home, rows // TICKERS * TICKERS), times)


def _measured(place: Place, times: int) -> Published:
    ordered = f"select * from marts.{MART} order by {ORDER}"
    some = f"{ordered} limit {place.rows // SMALLER[READ]}"
    expected = {name: place.hash(f"marts.{MART}") for name in (OURS, WHOLE)}
    expected |= {PART: place.hash(f"marts.{QUARTER}"), WRITTEN: place.hash(f"({some})")}
    path = str(place.parquet)
    ways: dict[str, Callable[[], Took]] = {
        ORDERED: lambda: _copied(place, ordered),
        UNORDERED: lambda: _copied(place, f"select * from marts.{MART}"),
        OURS: lambda: place.run("ours", place.rows, MART, path),
        PART: lambda: place.run("ours", place.rows // SMALLER[PART], QUARTER, path),
        WHOLE: lambda: _whole(place),
    }
    missing = ""
    try:
        python = peers.python(peers.PANDAS)
        ways[READ] = lambda: place.run("pandas", place.rows // SMALLER[READ], some, python=python)
        ways[WRITTEN] = lambda: place.run("pandas", place.rows // SMALLER[WRITTEN], some, path, python=python)
    except peers.MissingError as reason:
        missing = str(reason)

    def check(name: str) -> None:
        if name in expected and (found := _held(place)) != expected[name]:
            raise RuntimeError(f"the file of {name} holds {found}, expected {expected[name]}")

    return Published(place.rows, measurement.in_turns(ways, times, check), missing)


def _copied(place: Place, query: str) -> Took:
    """A copy by psql that goes nowhere."""
    words = [str(place.server.home.binaries / "psql"), "--quiet", "--command", f"\\copy ({query}) to '/dev/null' (format binary)"]
    return measurement.process([*words, place.server.url], server=place.server, env={"PGPASSWORD": place.server.password})


def _whole(place: Place) -> Took:
    """The job with a new site, from its process's start to its exit; leaves the site's Parquet file as any other way does."""
    site = place.home / "site"
    shutil.rmtree(site, ignore_errors=True)
    words = ["--warehouse", place.server.url, "--warehouse-password", place.server.password_reference, "--site", str(site), "--marts", MART]
    found = measurement.process([sys.executable, "-m", "publish_marts", "run", *words], server=place.server)
    version = json.loads((site / "latest.json").read_text(encoding="utf-8"))["version"]
    shutil.copyfile(site / "v" / version / "marts" / f"{MART}.parquet", place.parquet)
    return found


def _held(place: Place) -> tuple[int, ...]:
    """Count and hash of the rows of the file that was written last, as the server has them when it is given them back."""
    with dbapi.connect(place.url) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("checked", read_parquet(place.parquet, batch_size=8192), mode="replace")
        connection.commit()
    place.parquet.unlink()
    return place.hash("checked")


def page(found: Published) -> Iterator[str]:
    """A table of medians, and rows a second as bars."""
    times = len(found.runs[OURS])
    sizes = {name: found.rows // SMALLER.get(name, 1) for name in found.runs}
    ours_s = measurement.median(found.runs[OURS]).wall_s / found.rows
    yield f"{found.rows:,} rows of {MART}, by ticker in the table as a full build leaves them, by day in the files; medians of {times}."
    yield ""
    yield r"COPY is psql's `\copy` to /dev/null. Each Parquet file was given back to the server and held against count and hash of the"
    yield "mart's own rows."
    yield ""
    yield from measurement.table({name: runs for name, runs in found.runs.items() if name not in SMALLER}, OURS)
    yield ""
    yield "| way | rows | seconds | our Parquet is, by the row | CPU s | MiB |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for name in SMALLER:
        if name in found.runs:
            run = measurement.median(found.runs[name])
            faster = run.wall_s / sizes[name] / ours_s
            yield f"| {name} | {sizes[name]:,} | {run.wall_s:.3g} | {faster:.3g} times as fast | {run.cpu_s:.2f} | {run.peak_mib:.0f} |"
    if found.missing:
        yield from ("", f"pandas is missing: {found.missing}.")
    rates = {name: sizes[name] / measurement.median(runs).wall_s / 1000 for name, runs in found.runs.items()}
    yield from measurement.plot("Rows published", "thousands a second", rates)
