"""The flows on a real Prefect server and process worker: what they start, in which order, what they leave to look at."""

from __future__ import annotations

import time
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from orchestration.pieces import Piece, cut, period, span
from tests import flow_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.flow_stack import FlowStack

MASSIVE, TREASURY, NOTHING = "extract-massive-daily-prices", "extract-treasury-yields", "extract-nothing"
AFTER = ["load-warehouse", "transform-warehouse", "publish-marts"]


def entry(partition: str, commit: int | None = None, asks: str = "") -> dict[str, Any]:
    return {"dataset": "d", "partition": partition, "asks": asks or partition, "commit": commit}


def pieces(plan: list[dict[str, Any]], *, again: bool = False, **options: object) -> list[Piece]:
    return cut("j", options, plan, known={"start", "end", "tickers"}, again=again)


def test_the_name_of_a_partition_says_its_days_and_its_subject() -> None:
    assert (span("year=2012").first, span("year=2012").last) == (date(2012, 1, 1), date(2012, 12, 31))
    assert (span("month=2012-02").first, span("month=2012-02").last) == (date(2012, 2, 1), date(2012, 2, 29))
    assert (span("date=2012-02-03").first, span("date=2012-02-03").last) == (date(2012, 2, 3), date(2012, 2, 3))
    assert span("ticker=BRK-B/year=2012").subject == {"ticker": "BRK-B"}
    assert span("cik=0000320193").first is None
    assert [period(name) for name in ("year=2012", "date=2012-02-03", "cik=1")] == ["2012", "2012-02", ""]


def test_neighbouring_days_of_a_month_are_one_piece_and_committed_ones_are_left_out() -> None:
    plan = [
        entry("date=2012-12-28", 1),
        entry("date=2012-12-31"),
        entry("date=2013-01-02"),
        entry("date=2013-01-03"),
        entry("date=2013-01-04", 1),
    ]
    plan += [entry("date=2013-01-07")]
    found = pieces(plan, start="2012-12-28", end="2013-01-07", lake="L")
    assert [piece.partitions for piece in found] == [("date=2012-12-31",), ("date=2013-01-02", "date=2013-01-03"), ("date=2013-01-07",)]
    assert found[1].options == {"start": "2013-01-02", "end": "2013-01-03", "lake": "L"}
    assert found[1].subject == "date=2013-01-02 to date=2013-01-03"


def test_a_piece_never_leaves_the_range_that_was_asked_for() -> None:
    (piece,) = pieces([entry("year=2012")], start="2012-03-01", end="2012-06-30")
    assert (piece.options["start"], piece.options["end"]) == ("2012-03-01", "2012-06-30")


def test_what_one_question_fills_is_one_piece_a_year_of_its_own_is_another() -> None:
    history = [entry("year=2011", asks="all.zip"), entry("year=2012", asks="all.zip")]
    assert [piece.partitions for piece in pieces(history, start="2011-01-01", end="2012-12-31")] == [("year=2011", "year=2012")]
    yearly = [entry("year=2011"), entry("year=2012")]
    assert len(pieces(yearly, start="2011-01-01", end="2012-12-31")) == 2


def test_a_piece_asks_for_its_own_subject_only() -> None:
    plan = [entry(f"ticker={ticker}/year=2012", commit, asks=ticker) for ticker, commit in (("A", None), ("B", 1), ("C", None))]
    found = pieces(plan, start="2012-01-01", end="2012-12-31", tickers=["A", "B", "C"])
    assert [piece.options["tickers"] for piece in found] == [["A"], ["C"]]


def test_again_asks_for_what_is_committed_too() -> None:
    assert len(pieces([entry("date=2012-12-31", 1)], start="2012-12-31", end="2012-12-31", again=True)) == 1


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlowStack]:
    with flow_stack.running(tmp_path_factory.mktemp("stack")) as running:
        yield running


def extracts(stack: FlowStack) -> dict[str, dict[str, object]]:
    token = stack.directory / "token"
    token.write_text("sample")
    return {
        MASSIVE: {"base_url": f"{stack.vendors}/api.massive.com", "token": token.as_uri(), "requests_per_minute": 100_000},
        TREASURY: {"base_url": f"{stack.vendors}/home.treasury.gov"},
    }


@pytest.fixture(scope="module")
def backfills(stack: FlowStack) -> dict[str, str]:
    """A plan, a backfill of five weeks in which one job meets bad data, and one of a longer range: run ids, all ended."""
    weeks = {"start": "2012-12-28", "end": "2013-01-31"}
    runs = {
        "plan": stack.start("backfill", extracts=extracts(stack), **weeks, plan_only=True),
        "weeks": stack.start("backfill", extracts={**extracts(stack), NOTHING: {"bad": "2013-01-10"}}, **weeks),
    }
    assert stack.steps(runs["plan"])[1].state == "COMPLETED"
    assert stack.steps(runs["weeks"])[1].state == "FAILED"
    runs["more"] = stack.start("backfill", extracts=extracts(stack), start="2012-12-03", end="2013-02-28")
    assert stack.steps(runs["more"])[1].state == "COMPLETED", stack.steps(runs["more"])[1]
    return runs


