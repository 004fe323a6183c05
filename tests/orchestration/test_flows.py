"""The flows on a real Prefect server and process worker: which runs they start, in which order, and what they publish."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click
import pytest
from jobkit.errors import ExitCode, TemporaryError
from jobkit.interruption import MARGIN_S
from jobkit.launchers.prefect import Prefect
from jobkit.prefect_api import Api, UnreachableError

from jobs.catalogue import catalogue
from orchestration.console import follow
from orchestration.deployments import model, schedules
from orchestration.deployments import register as deploy
from orchestration.local import processes
from orchestration.polling import wait_until
from orchestration.runtime.backfill import Backfill, BackfillError, plan_backfill
from orchestration.runtime.backfill_chunks import Chunk, parse_partition, period_of, plan_chunks
from orchestration.workers import command, reconcile
from verification.faults import flow_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from verification.faults.flow_stack import FlowStack

MASSIVE, TREASURY, NOTHING = "extract-massive-daily-prices", "extract-treasury-yields", "extract-nothing"
AFTER = ["load-warehouse", "transform-warehouse", "publish-marts"]


def entry(partition: str, commit: int | None = None, asks: str = "") -> dict[str, Any]:
    return {"dataset": "d", "partition": partition, "asks": asks or partition, "commit": commit}


def chunks(plan: list[dict[str, Any]], *, refetch: bool = False, **options: object) -> list[Chunk]:
    return plan_chunks("j", options, plan, supported={"start", "end", "tickers"}, refetch=refetch)


def test_the_dates_and_the_subject_of_a_partition_follow_from_its_name() -> None:
    assert (parse_partition("year=2012").first, parse_partition("year=2012").last) == (date(2012, 1, 1), date(2012, 12, 31))
    assert (parse_partition("month=2012-02").first, parse_partition("month=2012-02").last) == (date(2012, 2, 1), date(2012, 2, 29))
    assert (parse_partition("date=2012-02-03").first, parse_partition("date=2012-02-03").last) == (date(2012, 2, 3), date(2012, 2, 3))
    assert parse_partition("ticker=BRK-B/year=2012").subject == {"ticker": "BRK-B"}
    assert parse_partition("cik=0000320193").first is None
    assert [period_of(name) for name in ("year=2012", "date=2012-02-03", "cik=1")] == ["2012", "2012-02", ""]


def test_neighbouring_days_of_a_month_form_one_chunk_without_committed_ones() -> None:
    plan = [
        entry("date=2012-12-28", 1),
        entry("date=2012-12-31"),
        entry("date=2013-01-02"),
        entry("date=2013-01-03"),
        entry("date=2013-01-04", 1),
    ]
    plan += [entry("date=2013-01-07")]
    found = chunks(plan, start="2012-12-28", end="2013-01-07", lake="L")
    assert [chunk.partitions for chunk in found] == [("date=2012-12-31",), ("date=2013-01-02", "date=2013-01-03"), ("date=2013-01-07",)]
    assert found[1].options == {"start": "2013-01-02", "end": "2013-01-03", "lake": "L"}
    assert found[1].subject == "date=2013-01-02 to date=2013-01-03"


def test_a_chunk_stays_within_the_requested_range() -> None:
    (chunk,) = chunks([entry("year=2012")], start="2012-03-01", end="2012-06-30")
    assert (chunk.options["start"], chunk.options["end"]) == ("2012-03-01", "2012-06-30")


def test_partitions_of_one_request_form_one_chunk_and_separate_years_do_not() -> None:
    history = [entry("year=2011", asks="all.zip"), entry("year=2012", asks="all.zip")]
    assert [chunk.partitions for chunk in chunks(history, start="2011-01-01", end="2012-12-31")] == [("year=2011", "year=2012")]
    yearly = [entry("year=2011"), entry("year=2012")]
    assert len(chunks(yearly, start="2011-01-01", end="2012-12-31")) == 2


def test_a_chunk_requests_its_own_subject_only() -> None:
    plan = [entry(f"ticker={ticker}/year=2012", commit, asks=ticker) for ticker, commit in (("A", None), ("B", 1), ("C", None))]
    found = chunks(plan, start="2012-01-01", end="2012-12-31", tickers=["A", "B", "C"])
    assert [chunk.options["tickers"] for chunk in found] == [["A"], ["C"]]


def test_partitions_that_no_option_tells_apart_form_one_chunk() -> None:
    plan = [{**entry(f"year={year}"), "dataset": dataset} for dataset in ("debt", "auctions") for year in (2011, 2012)]
    found = chunks(plan, start="2011-01-01", end="2012-12-31")
    assert [(chunk.datasets, chunk.partitions, chunk.subject) for chunk in found] == [
        (("debt", "auctions"), ("year=2011", "year=2011"), "year=2011"),
        (("debt", "auctions"), ("year=2012", "year=2012"), "year=2012"),
    ]
    series = chunks([entry("series=A/year=2012"), entry("series=B/year=2012")], start="2012-01-01", end="2012-12-31")
    assert [chunk.subject for chunk in series] == ["series=A/year=2012 to series=B/year=2012"]


def test_datasets_with_partitions_of_the_same_name_are_all_loaded() -> None:
    plan = [{**entry("year=2012", 1), "dataset": dataset} for dataset in ("debt", "auctions")]
    assert Backfill({"j": plan}, []).datasets == ["auctions", "debt"]


def test_refetch_includes_committed_partitions() -> None:
    assert len(chunks([entry("date=2012-12-31", 1)], start="2012-12-31", end="2012-12-31", refetch=True)) == 1


SERVER_SETTINGS = {
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "0.5",  # five seconds by default
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlowStack]:
    with flow_stack.running(tmp_path_factory.mktemp("stack"), SERVER_SETTINGS) as running:
        yield running


@pytest.fixture(scope="module")
def left(stack: FlowStack) -> Iterator[dict[str, str]]:
    """Ids of runs without a process, one with heartbeats, one of a foreign deployment, and one that waits for a flow that has ended."""
    ours = stack.api.call("GET", f"/deployments/name/{NOTHING}/{NOTHING}-{flow_stack.POOL}")["id"]
    flow = stack.api.call("POST", "/flows/", {"name": "somebody-elses"})["id"]
    others = stack.api.call("POST", "/deployments/", {"name": "d", "flow_id": flow})["id"]
    made = {
        "living": ["RUNNING"],
        "silent": ["RUNNING"],
        "done": ["RUNNING"],
        "taken": ["PENDING"],
        "cancelling": ["RUNNING", "CANCELLING"],
    }
    runs = {name: run_in(stack, ours, *states) for name, states in made.items()}
    for name, exit_code in (("done", ExitCode.DONE), ("silent", ExitCode.BUG)):
        receipt = {"type": "receipt", "data": {"exit_code": exit_code}, "flow_run_id": runs[name]}
        stack.api.call("POST", "/artifacts/", receipt)
    runs["others"] = run_in(stack, others, "RUNNING")
    parent = run_in(stack, ours, "CRASHED")
    task = {"flow_run_id": parent, "task_key": "t", "dynamic_key": "0"}
    runs["orphan"] = run_in(stack, ours, parent_task_run_id=stack.api.call("POST", "/task_runs/", task)["id"])
    ending = threading.Event()
    beating = threading.Thread(target=beat, args=(stack, runs["living"], ending))
    beating.start()
    yield runs
    ending.set()
    beating.join()


def run_in(stack: FlowStack, deployment: str, *states: str, **more: object) -> str:
    """Create a run without a process, put it through states, and return its id."""
    later = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2099-01-01T00:00:00Z"}}
    given = {"lake": "L", "start": "2012-01-01", "end": "2012-01-01"}
    wanted = {"state": later, "parameters": given, "enforce_parameter_schema": False, **more}
    run_id = stack.api.call("POST", f"/deployments/{deployment}/create_flow_run", wanted)["id"]
    for state in states:
        stack.api.call("POST", f"/flow_runs/{run_id}/set_state", {"state": {"type": state}, "force": True})
    return str(run_id)


def beat(stack: FlowStack, run_id: str, ending: threading.Event) -> None:
    """Send a run's heartbeats as a job does, only more often."""
    reporter = Prefect(stack.api, run_id, heartbeat_s=0)
    reporter._read(600)
    while not ending.wait(1):
        with suppress(UnreachableError):  # on a busy machine one heartbeat may be late; the next one follows
            reporter._send_heartbeat()


