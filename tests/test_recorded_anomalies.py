"""Anomalies that vendors really sent, each as recorded. True ones are kept, false ones refused; none is repaired by guessing."""

from __future__ import annotations

import io
import json
import tarfile
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from jobkit.errors import BadDataError
from jobkit.lake import Lake

from finelt import quarantine
from tests import recorded_answers, recorded_lake
from tests.recorded_answers import FEEDS
from tests.small_project import copy_small_project
from tests.warehouse.samples import load

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixtures_postgres import Warehouse

on_feeds = pytest.mark.skipif(not FEEDS.exists(), reason="the vendors' own files are not on this machine")
BAR = {"o": 10.0, "c": 10.2, "h": 10.5, "l": 9.9, "v": 1000, "t": 1428350400000}
ANSWERS = {
    "massive": recorded_lake.massive("2015-04-06", []),
    "tiingo": recorded_lake.Answer("extract_tiingo_prices", "tiingo_prices", ("ticker=AAPL/year=2015",), b""),
    "treasury": recorded_lake.treasury("2015", ""),
    "ecb": recorded_lake.ecb(b"", 2015, 2015),
    "facts": recorded_lake.facts(320193, b""),
    "filers": recorded_lake.filers(b""),
}
ERRORS_IN_200 = {
    "Alpha Vantage's quota": b'{"Information": "We have detected your API key and our standard API rate limit is 25 requests per day."}',
    "Alpha Vantage's mistake": b'{"Error Message": "Invalid API call. Please retry or visit the documentation."}',
    "World Bank's refusal": b'[{"message": [{"id": "120", "key": "Invalid value", "value": "The provided parameter value is not valid"}]}]',
    "World Bank's nothing": b'[{"page": 0, "pages": 0, "per_page": 0, "total": 0, "sourceid": null, "lastupdated": null}, null]',
    "BLS's threshold": b'{"status": "REQUEST_NOT_PROCESSED", "responseTime": 0, "message": ["daily threshold"], "Results": {}}',
    "Stooq's limit": b"Exceeded the daily hits limit",
    "a page for people": b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body>We will be back.</body></html>",
    "nothing at all": b"",
}


def day_file(day: str) -> list[dict[str, str]]:
    """The lines of a whole day's file of the market, later headers included."""
    with tarfile.open(FEEDS / "prices_2015_2017" / "day_files" / f"{day}.tar.gz") as archive:
        (member,) = [name for name in archive.getnames() if name.endswith("prices.csv")]
        found = archive.extractfile(member)
        assert found is not None
        header, *lines = found.read().decode().split("\r\n")
    names = header.split(",")
    return [dict(zip(names, line.split(","), strict=True)) for line in lines if line]


def as_massive(day: str) -> list[dict[str, Any]]:
    """A day's file as Massive's results: the rows that are of the day itself."""
    dashed = f"{day[:4]}-{day[4:6]}-{day[6:]}"
    names = {"o": "open", "c": "close", "h": "high", "l": "low"}.items()
    noon = int(datetime.fromisoformat(f"{dashed}T17:00Z").timestamp() * 1000)
    rows = [row for row in day_file(day) if row["date"] == dashed]
    return [
        {"T": row["symbol"], "v": int(row["volume"]), **{ours: float(row[name]) for ours, name in names}, "t": noon} for row in rows
    ]  # fmt: skip


@pytest.mark.parametrize("vendor", ANSWERS)
@pytest.mark.parametrize("mess", ERRORS_IN_200)
def test_an_error_with_status_200_writes_nothing_to_the_lake(tmp_path: Path, vendor: str, mess: str) -> None:
    """Also the four empty days: prices.csv of 2015-06-10, 2016-10-10, 2016-11-17 and 2017-03-23 had no byte."""
    lake = Lake(str(tmp_path / "lake"))
    with pytest.raises(BadDataError):
        recorded_lake.commit(lake, ANSWERS[vendor]._replace(body=ERRORS_IN_200[mess]))
    assert lake.partitions(ANSWERS[vendor].dataset) == []


