"""A mart to Parquet, beside what the server and a client need for the same rows, and beside pandas."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from arro3.io import read_parquet

from orchestration.local import postgres
from scripts.benchmarks import took

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.benchmarks.took import Took, Way

OURS = "publish-marts, its Parquet"
PANDAS_PART = 10  # pandas is given one row of so many: it holds all of them in memory
MART = """
create schema marts;
create table marts.fct_price_daily as
select 'S' || lpad((n % 4000)::text, 6, '0') as ticker, date '2015-01-01' + n / 4000 as trade_date,
  (50 + n % 977 * 0.13)::numeric(18,6) as open, (51 + n % 983 * 0.13)::numeric(18,6) as high, (49 + n % 991 * 0.13)::numeric(18,6) as low,
  (50 + n % 997 * 0.13)::numeric(18,6) as close, n::bigint * 7919 % 10000019 as volume, 'USD' as currency,
  (50 + n % 997 * 0.13) * 0.97::float8 as adj_close, timestamptz '2015-01-01 21:00Z' + make_interval(days => n / 4000) as known_at
from generate_series(0, {rows} - 1) as n;
create unique index fct_price_daily_key on marts.fct_price_daily (trade_date, ticker);
vacuum analyze marts.fct_price_daily
"""
ORDERED = "select * from marts.fct_price_daily order by trade_date, ticker"


class Published(NamedTuple):
    """Every run of every way to get so many rows out."""

    rows: int
    runs: dict[str, list[Took]]


def measure(rows: int, times: int) -> Published:
    """Every way in turns, after one that is not counted. Raises RuntimeError when a file lacks rows or holds other values."""
    warnings.filterwarnings("ignore")
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        with postgres.running(home / "postgres") as server, psycopg.connect(server.url, password=server.password, autocommit=True) as admin:
            for statement in MART.format(rows=rows).split(";"):
                admin.execute(statement.encode())
            file = home / "mart.parquet"
            program = [sys.executable, "-m", "scripts.benchmarks.publishing"]

            def way(name: str, what: str) -> Way:
                words = [name, server.url, server.password_reference, what, str(file)]
                return lambda: took.process([*program, *words], server=server)

            def copied(query: str) -> Way:
                words = [str(server.place.binaries / "psql"), "--quiet", server.url, "--command"]
                return lambda: took.process(
                    [*words, f"\\copy ({query}) to '/dev/null' (format binary)"], server=server, env={"PGPASSWORD": server.password}
                )

            some = f"select * from marts.fct_price_daily where ticker < 'S{4000 // PANDAS_PART:06}' order by trade_date, ticker"
            site = ["--site", str(home / "site"), "--warehouse", server.url, "--warehouse-password", server.password_reference]
            ways: dict[str, Way] = {
                "psql copy, binary, in order": copied(ORDERED),
                "psql copy, binary, in any order": copied("select * from marts.fct_price_daily"),
                OURS: way("parquet", "fct_price_daily"),
                f"pandas.read_sql of one row in {PANDAS_PART}": way("pandas", some),
            }
            found = took.in_turns(ways, times, lambda name: _check(admin, file) if name == OURS else None)
            whole = took.process([sys.executable, "-m", "publish_marts", "run", *site], server=server)
            return Published(rows, {**found, "publish-marts, all formats and the site": [whole]})


def _check(admin: psycopg.Connection[Any], file: Path) -> None:
    """The file holds the rows of the mart: count and sums."""
    sums = "select count(*), sum(volume)::bigint, sum(close)::numeric, min(ticker), max(trade_date) from marts.fct_price_daily"
    table = read_parquet(file).read_all().select(["volume", "close", "ticker", "trade_date"])
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    found = (table.num_rows, sum(columns["volume"]), sum(columns["close"]), min(columns["ticker"]), max(columns["trade_date"]))
    if found != (expected := admin.execute(sums.encode()).fetchone()):
        raise RuntimeError(f"{file} holds {found}, expected {expected}")


def page(found: Published) -> Iterator[str]:
    """A table of medians, and rows a second as bars."""
    yield f"{found.rows:,} rows of a mart with decimals, from a process's start to its exit; medians. The file is held against the mart."
    yield ""
    yield from took.table(found.runs, OURS)
    rates = {
        name: found.rows / (PANDAS_PART if "pandas" in name else 1) / took.median(runs).wall_s / 1000 for name, runs in found.runs.items()
    }
    pandas = next(rate for name, rate in rates.items() if "pandas" in name)
    yield ""
    yield f"By the row, the Parquet file takes {pandas / rates[OURS]:.2f} of the time of pandas.read_sql, which writes nothing."
    yield from took.plot("Rows out of the warehouse", "thousands a second", rates)