def extracts(stack: FlowStack) -> dict[str, dict[str, object]]:
    token = stack.directory / "token"
    token.write_text("sample")
    return {
        MASSIVE: {"base_url": f"{stack.vendors}/api.massive.com", "token": token.as_uri(), "requests_per_minute": 100_000},
        TREASURY: {"base_url": f"{stack.vendors}/home.treasury.gov"},
    }


@pytest.fixture(scope="module")
def backfills(stack: FlowStack, left: dict[str, str]) -> dict[str, str]:
    """Ids of finished runs: a plan, a daily flow, a backfill in which one job has bad data, and one of a longer range."""
    assert left  # created first, so that the silent runs have been silent for long when reconcile looks for them
    weeks = {"start": "2012-12-28", "end": "2013-01-31"}
    runs = {
        "plan": stack.start("backfill", extracts=extracts(stack), **weeks, plan_only=True),
        "daily": stack.start("daily", extracts={NOTHING: {"start": "today", "end": "today"}}, timezone="Pacific/Pago_Pago"),
        "weeks": stack.start("backfill", extracts={**extracts(stack), NOTHING: {"bad": "2013-01-10"}}, **weeks),
    }
    endings = [stack.steps(runs[name])[1] for name in ("plan", "daily")]
    assert {ending.state for ending in endings} == {"COMPLETED"}, endings
    assert stack.steps(runs["weeks"])[1].state == "FAILED"
    runs["more"] = stack.start("backfill", extracts=extracts(stack), start="2012-12-03", end="2013-02-28", loaders=3)
    assert stack.steps(runs["more"])[1].state == "COMPLETED", stack.steps(runs["more"])[1]
    return runs