def test_a_response_with_a_duplicate_day_is_refused(tmp_path: Path) -> None:
    """2015-04-06 came twice in one file, and not the same both times: to choose would be to guess."""
    rows = [{"T": f"T{number}", **BAR} for number in range(100)]
    with pytest.raises(BadDataError, match="100 of 200 rows break the contract.*repeats the key"):
        recorded_lake.commit(Lake(str(tmp_path / "lake")), recorded_lake.massive("2015-04-06", rows + rows))


@on_feeds
def test_the_doubled_file_of_2015_04_06_is_refused(tmp_path: Path) -> None:
    names = [row["symbol"] for row in day_file("20150406")]
    assert "symbol" in names  # the second header
    with pytest.raises(BadDataError, match="12064 of 18096 rows break the contract"):
        recorded_lake.commit(Lake(str(tmp_path / "lake")), recorded_lake.massive("2015-04-06", as_massive("20150406")))


@on_feeds
def test_a_few_impossible_rows_of_a_day_are_quarantined_and_the_others_committed(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    sent = as_massive("20170331")
    [(made, _)] = recorded_lake.commit(lake, recorded_lake.massive("2017-03-31", sent))
    count = quarantine.count_rows(made)
    assert (count.read, count.good + count.quarantined, count.dropped) == (len(sent), len(sent), 0)
    assert (count.read, count.quarantined) == (5986, 5)


@on_feeds
def test_a_partial_day_is_detected_by_its_row_count_and_completed_by_the_next_response(feeds: Warehouse) -> None:
    """2016-09-01: 2,359 rows where there are 6,000."""
    assert len(as_massive("20160901")) < 0.6 * len(as_massive("20170331"))
    query = (
        "select coverage_date::text, status from marts.fct_coverage_daily where dataset = 'massive_daily_prices' and status <> 'missing'"
    )
    assert ("2016-09-01", "partial") in feeds.rows(query)


def test_prices_on_holidays_are_reported_and_excluded(feeds: Warehouse) -> None:
    """Presidents' Day, Memorial Day and Independence Day of 2016, each with a price of PMV."""
    days = ["2016-02-15", "2016-05-30", "2016-07-04"]
    told = "select coverage_date::text from marts.fct_coverage_daily where dataset = 'tiingo_prices' and status = 'no_session' order by 1"
    assert feeds.rows(told) == [(day,) for day in days], [r for r in day_file("20150703") if r["date"] == "2015-07-03"]
    assert feeds.rows(f"select count(*) from marts.fct_return_daily where trade_date in {tuple(days)}") == [(0,)]


def test_a_close_below_the_low_and_prices_of_zero_never_reach_a_mart(feeds: Warehouse, tmp_path: Path) -> None:
    """PMV on 2015-11-20; CUI from 2015-03-30 on, so often that its year is refused."""
    held = feeds.rows("select raw_row::json ->> 'date', reasons from marts.fct_quarantine where raw_row::json ->> 'ticker' = 'PMV'")
    assert [day for day, _ in held] == ["2015-11-20"]
    assert "breaks low <= close" in held[0][1]
    assert feeds.rows("select count(*) from marts.fct_price_daily where ticker = 'PMV' and trade_date = '2015-11-20'") == [(0,)]
    with pytest.raises(BadDataError, match="close is 0.0, below"):
        recorded_lake.commit(Lake(str(tmp_path / "lake")), recorded_lake.tiingo("CUI", recorded_answers.tiingo_prices()["CUI"]))


def price(day: str, close: float, split: float = 1) -> dict[str, object]:
    """A day at Tiingo."""
    prices = dict.fromkeys(("close", "high", "low", "open"), close)
    return {"date": f"{day}T00:00:00.000Z", **prices, "volume": 1, "adjClose": close, "divCash": 0, "splitFactor": split}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A part of the dbt project."""
    folder = tmp_path_factory.mktemp("anomalies") / "dbt"
    return str(copy_small_project(folder, "fct_price_daily", "fct_return_daily", "fct_restatement"))


def test_a_split_from_a_later_response_is_not_known_earlier(warehouse: Warehouse, tmp_path: Path, project: str) -> None:
    """Netflix, 7 for 1 on 2015-07-15: who asked the day before got the prices of the day before, and as_of gives them still."""
    lake = Lake(str(tmp_path / "lake"))
    before, after = [price("2015-07-13", 707.61), price("2015-07-14", 702.6)], price("2015-07-15", 98.13, split=7)
    [(first, _)] = recorded_lake.commit(lake, recorded_lake.tiingo("NFLX", before))
    recorded_lake.commit(
        lake, recorded_lake.tiingo("NFLX", [{**day, "adjClose": float(str(day["close"])) / 7} for day in before] + [after])
    )
    load(recorded_lake.lake_path(lake), warehouse)
    query = "select trade_date::text, adj_close::numeric(12, 3) from marts.fct_price_daily order by 1"
    recorded_lake.transform(warehouse, "--project", project)
    assert warehouse.rows(query) == [
        ("2015-07-13", Decimal("101.087")),
        ("2015-07-14", Decimal("100.371")),
        ("2015-07-15", Decimal("98.130")),
    ]
    assert warehouse.rows("select round(return_total::numeric, 4) from marts.fct_return_daily where trade_date = '2015-07-15'") == [
        (Decimal("-0.0223"),)
    ]
    recorded_lake.transform(warehouse, "--project", project, "--as-of", first.known_at)
    assert warehouse.rows(query) == [("2015-07-13", Decimal("707.610")), ("2015-07-14", Decimal("702.600"))]


def test_a_corrected_price_is_reported_with_both_values_and_the_commit(warehouse: Warehouse, tmp_path: Path, project: str) -> None:
    lake = Lake(str(tmp_path / "lake"))
    for close in (500.0, 549.03):
        [(made, _)] = recorded_lake.commit(lake, recorded_lake.tiingo("AAPL", [price("2013-01-02", close)]))
    load(recorded_lake.lake_path(lake), warehouse)
    recorded_lake.transform(warehouse, "--project", project)
    query = "select known_date::text, subject, item, value_before, value_after, origin from marts.fct_restatement where item = 'close'"
    origin = "ticker=AAPL/year=2013 commit 2"
    assert warehouse.rows(query) == [(made.known_at[:10], "AAPL 2013-01-02", "close", Decimal(500), Decimal("549.03"), origin)]
    assert warehouse.rows("select count(*) from marts.fct_restatement where item like 'adj%'") == [(0,)]


FACT = (
    "select value / {scale} from marts.fct_fundamental where cik = {cik} and concept = '{concept}' and period_end = '{end}' "
    "and period_end - period_start between 350 and 380 and known_from <= '{day}' and known_to > '{day}'"
)


@pytest.mark.parametrize(
    ("concept", "end", "day", "value", "why"),
    [
        ("revenue", "2009-09-26", "2010-01-25", 36_537, "as first filed"),
        ("revenue", "2009-09-26", "2010-01-26", 42_905, "restated by the 10-K/A of 2010-01-25"),
        ("net_income", "2009-09-26", "2010-01-25", 5_704, "as first filed"),
        ("net_income", "2009-09-26", "2010-01-26", 8_235, "restated"),
        ("eps_diluted", "2012-09-29", "2014-10-27", 44.15, "in the shares of its time"),
        ("eps_diluted", "2012-09-29", "2014-10-28", 6.31, "restated by the split of 2014"),
        ("eps_diluted", "2018-09-29", "2020-10-29", 11.91, "in the shares of its time"),
        ("eps_diluted", "2018-09-29", "2020-11-02", 2.98, "restated by the split of 2020, filed on a Friday"),
        ("revenue", "2017-09-30", "2017-11-06", 229_234, "SalesRevenueNet"),
        ("revenue", "2018-09-29", "2018-11-06", 265_595, "Revenues"),
        ("revenue", "2019-09-28", "2019-11-01", 260_174, "RevenueFromContractWithCustomerExcludingAssessedTax"),
        ("revenue", "2022-09-24", "2024-12-02", 394_328, "its newest filing calls it fiscal 2024"),
    ],
)
def test_apples_numbers_are_those_of_the_day(feeds: Warehouse, concept: str, end: str, day: str, value: float, why: str) -> None:
    scale = 1 if concept.startswith("eps") else 1_000_000
    query = FACT.format(scale=scale, cik=320193, concept=concept, end=end, day=day)
    assert [float(found) for (found,) in feeds.rows(query)] == [value], why


def test_fy_and_fp_of_the_filing_are_not_those_of_the_fact(feeds: Warehouse) -> None:
    query = "select distinct fy from raw.sec_company_facts where cik = 320193 and start = '2021-09-26' and val = 394328000000 order by 1"
    assert feeds.rows(query) == [(2022,), (2023,), (2024,)]


def test_figures_reported_only_by_share_class_are_null_with_a_reason(feeds: Warehouse) -> None:
    """Alphabet's earnings per share of 2015 and 2016 stand on its classes of shares; there is no number for the company."""
    query = """
        select pe_ratio, pe_null_reason from marts.fct_valuation_daily
        where ticker = 'GOOGL' and trade_date in ('2015-11-02', '2016-06-01', '2017-03-31')
    """
    found = feeds.rows(query)
    assert len(found) == 3
    assert all(ratio is None and reason in ("no_filing", "no_fiscal_year", "no_prior_year_to_date", "stale") for ratio, reason in found)


RATE = "select rate from marts.fct_fx_rate where quote_currency = '{}' and rate_date = '{}'"


def test_the_jump_of_the_franc_on_2015_01_15_is_true_and_kept(feeds: Warehouse) -> None:
    assert [feeds.rows(RATE.format("CHF", day)) for day in ("2015-01-14", "2015-01-15")] == [[(Decimal("1.2010"),)], [(Decimal("1.0280"),)]]


@pytest.mark.parametrize(
    ("currency", "last"),
    [("EEK", "2010-12-31"), ("CYP", "2007-12-31"), ("RUB", "2022-03-01"), ("BGN", "2025-12-31"), ("TRL", "2004-12-31")],
)
def test_a_dead_currency_ends_and_is_not_filled_forward(feeds: Warehouse, currency: str, last: str) -> None:
    assert feeds.rows(f"select max(rate_date)::text from marts.fct_fx_rate where quote_currency = '{currency}'") == [(last,)]


def test_a_suspended_currency_has_no_rates_during_the_suspension(feeds: Warehouse) -> None:
    query = "select count(*) from marts.fct_fx_rate where quote_currency = 'ISK' and rate_date between '2008-12-10' and '2018-01-31'"
    assert feeds.rows(query) == [(0,)]


def test_a_blank_day_and_a_changing_header_of_the_treasury_are_accepted(feeds: Warehouse) -> None:
    assert feeds.rows("select count(*) from raw.treasury_par_yields where \"Date\" = '2010-10-11'") == [(1,)]
    assert feeds.rows("select count(*) from marts.fct_yield where curve_date = '2010-10-11'") == [(0,)]
    assert feeds.rows("select min(curve_date)::text from marts.fct_yield where tenor = '2M'") == [("2018-10-16",)]
    assert feeds.rows("select count(*) from marts.fct_coverage_daily where dataset = 'treasury_par_yields' and status <> 'whole'") == [(0,)]


def test_a_response_without_results_is_a_day_without_rows(tmp_path: Path) -> None:
    """Massive sends null, or leaves results out, on a holiday; rows promised and not sent are no holiday."""
    lake = Lake(str(tmp_path / "lake"))
    none = {"queryCount": 0, "resultsCount": 0, "adjusted": False, "results": None, "status": "OK"}
    holiday = ANSWERS["massive"]._replace(body=json.dumps(none).encode())
    assert [made.data.rows for made, _ in recorded_lake.commit(lake, holiday)] == [0]
    with pytest.raises(BadDataError, match="states 3 rows and has 0"):
        recorded_lake.commit(lake, holiday._replace(body=json.dumps({**none, "resultsCount": 3}).encode()))


def test_a_file_with_two_digit_years_is_refused(tmp_path: Path) -> None:
    """The Treasury's archive writes 12/31/15: quarantine and guess would be the same here, so the year is refused."""
    with pytest.raises(BadDataError):
        recorded_lake.commit(
            Lake(str(tmp_path / "lake")), recorded_lake.treasury("2015", io.StringIO('Date,"3 Mo"\n12/31/15,0.16\n').read())
        )
