"""The frames that the pages show, read from the marts and the raw tables of one snapshot.

A frame has its columns also when its mart is not there or has no rows: a page then leaves that part out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from publish_marts.warehouse import Sql, compose, literal, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from publish_marts.export import Mart
    from publish_marts.warehouse import Warehouse

MOST_TICKERS = 6  # as many as there are colours that everyone can tell apart
CURRENCIES = ("USD", "GBP", "JPY", "CHF")
_DAY_OF_ROWS = {"sec_company_facts": "filed"}  # of tables that are not split by a day


@dataclass(frozen=True)
class Frames:
    """What the pages show. Days are datetime64, numbers float64: for drawing and rounding, never for the files."""

    securities: pd.DataFrame
    prices: pd.DataFrame
    returns: pd.DataFrame
    valuation: pd.DataFrame
    fundamentals: pd.DataFrame
    yields: pd.DataFrame
    spreads: pd.DataFrame
    fx: pd.DataFrame
    freshness: pd.DataFrame
    coverage: pd.DataFrame
    days: pd.DataFrame
    quarantine: pd.DataFrame
    differences: pd.DataFrame
    corrections: pd.DataFrame


def read(warehouse: Warehouse, marts: Sequence[Mart], datasets: Sequence[str]) -> Frames:
    """All frames, sorted by their columns. Of prices, the securities with the largest turnover; of raw tables, these datasets."""
    reader = _Reader(warehouse, {mart.name: mart for mart in marts})
    traded = reader.traded()
    of_tickers = f"ticker in ({_list(traded['ticker'])})"
    of_securities = f"security_id in ({_list(traded['security_id'])})"
    securities = reader.frame("dim_security", ("ticker", "name", "cik"), of_tickers)
    of_issuers = f"cik in ({_list(str(int(cik)) for cik in securities['cik'].dropna())})"
    of_currencies = f"base_currency = 'EUR' and quote_currency in ({_list(CURRENCIES)})"
    freshness = _freshness(warehouse, datasets)
    return Frames(
        securities=securities,
        prices=reader.frame("fct_price_daily", ("ticker", "trade_date", "close", "adj_close"), of_securities),
        returns=reader.frame("fct_return_daily", ("ticker", "trade_date", "vol_63d", "drawdown"), of_securities),
        valuation=reader.frame("fct_valuation_daily", ("ticker", "trade_date", "pe_ratio"), of_securities),
        fundamentals=reader.frame("fct_fundamental", _FUNDAMENTAL, of_issuers),
        yields=reader.frame("fct_yield", ("curve_date", "tenor", "yield_pct"), ""),
        spreads=reader.frame("fct_curve_spread", ("curve_date", "spread_2s10s_bp", "spread_3m10y_bp", "spread_5s30s_bp"), ""),
        fx=reader.frame("fct_fx_rate", ("rate_date", "quote_currency", "rate"), of_currencies),
        freshness=freshness,
        coverage=_with_sessions(_coverage(warehouse, freshness["dataset"]), reader.sessions()),
        days=reader.frame("fct_coverage_daily", _DAYS, "status <> 'whole'"),
        quarantine=reader.frame("fct_quarantine", ("dataset", "lake_partition", "row_number", "reasons"), ""),
        differences=reader.frame("fct_close_difference", _DIFFERENCES, "close_massive is not null"),
        corrections=reader.frame("fct_restatement", _CORRECTIONS, "dataset <> 'sec_company_facts'"),
    )


_DAYS = ("dataset", "coverage_date", "status", "row_count", "usual_count")
_DIFFERENCES = ("trade_date", "ticker_tiingo", "close_tiingo", "close_massive", "difference")
_CORRECTIONS = ("known_date", "dataset", "subject", "item", "value_before", "value_after", "origin")
_FUNDAMENTAL = ("cik", "concept", "period_start", "period_end", "unit", "known_from", "known_to", "value", "accession")


_TRADED = f"""
select security_id, ticker
from (
    select distinct on (ticker) *
    from (
        select security_id, ticker, sum(close * volume) as turnover, max(trade_date) as last_session
        from marts.fct_price_daily
        group by security_id, ticker
    ) securities
    order by ticker, last_session desc
) bearers
order by turnover desc nulls last, ticker
limit {MOST_TICKERS}
"""


_SESSIONS = """
select dataset, date_trunc('month', session_date)::date as month, count(*) as sessions
from (select distinct dataset, calendar from marts.fct_coverage_daily) asked
join marts.dim_calendar using (calendar)
group by 1, 2
order by 1, 2
"""


class _Reader:
    """Reads frames from the marts that are published."""

    def __init__(self, warehouse: Warehouse, marts: dict[str, Mart]) -> None:
        self._warehouse, self._marts = warehouse, marts

    def traded(self) -> pd.DataFrame:
        """The securities to show, with their tickers; a ticker that another bore before means the one that bears it now."""
        if "fct_price_daily" not in self._marts:
            return pd.DataFrame(columns=["security_id", "ticker"])
        return _frame(self._warehouse, _TRADED, {})

    def frame(self, mart: str, names: Sequence[str], condition: str) -> pd.DataFrame:
        """A frame of these columns in their order, of the rows that count; without rows where the mart is not there."""
        if mart not in self._marts:
            return pd.DataFrame(columns=list(names))
        types = {column.name: column.type for column in self._marts[mart].columns}
        columns = Sql(", ".join(f"{_expression(quoted(name), types.get(name, ''))} as {quoted(name)}" for name in names))
        order = Sql(", ".join(str(position) for position in range(1, len(names) + 1)))
        where = Sql(f"{self._marts[mart].where}{' and ' + condition if condition else ''}")
        template = "select {columns} from marts.{mart} where {where} order by {order}"
        return _frame(self._warehouse, compose(template, columns=columns, mart=quoted(mart), where=where, order=order), types)

    def sessions(self) -> pd.DataFrame:
        """How many sessions a month has on the calendar of a dataset; without rows where the marts are not there."""
        if not {"fct_coverage_daily", "dim_calendar"} <= self._marts.keys():
            return pd.DataFrame(columns=["dataset", "month", "sessions"])
        return _frame(self._warehouse, _SESSIONS, {"month": "date"})


def _expression(name: str, type_: str) -> str:
    if type_ == "date":
        return f"case when {name} < '9999-12-31' then {name} end"  # whatever lasts has no end
    return f"{name}::float8" if type_.startswith("numeric") else name


def _frame(warehouse: Warehouse, sql: str, types: dict[str, str]) -> pd.DataFrame:
    """The answer as pandas computes with it: days as datetime64, numbers as float64 where they may be null."""
    frame = pd.DataFrame(warehouse.columns(sql))
    for name in frame.columns:
        if types.get(name) == "date":
            frame[name] = pd.to_datetime(frame[name])
        elif types.get(name, "text") != "text":
            frame[name] = pd.to_numeric(frame[name])
    return frame


def _list(texts: Iterable[str]) -> Sql:
    return Sql(", ".join(literal(text) for text in texts) or "null")


def _freshness(warehouse: Warehouse, datasets: Sequence[str]) -> pd.DataFrame:
    """A row per loaded dataset of these: partitions, rows, the last day with values and when its newest commit became known (UTC)."""
    names = ["dataset", "partitions", "rows", "last_day", "last_known"]
    if not warehouse.has("raw._ledger"):
        return pd.DataFrame(columns=names)
    ledger = _frame(warehouse, _LEDGER.format(datasets=_list(datasets)), {})
    days = {dataset: _last_day(warehouse, dataset) for dataset in ledger["dataset"]}
    ledger["last_day"] = pd.to_datetime(ledger["dataset"].map(days))
    return ledger[names]


_LEDGER = """
select
    dataset,
    count(*) as partitions,
    sum(rows)::bigint as rows,
    to_char(max(known_at) at time zone 'UTC', 'YYYY-MM-DD HH24:MI') as last_known
