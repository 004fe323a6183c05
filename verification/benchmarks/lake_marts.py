"""Measure one task of `finelt lake-marts`: the marts of many tickers, built by DuckDB from the definitions of a demo's warehouse."""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from finelt import dbt
from finelt.lake_marts.definitions import TRANSFORMED_PRICES, read_definitions
from finelt.lake_marts.model import NEWS, SECURITIES, SmallTable
from verification.benchmarks.marts import FIRST_YEAR, LAST_DAY
from verification.benchmarks.measurement import read_peak_mib

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from finelt.lake_marts.model import Definitions
    from orchestration.local.postgres import Postgres

# Prices as those of the benchmark of marts: no two tickers are alike; no dividends, no splits.
PRICES = """
select ticker, day as date, close, (close * 1.01)::decimal(18, 6) as high, (close * 0.99)::decimal(18, 6) as low, close as open,
       (1000000 + (n * 7919 + t * 104729) % 900000)::bigint as volume, close::double as "adjClose", close::double as "adjHigh",
       close::double as "adjLow", close::double as "adjOpen", 1000000::bigint as "adjVolume", 0::decimal(18, 10) as "divCash",
       1::double as "splitFactor"
from (select ticker, day, n, t, round(20 + t % 180 + 10 * sin(n / 25.0 + t) + (n * 7 + t * 13) % 11 * 0.1, 6)::decimal(18, 6) as close
      from (select unnest(?::date[]) as day, generate_subscripts(?::date[], 1) as n),
           (select unnest(?::varchar[]) as ticker, generate_subscripts(?::varchar[], 1) as t))
order by ticker, date
"""


class Task(NamedTuple):
    """What one task read and wrote: prices, rows by mart, bytes of Parquet in and out, its CPU seconds and its peak memory."""

    prices: int
    rows: Mapping[str, int]
    read_bytes: int
    written_bytes: int
    cpu_s: float
    peak_mib: float


def measure(server: Postgres, *, tickers: int) -> Task:
    """Measure a task of so many tickers, with ten years each, in a process of its own."""
    with psycopg.connect(server.url, password=server.password, autocommit=True) as admin:
        commits = {partition: commit for partition, commit, _ in admin.execute(TRANSFORMED_PRICES).fetchall()}
        login = {"host": server.host, "port": str(server.port), "user": admin.info.user, "dbname": admin.info.dbname}
        definitions = read_definitions(admin, {**os.environ, **dbt.describe_login(login, server.password)}, commits)
    names = [f"T{number:05d}" for number in range(1, tickers + 1)]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_run_task, (names, _give_tickers(definitions, names)))


def _give_tickers(definitions: Definitions, tickers: Sequence[str]) -> Definitions:
    """Return the definitions with securities of these tickers, each with the news of the demo's first one."""
    securities, news = definitions.tables[SECURITIES], definitions.tables[NEWS]
    issued = {"valid_from": "-infinity", "valid_to": "9999-12-31", "has_several_tickers": "f", "cik": None}
    owners = [{"ticker": ticker, "security_id": f"{ticker}.1"} for ticker in tickers]
    given = {
        SECURITIES: _repeat(securities, [{**issued, **owner} for owner in owners]),
        NEWS: _repeat(news, owners),
    }
    return replace(definitions, tables={**definitions.tables, **given})


def _repeat(table: SmallTable, values: Sequence[Mapping[str, str | None]]) -> SmallTable:
    """Return a table with the first row of another, once with each of these values."""
    first = dict(zip(table.columns, table.rows[0], strict=True))
    return SmallTable(table.columns, [tuple({**first, **own}[column] for column in table.columns) for own in values])


def _run_task(tickers: Sequence[str], definitions: Definitions) -> Task:
    """Build the marts of the tickers from a file of their prices, and write them, as a worker of Ray does."""
    import duckdb  # noqa: PLC0415  of this process only
    from pyarrow import parquet  # noqa: PLC0415

    from finelt.lake_marts import builder  # noqa: PLC0415

    calendar = definitions.tables["marts.dim_calendar"]
    name, day = (list(calendar.columns).index(column) for column in ("calendar", "session_date"))
    days = [row[day] for row in calendar.rows if row[name] == "XNYS" and f"{FIRST_YEAR}-01-01" <= str(row[day]) <= LAST_DAY]
    with TemporaryDirectory() as folder:
        path = Path(folder, "prices.parquet")
        with duckdb.connect(config={"threads": 1}) as database:
            parquet.write_table(database.execute(PRICES, [days, days, tickers, tickers]).to_arrow_table(), path, compression="zstd")
        started_s = time.process_time()
        prices = parquet.read_table(path)
        with duckdb.connect(config={"threads": 1}) as database:
            marts = builder.build(database, tickers, definitions, prices)
        for mart, rows in marts.items():
            parquet.write_table(rows, Path(folder, f"{mart}.parquet"), compression="zstd", row_group_size=builder.ROW_GROUP)
        cpu_s = time.process_time() - started_s
        written = sum(Path(folder, f"{mart}.parquet").stat().st_size for mart in marts)
        rows_of = {mart: rows.num_rows for mart, rows in marts.items()}
        return Task(prices.num_rows, rows_of, path.stat().st_size, written, cpu_s, read_peak_mib(os.getpid()))


def page(found: Task) -> Iterator[str]:
    """Yield the section in Markdown."""
    yield f"One task with {found.prices:,} prices, ten years of each ticker; it builds {', '.join(found.rows)} with one thread."
    yield ""
    yield "| | |"
    yield "| --- | ---: |"
    yield f"| prices per CPU second | {found.prices / found.cpu_s:,.0f} |"
    yield f"| peak memory | {found.peak_mib:,.0f} MiB |"
    yield f"| Parquet read, per price | {found.read_bytes / found.prices:.0f} bytes |"
    yield f"| Parquet written, per price | {found.written_bytes / found.prices:.0f} bytes |"