def names(stack: FlowStack, run_id: str) -> list[str]:
    return [step.name for step in stack.steps(run_id)[0]]


def test_a_range_without_days_is_refused_before_any_job_plans() -> None:
    with pytest.raises(BackfillError, match=r"^start is 2013-01-31, after end, which is 2012-12-28; swap them$"):
        asyncio.run(plan_backfill({"extract-a": {}}, lake="./lake", start=date(2013, 1, 31), end=date(2012, 12, 28), refetch=False))


def test_plan_only_publishes_the_plan_and_runs_nothing(stack: FlowStack, backfills: dict[str, str]) -> None:
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
    *extracted, first, second, transform, publish = names(stack, backfills["more"])
    assert all(name.startswith("extract-") for name in extracted)
    assert {first, second} == {"load-warehouse massive_daily_prices", "load-warehouse treasury_par_yields"}, "one loader has no share"
    assert [transform, publish] == AFTER[1:]


def test_a_second_backfill_fetches_nothing(stack: FlowStack, backfills: dict[str, str]) -> None:
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


def test_bad_data_fails_its_chunk_only_and_the_backfill_at_the_end(stack: FlowStack, backfills: dict[str, str]) -> None:
    steps, ending = stack.steps(backfills["weeks"])
    states = {step.name: step.state for step in steps}
    assert states[f"{NOTHING} date=2013-01-01 to date=2013-01-31"] == "FAILED"
    assert states[f"{NOTHING} date=2012-12-28 to date=2012-12-31"] == states["publish-marts"] == "COMPLETED"
    assert f"31 partitions failed: {NOTHING}: the rows of 2013-01-10 break their contract; fix this" in ending.message
    rows = stack.artifact(backfills["weeks"], "backfill-progress")["data"]
    assert [row[NOTHING] for row in rows] == ["", "4 of 4", "", "0 of 31, 31 failed"]


def test_today_is_the_scheduled_date_in_the_vendors_time_zone(stack: FlowStack, backfills: dict[str, str]) -> None:
    scheduled = datetime.fromisoformat(stack.api.call("GET", f"/flow_runs/{backfills['daily']}")["expected_start_time"])
    receipt = stack.steps(backfills["daily"])[0][0].receipt or {}
    assert [partition["partition"] for partition in receipt["partitions"]] == [
        f"date={scheduled.astimezone(ZoneInfo('Pacific/Pago_Pago')).date()}"
    ]


def test_a_run_of_a_flow_is_named_by_its_days(stack: FlowStack, backfills: dict[str, str]) -> None:
    runs = {name: stack.api.call("GET", f"/flow_runs/{backfills[name]}") for name in ("daily", "weeks")}
    day = datetime.fromisoformat(runs["daily"]["expected_start_time"]).astimezone(ZoneInfo("Pacific/Pago_Pago")).date()
    assert [run["name"] for run in runs.values()] == [f"daily {day} nothing", "backfill 2012-12-28 to 2013-01-31"]


