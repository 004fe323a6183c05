"""Securities and corporate actions where vendors are untidy: reused tickers, suspensions, events on bad rows, spellings.

Each ticker is a story of its own; a step is what the vendors answer by then. Names and figures are invented, the sessions are real.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from jobkit import contracts
from jobkit.contracts import load_packaged
from jobkit.lake import CommitDraft, Lake

from tests import recorded_lake
from tests.fixtures_postgres import Warehouse
from tests.test_incremental import Story, tables
from verification.sample_vendors import sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestration.local.postgres import Postgres
    from tests.recorded_lake import Answer

SESSIONS = [bar.session for bar in sample.bars()["AAPL"]]
Day = dict[str, Any]


def sessions(first: str, last: str) -> list[str]:
    """The sessions from one day to another, both included."""
    return [day for day in SESSIONS if first <= day <= last]


def bar(day: str, close: float, *, split: float = 1.0, dividend: float = 0.0, factor: float = 1.0, **other: float) -> Day:
    """A day at Tiingo; `factor` is what the vendor adjusts its close by."""
    prices = {"close": close, "high": close, "low": close, "open": close, "volume": 1000, "adjClose": close * factor}
    return {"date": f"{day}T00:00:00.000Z", **prices, "divCash": dividend, "splitFactor": split, **other}


def flat(days: Sequence[str], close: float, factor: float = 1.0) -> list[Day]:
    """Days on which the price does not move."""
    return [bar(day, close, factor=factor) for day in days]


def massive(ticker: str, close: float) -> Day:
    """A bar at Massive, of 2012-11-30."""
    return {"T": ticker, "v": 1000, "o": close, "c": close, "h": close, "l": close, "t": 1354309200000, "n": 5}


def filers(*rows: tuple[int, str, str]) -> Answer:
    """SEC's list."""
    listed = [{"cik_str": cik, "ticker": ticker, "title": title} for cik, ticker, title in rows]
    return recorded_lake.filers(json.dumps({str(number): row for number, row in enumerate(listed)}).encode())


LISTED = [
    (9001, "ZZREUSE", "Example New Mining Inc"), (9002, "ZZSUSP", "Example Suspended Corp"), (9003, "ZZBAD", "Example Bad Bar Corp"),
    (9004, "ZZC", "Example Classes Inc"), (9004, "ZZC-B", "Example Classes Inc"), (9004, "ZZC-PA", "Example Classes Inc"),
    (9004, "ZZC-WT", "Example Classes Inc"), (9005, "ZZSP", "Example Blank Cheque Corp"), (9006, "ZZETF", "Example Index ETF"),
    (9007, "ZZQA", "Example Two Inc"), (9007, "ZZQB", "Example Two Inc"),
]  # fmt: skip
HALF_2012 = sessions("2012-06-01", "2012-11-30")


