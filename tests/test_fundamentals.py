"""Which number a concept shows, and which security an earnings figure reaches, where issuers report and list more than one of each.

The issuers are invented, but for the classes of Berkshire and Alphabet, whose ratios security_terms states.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
import pytest
from jobkit.lake import Lake

from tests import recorded_lake
from tests.fixtures_postgres import Warehouse
from tests.small_project import copy_small_project
from tests.warehouse.samples import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestration.local.postgres import Postgres
    from tests.recorded_lake import Answer

DAYS = ("2012-06-29", "2012-12-14", "2013-01-15", "2013-03-15", "2013-03-18", "2013-06-28")
EPS, PARENT, TOTAL = "EarningsPerShareDiluted", "NetIncomeLoss", "ProfitLoss"
SHARES = "WeightedAverageNumberOfDilutedSharesOutstanding"
EQUITY, ALL_EQUITY = "StockholdersEquity", "StockholdersEquityIncludingPortionAttributableToNoncontrollingInterest"
SALES, CONTRACTS = "SalesRevenueNet", "RevenueFromContractWithCustomerExcludingAssessedTax"


class Fact(NamedTuple):
    """A number of a filing: tag, first and last day, value, form, day of filing, unit, taxonomy."""

    tag: str
    start: str | None
    end: str
    value: float
    form: str
    filed: str
    unit: str = "USD/shares"
    taxonomy: str = "us-gaap"


def year(tag: str, of: int, value: float, form: str = "10-K", filed: str = "", unit: str = "USD/shares", taxonomy: str = "us-gaap") -> Fact:
    """A number of a calendar year, by default filed in the following February."""
    return Fact(tag, f"{of}-01-01", f"{of}-12-31", value, form, filed or f"{of + 1}-02-25", unit, taxonomy)


def dollars(tag: str, of: int, value: float, filed: str) -> Fact:
    """A year's dollars in the annual report of a day."""
    return year(tag, of, value, filed=filed, unit="USD")


def instant(tag: str, of: int, value: float, filed: str) -> Fact:
    """Dollars at the end of a year in the annual report of a day."""
    return Fact(tag, None, f"{of}-12-31", value, "10-K", filed, "USD")


FIRST, SECOND, THIRD = "2011-02-25", "2012-02-24", "2013-02-22"


def both_figures() -> list[Fact]:
    """Three annual reports: the parent's figures of two years, the totals with minorities of three or four."""
    found = []
    for filed, last in ((FIRST, 2010), (SECOND, 2011), (THIRD, 2012)):
        found += [dollars(PARENT, of, of - 1410, filed) for of in (last, last - 1)]
        found += [dollars(TOTAL, of, of - 1400, filed) for of in (last, last - 1, last - 2)]
        found += [instant(EQUITY, of, of * 2, filed) for of in (last, last - 1)]
        found += [instant(ALL_EQUITY, of, of * 3, filed) for of in range(last - 3, last + 1)]
    return found