def test_a_flow_run_publishes_a_summary_of_steps_changes_and_site(stack: FlowStack, backfills: dict[str, str]) -> None:
    page = stack.artifact(backfills["daily"], "daily")["data"]
    first, *_ = stack.steps(backfills["daily"])[0]
    (partition,) = (first.receipt or {})["partitions"]
    day = partition["partition"].removeprefix("date=")
    assert f"| [{NOTHING} {day}](/runs/flow-run/{first.run_id}) | 1 partition: 1 committed; 1 rows | 1 |" in page
    assert "- nothing by load-warehouse: year=2012; 5 rows" in page
    assert "- site/fct_yield by publish-marts: 3 rows added, 1 rows changed" in page
    assert f"- the published site: `{stack.directory}/site/index.html`" in page
    failed = stack.artifact(backfills["weeks"], "backfill")["data"]
    assert "**failed**: the rows of 2013-01-10 break their contract" in failed


def test_no_server_setting_and_no_secret_of_the_machine_reaches_a_job(stack: FlowStack, backfills: dict[str, str]) -> None:
    seen = (stack.steps(backfills["daily"])[0][0].receipt or {})["details"]["environment"]
    assert not set(seen) & set(flow_stack.SECRETS)
    assert [name for name in seen if name.startswith(("PREFECT_SERVER", "PREFECT_API_DATABASE", "AWS_", "PG"))] == []
    assert {"PREFECT_API_AUTH_STRING", "TIINGO_TOKEN"} <= set(seen)  # what its reporter needs, and what was passed by name


def test_a_worker_that_cannot_start_exits_with_a_message(stack: FlowStack) -> None:
    url = stack.api.url
    for api, sentence in {
        stack.api: f"{url} has no work pool 'elsewhere'; register it with scripts/deploy first",
        Api(url): f"{url} refuses our credentials (401); set PREFECT_API_AUTH_STRING or PREFECT_API_KEY",
        Api("http://127.0.0.1:1/api"): "no Prefect server answers at http://127.0.0.1:1/api: .*; check --api-url and that it runs",
    }.items():
        with pytest.raises(click.ClickException) as told:
            command.read_pool_kind(api, "elsewhere")
        assert re.fullmatch(sentence.replace("(401)", r"\(401\)"), told.value.message)


def test_a_worker_of_a_docker_pool_keeps_its_environment_without_server_settings() -> None:
    seen = command.worker_environment("ecs", {"AWS_REGION": "r", "PREFECT_SERVER_API_AUTH_STRING": "s", "PREFECT_API_URL": "u"}, [])
    assert (seen["AWS_REGION"], seen["PREFECT_API_URL"]) == ("r", "u")
    assert "PREFECT_SERVER_API_AUTH_STRING" not in seen


def test_schedules_of_a_file_are_registered_once_and_a_pause_outlives_a_change(stack: FlowStack, tmp_path: Path) -> None:
    values = tmp_path / "values.toml"
    values.write_text('lake = "L"\nwarehouse = "W"\nwarehouse_password = "env://P"\ndocs = "D"\nsite = "S"\n')
    wanted, _ = schedules.apply_parameter_file(stack.wanted, values, catalogue())

    def register(deployments: list[model.DeploymentSpec]) -> tuple[str, ...]:
        return deploy.register_deployments(stack.api, deployments, kind="process", pool=flow_stack.POOL).changed

    def there() -> dict[str, dict[str, Any]]:
        found = stack.api.call("GET", f"/deployments/name/daily/daily-{flow_stack.POOL}")["schedules"]
        return {schedule["slug"]: schedule for schedule in found}

    assert "daily/daily-process" in register(wanted)
    assert register(wanted) == ()
    timed = {name: (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) for name, schedule in there().items()}
    assert timed == {spec.name: (spec.schedule, spec.timezone) for spec in catalogue() if spec.name in flow_stack.REAL}
    paused = there()[TREASURY]  # with its parameters, as the pages of Prefect do: the server forgets them otherwise
    path = f"/deployments/{paused['deployment_id']}/schedules/{paused['id']}"
    stack.api.call("PATCH", path, {"active": False, "parameters": paused["parameters"]})
    assert register(wanted) == ()
    newer = [replace(one, fields={**one.fields, "description": "newer"}) if one.flow == "daily" else one for one in wanted]
    assert register(newer) == ("daily/daily-process",)
    assert {name: schedule["active"] for name, schedule in there().items()} == {MASSIVE: True, TREASURY: False}
    assert set(register(stack.wanted)) == {"daily/daily-process"}
    assert set(there()) == {MASSIVE, TREASURY}  # without a file, what there is stays as it is