def first() -> list[Answer]:
    """By 2012-11-30."""
    bad = [
        *flat(sessions("2012-06-01", "2012-08-31"), 100, 0.24),
        bar("2012-09-04", 50, split=2, high=49.99, factor=0.48),  # the close is above the high
        *flat(sessions("2012-09-05", "2012-10-26"), 50, 0.48),
        bar("2012-10-29", 25, split=2, volume=0, factor=0.96),  # New York was closed for the storm
        *flat(sessions("2012-10-31", "2012-11-29"), 25, 0.96),
        bar("2012-11-30", 24, dividend=1, low=25),
    ]
    both = [*flat(sessions("2012-06-01", "2012-08-31"), 5, 7), bar("2012-09-04", 35, split=0.1, dividend=15)]
    endless = [
        *flat(sessions("2012-06-01", "2012-08-31"), 0.17, 28),
        bar("2012-09-04", 5.1, split=1 / 30, factor=28 / 30),
        bar("2012-09-05", 10, factor=28 / 30),
        bar("2012-09-06", 9.333333, dividend=2 / 3),
        bar("2012-09-07", 9.990000000000002, volume=1000.0, adjVolume=1000.5),
    ]
    return [
        filers(*LISTED),
        recorded_lake.tiingo("ZZREUSE", flat(sessions("2009-07-01", "2009-12-31"), 10)),
        recorded_lake.tiingo("ZZGONE", flat(sessions("2009-07-01", "2009-12-31"), 10) + flat(HALF_2012, 20)),
        recorded_lake.tiingo("ZZSUSP", flat(sessions("2012-02-01", "2012-07-31"), 2)),
        recorded_lake.tiingo("ZZHALT", flat(sessions("2012-01-03", "2012-02-29"), 10) + flat(sessions("2012-10-01", "2012-11-30"), 4)),
        recorded_lake.tiingo("ZZBAD", bad),
        recorded_lake.tiingo("ZZBOTH", both + flat(sessions("2012-09-05", "2012-11-30"), 35)),
        recorded_lake.tiingo("ZZEND", endless + flat(sessions("2012-09-10", "2012-11-30"), 10)),
        recorded_lake.tiingo("ZZEAT", [*flat(HALF_2012[:50], 10), bar(HALF_2012[50], 10, dividend=12), *flat(HALF_2012[51:], 10)]),
        *(
            recorded_lake.tiingo(ticker, flat(HALF_2012, close))
            for ticker, close in (("ZZC", 50), ("ZZC-B", 5), ("ZZC-P-A", 25), ("ZZC-WS", 1))
        ),
        *(recorded_lake.tiingo(ticker, flat(HALF_2012, 10)) for ticker in ("ZZSP", "ZZSP-U", "ZZSP-WS", "ZZETF", "ZZQA", "ZZQB")),
        recorded_lake.tiingo("FB", flat(HALF_2012, 20)),
        recorded_lake.massive(
            "2012-11-30",
            [
                massive("ZZC", 50),
                massive("ZZC/B", 5),
                massive("ZZC.B", 5.5),
                massive("ZZCpA", 25),
                massive("ZZC.PRA", 25),
                massive("ZZC.WS", 1),
                massive("ZZNOT", 7),
                massive("FB", 20),
            ],
        ),
    ]


def second() -> list[Answer]:
    """By 2012-12-31: another company took ZZREUSE, ZZBAD continues, ZZMISS is new."""
    [_, old, *_] = first()
    bad = json.loads(next(answer for answer in first() if answer.partitions[0].startswith("ticker=ZZBAD/")).body)
    return [
        recorded_lake.tiingo("ZZREUSE", flat(sessions("2012-12-03", "2012-12-31"), 80)),
        recorded_lake.tiingo("ZZBAD", bad + flat(sessions("2012-12-03", "2012-12-31"), 25)),
        recorded_lake.tiingo("ZZMISS", flat(sessions("2012-12-03", "2012-12-31"), 40, 0.25)),
        recorded_lake.tiingo("ZZC", flat([*HALF_2012, "2012-12-03"], 50)),
        filers(*LISTED, (9008, "ZZSP-UN", "Example Blank Cheque Corp"), (9007, "ZZQC", "Example Two Inc")),
        old,
    ]


def third() -> list[Answer]:
    """By 2013-02-28: a split of the new ZZREUSE, ZZSUSP is back with a split of 1 for 10, ZZMISS moves as if by an unreported split."""
    [_, _, _, susp, *_] = first()
    new = flat(sessions("2012-12-03", "2013-01-14"), 80, 0.25)
    fallen = [*flat(sessions("2012-12-03", "2012-12-31"), 40, 0.25), *flat(sessions("2013-01-02", "2013-02-28"), 10)]
    return [
        recorded_lake.tiingo("ZZREUSE", [*new, bar("2013-01-15", 21, split=4), *flat(sessions("2013-01-16", "2013-02-28"), 20)]),
        recorded_lake.tiingo(
            "ZZSUSP",
            [{**day, "adjClose": 20} for day in json.loads(susp.body)]
            + [bar("2013-01-07", 18, split=0.1), *flat(sessions("2013-01-08", "2013-02-28"), 18)],
        ),
        recorded_lake.tiingo("ZZMISS", fallen),
        recorded_lake.tiingo("META", flat(sessions("2012-06-01", "2013-02-28"), 21)),
    ]


