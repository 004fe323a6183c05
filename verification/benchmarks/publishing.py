"""Compare the export of a mart to Parquet and to a site with a COPY to a client and with pandas."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from adbc_driver_postgresql import dbapi
from arro3.io import read_parquet

from orchestration.local import postgres_home
from verification.benchmarks import measurement, tools
from verification.benchmarks.scratch_server import run_scratch_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

    from orchestration.local.postgres import Postgres
    from verification.benchmarks.measurement import Measurement

PSQL = postgres_home.find_wheel() / postgres_home.INSTALL / "bin" / "psql"  # a private copy of the server has none
OURS, WHOLE, PART = (
    "publish-marts, Parquet only",
    "publish-marts run: Parquet, CSV, JSON, site",
    "publish-marts, Parquet of a quarter of the rows",
)
ORDERED, UNORDERED = "COPY BINARY out, in the mart's order", "COPY BINARY out, in any order"
READ, WRITTEN = "pandas.read_sql, a fifth of the rows", "pandas.read_sql and to_parquet, a fifth of the rows"
SMALLER = {PART: 4, READ: 5, WRITTEN: 5}  # a fifth is some gigabytes in pandas
MART, QUARTER = "fct_price_daily", "quarter"
TICKERS = 4000
ORDER = 'trade_date, ticker collate "C"'
# As the model has them after a full build: by ticker, with a unique index by day.
MADE = """
create schema if not exists marts;
create schema if not exists ops;
create table ops.transforms as select 1 as transform_id, 'made' as fingerprint, null::timestamptz as as_of, now() as ended_at,
    '{{"marts": {{"fct_price_daily": {{"made_of": []}}, "quarter": {{"made_of": []}}}}, "datasets": {{}}}}'::jsonb as lineage;
create table marts.fct_price_daily (
    security_id text not null, ticker text not null, trade_date date not null,
    open numeric(18,6), high numeric(18,6), low numeric(18,6), close numeric(18,6) not null,
    volume bigint, currency text not null, dividend_cash numeric(18,6), split_ratio numeric(18,8), split_factor double precision,
    total_return_factor double precision, adj_close double precision, close_eur double precision, fx_rate numeric(18,8), fx_date date,
    known_at timestamptz
);
insert into marts.fct_price_daily
select
    ticker || '.1', ticker, day,
    round(price * 0.997, 2), round(price * 1.01, 2), round(price * 0.99, 2), price, hashint4(k * 7919 + n) + 2147483648,
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
create unique index on marts.fct_price_daily (trade_date, security_id);
create index on marts.fct_price_daily (ticker, trade_date);
create table marts.quarter as select * from marts.fct_price_daily where ticker < 'T' || lpad(({tickers} / 4)::text, 4, '0');
create unique index on marts.quarter (trade_date, security_id);
"""
NEW_TRANSFORM = """
insert into ops.transforms
select transform_id + 1, 'made ' || transform_id, as_of, now(), lineage from ops.transforms order by transform_id desc limit 1
"""
NEW_DAY = (
    """