def test_after_refused_credentials_no_further_chunk_is_started_and_old_parameter_names_still_work(stack: FlowStack) -> None:
    run_id = stack.start("backfill", extracts={NOTHING: {"refused": True}}, start="2012-01-30", end="2012-06-02", at_once=1)
    steps, ending = stack.steps(run_id)
    assert [step.state for step in steps] == ["COMPLETED", "FAILED"]
    assert "2 partitions failed, 123 were not started" in ending.message
    logs = stack.api.call("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [run_id]}}})
    assert [line["message"] for line in logs if "deprecated" in line["message"]] == [
        "the parameters at_once and again are deprecated; use concurrency and refetch"
    ]


def test_cancelling_a_backfill_cancels_every_child_run(stack: FlowStack) -> None:
    """Each child would sleep for hours, so only the cancellation can end it."""
    run_id = stack.start("backfill", extracts={NOTHING: {"seconds": 10_000}}, start="2012-01-01", end="2012-12-31", concurrency=3)
    body = {"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}, "sort": "EXPECTED_START_TIME_ASC"}

    def children() -> list[str]:
        return [run["state"]["type"] for run in stack.api.call("POST", "/flow_runs/filter", body)]

    until(lambda: children().count("RUNNING") == 3)
    stack.api.call("POST", f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}})
    until(lambda: sorted(children()) == ["CANCELLED"] * 3 + ["COMPLETED"])
    assert stack.steps(run_id)[1].state == "CANCELLED"


def test_the_concurrency_of_a_vendor_is_limited_as_its_jobs_declare(stack: FlowStack) -> None:
    jobs = ("extract-one-things", "extract-one-others")
    days = {"lake": "L", "start": "2012-01-01", "end": "2012-01-01", "seconds": 0.5}
    runs = [follow.start_flow(stack.api, job, flow_stack.POOL, days) for job in jobs for _ in range(2)]
    ended = {run_id: stack.steps(run_id)[1] for run_id in runs}
    assert {ending.state for ending in ended.values()} == {"COMPLETED"}
    receipts = [stack.receipt(run_id) for run_id in runs]
    spans = sorted((receipt["started_at"], receipt["ended_at"]) for receipt in receipts)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_registering_the_flows_again_changes_nothing(stack: FlowStack) -> None:
    done = deploy.register_deployments(stack.api, stack.wanted, kind="process", pool=flow_stack.POOL)
    assert (done.created, done.changed) == ((), ())


@pytest.mark.usefixtures("backfills")
def test_reconcile_ends_silent_runs_and_orphans_only(stack: FlowStack, left: dict[str, str]) -> None:
    def is_old(name: str) -> bool:
        return left[name] in {run.run_id for run in reconcile.find_silent(stack.api, silent_s=60, pending_s=60)}

    until(lambda: is_old("silent") and is_old("done") and is_old("taken"))
    ended = reconcile.reconcile_runs(stack.api, silent_s=60, pending_s=60, confirm_s=1)
    reconcile.publish_table(stack.api, ended)
    until(lambda: stack.api.call("GET", f"/flow_runs/{left['cancelling']}")["state"]["type"] == "CANCELLED")  # by Prefect's server
    found = {name: stack.api.call("GET", f"/flow_runs/{left[name]}")["state"] for name in left}
    assert {name: state["type"] for name, state in found.items()} == {
        "living": "RUNNING",
        "others": "RUNNING",
        "silent": "CRASHED",
        "done": "COMPLETED",
        "taken": "CRASHED",
        "cancelling": "CANCELLED",
        "orphan": "CANCELLED",
    }
    assert found["silent"]["message"].startswith("no heartbeat since 20")
    assert "never started: its worker or its container is gone" in found["taken"]["message"]
    table = stack.api.call("GET", "/artifacts/reconcile/latest")["data"]
    assert {row["id"] for row in json.loads(table)} == {left[name] for name in ("silent", "done", "taken", "orphan")}


