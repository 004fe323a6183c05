"""Measure as-of queries and mart builds, on the demo's warehouse with many more tickers."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestration.local.postgres import Postgres

FIRST_YEAR, LAST_DAY, NEW_DAY = 2003, "2013-02-28", "2013-03-01"
RESTATED = 50  # every so many-th row has an earlier version
QUERIES = {
    "one ticker, all its days": "select count(*), sum(close) from {rows} where ticker = 'T00042'",
    "one day, all tickers": "select count(*), sum(close) from {rows} where date = '2011-06-15'",
    "a year, by ticker": "select ticker, avg(close) from {rows} where date between '2011-01-01' and '2011-12-31' group by ticker",
    "everything": "select count(*), sum(close), max(volume) from {rows}",
}
PLAIN = "(select * from raw.tiingo_prices where known_to = 'infinity') as current"
TRANSFORM = "transform-warehouse"
VIEW = "as_of_internal.tiingo_prices"
# Prices go up and down by as much as makes no two tickers alike; no dividends, no splits.
FILL = """
with session as (select session_date, row_number() over (order by session_date) as n from marts.dim_calendar
                 where calendar = 'XNYS' and session_date between %(first)s and %(last)s),
     ticker as (select 'T' || lpad(t::text, 5, '0') as ticker, t from generate_series(%(low)s::int, %(high)s::int) as t),
     price as (select ticker, session_date, n,
                      round((20 + t %% 180 + 10 * sin(n / 25.0 + t) + (n * 7 + t * 13) %% 11 * 0.1)::numeric, 6) as close,
                      (1000000 + (n * 7919 + t * 104729) %% 900000)::bigint as volume
               from ticker cross join session)
insert into raw.tiingo_prices (ticker, date, close, high, low, open, volume, "adjClose", "adjHigh", "adjLow", "adjOpen", "adjVolume",
                               "divCash", "splitFactor", _row_number, _load_id, known_from, known_to)
select ticker, session_date, close, close * 1.01, close * 0.99, close, volume, close, close * 1.01, close * 0.99, close, volume,
       0, 1, n, %(load)s, %(known)s, 'infinity'
from price order by session_date, ticker
"""
OLDER = """
insert into raw.tiingo_prices (ticker, date, close, high, low, open, volume, "adjClose", "adjHigh", "adjLow", "adjOpen", "adjVolume",
                               "divCash", "splitFactor", _row_number, _load_id, known_from, known_to)
select ticker, date, close + 1, high + 1, low + 1, open + 1, volume, "adjClose", "adjHigh", "adjLow", "adjOpen", "adjVolume", "divCash",
       "splitFactor", _row_number, 1, known_from - interval '30 days', known_from
from raw.tiingo_prices where _load_id = %(load)s and (extract(doy from date)::int * 31 + volume) %% %(every)s = 0
"""
LEDGER = """
insert into raw._ledger (dataset, partition, commit, sha256, rows, known_at, loaded_at, leaf)
values ('tiingo_prices', %s, 1, repeat('0', 64), 0, %s, now(), '2013') returning load_id
"""


class Marts(NamedTuple):
    """The measured seconds."""

    rows: int
    asked: dict[str, tuple[float, float]]  # query: plain, as of
    built_rows: int
    full_s: float
    new_day_s: float
    as_of_s: float


def measure(server: Postgres, *, built: int, tickers: int, times: int) -> Marts:
    """Measure in the warehouse of a demo, which it changes: marts with `built` tickers, queries with all."""
    with psycopg.connect(server.url, password=server.password) as admin:
        admin.autocommit = True
        built_rows = fill(admin, 1, built)
        full_s = transform(server)
        add_day(admin, (1, built), NEW_DAY, NEW_DAY)
        new_day_s = transform(server)
        as_of_s = transform(server, "--as-of", "2020-01-01T00:00:00Z")
        rows = fill(admin, built + 1, tickers)
        asked = {name: _ask(admin, query, times) for name, query in QUERIES.items()}
        return Marts(rows, asked, built_rows, full_s, new_day_s, as_of_s)


def fill(admin: psycopg.Connection, first: int, last: int) -> int:
    """Add ten years of prices of tickers to the raw table. Return its number of rows."""
    for year in range(FIRST_YEAR, 2009):
        span = f"for values from ('{year}-01-01') to ('{year + 1}-01-01')"
        leaf = f'raw."tiingo_prices-{year}"'
        admin.execute(f"create table if not exists {leaf} partition of raw.tiingo_prices {span}".encode())
        key = f'create unique index if not exists "tiingo_prices-{year}-key" on {leaf} (date, ticker, known_from) nulls not distinct'
        admin.execute(key.encode())
    load = add_day(admin, (first, last), f"{FIRST_YEAR}-01-01", LAST_DAY)
    admin.execute(OLDER.encode(), {"load": load, "every": RESTATED})
    admin.execute("vacuum analyze raw.tiingo_prices")
    found = admin.execute("select count(*) from raw.tiingo_prices").fetchone()
    return int(found[0]) if found else 0


def add_day(admin: psycopg.Connection, tickers: tuple[int, int], first: str, last: str) -> int:
    """Add the sessions of a span as a load of its own. Return its load_id."""
    known = f"{last} 22:00Z"
    found = admin.execute(LEDGER.encode(), (f"made={tickers[0]}/{first}", known)).fetchone()
    load = int(found[0]) if found else 0
    admin.execute(FILL.encode(), {"first": first, "last": last, "low": tickers[0], "high": tickers[1], "load": load, "known": known})
    return load


def _ask(admin: psycopg.Connection, query: str, times: int) -> tuple[float, float]:
    """Return the median seconds of a query on the mart and on the as-of view, run alternately."""
    admin.execute("set finelt.as_of = '2012-12-31 12:00Z'")
    took: dict[str, list[float]] = {PLAIN: [], VIEW: []}
    for turn in range(times + 1):
        for rows, seconds in took.items():
            started = time.perf_counter()
            admin.execute(query.format(rows=rows).encode()).fetchall()
            if turn:
                seconds.append(time.perf_counter() - started)
    return statistics.median(took[PLAIN]), statistics.median(took[VIEW])


def transform(server: Postgres, *words: str) -> float:
    """Run transform-warehouse with these options, and return its seconds."""
    command = [
        sys.executable,
        "-m",
        "transform_warehouse",
        "run",
        "--warehouse",
        server.url_of(TRANSFORM, server.database),
        "--warehouse-password",
        server.password_reference_of(TRANSFORM),
    ]
    started = time.perf_counter()
    subprocess.run([*command, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ})  # noqa: S603
    return time.perf_counter() - started


def page(found: Marts) -> Iterator[str]:
    """Yield the section in Markdown."""
    yield f"{found.rows:,} rows of prices, {100 / RESTATED:.0f} % of them with an earlier version; medians in seconds."
    yield ""
    yield "| query | mart | as-of view | ratio |"
    yield "| --- | ---: | ---: | ---: |"
    for name, (plain, view) in found.asked.items():
        yield f"| {name} | {plain:.3f} | {view:.3f} | {view / plain:.2f} |"
    yield ""
    yield f"Marts of {found.built_rows:,} rows of prices, ten years; the whole job, including its tests."
    yield ""
    yield "| transform-warehouse | seconds | relative to a full build |"
    yield "| --- | ---: | ---: |"
    for name, seconds in (("everything", found.full_s), ("after one new day", found.new_day_s), ("as of a moment", found.as_of_s)):
        yield f"| {name} | {seconds:.1f} | {seconds / found.full_s:.2f} |"