def withdraw(lake: Lake, partition: str) -> None:
    """A commit without rows, as the extractor makes it for a year that the vendor withdrew and the user accepted as gone."""
    rules = load_packaged("extract_tiingo_prices", "tiingo_prices")
    good = contracts.validate(rules, {field.name: [] for field in rules.fields if field.name not in ("adjHigh", "adjLow", "adjOpen")})
    head = lake.head("tiingo_prices", partition)
    assert head is not None
    draft = CommitDraft(
        contracts.to_parquet(good.table), 0, None, 0, lambda: head.source, rules.key, rules.leaf, {"job": "test", "version": "0"}
    )
    assert lake.commit("tiingo_prices", partition, draft)[1]


@pytest.fixture(scope="module")
def story(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """The three steps; after each, the marts are built incrementally, and after the last also in full."""
    with psycopg.connect(postgres_server.url, password=postgres_server.password, autocommit=True) as admin:
        admin.execute("create database days")
        warehouse = Warehouse(
            postgres_server.url.replace("/warehouse", "/days"), postgres_server.password, postgres_server.password_reference
        )
        updated = Story(Lake(str(tmp_path_factory.mktemp("securities") / "lake")), postgres_server, warehouse, [], [], {}, [], [])
        updated.step(first(), in_full=False)
        updated.step(second(), in_full=False)
        withdraw(updated.lake, "ticker=ZZGONE/year=2009")
        updated.step(third(), in_full=True)
        yield updated
        for name in updated.databases:
            admin.execute(f"drop database {name} with (force)".encode())


def ask(story: Story, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query on the marts as they are after the last step; numbers as floats."""
    return [tuple(float(cell) if type(cell).__name__ == "Decimal" else cell for cell in row) for row in story.warehouse.rows(query)]


def after(story: Story, step: int, mart: str, **where: str) -> list[dict[str, Any]]:
    """The rows of a mart after a step."""
    rows = map(json.loads, story.marts[step][mart])
    return [row for row in rows if all(row[name] == value for name, value in where.items())]


def test_an_incremental_build_equals_a_full_build(story: Story) -> None:
    """The last step is built in full, too; the as-of views compute the earlier steps in full."""
    assert [receipt["details"]["changes_only"] for receipt in story.receipts] == [False, True, True]
    for name, rows in story.full[2].items():
        assert story.marts[2][name] == rows, name


def test_as_of_views_equal_the_marts_of_that_moment(story: Story) -> None:
    for step, known_at in enumerate(story.known_at):
        then = tables(story.warehouse, "as_of", known_at)
        for name, rows in story.marts[step].items():
            assert then[name] == rows, (step, name)


def test_a_reused_ticker_is_two_separate_securities(story: Story) -> None:
    found = ask(
        story,
        "select security_id, name, valid_from::text, valid_to < '9999-01-01' from marts.dim_security where ticker = 'ZZREUSE' order by 1",
    )
    assert found == [("ZZREUSE.1", None, "2009-07-01", True), ("ZZREUSE.2", "Example New Mining Inc", "2012-12-03", False)]
    old = "select distinct adj_close, split_factor from marts.fct_price_daily where security_id = 'ZZREUSE.1'"
    assert ask(story, old) == [(10.0, 1.0)]
    returns = "select return_total, drawdown from marts.fct_return_daily where ticker = 'ZZREUSE' and trade_date = '{}'"
    assert ask(story, returns.format("2012-12-03")) == [(None, 0.0)]
    assert ask(story, returns.format("2013-01-15")) == [(0.05, 0.0)]
    assert ask(
        story, "select distinct adj_close from marts.fct_price_daily where security_id = 'ZZREUSE.2' and trade_date < '2013-01-15'"
    ) == [(20.0,)]
    reasons = "select distinct pe_null_reason from marts.fct_valuation_daily where security_id = 'ZZREUSE.1'"
    assert ask(story, reasons) == [("no_filer",)]
    assert [row["trade_date"] for row in after(story, 2, "fct_price_issue", issue="taken_for_another", ticker="ZZREUSE")] == ["2012-12-03"]


def test_withdrawn_rows_that_were_accepted_are_closed(story: Story) -> None:
    before, now = ({row["security_id"] for row in after(story, step, "dim_security", ticker="ZZGONE")} for step in (0, 2))
    assert (before, now) == ({"ZZGONE.1", "ZZGONE.2"}, {"ZZGONE.2"})
    assert ask(story, "select min(trade_date)::text from marts.fct_price_daily where ticker = 'ZZGONE'") == [("2012-06-01",)]


def test_a_ticker_has_one_security_until_it_is_reused(story: Story) -> None:
    [only] = after(story, 0, "dim_security", ticker="ZZREUSE")
    assert only["security_id"] == "ZZREUSE.1"


def test_a_suspension_starts_a_new_return_series_and_its_splits_apply(story: Story) -> None:
    """The vendor's earlier adjusted closes show that it is the same security: they include the split of 1 for 10 on its return."""
    assert ask(story, "select distinct security_id from marts.fct_price_daily where ticker = 'ZZSUSP'") == [("ZZSUSP.1",)]
    assert ask(story, "select distinct adj_close from marts.fct_price_daily where ticker = 'ZZSUSP' and trade_date < '2012-08-01'") == [
        (20.0,)
    ]
    query = (
        "select return_total, log_index, vol_21d from marts.fct_return_daily"
        " where ticker = 'ZZSUSP' and trade_date in ('2013-01-07', '2013-01-25')"
    )
    assert ask(story, query) == [(None, 0.0, None), (0.0, 0.0, None)]


def test_a_halt_within_a_year_is_one_security_with_two_series(story: Story) -> None:
    query = "select security_id, return_total, drawdown from marts.fct_return_daily where ticker = 'ZZHALT' and trade_date = '2012-10-01'"
    assert ask(story, query) == [("ZZHALT.1", None, 0.0)]
    [gap] = after(story, 2, "fct_price_issue", issue="long_gap", ticker="ZZHALT")
    assert gap["trade_date"] == "2012-10-01"
    assert gap["detail"].startswith("148 sessions")


def test_an_event_applies_even_if_its_day_has_no_valid_price(story: Story) -> None:
    """A split on a bar in quarantine, one on a day without a session, a dividend on a bad bar that was the newest."""
    query = (
        "select ex_date::text, effective_date::text, kind, split_to, split_from, cash_amount from marts.fct_corporate_action"
        " where ticker = 'ZZBAD' order by 1"
    )
    assert ask(story, query) == [
        ("2012-09-04", "2012-09-04", "split", 2.0, 1.0, None),
        ("2012-10-29", "2012-10-31", "split", 2.0, 1.0, None),
        ("2012-11-30", "2012-11-30", "dividend", None, None, 1.0),
    ]
    kept = 1 - 1 / 25
    for step in range(3):
        factors = {row["trade_date"]: row["total_return_factor"] for row in after(story, step, "fct_price_daily", ticker="ZZBAD")}
        assert "2012-09-04" not in factors
        assert [factors[day] for day in ("2012-08-31", "2012-09-05", "2012-10-31")] == pytest.approx([kept / 4, kept / 2, kept])
    query = (
        "select trade_date::text, return_total from marts.fct_return_daily"
        " where ticker = 'ZZBAD' and trade_date in ('2012-09-05', '2012-10-31', '2012-12-03')"
    )
    assert sorted(ask(story, query)) == [("2012-09-05", 0.0), ("2012-10-31", 0.0), ("2012-12-03", 0.04)]


def test_a_dividend_on_the_day_of_a_split_is_per_new_share(story: Story) -> None:
    assert ask(story, "select distinct adj_close from marts.fct_price_daily where ticker = 'ZZBOTH' and trade_date < '2012-09-04'") == [
        (35.0,)
    ]
    assert ask(story, "select return_total from marts.fct_return_daily where ticker = 'ZZBOTH' and trade_date = '2012-09-04'") == [(0.0,)]
    assert after(story, 2, "fct_price_issue", ticker="ZZBOTH") == []


def test_recurring_decimals_of_ratios_and_amounts_are_exact(story: Story) -> None:
    found = ask(story, "select split_to, split_from, cash_amount from marts.fct_corporate_action where ticker = 'ZZEND' order by ex_date")
    assert found == [(1.0, 30.0, None), (None, None, 0.666667)]
    [(adjusted,)] = ask(story, "select distinct adj_close from marts.fct_price_daily where ticker = 'ZZEND' and trade_date = '2012-08-31'")
    assert adjusted == pytest.approx(0.17 * 30 * (1 - 2 / 30), rel=1e-6)
    [(back,)] = ask(story, "select return_total from marts.fct_return_daily where ticker = 'ZZEND' and trade_date = '2012-09-04'")
    assert back == 0.0
    assert ask(story, "select close, volume from marts.fct_price_daily where ticker = 'ZZEND' and trade_date = '2012-09-07'") == [
        (9.99, 1000)
    ]


def test_a_disagreement_is_reported_and_does_not_fail_the_build(story: Story) -> None:
    """Also on the first session of a year: the vendor adjusted its closes for a split that it did not send."""
    found = {(row["ticker"], row["trade_date"], row["issue"]) for row in after(story, 2, "fct_price_issue")}
    assert {("ZZMISS", "2013-01-02", "adjustment_differs"), ("ZZEAT", HALF_2012[50], "dividend_exceeds_price")} <= found
    assert not [row for row in found if row[2] == "adjustment_differs" and row[0] != "ZZMISS" and row[0] != "ZZEAT"]
    assert len(ask(story, "select 1 from marts.fct_return_daily where ticker = 'ZZMISS'")) == len(sessions("2012-12-03", "2013-02-28"))
    covered = "select issue_count from marts.fct_coverage_daily where dataset = 'tiingo_prices' and coverage_date = '2013-01-02'"
    assert ask(story, covered) == [(1,)]
    assert "adjusted_closes_agree_with_vendor" in json.dumps(story.receipts[2]["details"]["warnings"])


def test_spellings_of_different_vendors_match(story: Story) -> None:
    """If one vendor has two spellings on one day, the close that differs more is shown, once."""
    found = ask(
        story,
        "select security_id, trade_date::text, ticker_tiingo, ticker_massive, difference from marts.fct_close_difference"
        " where security_id like 'ZZC%'",
    )
    assert found == [("ZZC-B.1", "2012-11-30", "ZZC-B", "ZZC.B", 0.1)]
    spelled = ask(
        story, "select source, ticker from marts.dim_security_ticker where security_id = 'ZZC-PA.1' order by 1, ticker collate \"C\""
    )
    assert spelled == [("massive", "ZZC.PRA"), ("massive", "ZZCpA"), ("sec", "ZZC-PA"), ("tiingo", "ZZC-P-A")]


def test_a_ticker_indicates_the_kind_of_security(story: Story) -> None:
    found = dict(
        ask(story, "select ticker, security_type || coalesce(' ' || share_class, '') from marts.dim_security where ticker like 'ZZ%'")
    )
    expected = {
        "ZZC": "common", "ZZC-B": "common B", "ZZC-P-A": "preferred A", "ZZC-WS": "warrant", "ZZSP": "common", "ZZSP-U": "unit",
        "ZZSP-WS": "warrant", "ZZETF": "fund", "ZZQA": "unknown", "ZZBAD": "common", "ZZEND": "unknown",
    }  # fmt: skip
    assert {ticker: found[ticker] for ticker in expected} == expected


def test_a_security_under_two_tickers_has_one_price_a_day(story: Story) -> None:
    """FB became META; Tiingo's series under the newer ticker wins, with its history."""
    found = ask(story, "select distinct ticker, close from marts.fct_price_daily where security_id = 'FB.2'")
    assert found == [("META", 21.0)]
    assert ask(story, "select count(*) from marts.fct_price_daily where security_id = 'FB.2'") == [
        (len(sessions("2012-06-01", "2013-02-28")),)
    ]
    assert {row["ticker"] for row in after(story, 1, "fct_price_daily", security_id="FB.2")} == {"FB"}