def test_a_worker_looks_for_runs_that_are_gone_again_and_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A server that is unreachable or shows no events only postpones it."""
    run = reconcile.Run("id-1", "daily", "s", "RUNNING", datetime(2026, 1, 1, tzinfo=UTC))
    answers: list[object] = [TemporaryError("no events"), UnreachableError("refused"), [run]]
    published: list[object] = []
    done = threading.Event()

    def reconcile_runs(_api: Api, **_: float) -> list[reconcile.Run]:
        if not answers:
            done.set()
            threading.Event().wait()  # the thread ends with this process
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]

    monkeypatch.setattr(reconcile, "reconcile_runs", reconcile_runs)
    monkeypatch.setattr(reconcile, "publish_table", lambda _api, ended: published.extend(ended))
    with caplog.at_level(logging.WARNING):
        reconcile.start_thread(Api("http://p/api"), logging.getLogger("reconcile"), every_s=0)
        assert done.wait(600)
    assert published == [run]
    postponed = "runs that are gone were not looked for"
    assert [record.message.partition(":")[0] for record in caplog.records] == [postponed, postponed, "daily (id-1) is now CRASHED"]


def test_reconcile_ends_no_run_while_the_server_shows_no_events() -> None:
    class Deaf:
        url = "http://p/api"

        def call(self, _method: str, path: str, _body: object) -> list[object]:
            assert path.startswith("/events"), "it read runs"
            return []

    with pytest.raises(TemporaryError):
        reconcile.reconcile_runs(Deaf(), silent_s=1, pending_s=1, confirm_s=0, event_timeout_s=0)  # type: ignore[arg-type]


def test_reconcile_cancels_an_overdue_run_that_still_sends_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline is the deployment's or the run's, plus the margin. A flow has no deadline."""
    now = datetime.now(UTC)
    runs = [
        {
            "id": name,
            "name": name,
            "deployment_id": "flow" if name == "flow" else "job",
            "parameters": {"deadline": deadline_s} if deadline_s else {},
            "state": {"id": f"{name}-1", "type": "RUNNING", "timestamp": (now - timedelta(seconds=since_s)).isoformat()},
        }
        for name, deadline_s, since_s in (
            ("late", None, 960 + MARGIN_S),
            ("soon", None, 840 + MARGIN_S),
            ("given", 60, 120 + MARGIN_S),
            ("longer", 9000, 960 + MARGIN_S),
            ("flow", None, 90_000),
        )
    ]
    deployments = [
        {"id": "job", "parameter_openapi_schema": {"properties": {"deadline": {"default": 900}}}},
        {"id": "flow", "parameter_openapi_schema": {"properties": {}}},
    ]
    said: list[tuple[str, Any]] = []

    class Server:
        url = "http://p/api"

        def call(self, method: str, path: str, body: Any = None) -> Any:
            if method == "GET":
                return next(run for run in runs if path.endswith(f"/{run['id']}"))
            if path.endswith("/set_state"):
                said.append((path.split("/")[2], body["state"]))
                return {"status": "ACCEPT"}
            if path == "/deployments/filter":
                return deployments
            states = body.get("flow_runs", {}).get("state", {}).get("type", {}).get("any_", ())
            return runs if "RUNNING" in states else []

    monkeypatch.setattr(reconcile, "check_event_delivery", lambda _api, **_: None)
    monkeypatch.setattr(reconcile, "find_silent", lambda _api, **_: [])
    reconcile.reconcile_runs(Server(), silent_s=1, pending_s=1, confirm_s=0)  # type: ignore[arg-type]
    assert [(run_id, state["type"]) for run_id, state in said] == [("late", "CANCELLING"), ("given", "CANCELLING")]
    assert f"past its deadline by more than {MARGIN_S} s" in said[0][1]["message"]


def test_reconcile_ends_the_runs_of_a_killed_machine(stack: FlowStack) -> None:
    """The last test of this stack, because it kills the worker with all its processes."""
    run_id = stack.start("backfill", extracts={NOTHING: {"seconds": 10_000}}, start="2012-01-01", end="2012-12-31", concurrency=2)
    wanted = {"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}}

    def children() -> list[str]:
        return [run["state"]["type"] for run in stack.api.call("POST", "/flow_runs/filter", wanted)]

    until(lambda: children().count("RUNNING") == 2)
    for process in processes.find_leftover_processes(stack.directory):
        if "orchestration.local.prefect_server" not in process.cmdline():
            process.kill()
    killed = {run_id, *(run["id"] for run in stack.api.call("POST", "/flow_runs/filter", wanted) if run["state"]["type"] == "RUNNING")}
    until(lambda: killed <= {run.run_id for run in reconcile.find_silent(stack.api, silent_s=2, pending_s=2)})
    reconcile.reconcile_runs(stack.api, silent_s=2, pending_s=2, confirm_s=1)
    assert stack.api.call("GET", f"/flow_runs/{run_id}")["state"]["type"] == "CRASHED"
    assert sorted(children()) == ["COMPLETED", "CRASHED", "CRASHED"]


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition. The timeout only ends a test that hangs; no machine is slow enough to reach it."""
    assert wait_until(condition, timeout_s=600, poll_every_s=0.1)
