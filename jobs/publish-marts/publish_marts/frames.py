"""The data frames that the pages show, read from the marts and raw tables of one snapshot.

A frame has its columns even if its mart is missing or empty. The page then omits that section.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from publish_marts.warehouse import Sql, compose, quote_name, quote_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from publish_marts.export import Mart
    from publish_marts.warehouse import Warehouse

MAX_TICKERS = 6  # more colours cannot be told apart
CURRENCIES = ("USD", "GBP", "JPY", "CHF")
_DAY_COLUMNS = {"sec_company_facts": "filed"}  # of tables that are not partitioned by a date


@dataclass(frozen=True)
class Frames:
    """The data that the pages show. Dates are datetime64 and numbers float64, for charts and rounded figures, never for files."""

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
    incomplete_days: pd.DataFrame
    quarantine: pd.DataFrame
    close_differences: pd.DataFrame
    vendor_restatements: pd.DataFrame


def read_frames(warehouse: Warehouse, marts: Sequence[Mart], datasets: Sequence[str]) -> Frames:
    """Read all frames, each sorted by its columns in their order.

    Frames about tickers have the securities with the largest turnover, at most MAX_TICKERS. Frames about raw tables have `datasets`.
    """
    reader = _FrameReader(warehouse, {mart.name: mart for mart in marts})
    traded_securities = reader.read_traded_securities()
    of_tickers = f"ticker in ({_quote_list(traded_securities['ticker'])})"
    of_securities = f"security_id in ({_quote_list(traded_securities['security_id'])})"
    securities = reader.read_frame("dim_security", ("ticker", "name", "cik"), of_tickers)
    of_issuers = f"cik in ({_quote_list(str(int(cik)) for cik in securities['cik'].dropna())})"
    of_currencies = f"base_currency = 'EUR' and quote_currency in ({_quote_list(CURRENCIES)})"
    freshness = _read_freshness(warehouse, datasets)
    return Frames(
        securities=securities,
        prices=reader.read_frame("fct_price_daily", ("ticker", "trade_date", "close", "adj_close"), of_securities),
        returns=reader.read_frame("fct_return_daily", ("ticker", "trade_date", "vol_63d", "drawdown"), of_securities),
        valuation=reader.read_frame("fct_valuation_daily", ("ticker", "trade_date", "pe_ratio"), of_securities),
        fundamentals=reader.read_frame("fct_fundamental", _FUNDAMENTAL, of_issuers),
        yields=reader.read_frame("fct_yield", ("curve_date", "tenor", "yield_pct"), ""),
        spreads=reader.read_frame("fct_curve_spread", ("curve_date", "spread_2s10s_bp", "spread_3m10y_bp", "spread_5s30s_bp"), ""),
        fx=reader.read_frame("fct_fx_rate", ("rate_date", "quote_currency", "rate"), of_currencies),
        freshness=freshness,
        coverage=_add_sessions(_read_coverage(warehouse, freshness["dataset"]), reader.count_sessions()),
        incomplete_days=reader.read_frame("fct_coverage_daily", _INCOMPLETE_DAY, "status <> 'whole'"),
        quarantine=reader.read_frame("fct_quarantine", ("dataset", "lake_partition", "row_number", "reasons"), ""),
        close_differences=reader.read_frame("fct_close_difference", _CLOSE_DIFFERENCE, "close_massive is not null"),
        vendor_restatements=reader.read_frame("fct_restatement", _VENDOR_RESTATEMENT, "dataset <> 'sec_company_facts'"),
    )


_INCOMPLETE_DAY = ("dataset", "coverage_date", "status", "row_count", "usual_count")
_CLOSE_DIFFERENCE = ("trade_date", "ticker_tiingo", "close_tiingo", "close_massive", "difference")
_VENDOR_RESTATEMENT = ("known_date", "dataset", "subject", "item", "value_before", "value_after", "origin")
_FUNDAMENTAL = ("cik", "concept", "period_start", "period_end", "unit", "known_from", "known_to", "value", "accession")


_TRADED_SECURITIES = f"""
select security_id, ticker
from (
    select distinct on (ticker) *
    from (
        select security_id, ticker, sum(close * volume) as turnover, max(trade_date) as last_session
        from marts.fct_price_daily
        group by security_id, ticker
    ) securities
    order by ticker, last_session desc
) latest
order by turnover desc nulls last, ticker
limit {MAX_TICKERS}
"""


_SESSIONS = """
select dataset, date_trunc('month', session_date)::date as month, count(*) as sessions
from (select distinct dataset, calendar from marts.fct_coverage_daily) datasets
join marts.dim_calendar using (calendar)
group by 1, 2
order by 1, 2
"""


class _FrameReader:
    """Read frames from the marts that are published."""

    def __init__(self, warehouse: Warehouse, marts: dict[str, Mart]) -> None:
        self._warehouse, self._marts = warehouse, marts

    def read_traded_securities(self) -> pd.DataFrame:
        """Select the securities to show, with their tickers. A reused ticker means the security that has it now."""
        if "fct_price_daily" not in self._marts:
            return pd.DataFrame(columns=["security_id", "ticker"])
        return _query_frame(self._warehouse, _TRADED_SECURITIES, {})

    def read_frame(self, mart: str, names: Sequence[str], condition: str) -> pd.DataFrame:
        """Read these columns of a mart's published rows. The frame is empty if the mart is missing."""
        if mart not in self._marts:
            return pd.DataFrame(columns=list(names))
        types = {column.name: column.type for column in self._marts[mart].columns}
        columns = Sql(", ".join(f"{_select_expression(quote_name(name), types.get(name, ''))} as {quote_name(name)}" for name in names))
        order = Sql(", ".join(str(position) for position in range(1, len(names) + 1)))
        where = Sql(f"{self._marts[mart].where}{' and ' + condition if condition else ''}")
        template = "select {columns} from marts.{mart} where {where} order by {order}"
        return _query_frame(self._warehouse, compose(template, columns=columns, mart=quote_name(mart), where=where, order=order), types)

    def count_sessions(self) -> pd.DataFrame:
        """Count the trading sessions per dataset and month. The frame is empty if the marts are missing."""
        if not {"fct_coverage_daily", "dim_calendar"} <= self._marts.keys():
            return pd.DataFrame(columns=["dataset", "month", "sessions"])
        return _query_frame(self._warehouse, _SESSIONS, {"month": "date"})


