"""Measure as-of queries of valuations, on the demo's warehouse with more issuers."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestration.local.postgres import Postgres

FIRST_CIK = 9_000_000
LEAVES = 16
QUERIES = {
    "one ticker, one day": "select * from {rows} where ticker = 'AAPL' and trade_date = '2012-12-31'",
    "one ticker": "select * from {rows} where ticker = 'AAPL'",
    "everything": "select * from {rows}",
}
MART, VIEW = "marts.fct_valuation_daily", "as_of.fct_valuation_daily"
LEAF = """
create table if not exists raw."sec_company_facts-h16-{leaf}" partition of raw.sec_company_facts
for values with (modulus 16, remainder {leaf})
"""
KEY = """
create unique index if not exists "sec_company_facts-h16-{leaf}-key" on raw."sec_company_facts-h16-{leaf}"
(cik, taxonomy, tag, unit, start, "end", accn, known_from) nulls not distinct
"""
COPY = """
with facts as (select *, row_number() over () as number from raw.sec_company_facts where cik = 320193 and known_to = 'infinity')
insert into raw.sec_company_facts ({columns})
select {copies} from facts cross join generate_series(0, %(facts)s / (select count(*) from facts)) as issuers (issuer)
where issuer * (select count(*) from facts) + number <= %(facts)s
"""

AS_OF_NOW = """select set_config('finelt.as_of', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), false)"""


class Asked(NamedTuple):
    """A number of facts, the seconds to build all marts, and those of each query on the mart and on the view."""

    facts: int
    built_s: float
    queries: dict[str, tuple[float, float]]


def measure(server: Postgres, *, sizes: Sequence[int], times: int, project: str | None = None) -> list[Asked]:
    """Measure each size in the warehouse of a demo, which it changes. `project` replaces this checkout's dbt project."""
    with psycopg.connect(server.url, password=server.password) as admin:
        admin.autocommit = True
        return [_measure(server, admin, size, times, project) for size in sizes]


def _measure(server: Postgres, admin: psycopg.Connection, size: int, times: int, project: str | None) -> Asked:
    facts = fill(admin, size)
    built_s = _build(server, admin, project)
    admin.execute(AS_OF_NOW)  # everything is known
    queries = {name: (_ask(admin, query, MART, times), _ask(admin, query, VIEW, times)) for name, query in QUERIES.items()}
    return Asked(facts, built_s, queries)


def fill(admin: psycopg.Connection, size: int) -> int:
    """Copy Apple's facts under other CIKs until there are `size` facts; return their number."""
    for leaf in range(LEAVES):
        admin.execute(LEAF.format(leaf=leaf).encode())
        admin.execute(KEY.format(leaf=leaf).encode())
    admin.execute("delete from raw.sec_company_facts where cik >= %s", (FIRST_CIK,))
    found = admin.execute(
        "select quote_ident(attname) from pg_attribute"
        " where attrelid = 'raw.sec_company_facts'::regclass and attnum > 0 and not attisdropped"
    ).fetchall()
    columns = [name for (name,) in found]
    copies = [f"{FIRST_CIK} + issuers.issuer" if name == "cik" else f"facts.{name}" for name in columns]
    there = _count(admin)
    admin.execute(COPY.format(columns=", ".join(columns), copies=", ".join(copies)).encode(), {"facts": size - there})
    admin.execute("vacuum analyze raw.sec_company_facts")
    return _count(admin)


def _count(admin: psycopg.Connection) -> int:
    found = admin.execute("select count(*) from raw.sec_company_facts").fetchone()
    return int(found[0]) if found else 0


def _build(server: Postgres, admin: psycopg.Connection, project: str | None) -> float:
    """Return the seconds of a full transform-warehouse; its log is emptied first."""
    admin.execute("delete from ops.transforms")
    command = [sys.executable, "-m", "transform_warehouse", "run", "--warehouse", server.url]
    command += ["--warehouse-password", server.password_reference, *(["--project", project] if project else [])]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    return time.perf_counter() - started


def _ask(admin: psycopg.Connection, query: str, rows: str, times: int) -> float:
    """Return the median seconds, after a warm-up."""
    seconds = []
    for turn in range(times + 1):
        started = time.perf_counter()
        admin.execute(query.format(rows=rows).encode()).fetchall()
        if turn:
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def page(found: Sequence[Asked]) -> Iterator[str]:
    """Yield the section in Markdown."""
    yield "Facts are copies of the sample's facts under other CIKs; prices are the sample's. Medians in seconds."
    yield ""
    yield "| facts | query | mart | as-of view | building all marts |"
    yield "| ---: | --- | ---: | ---: | ---: |"
    for asked in found:
        for name, (mart, view) in asked.queries.items():
            yield f"| {asked.facts:,} | {name} | {mart:.3f} | {view:.3f} | {asked.built_s:.1f} |"
