"""What the marts say, built from the sample's figures and held against published ones and against pandas."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import psycopg
import pytest

from tests.fixtures_postgres import Warehouse
from verification.sample_vendors import ecb, sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestration.local.postgres import Postgres

DBT = Path(__file__).parents[1] / "dbt"
KNOWN_AT = "2026-01-01T00:00:00Z"
COLUMNS = {
    "dim_security": "security_id ticker name currency cik valid_from valid_to",
    "fct_price_daily": "ticker trade_date open high low close volume currency split_factor total_return_factor adj_close close_eur"
    " fx_rate fx_date known_at",
    "fct_return_daily": "ticker trade_date return_price return_total return_total_log return_price_eur return_total_eur"
    " vol_21d vol_63d vol_252d drawdown sharpe_252d known_at",
    "fct_fx_rate": "rate_date base_currency quote_currency rate",
    "fct_yield": "curve_date tenor yield_pct",
    "fct_curve_spread": "curve_date spread_2s10s_bp spread_3m10y_bp spread_5s30s_bp",
    "fct_fundamental": "cik concept period_start period_end unit value accession known_from known_to",
    "fct_valuation_daily": "ticker trade_date close ttm_eps_diluted pe_ratio",
    "fct_coverage_daily": "dataset coverage_date calendar status row_count",
    "fct_close_difference": "security_id trade_date close_tiingo close_massive difference",
    "fct_restatement": "known_date dataset subject item period_start period_end value_before value_after change origin",
    "fct_quarantine": "dataset lake_partition row_number reasons raw_row",
    "fct_freshness": "dataset last_date last_known_at sessions_behind",
    "dim_calendar": "calendar session_date published_at",
    "dim_issuer": "filer_cik cik name",
}
FISCAL_2012 = "select value from marts.fct_fundamental where concept = '{}' and period_start = '2011-09-25' and period_end = '2012-09-29'"
TIINGO_TYPES = {
    "ticker": "text",
    "date": "date",
    "volume": "int8",
    "adjVolume": "int8",
    "divCash": "numeric(18,6)",
    "splitFactor": "numeric(18,8)",
}
FACT_TYPES = {"cik": "int8", "start": "date", "end": "date", "val": "numeric(38,10)", "fy": "int4", "filed": "date"}


def load(connection: psycopg.Connection[Any], dataset: str, types: dict[str, str], rows: Iterable[Iterable[object]]) -> None:
    """A raw table as the loader leaves it, with its ledger row."""
    columns = ", ".join(f'"{name}" {kind}' for name, kind in types.items())
    own = "_row_number integer, _load_id bigint, known_from timestamptz, known_to timestamptz"
    connection.execute(f"create table raw.{dataset} ({columns}, {own})".encode())
    connection.execute("insert into raw._ledger (dataset, partition, commit, sha256) values (%s, 'all', 1, 'x')", [dataset])
    with connection.cursor().copy(f"copy raw.{dataset} from stdin".encode()) as copy:
        for number, row in enumerate(rows, 1):
            copy.write_row([*row, number, 1, KNOWN_AT, "infinity"])


def load_sample(connection: psycopg.Connection[Any]) -> None:
    """Prices, rates, yields and facts of the sample, and a currency that no file has had yet."""
    connection.execute(
        "create schema raw; create table raw._ledger (load_id bigint generated always as identity, dataset text, partition text,"
        " commit integer, sha256 text, rows bigint, known_at timestamptz, loaded_at timestamptz default now())"
    )
    archive = zipfile.ZipFile(io.BytesIO(ecb.publication("eurofxref-hist").body))
    [header, *days] = csv.reader(io.TextIOWrapper(archive.open(archive.namelist()[0])))
    currencies = header[1:-1]
    rates = [[day[0], *(None if rate == "N/A" else rate for rate in day[1:-1]), "7.5" if day[0] == "2012-12-31" else None] for day in days]
    load(connection, "ecb_fx_rates", {"Date": "date", **dict.fromkeys([*currencies, "XTS"], "numeric(18,8)")}, rates)

    yields = sample.table("treasury_par_yields")
    tenors = list(yields[0])[1:]
    curve = [[row["date"], *(row[tenor] or None for tenor in tenors)] for row in yields]
    load(connection, "treasury_par_yields", {"Date": "date", **dict.fromkeys(tenors, "numeric(8,4)")}, curve)

    prices, market = [], []
    for ticker, bars in sample.bars().items():
        adjusted = adjustment_factors(bars)
        for bar, factor in zip(bars, adjusted, strict=True):
            traded = (bar.close, bar.high, bar.low, bar.open)
            moved = (price * factor for price in traded)
            prices.append([ticker, bar.session, *traded, bar.volume, *moved, bar.volume, bar.dividend, 1])
            market.append([bar.session, ticker, bar.volume, None, bar.open, bar.close, bar.high, bar.low, 0, None])
    names = ["ticker", "date", "close", "high", "low", "open", "volume", "adjClose", "adjHigh", "adjLow", "adjOpen", "adjVolume", "divCash"]
    types = {name: TIINGO_TYPES.get(name, "float8" if name.startswith("adj") else "numeric(18,6)") for name in [*names, "splitFactor"]}
    load(connection, "tiingo_prices", types, prices)
    massive = {
        "date": "date",
        "T": "text",
        "v": "numeric(24,6)",
        "vw": "float8",
        **dict.fromkeys("ochl", "numeric(18,6)"),
        "t": "int8",
        "n": "int8",
    }
    load(connection, "massive_daily_prices", massive, market)

    filings = {row["accn"]: row for row in sample.table("sec_filings")}
    facts = []
    for row in sample.table("sec_facts"):
        filing = filings[row["accn"]]
        period = (row["start"] or None, row["end"], row["val"], row["accn"])
        facts.append(
            [
                320193,
                "Apple Inc.",
                row["taxonomy"],
                row["tag"],
                row["unit"],
                *period,
                *(filing[name] for name in ("fy", "fp", "form", "filed")),
                None,
            ]
        )
    names = ["cik", "entityName", "taxonomy", "tag", "unit", "start", "end", "val", "accn", "fy", "fp", "form", "filed", "frame"]
    load(connection, "sec_company_facts", {name: FACT_TYPES.get(name, "text") for name in names}, facts)
    filers = [[320193, "AAPL", "Apple Inc."], [51143, "IBM", "INTERNATIONAL BUSINESS MACHINES CORP"]]
    load(connection, "sec_filers", {"cik_str": "int8", "ticker": "text", "title": "text"}, filers)


def adjustment_factors(bars: list[sample.Bar]) -> list[float]:
    """The total return factor of each session, from the later dividends."""
    effects = [1 - bar.dividend / before.close for before, bar in pairwise(bars)]
    return [float(factor) for factor in np.append(np.cumprod(effects[::-1])[::-1], 1.0)]


@pytest.fixture(scope="module")
def marts(postgres_server: Postgres) -> Iterator[Warehouse]:
    """A warehouse with the sample in it, transformed."""
    url = postgres_server.url.replace("/warehouse", "/marts")
    with psycopg.connect(postgres_server.url, password=postgres_server.password, autocommit=True) as admin:
        admin.execute("create database marts")
        warehouse = Warehouse(url, postgres_server.password, postgres_server.password_reference)
        with warehouse.connect() as connection:
            load_sample(connection)
        command = [
            sys.executable,
            "-m",
            "transform_warehouse",
            "run",
            "--warehouse",
            url,
            "--warehouse-password",
            warehouse.password_reference,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        receipt = json.loads(done.stdout)
        assert receipt["exit_code"] == 0, receipt["error"]
        yield warehouse
        admin.execute("drop database marts with (force)")


def frame(marts: Warehouse, query: str) -> pd.DataFrame:
    """The rows of a query; numbers as float, dates as text."""
    with marts.connect() as connection, connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return pd.DataFrame(cursor.execute(query.encode()).fetchall())


def test_each_mart_has_the_columns_it_promises(marts: Warehouse) -> None:
    columns = (
        "select table_name::text, column_name::text from information_schema.columns where table_schema = 'marts' order by ordinal_position"
    )
    there = marts.rows(columns)
    for mart, promised in COLUMNS.items():
        assert [name for table, name in there if table == mart and name in promised.split()] == promised.split(), mart


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        (FISCAL_2012.format("revenue"), 156_508_000_000),
        (FISCAL_2012.format("net_income"), 41_733_000_000),
        ("select rate from marts.fct_fx_rate where rate_date = '2012-12-31' and quote_currency = 'USD'", 1.3194),
        ("select spread_2s10s_bp from marts.fct_curve_spread where curve_date = '2012-12-31'", 153),
        ("select yield_pct from marts.fct_yield where curve_date = '2012-12-31' and tenor = '30Y'", 2.95),
        ("select count(*) from marts.fct_yield where curve_date = '2010-10-11'", 0),
        ("select count(*) from marts.fct_curve_spread where curve_date = '2010-10-11'", 0),
        ("select ttm_eps_diluted from marts.fct_valuation_daily where ticker = 'AAPL' and trade_date = '2012-12-31'", 44.15),
        ("select ttm_value from intermediate.int_fundamentals_ttm where concept = 'revenue' and known_from = '2010-01-26'", 46_708_000_000),
        ("select rate from marts.fct_fx_rate where quote_currency = 'XTS'", 7.5),
    ],
)  # fmt: skip
def test_published_figures(marts: Warehouse, query: str, answer: float) -> None:
    [[found]] = marts.rows(query)
    assert float(found) == answer


@pytest.mark.parametrize(("day", "value"), [("2009-10-28", 36_537), ("2010-01-25", 36_537), ("2010-01-26", 42_905), ("2013-02-28", 42_905)])
def test_apples_fiscal_2009_revenue_is_what_was_known_on_the_day(marts: Warehouse, day: str, value: int) -> None:
    query = f"""
        select value / 1000000 from marts.fct_fundamental
        where cik = 320193 and concept = 'revenue' and period_start = '2008-09-28' and period_end = '2009-09-26'
            and known_from <= '{day}' and known_to > '{day}'
    """
    assert [float(found) for (found,) in marts.rows(query)] == [value]


@pytest.mark.parametrize(
    ("query", "moment"),
    [
        ("select known_at from marts.fct_fx_rate where rate_date = '2012-12-31' and quote_currency = 'USD'", "2012-12-31T15:00Z"),
        ("select known_at from marts.fct_fx_rate where rate_date = '2012-06-29' and quote_currency = 'USD'", "2012-06-29T14:00Z"),
        ("select known_at from marts.fct_yield where curve_date = '2012-12-31' and tenor = '3M'", "2012-12-31T23:00Z"),
        ("select known_at from marts.fct_price_daily where ticker = 'AAPL' and trade_date = '2012-12-31'", "2012-12-31T21:00Z"),
        ("select known_at from marts.fct_return_daily where ticker = 'AAPL' and trade_date = '2012-12-24'", "2012-12-24T18:00Z"),
        ("select known_at from marts.fct_valuation_daily where ticker = 'AAPL' and trade_date = '2012-07-03'", "2012-07-03T17:00Z"),
    ],
)
def test_a_figure_is_known_when_it_was_published(marts: Warehouse, query: str, moment: str) -> None:
    assert marts.rows(query) == [(datetime.fromisoformat(moment),)]


def test_the_sample_is_covered_but_for_the_days_without_rates(marts: Warehouse) -> None:
    query = "select dataset, status, count(*)::int from marts.fct_coverage_daily where status <> 'whole' group by 1, 2 order by 1, 2"
    assert marts.rows(query) == []
    assert marts.rows("select count(distinct dataset) from marts.fct_coverage_daily") == [(4,)]


def test_the_two_vendors_of_the_sample_agree(marts: Warehouse) -> None:
    assert marts.rows("select * from marts.fct_close_difference") == []


def test_a_restatement_of_a_company_names_its_filing(marts: Warehouse) -> None:
    query = """
        select known_date::text, (value_before / 1000000)::int, (value_after / 1000000)::int, round(change::numeric, 6)::text, origin
        from marts.fct_restatement
        where subject = 'CIK 320193' and item = 'revenue, USD' and period_start = '2008-09-28' and period_end = '2009-09-26'
    """
    assert marts.rows(query) == [("2010-01-26", 36_537, 42_905, "0.174289", "0001193125-10-012091")]


def test_freshness_counts_the_sessions_since_by_the_clock(marts: Warehouse) -> None:
    query = "select dataset, last_date::text, sessions_behind > 3000 from marts.fct_freshness where sessions_behind is not null order by 1"
    assert [row[0] for row in marts.rows(query)] == ["ecb_fx_rates", "massive_daily_prices", "tiingo_prices", "treasury_par_yields"]
    assert {row[2] for row in marts.rows(query)} == {True}


def test_unknown_earnings_have_a_reason(marts: Warehouse) -> None:
    query = "select distinct ticker, pe_null_reason from marts.fct_valuation_daily where pe_ratio is null order by 1, 2"
    assert marts.rows(query) == [
        ("AAPL", "no_filing"),
        ("AAPL", "no_fiscal_year"),
        ("GOOG", "no_filer"),
        ("IBM", "no_filing"),
        ("MSFT", "no_filer"),
    ]


def test_a_filing_is_no_earnings_before_the_session_after_it(marts: Warehouse) -> None:
    query = "select trade_date, ttm_eps_diluted from marts.fct_valuation_daily where ticker = 'AAPL' and trade_date in ({}) order by 1"
    assert marts.rows(query.format("'2010-01-25', '2010-01-26'")) == [(date(2010, 1, 25), 6.29), (date(2010, 1, 26), 10.25)]


def test_prices_agree_with_pandas(marts: Warehouse) -> None:
    found = frame(marts, "select * from marts.fct_price_daily order by ticker, trade_date").set_index(["ticker", "trade_date"])
    rates = frame(marts, "select rate_date, rate from marts.fct_fx_rate where quote_currency = 'USD' order by rate_date")
    rates["at"] = pd.to_datetime(rates.rate_date.astype(str))
    for ticker, bars in sample.bars().items():
        ours = found.loc[ticker]
        assert len(ours) == len(bars)
        closes = np.array([bar.close for bar in bars])
        np.testing.assert_allclose(ours.adj_close.astype(float), closes * adjustment_factors(bars), rtol=1e-9)
        sessions = pd.DataFrame({"at": pd.to_datetime([bar.session for bar in bars])})
        nearest = pd.merge_asof(sessions, rates, on="at", tolerance=pd.Timedelta(days=5))
        assert list(ours.fx_date) == list(nearest.rate_date)
        np.testing.assert_allclose(ours.close_eur.astype(float), closes / nearest.rate.astype(float), rtol=1e-9)


def test_returns_and_risk_agree_with_pandas(marts: Warehouse) -> None:
    found = frame(marts, "select * from marts.fct_return_daily order by ticker, trade_date").set_index(["ticker", "trade_date"])
    bills = pd.DataFrame([row for row in sample.table("treasury_par_yields") if row["3 Mo"]])
    bills = pd.DataFrame({"at": pd.to_datetime(bills["date"]), "risk_free": bills["3 Mo"].astype(float) / 100 / 252})
    for ticker, bars in sample.bars().items():
        day = pd.DataFrame(bars)
        day["at"] = pd.to_datetime(day.session)
        day = pd.merge_asof(day, bills, on="at", allow_exact_matches=False)
        total = (day.close + day.dividend) / day.close.shift() - 1
        log, excess, wealth = np.log1p(total), total - day.risk_free, (1 + total.fillna(0)).cumprod()
        expected = {
            "return_price": day.close.pct_change(),
            "return_total": total,
            "return_total_log": log,
            **{f"vol_{window}d": log.rolling(window).std(ddof=1) * np.sqrt(252) for window in (21, 63, 252)},
            "drawdown": wealth / wealth.cummax() - 1,
            "sharpe_252d": excess.rolling(252).mean() / excess.rolling(252).std(ddof=1) * np.sqrt(252),
        }
        for column, values in expected.items():
            np.testing.assert_allclose(found.loc[ticker][column].astype(float), values, rtol=1e-6, atol=1e-9, err_msg=f"{ticker} {column}")


def test_the_unit_tests_of_the_project_pass(marts: Warehouse, tmp_path: Path) -> None:
    host, _, port = marts.url.split("@")[1].split("/")[0].partition(":")
    known = {
        "FINELT_DBT_HOST": host,
        "FINELT_DBT_PORT": port,
        "FINELT_DBT_DATABASE": "marts",
        "DBT_ENV_SECRET_FINELT_PASSWORD": marts.password,
    }
    folders = ["--project-dir", DBT, "--profiles-dir", DBT, "--target-path", tmp_path / "target", "--log-path", tmp_path / "logs"]
    command = [sys.executable, "-m", "dbt.cli.main", "test", "--select", "test_type:unit", "--no-use-colors", *folders]
    done = subprocess.run(list(map(str, command)), env={**os.environ, **known}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
