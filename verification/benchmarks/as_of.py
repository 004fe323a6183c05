"""Measure every as_of view against its mart, for one key and one day, on the demo's warehouse with many more tickers and facts."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg import sql

from verification.benchmarks import marts, valuation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestration.local.postgres import Postgres

KEYS = {
    "dim_calendar": ("calendar", "session_date"),
    "dim_issuer": ("filer_cik",),
    "dim_legal_entity": ("lei",),
    "dim_legal_relationship": ("child_lei",),
    "dim_macro_series": ("series_id",),
    "dim_security": ("ticker",),
    "dim_security_identifier": ("security_id",),
    "dim_security_ticker": ("ticker",),
    "fct_13f_holding": ("cik", "period"),
    "fct_close_difference": ("ticker_tiingo", "trade_date"),
    "fct_corporate_action": ("ticker", "ex_date"),
    "fct_coverage_daily": ("dataset", "coverage_date"),
    "fct_curve_spread": ("curve_date",),
    "fct_freshness": ("dataset",),
    "fct_fundamental": ("cik", "period_end"),
    "fct_fx_rate": ("quote_currency", "rate_date"),
    "fct_insider_transaction": ("issuer_cik", "period"),
    "fct_macro": ("series_id", "period"),
    "fct_macro_release": ("release_id", "release_date"),
    "fct_macro_revision": ("series_id", "period"),
    "fct_price_daily": ("ticker", "trade_date"),
    "fct_price_issue": ("ticker", "trade_date"),
    "fct_public_debt": ("debt_date",),
    "fct_quarantine": ("dataset", "row_date"),
    "fct_reference_rate": ("rate_name", "rate_date"),
    "fct_restatement": ("dataset", "subject", "period_end"),
    "fct_return_daily": ("ticker", "trade_date"),
    "fct_sofr_average": ("value_date",),
    "fct_treasury_auction": ("cusip", "auction_date"),
    "fct_valuation_daily": ("ticker", "trade_date"),
    "fct_yield": ("tenor", "curve_date"),
}
MISSING = {"text": "none", "date": "2012-12-31", "int8": "1", "int4": "1"}  # asked for if a mart has no rows


class Asked(NamedTuple):
    """A mart, the key asked for, the seconds of the mart and of the view, and how many raw prices and facts the view reads."""

    mart: str
    key: Mapping[str, str]
    mart_s: float
    view_s: float
    prices_read: int
    facts_read: int


class AsOf(NamedTuple):
    """The rows of the raw tables, and the marts."""

    prices: int
    facts: int
    asked: Sequence[Asked]


def measure(server: Postgres, *, tickers: int, facts: int, times: int) -> AsOf:
    """Measure in the warehouse of a demo, which it changes."""
    with psycopg.connect(server.url, password=server.password, autocommit=True) as admin:
        prices = marts.fill(admin, 1, tickers)
        facts = valuation.fill(admin, facts)
        marts.transform(server)
        admin.execute(valuation.AS_OF_NOW)  # everything is known
        return AsOf(prices, facts, [_ask(admin, mart, KEYS[mart], times) for mart in _list_marts(admin)])


def _list_marts(admin: psycopg.Connection[Any]) -> list[str]:
    query = "select relname::text from pg_class where relnamespace = 'marts'::regnamespace and relkind in ('r', 'v') order by 1"
    return [name for (name,) in admin.execute(query).fetchall()]


def _ask(admin: psycopg.Connection[Any], mart: str, columns: Sequence[str], times: int) -> Asked:
    """Measure the last key of the mart, of those tickers that the benchmark adds if there are some."""
    names = [sql.Identifier(name) for name in columns]
    order = [sql.SQL("{} desc nulls last").format(name) for name in names]
    last = sql.SQL("select {} from {} order by {} limit 1").format(
        sql.SQL(", ").join(names), sql.Identifier("marts", mart), sql.SQL(", ").join(order)
    )
    found = admin.execute(last)
    types = [column.type_display for column in found.description or ()]
    row = found.fetchone() or [MISSING.get(kind, MISSING["text"]) for kind in types]
    key = {name: str(value) for name, value in zip(columns, row, strict=True)}
    query, view = (_render_query(schema, mart, key) for schema in ("marts", "as_of"))
    prices_read, facts_read = (_count_read(admin, view, table) for table in ("tiingo_prices", "sec_company_facts"))
    return Asked(mart, key, _measure_median(admin, query, times), _measure_median(admin, view, times), prices_read, facts_read)


def _render_query(schema: str, mart: str, key: Mapping[str, str]) -> sql.Composed:
    conditions = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in key.items()]
    return sql.SQL("select * from {} where {}").format(sql.Identifier(schema, mart), sql.SQL(" and ").join(conditions))


def _measure_median(admin: psycopg.Connection[Any], query: sql.Composed, times: int) -> float:
    """Return the median seconds, after a warm-up."""
    seconds = []
    for turn in range(times + 1):
        started = time.perf_counter()
        admin.execute(query).fetchall()
        if turn:
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _count_read(admin: psycopg.Connection[Any], query: sql.Composed, table: str) -> int:
    """Return how many rows of a raw table the query reads, those that a filter removes included."""
    ((plan,),) = admin.execute(sql.SQL("explain (analyze, timing off, format json) ") + query).fetchall()
    return round(sum(_iter_rows_read(plan[0]["Plan"], table)))


def _iter_rows_read(node: Mapping[str, Any], table: str) -> Iterator[float]:
    if str(node.get("Relation Name", "")).startswith(f"{table}-"):  # its leaves
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        yield node["Actual Loops"] * (node["Actual Rows"] + removed)
    for child in node.get("Plans", ()):
        yield from _iter_rows_read(child, table)


def page(found: AsOf) -> Iterator[str]:
    """Yield the section in Markdown."""
    yield f"{found.prices:,} rows of prices, {found.facts:,} facts; medians in seconds; on the right the raw rows that the view reads."
    yield ""
    yield "| mart | asked for | mart | as-of view | prices read | facts read |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for mart, key, mart_s, view_s, prices_read, facts_read in found.asked:
        yield f"| {mart} | {', '.join(key)} | {mart_s:.4f} | {view_s:.3f} | {prices_read:,} | {facts_read:,} |"
