"""The data frames that the pages show, read from the marts and raw tables of one snapshot.

A frame has its columns even if its mart is missing or empty. The page then omits that section.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from publish_marts.warehouse import Sql, compose, quote_name, quote_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from publish_marts.export import Mart
    from publish_marts.warehouse import Warehouse

MAX_TICKERS = 6  # in one chart: more colours cannot be told apart
MAX_SECURITIES = 50  # with a page
MAX_RUNS = 20  # with a page
MAX_LOADS = 20  # of a dataset, on its page
SAMPLE_ROWS = 20  # of a mart, on its page
CURRENCIES = ("USD", "GBP", "JPY", "CHF")
_DAY_COLUMNS = {"sec_company_facts": "filed"}  # of tables that are not partitioned by a date


@dataclass(frozen=True)
class Frames:
    """The data that the pages show. Dates are datetime64 and numbers float64, for charts and rounded figures, never for files.

    `charted` are the tickers in the charts of the landing page, a subset of the securities that have pages. `samples` has the newest
    rows of each mart as text. `runs` are the newest builds of the marts, newest first, each with its tests.
    """

    charted: Sequence[str]
    securities: pd.DataFrame
    prices: pd.DataFrame
    returns: pd.DataFrame
    valuation: pd.DataFrame
    actions: pd.DataFrame
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
    loads: pd.DataFrame
    run_loads: pd.DataFrame
    samples: Mapping[str, Sequence[Sequence[str | None]]]
    runs: Sequence[Mapping[str, Any]]

    def select_tickers(self, tickers: Collection[str]) -> Frames:
        """Return the frames with only these tickers."""
        return self._select(("prices", "returns", "valuation"), "ticker", tickers)

    def select_security(self, security_id: str) -> Frames:
        """Return the frames with only this security."""
        return self._select(("securities", "prices", "returns", "valuation", "actions"), "security_id", [security_id])

    def _select(self, names: Sequence[str], column: str, values: Collection[str]) -> Frames:
        """Return the frames, those with these names with only the rows that have one of the values."""
        chosen: dict[str, Any] = {name: getattr(self, name)[getattr(self, name)[column].isin(list(values))] for name in names}
        return replace(self, **chosen)


def read_frames(warehouse: Warehouse, marts: Sequence[Mart], datasets: Sequence[str], lineage: Mapping[str, Any]) -> Frames:
    """Read all frames, each sorted by its columns in their order.

    Frames about securities have those with the largest turnover of the last year, at most MAX_SECURITIES. Frames about raw tables have
    `datasets`. `lineage` has the latency of each dataset.
    """
    reader = _FrameReader(warehouse, {mart.name: mart for mart in marts})
    traded = reader.read_traded_securities()
    of_securities = f"security_id in ({_quote_list(traded['security_id'])})"
    securities = reader.read_frame("dim_security", _SECURITY, of_securities)
    of_issuers = f"cik in ({_quote_list(str(int(cik)) for cik in securities['cik'].dropna().unique())})"
    of_currencies = f"base_currency = 'EUR' and quote_currency in ({_quote_list(CURRENCIES)})"
    freshness = _read_freshness(warehouse, datasets, lineage)
    return Frames(
        charted=tuple(sorted(traded["ticker"].head(MAX_TICKERS))),
        securities=securities,
        prices=reader.read_frame("fct_price_daily", ("ticker", "trade_date", "close", "adj_close", "security_id"), of_securities),
        returns=reader.read_frame("fct_return_daily", ("ticker", "trade_date", "vol_63d", "drawdown", "security_id"), of_securities),
        valuation=reader.read_frame(
            "fct_valuation_daily", ("ticker", "trade_date", "pe_ratio", "pe_null_reason", "security_id"), of_securities
        ),
        actions=reader.read_frame("fct_corporate_action", _ACTION, of_securities),
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
        loads=_read_loads(warehouse, datasets),
        run_loads=_read_run_loads(warehouse, datasets),
        samples={mart.name: _read_sample(warehouse, mart) for mart in marts},
        runs=_read_runs(warehouse),
    )


_SECURITY = ("security_id", "valid_from", "ticker", "name", "cik", "security_type", "currency", "valid_to")
_ACTION = ("security_id", "ex_date", "kind", "cash_amount", "currency", "split_to", "split_from")
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
        where trade_date > (select max(trade_date) from marts.fct_price_daily) - 365
        group by security_id, ticker
    ) securities
    order by ticker, last_session desc
) latest
order by turnover desc nulls last, ticker
limit {MAX_SECURITIES}
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
        """Read these columns of a mart's published rows. The frame is empty if the mart, or one of its columns, is missing."""
        types = {column.name: column.type for column in self._marts[mart].columns} if mart in self._marts else {}
        if not set(names) <= types.keys():
            return pd.DataFrame(columns=list(names))
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