FACTS: dict[int, list[Fact]] = {
    7001: [year(EPS, 2012, 1200)],
    7002: [year(EPS, 2012, 2.5)],
    7003: [year(EPS, 2012, 3)],
    7004: [year(EPS, 2012, 4, unit="USD/SHARES")],
    7005: [
        *(dollars(TOTAL, of, value, filed) for of, value, filed in ((2010, 525, FIRST), (2011, 535, SECOND), (2012, 545, THIRD))),
        *(instant(ALL_EQUITY, of, value, filed) for of, value, filed in ((2010, 5250, FIRST), (2011, 5350, SECOND), (2012, 5450, THIRD))),
    ],
    7006: both_figures(),
    7007: [
        dollars(TOTAL, 2009, 709, FIRST), dollars(TOTAL, 2010, 710, FIRST),
        dollars(TOTAL, 2010, 710, SECOND), dollars(TOTAL, 2011, 711, SECOND),
        dollars(PARENT, 2011, 701, THIRD), dollars(PARENT, 2012, 702, THIRD), dollars(TOTAL, 2012, 712, THIRD),
        dollars(SALES, 2011, 90, SECOND), dollars(CONTRACTS, 2011, 95, THIRD), dollars(CONTRACTS, 2012, 99, THIRD),
    ],
    7008: [
        year("Revenue", 2011, 100, "20-F", "2012-03-30", "EUR", "ifrs-full"),
        Fact("Revenue", "2012-01-01", "2012-06-30", 60, "6-K", "2012-08-10", "EUR", "ifrs-full"),
        Fact("Revenue", "2011-01-01", "2011-06-30", 45, "6-K", "2012-08-10", "EUR", "ifrs-full"),
        year("DilutedEarningsLossPerShare", 2012, 2, "20-F", "2013-03-01", "EUR/shares", "ifrs-full"),
    ],
    7009: [
        Fact(EPS, "2011-10-01", "2012-09-30", 4, "10-K", "2012-11-28"),
        Fact(EPS, "2012-10-01", "2012-12-31", 1.3, "10-KT", "2013-02-28"),
        Fact(EPS, "2011-10-01", "2011-12-31", 1, "10-KT", "2013-02-28"),
    ],
    7010: [year(EPS, 2012, 2.5, "20-F", "2013-03-01")],
    7011: [year("InterestExpense", 2012, 7, unit="USD"), year(EPS, 2012, 7, "8-K")],
    7012: [
        year(EPS, 2010, 6, filed=SECOND), year(EPS, 2011, 9.01, filed=SECOND),
        year(EPS, 2010, 1, filed=THIRD), year(EPS, 2011, 3, filed=THIRD),
        year(SHARES, 2010, 5000, filed=SECOND, unit="shares"), year(SHARES, 2011, 5100, filed=SECOND, unit="shares"),
        year(SHARES, 2010, 16000, filed=THIRD, unit="shares"), year(SHARES, 2011, 15300, filed=THIRD, unit="shares"),
    ],
    1067983: [year(EPS, 2012, 9000)],
    1652044: [year(EPS, 2012, 10)],
}  # fmt: skip
CLOSES = {
    "YYC-A": 24000, "YYC-B": 16, "YYC-C": 8, "YYD": 50, "YYD-PB": 25, "YYD-WT": 0.4, "YYD-UN": 51, "YYD-RI": 0.2, "YYE": 30, "YYEB": 25,
    "YYF": 50, "YYI": 40, "YYT": 43, "YYK": 40, "YYM": 10, "YYN": 10, "YYS": 30, "BRK-A": 150300, "BRK-B": 100.2, "GOOGL": 210,
}  # fmt: skip
SPLITS = {("YYS", "2012-06-29"): 3}
LISTED = {
    7001: ["YYC-A", "YYC-B", "YYC-C"], 7002: ["YYD", "YYD-PB", "YYD-WT", "YYD-UN", "YYD-RI"], 7003: ["YYE", "YYEB"], 7004: ["YYF"],
    7008: ["YYI"], 7009: ["YYT"], 7010: ["YYK"], 7011: ["YYM"], 7012: ["YYS"], 1067983: ["BRK-A", "BRK-B"], 1652044: ["GOOG", "GOOGL"],
}  # fmt: skip


def document(cik: int, facts: list[Fact]) -> Answer:
    """The issuer's facts as SEC sends them; facts of one day and form are one filing."""
    found: dict[str, Any] = {}
    for fact in facts:
        tags = found.setdefault(fact.taxonomy, {}).setdefault(fact.tag, {"label": None, "description": None, "units": {}})
        accession = f"{cik:010}-{fact.filed[2:4]}-{fact.filed[5:7]}{fact.filed[8:]}{len(fact.form):02}"
        given = {"end": fact.end, "val": fact.value, "accn": accession, "fy": 2012, "fp": "FY", "form": fact.form, "filed": fact.filed}
        tags["units"].setdefault(fact.unit, []).append({**({"start": fact.start} if fact.start else {}), **given})
    return recorded_lake.facts(cik, json.dumps({"cik": cik, "entityName": f"Issuer {cik}", "facts": found}).encode())


def answers(until: str) -> list[Answer]:
    """What the vendors would have answered at the end of a day."""
    rows = [(cik, ticker) for cik, tickers in LISTED.items() for ticker in tickers]
    listed = {str(rank): {"cik_str": cik, "ticker": ticker, "title": f"Issuer {cik}"} for rank, (cik, ticker) in enumerate(rows)}
    known = {cik: [fact for fact in facts if fact.filed <= until] for cik, facts in FACTS.items()}
    return [
        recorded_lake.filers(json.dumps(listed).encode()),
        *(document(cik, facts) for cik, facts in known.items() if facts),
        *(
            recorded_lake.tiingo(ticker, [bar(day, close, SPLITS.get((ticker, day), 1)) for day in DAYS if day <= until])
            for ticker, close in CLOSES.items()
        ),
    ]