from (
    select distinct on (dataset, partition) *
    from raw._ledger
    where dataset in ({datasets})
    order by dataset, partition, commit desc
) newest
group by dataset
order by dataset
"""


def _last_day(warehouse: Warehouse, dataset: str) -> object:
    column = _day_column(warehouse, dataset)
    if column is None:
        return None
    return warehouse.columns(f"select max({quoted(column)}) as day from raw.{quoted(dataset)} where known_to = 'infinity'")["day"][0]


def _coverage(warehouse: Warehouse, datasets: Iterable[str]) -> pd.DataFrame:
    """A row per source dataset and month with values: the days that have any, and their rows."""
    frames = [pd.DataFrame(columns=["dataset", "month", "days", "rows"])]
    for dataset in datasets:
        if column := _day_column(warehouse, dataset):
            sql = _COVERAGE.format(name=literal(dataset), day=quoted(column), table=quoted(dataset))
            frames.append(_frame(warehouse, sql, {"month": "date"}))
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


def _with_sessions(coverage: pd.DataFrame, sessions: pd.DataFrame) -> pd.DataFrame:
    """Coverage with the sessions of each month. Frames without rows have columns of any type, which do not merge."""
    if coverage.empty or sessions.empty:
        return coverage.assign(sessions=float("nan"))
    return coverage.merge(sessions, on=["dataset", "month"], how="left")


_COVERAGE = """
select {name} as dataset, date_trunc('month', day)::date as month, count(*) as days, sum(rows)::bigint as rows
from (select {day} as day, count(*) as rows from raw.{table} where known_to = 'infinity' and {day} is not null group by 1) daily
group by 2
order by 2
"""


def _day_column(warehouse: Warehouse, dataset: str) -> str | None:
    """The column that says for which day a row is: the one the table is split by. None where rows have no day."""
    found = warehouse.columns(_DAY_COLUMN.format(table=literal(f"raw.{quoted(dataset)}"), named=literal(_DAY_OF_ROWS.get(dataset, ""))))
    return str(found["column"][0]) if found["column"] else None


_DAY_COLUMN = """
select a.attname::text as column
from pg_attribute a
left join pg_partitioned_table p on p.partrelid = a.attrelid and p.partstrat = 'r'
where a.attrelid = to_regclass({table}) and a.attnum > 0 and (a.attnum = p.partattrs[0] or a.attname = {named})
"""