def _read_freshness(warehouse: Warehouse, datasets: Sequence[str], lineage: Mapping[str, Any]) -> pd.DataFrame:
    """Read one row per loaded dataset: partitions, rows, last date, when its newest commit was received (UTC), and how late it is.

    The last date is that of the mart fct_freshness, from which runs and alarms have it too. `latency_days` is the age from which a dataset
    is late, null if the contract states none. `checked_on` is the day of this snapshot.
    """
    names = ["dataset", "partitions", "rows", "last_day", "last_known", "latency_days", "checked_on"]
    if not warehouse.has_relation("raw._ledger"):
        return pd.DataFrame(columns=names)
    ledger = _query_frame(warehouse, _LEDGER.format(datasets=_quote_list(datasets)), {})
    days: dict[str, object] = {}
    if warehouse.has_relation("marts.fct_freshness"):
        columns = warehouse.fetch_columns("select dataset, last_date from marts.fct_freshness")
        days = dict(zip(columns["dataset"], columns["last_date"], strict=True))
    days |= {dataset: _read_last_day(warehouse, dataset) for dataset in ledger["dataset"] if days.get(dataset) is None}
    ledger["last_day"] = pd.to_datetime(ledger["dataset"].map(days))
    latencies = {name: terms.get("latency_days") for name, terms in lineage.get("datasets", {}).items()}
    ledger["latency_days"] = pd.to_numeric(ledger["dataset"].map(latencies))
    ledger["checked_on"] = pd.to_datetime(warehouse.fetch_columns("select current_date as today")["today"][0])
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


def _read_loads(warehouse: Warehouse, datasets: Sequence[str]) -> pd.DataFrame:
    """Read the newest MAX_LOADS loads of each dataset, newest first."""
    if not warehouse.has_relation("raw._ledger"):
        return pd.DataFrame(columns=["dataset", "lake_partition", "lake_commit", "rows", "known_at"])
    return _query_frame(warehouse, _LOADS.format(datasets=_quote_list(datasets), limit=MAX_LOADS), {})


_LOADS = """
select dataset, lake_partition, lake_commit, rows, known_at
from (
    select
        dataset,
        partition as lake_partition,
        commit as lake_commit,
        rows,
        to_char(known_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI') as known_at,
        load_id,
        row_number() over (partition by dataset order by load_id desc) as position
    from raw._ledger
    where dataset in ({datasets})
) loads
where position <= {limit}
order by dataset, load_id desc
"""


def _read_run_loads(warehouse: Warehouse, datasets: Sequence[str]) -> pd.DataFrame:
    """Read, per build of the marts and dataset, how many loads and rows were new since the build before it."""
    if not (warehouse.has_relation("raw._ledger") and _has_columns(warehouse, "ops.transforms", ("started_at",))):
        return pd.DataFrame(columns=["transform_id", "dataset", "loads", "rows"])
    return _query_frame(warehouse, _RUN_LOADS.format(datasets=_quote_list(datasets), limit=MAX_RUNS), {})


_RUN_LOADS = """
select transform_id, dataset, count(*) as loads, sum(rows)::bigint as rows
from (
    select transform_id, started_at, lag(started_at, 1, '-infinity') over (order by transform_id) as previous_started_at
    from ops.transforms
    order by transform_id desc
    limit {limit}
) runs
join raw._ledger on loaded_at > previous_started_at and loaded_at <= started_at
where dataset in ({datasets})
group by transform_id, dataset
order by transform_id, dataset
"""


def _read_runs(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Read the newest builds of the marts, newest first, with their models and tests. Builds of earlier versions recorded none."""
    columns = warehouse.fetch_columns(_RUNS.format(limit=MAX_RUNS))
    return [json.loads(text) for text in columns["run"]]


_RUNS = """
select (to_jsonb(transforms) - 'lineage' - 'fingerprint' - 'shape')::text as run
from ops.transforms
order by transform_id desc
limit {limit}
"""


def _read_sample(warehouse: Warehouse, mart: Mart) -> list[tuple[str | None, ...]]:
    """Read the newest rows of a mart as text: the newest known ones, or those with the newest date, in its key or else at all.

    Without a date, they are the first rows. Rows whose date is null are left out, so that an index on it can be used.
    """
    types = {column.name: column.type for column in mart.columns}
    columns = Sql(", ".join(f"{_text_expression(quote_name(name), type_)} as {quote_name(name)}" for name, type_ in types.items()))
    dates = [name for name in (*mart.key, *types) if types[name].startswith(("date", "timestamp"))]
    date = min(dates, key=lambda name: (name not in mart.key, not name.startswith("known")), default=None)
    newest = [f"mart.{quote_name(date)} desc"] if date else []  # mart: not the text of the same name
    order = Sql(", ".join([*newest, *(f"mart.{quote_name(name)}" for name in mart.key if name != date)]) or "1")
    where = Sql(f"{mart.where} and {quote_name(date)} is not null") if date else mart.where
    template = "select {columns} from marts.{mart} as mart where {where} order by {order} limit {limit}"
    sql = compose(template, columns=columns, mart=quote_name(mart.name), where=where, order=order, limit=Sql(str(SAMPLE_ROWS)))
    return list(zip(*warehouse.fetch_columns(sql).values(), strict=True))


def _text_expression(name: str, type_: str) -> str:
    """Convert a column to short text: numbers without trailing zeros, times to the minute."""
    if type_.startswith("numeric"):
        return f"trim_scale({name})::text"
    if type_.startswith("timestamp"):
        return f"case when isfinite({name}) then to_char({name}, 'YYYY-MM-DD HH24:MI') else {name}::text end"
    return f"{name}::text"


def _has_columns(warehouse: Warehouse, relation: str, names: Sequence[str]) -> bool:
    columns = warehouse.fetch_columns(
        f"select attname::text as name from pg_attribute where attrelid = to_regclass({quote_text(relation)}) and attnum > 0"
    )
    return set(names) <= set(columns["name"])