def names(stack: FlowStack, run_id: str) -> list[str]:
    return [step.name for step in stack.steps(run_id)[0]]


def test_a_plan_says_what_would_run_and_runs_nothing(stack: FlowStack, backfills: dict[str, str]) -> None:
    assert sorted(names(stack, backfills["plan"])) == [f"{MASSIVE} plan", f"{TREASURY} plan"]
    plan = stack.artifact(backfills["plan"], "backfill-plan")
    assert plan["data"] == [
        {"job": MASSIVE, "partitions": "date=2012-12-28 to date=2012-12-31", "count": 2},
        {"job": MASSIVE, "partitions": "date=2013-01-01 to date=2013-01-31", "count": 23},
        {"job": TREASURY, "partitions": "year=2012", "count": 1},
        {"job": TREASURY, "partitions": "year=2013", "count": 1},
    ]
    assert f"- {MASSIVE}: 25 of 25 partitions in 2 runs" in plan["description"]


def test_a_backfill_extracts_then_loads_transforms_and_publishes_once(stack: FlowStack, backfills: dict[str, str]) -> None:
    *extracted, load, transform, publish = names(stack, backfills["more"])
    assert all(name.startswith("extract-") for name in extracted)
    assert [load, transform, publish] == ["load-warehouse massive_daily_prices, treasury_par_yields", *AFTER[1:]]


def test_what_is_committed_is_not_asked_for_again(stack: FlowStack, backfills: dict[str, str]) -> None:
    assert sorted(names(stack, backfills["more"]))[:4] == [
        f"{MASSIVE} date=2012-12-03 to date=2012-12-27",
        f"{MASSIVE} date=2013-02-01 to date=2013-02-28",
        f"{MASSIVE} plan",
        f"{TREASURY} plan",
    ]


def test_progress_is_one_table_of_months_and_jobs(stack: FlowStack, backfills: dict[str, str]) -> None:
    table = stack.artifact(backfills["more"], "backfill-progress")
    assert table["data"] == [
        {"period": "2012", MASSIVE: "", TREASURY: "1 of 1"},
        {"period": "2012-12", MASSIVE: "21 of 21", TREASURY: ""},
        {"period": "2013", MASSIVE: "", TREASURY: "1 of 1"},
        {"period": "2013-01", MASSIVE: "23 of 23", TREASURY: ""},
        {"period": "2013-02", MASSIVE: "20 of 20", TREASURY: ""},
    ]
    assert table["description"] == "66 of 66 partitions are in the lake, 0 failed"


def test_bad_data_stops_its_piece_only_and_is_told_when_all_else_is_done(stack: FlowStack, backfills: dict[str, str]) -> None:
    steps, ending = stack.steps(backfills["weeks"])
    states = {step.name: step.state for step in steps}
    assert states[f"{NOTHING} date=2013-01-01 to date=2013-01-31"] == "FAILED"
    assert states[f"{NOTHING} date=2012-12-28 to date=2012-12-31"] == states["publish-marts"] == "COMPLETED"
    assert f"31 partitions failed: {NOTHING}: the rows of 2013-01-10 break their contract; correct that" in ending.message
    rows = stack.artifact(backfills["weeks"], "backfill-progress")["data"]
    assert [row[NOTHING] for row in rows] == ["", "4 of 4", "", "0 of 31, 31 failed"]


def test_after_refused_credentials_no_further_piece_is_begun(stack: FlowStack) -> None:
    run_id = stack.start("backfill", extracts={NOTHING: {"refused": True}}, start="2012-01-30", end="2012-06-02", at_once=1)
    steps, ending = stack.steps(run_id)
    assert [step.state for step in steps] == ["COMPLETED", "FAILED"]
    assert "2 partitions failed, 123 were not asked for" in ending.message


def test_cancelling_a_backfill_stops_every_child_within_ten_seconds(stack: FlowStack) -> None:
    run_id = stack.start("backfill", extracts={NOTHING: {"seconds": 60}}, start="2012-01-01", end="2012-12-31", at_once=3)
    wanted = {"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}, "sort": "EXPECTED_START_TIME_ASC"}

    def children() -> list[str]:
        return [run["state"]["type"] for run in stack.api.call("POST", "/flow_runs/filter", wanted)]

    until(lambda: children().count("RUNNING") == 3)
    stack.api.call("POST", f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}})
    until(lambda: sorted(children()) == ["CANCELLED"] * 3 + ["COMPLETED"], within_s=10)
    assert stack.steps(run_id)[1].state == "CANCELLED"


def until(true: Any, within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)