def bar(day: str, close: float, split: float) -> dict[str, object]:
    """A day at Tiingo."""
    prices = dict.fromkeys(("close", "high", "low", "open", "adjClose", "adjHigh", "adjLow", "adjOpen"), close)
    return {"date": f"{day}T00:00:00.000Z", **prices, "volume": 1, "adjVolume": 1, "divCash": 0, "splitFactor": split}


MARTS = ("fct_fundamental", "fct_restatement", "fct_valuation_daily")


class Story(NamedTuple):
    """The warehouse after two loads: its marts after each, and those of a full build."""

    warehouse: Warehouse
    early: dict[str, list[str]]
    late: dict[str, list[str]]
    full: dict[str, list[str]]
    early_known_at: str


@pytest.fixture(scope="module")
def story(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Everything until the middle of 2012, then everything; the second build is incremental."""
    names, folder = ("issuers", "issuers_full"), tmp_path_factory.mktemp("issuers")
    lake, project = Lake(str(folder / "lake")), ("--project", str(copy_small_project(folder / "dbt", *MARTS)))
    with psycopg.connect(postgres_server.url, password=postgres_server.password, autocommit=True) as admin:
        admin.execute("create database issuers")
        url = postgres_server.url.replace("/warehouse", "/issuers")
        warehouse = Warehouse(url, postgres_server.password, postgres_server.password_reference)
        made = [commit for answer in answers("2012-06-29") for commit, _ in recorded_lake.commit(lake, answer)]
        load(recorded_lake.lake_path(lake), warehouse)
        recorded_lake.transform(warehouse, *project)
        early = marts(warehouse)
        for answer in answers("2013-06-28"):
            recorded_lake.commit(lake, answer)
        load(recorded_lake.lake_path(lake), warehouse)
        assert recorded_lake.transform(warehouse, *project)["details"]["changes_only"] is True
        full = marts(recorded_lake.build(postgres_server, "issuers_full", lake, [], *project))
        yield Story(warehouse, early, marts(warehouse), full, max(commit.known_at for commit in made))
        for name in names:
            admin.execute(f"drop database {name} with (force)".encode())


def marts(warehouse: Warehouse, schema: str = "marts", known_at: str = "") -> dict[str, list[str]]:
    """The rows of the marts that facts reach, as JSON, in order."""
    with warehouse.connect() as connection:
        connection.execute("select set_config('finelt.as_of', %s, false)", [known_at])
        return {
            name: sorted(row for (row,) in connection.execute(f"select to_jsonb(mart)::text from {schema}.{name} as mart".encode()))
            for name in MARTS
        }


def test_an_incremental_build_equals_a_full_build(story: Story) -> None:
    assert story.late == story.full
    assert len(story.late["fct_valuation_daily"]) == len(CLOSES) * len(DAYS)


def test_as_of_views_equal_the_marts_of_that_moment(story: Story) -> None:
    assert marts(story.warehouse, "as_of", story.early_known_at) == story.early
    assert marts(story.warehouse, "as_of") == story.late


def test_a_later_filing_changes_no_earlier_session(story: Story) -> None:
    def known(rows: list[str], day: str) -> list[dict[str, Any]]:
        found = [json.loads(row) for row in rows]
        return [
            {name: value for name, value in row.items() if name != "known_to"}
            for row in found
            if row["known_from"] <= day < row["known_to"]
        ]

    for day in ("2011-03-31", "2012-03-30", "2012-06-29"):
        assert known(story.late["fct_fundamental"], day) == known(story.early["fct_fundamental"], day)
    valued = [row for row in story.late["fct_valuation_daily"] if json.loads(row)["trade_date"] <= "2012-06-29"]
    assert valued == story.early["fct_valuation_daily"]


@pytest.mark.parametrize(
    ("ticker", "eps", "ratio", "reason"),
    [
        ("YYC-A", None, None, "several_classes"),
        ("YYC-B", None, None, "several_classes"),
        ("YYC-C", None, None, "several_classes"),
        ("YYD", 2.5, 20, None),
        ("YYD-PB", None, None, "not_common_stock"),
        ("YYD-WT", None, None, "not_common_stock"),
        ("YYD-UN", None, None, "not_common_stock"),
        ("YYD-RI", None, None, "not_common_stock"),
        ("YYE", None, None, "several_classes"),
        ("YYEB", None, None, "several_classes"),
        ("YYF", 4, 12.5, None),
        ("YYI", None, None, "currency_differs"),
        ("YYT", 4.3, 10, None),
        ("YYK", None, None, "adr_ratio_unknown"),
        ("YYM", None, None, "not_mapped"),
        ("YYN", None, None, "no_filer"),
        ("BRK-A", 9000, 16.7, None),
        ("BRK-B", 6, 16.7, None),
        ("GOOGL", 10, 21, None),
    ],
)
def test_earnings_belong_to_the_right_security(story: Story, ticker: str, eps: float, ratio: float, reason: str) -> None:
    query = f"""
        select ttm_eps_diluted, pe_ratio, pe_null_reason from marts.fct_valuation_daily
        where ticker = '{ticker}' and trade_date = '2013-03-18'
    """
    assert story.warehouse.rows(query) == [(eps, ratio, reason)]


def test_unmapped_filings_are_distinguished_from_no_filing(story: Story) -> None:
    """Before the first filing the reason is no_filing; a year after the twelve months it is stale."""
    query = "select trade_date::text, pe_null_reason from marts.fct_valuation_daily where ticker = '{}' order by 1"
    assert story.warehouse.rows(query.format("YYM"))[0] == ("2012-06-29", "no_filing")
    assert story.warehouse.rows(query.format("YYI"))[0] == ("2012-06-29", "not_mapped")
    assert story.warehouse.rows(query.format("YYT"))[0] == ("2012-06-29", "no_filing")


FACT = """
    select value::int from marts.fct_fundamental
    where cik = {} and concept = '{}' and period_end = '{}-12-31' and known_from <= '{}' and known_to > '{}'
"""


@pytest.mark.parametrize(
    ("cik", "concept", "of", "day", "values"),
    [
        (7006, "net_income", 2010, "2012-06-29", [600]),
        (7006, "net_income", 2010, "2013-06-28", [600]),
        (7006, "net_income", 2008, "2013-06-28", []),
        (7006, "net_income_including_noncontrolling_interest", 2010, "2013-06-28", [610]),
        (7006, "net_income_including_noncontrolling_interest", 2008, "2013-06-28", [608]),
        (7006, "equity", 2010, "2013-06-28", [4020]),
        (7006, "equity", 2008, "2013-06-28", []),
        (7006, "equity_including_noncontrolling_interest", 2007, "2013-06-28", [6021]),
        (7005, "net_income", 2011, "2012-06-29", [535]),
        (7005, "net_income", 2010, "2013-06-28", [525]),
        (7005, "equity", 2012, "2013-06-28", [5450]),
        (7007, "net_income", 2011, "2012-06-29", [711]),
        (7007, "net_income", 2011, "2013-06-28", [701]),
        (7007, "net_income", 2009, "2012-06-29", [709]),
        (7007, "net_income", 2009, "2013-06-28", []),
        (7007, "net_income_including_noncontrolling_interest", 2009, "2013-06-28", [709]),
        (7007, "revenue", 2011, "2012-06-29", [90]),
        (7007, "revenue", 2011, "2013-06-28", [95]),
    ],
)
def test_a_concept_is_one_quantity(story: Story, cik: int, concept: str, of: int, day: str, values: list[int]) -> None:
    assert [value for (value,) in story.warehouse.rows(FACT.format(cik, concept, of, day, day))] == values


def test_a_restatement_compares_values_of_the_same_measure(story: Story) -> None:
    """Revenue is restated under its successor tag; the parent's profit in place of the total is no restatement, nor is a split."""
    query = """
        select subject, item, value_before::int, value_after::int from marts.fct_restatement
        where dataset = 'sec_company_facts' order by 1, 2
    """
    assert story.warehouse.rows(query) == [
        ("CIK 7007", "revenue, USD", 90, 95),
        ("CIK 7012", "eps_diluted, USD/shares", 6, 1),
        ("CIK 7012", "shares_diluted, shares", 5000, 16000),
    ]


def test_half_years_in_another_currency_add_up_to_twelve_months(story: Story) -> None:
    query = "select known_from::text, unit, ttm_value::int from intermediate.int_fundamentals_ttm where {} order by 1"
    assert story.warehouse.rows(query.format("cik = 7008 and concept = 'revenue'")) == [
        ("2012-04-02", "EUR", 100),
        ("2012-08-13", "EUR", 115),
    ]