def _select_expression(name: str, type_: str) -> str:
    if type_ == "date":
        return f"case when {name} < '9999-12-31' then {name} end"  # null instead of the end of an open period
    return f"{name}::float8" if type_.startswith("numeric") else name


def _query_frame(warehouse: Warehouse, sql: str, types: dict[str, str]) -> pd.DataFrame:
    """Run a query and convert its result: dates to datetime64, numbers to float64 if they may be null."""
    frame = pd.DataFrame(warehouse.fetch_columns(sql))
    for name in frame.columns:
        if types.get(name) == "date":
            frame[name] = pd.to_datetime(frame[name])
        elif types.get(name, "text") != "text":
            frame[name] = pd.to_numeric(frame[name])
    return frame


def _quote_list(texts: Iterable[str]) -> Sql:
    return Sql(", ".join(quote_text(text) for text in texts) or "null")


def _read_freshness(warehouse: Warehouse, datasets: Sequence[str]) -> pd.DataFrame:
    """Read one row per loaded dataset: partitions, rows, last date, and when its newest commit was received (UTC)."""
    names = ["dataset", "partitions", "rows", "last_day", "last_known"]
    if not warehouse.has_relation("raw._ledger"):
        return pd.DataFrame(columns=names)
    ledger = _query_frame(warehouse, _LEDGER.format(datasets=_quote_list(datasets)), {})
    days = {dataset: _read_last_day(warehouse, dataset) for dataset in ledger["dataset"]}
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


def _read_last_day(warehouse: Warehouse, dataset: str) -> object:
    column = _find_day_column(warehouse, dataset)
    if column is None:
        return None
    return warehouse.fetch_columns(f"select max({quote_name(column)}) as day from raw.{quote_name(dataset)} where known_to = 'infinity'")[
        "day"
    ][0]


def _read_coverage(warehouse: Warehouse, datasets: Iterable[str]) -> pd.DataFrame:
    """Read one row per source dataset and month: the number of days with data, and of rows. Months without data have no row."""
    frames = [pd.DataFrame(columns=["dataset", "month", "days", "rows"])]
    for dataset in datasets:
        if column := _find_day_column(warehouse, dataset):
            sql = _COVERAGE.format(name=quote_text(dataset), day=quote_name(column), table=quote_name(dataset))
            frames.append(_query_frame(warehouse, sql, {"month": "date"}))
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


def _add_sessions(coverage: pd.DataFrame, sessions: pd.DataFrame) -> pd.DataFrame:
    """Add the trading sessions of each month. Empty frames cannot be merged, because their columns have no type."""
    if coverage.empty or sessions.empty:
        return coverage.assign(sessions=float("nan"))
    return coverage.merge(sessions, on=["dataset", "month"], how="left")


_COVERAGE = """
select {name} as dataset, date_trunc('month', day)::date as month, count(*) as days, sum(rows)::bigint as rows
from (select {day} as day, count(*) as rows from raw.{table} where known_to = 'infinity' and {day} is not null group by 1) daily
group by 2
order by 2
"""


def _find_day_column(warehouse: Warehouse, dataset: str) -> str | None:
    """Return the column with the date of a row: the one that the table is partitioned by. None if rows have no date."""
    day_columns = warehouse.fetch_columns(
        _DAY_COLUMN.format(table=quote_text(f"raw.{quote_name(dataset)}"), named=quote_text(_DAY_COLUMNS.get(dataset, "")))
    )
    return str(day_columns["column"][0]) if day_columns["column"] else None


_DAY_COLUMN = """
select a.attname::text as column
from pg_attribute a
left join pg_partitioned_table p on p.partrelid = a.attrelid and p.partstrat = 'r'
where a.attrelid = to_regclass({table}) and a.attnum > 0 and (a.attnum = p.partattrs[0] or a.attname = {named})
"""