insert into marts.fct_price_daily
select (jsonb_populate_record(mart, jsonb_build_object('trade_date', trade_date + 1, 'fx_date', trade_date + 1))).*
from marts.fct_price_daily as mart where trade_date = (select max(trade_date) from marts.fct_price_daily);
"""
    + NEW_TRANSFORM
)
REMOVE_DAY = "delete from marts.fct_price_daily where trade_date = (select max(trade_date) from marts.fct_price_daily);" + NEW_TRANSFORM
# A file's types are nearly the mart's; the values must be the same.
COLUMNS = f"""
select string_agg(format('%I::%s', attname, format_type(atttypid, atttypmod)), ', ' order by attnum)
from pg_attribute where attrelid = 'marts.{MART}'::regclass and attnum > 0
"""
HASH = "select count(*), sum(hashtextextended(t::text, 0)) from (select {columns} from {relation} as rows) as t"


class PublishResult(NamedTuple):
    """The runs of each way to export the rows; the reason if pandas is missing."""

    rows: int
    runs: dict[str, list[Measurement]]
    missing: str


class Environment(NamedTuple):
    """The measured server and files."""

    server: Postgres
    admin: psycopg.Connection[Any]
    home: Path
    rows: int

    @property
    def url(self) -> str:
        """The URL with the password, for the environment of other programs."""
        return self.server.url.replace("@", f":{self.server.password}@")

    @property
    def parquet(self) -> Path:
        """What the last way wrote, if it writes."""
        return self.home / "rows.parquet"

    def run(self, method: str, rows: int, *words: str, python: Path | str = sys.executable) -> Measurement:
        """Run a way of export_runner.py, from process start to exit."""
        program = [str(python), str(Path(__file__).with_name("export_runner.py")), method, str(rows), *words]
        return measurement.run_process(program, server=self.server, env={"BENCH_URL": self.url})

    def hash(self, relation: str) -> tuple[int, ...]:
        """Return count and hash of rows, in any order."""
        (columns,) = self.admin.execute(COLUMNS.encode()).fetchone() or ("",)
        return self.admin.execute(HASH.format(columns=columns, relation=relation).encode()).fetchone() or ()


def fill(admin: psycopg.Connection[Any], tickers: int, days: int) -> int:
    """Create the marts and the record of their transform. Return the number of rows of the whole mart."""
    admin.execute(MADE.format(tickers=tickers, days=days).encode())
    for table in (MART, QUARTER):
        admin.execute(f"vacuum analyze marts.{table}".encode())
    return tickers * days


def measure(rows: int, times: int) -> PublishResult:
    """Run every way in turn, after a warm-up. Raises RuntimeError if a file does not have the server's rows."""
    tickers = min(TICKERS, rows // SMALLER[READ])
    with run_scratch_server() as (server, admin, home):
        return _measured(Environment(server, admin, home, fill(admin, tickers, rows // tickers)), times)


def _measured(environment: Environment, times: int) -> PublishResult:
    ordered = f"select * from marts.{MART} order by {ORDER}"
    some = f"{ordered} limit {environment.rows // SMALLER[READ]}"
    expected = {name: environment.hash(f"marts.{MART}") for name in (OURS, WHOLE)}
    expected |= {PART: environment.hash(f"marts.{QUARTER}"), WRITTEN: environment.hash(f"({some})")}
    path = str(environment.parquet)
    methods: dict[str, Callable[[], Measurement]] = {
        ORDERED: lambda: _copied(environment, ordered),
        UNORDERED: lambda: _copied(environment, f"select * from marts.{MART}"),
        OURS: lambda: environment.run("ours", environment.rows, MART, path),
        PART: lambda: environment.run("ours", environment.rows // SMALLER[PART], QUARTER, path),
        WHOLE: lambda: _whole(environment),
    }
    missing = ""
    try:
        python = tools.create_environment(tools.PANDAS)
        methods[READ] = lambda: environment.run("pandas", environment.rows // SMALLER[READ], some, python=python)
        methods[WRITTEN] = lambda: environment.run("pandas", environment.rows // SMALLER[WRITTEN], some, path, python=python)
    except tools.MissingError as reason:
        missing = str(reason)

    def check(name: str) -> None:
        if name in expected and (found := _held(environment)) != expected[name]:
            raise RuntimeError(f"the file of {name} holds {found}, expected {expected[name]}")

    return PublishResult(environment.rows, measurement.run_in_turns(methods, times, check), missing)


def _copied(environment: Environment, query: str) -> Measurement:
    """Copy with psql to /dev/null."""
    words = [str(PSQL), "--quiet", "--command", f"\\copy ({query}) to '/dev/null' (format binary)"]
    return measurement.run_process(
        [*words, environment.server.url], server=environment.server, env={"PGPASSWORD": environment.server.password}
    )


def _whole(environment: Environment) -> Measurement:
    """Run the job with a new site, from process start to exit, and keep the site's Parquet file as the other ways do."""
    site = environment.home / "site"
    shutil.rmtree(site, ignore_errors=True)
    words = [
        "--warehouse",
        environment.server.url,
        "--warehouse-password",
        environment.server.password_reference,
        "--site",
        str(site),
        "--marts",
        MART,
    ]
    found = measurement.run_process([sys.executable, "-m", "publish_marts", "run", *words], server=environment.server)
    version = json.loads((site / "latest.json").read_text(encoding="utf-8"))["version"]
    shutil.copyfile(site / "v" / version / "marts" / f"{MART}.parquet", environment.parquet)
    return found


def _held(environment: Environment) -> tuple[int, ...]:
    """Load the last written file into the server and return count and hash of its rows."""
    with dbapi.connect(environment.url) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("checked", read_parquet(environment.parquet, batch_size=8192), mode="replace")
        connection.commit()
    environment.parquet.unlink()
    return environment.hash("checked")


def page(found: PublishResult) -> Iterator[str]:
    """Yield a table of medians, and a chart of rows per second."""
    times = len(found.runs[OURS])
    sizes = {name: found.rows // SMALLER.get(name, 1) for name in found.runs}
    ours_s = measurement.median(found.runs[OURS]).wall_s / found.rows
    yield f"{found.rows:,} rows of {MART}, stored by ticker as after a full build, sorted by day in the files; medians of {times}."
    yield ""
    yield r"COPY is psql's `\copy` to /dev/null. Each Parquet file was loaded into the server and compared by count and hash with the"
    yield "rows of the mart."
    yield ""
    yield from measurement.format_table({name: runs for name, runs in found.runs.items() if name not in SMALLER}, OURS)
    yield ""
    yield "| way | rows | seconds | publish-marts, per row | CPU s | MiB |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for name in SMALLER:
        if name in found.runs:
            run = measurement.median(found.runs[name])
            faster = run.wall_s / sizes[name] / ours_s
            yield f"| {name} | {sizes[name]:,} | {run.wall_s:.3g} | {faster:.3g} times as fast | {run.cpu_s:.2f} | {run.peak_mib:.0f} |"
    if found.missing:
        yield from ("", f"pandas is missing: {found.missing}.")
    rates = {name: sizes[name] / measurement.median(runs).wall_s / 1000 for name, runs in found.runs.items()}
    yield from measurement.format_chart("Rows published", "thousands per second", rates)
