"""The reporter's promises, each against a server that answers as Prefect's was measured to."""

from __future__ import annotations

import base64
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from jobkit import errors, report
from jobkit.report import prefect

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN = "0f3c7f1e-0000-4000-8000-000000000001"
RECEIPT = {
    "job": "extract-things",
    "status": "done",
    "exit_code": 0,
    "partitions": [{"dataset": "things", "partition": "year=2012", "outcome": "committed", "rows": 3, "sha256": "ab"}],
}


class FakePrefect(ThreadingHTTPServer):
    """One flow run and its rules; `failures` holds statuses to answer with first, 0 hangs up without an answer."""

    daemon_threads = True

    def __init__(self, state: str = "PENDING") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.state: str = state
        self.parameters: dict[str, Any] = {"lake": "/lake", "end": None, "tickers": ["AAPL", "IBM"]}
        self.failures: dict[str, list[int]] = {}
        self.wait_s: list[float] = []
        self.lose_answers = 0
        self.transitions: dict[str, str] = {}
        self.seen: list[tuple[str, str, Any]] = []
        self.authorization: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api"

    def bodies(self, path: str) -> list[Any]:
        return [body for _, where, body in self.seen if where == path]

    def proposals(self) -> list[str]:
        return [body["state"]["type"] for body in self.bodies(f"/flow_runs/{RUN}/set_state")]

    def propose(self, state: dict[str, Any]) -> dict[str, Any]:
        wanted, transition = state["type"], state["state_details"]["transition_id"]
        if transition in self.transitions:
            return self.answer("REJECT", reason="This transition has already been made")
        if wanted == "RUNNING" and self.wait_s:
            return self.answer("WAIT", delay_seconds=self.wait_s.pop(0))
        if self.state == "CANCELLING" and wanted != "CANCELLED":
            return self.answer("REJECT", reason="cancelling")
        self.transitions[transition] = self.state = wanted
        return self.answer("ACCEPT")

    def answer(self, status: str, **details: Any) -> dict[str, Any]:
        state = None if status == "WAIT" else {"type": self.state}
        return {"status": status, "state": state, "details": details}


class Handler(BaseHTTPRequestHandler):
    server: FakePrefect

    def do_GET(self) -> None:
        self.reply()

    def do_POST(self) -> None:
        self.reply()

    def do_PATCH(self) -> None:
        self.reply()

    def reply(self) -> None:
        path = self.path.removeprefix("/api")
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.authorization = self.headers["Authorization"]
        if planned := self.server.failures.get(path):
            status = planned.pop(0)
            return self.send(status, {"detail": "no"}) if status else None
        self.server.seen.append((self.command, path, body))
        if path == f"/flow_runs/{RUN}":
            run = {"parameters": self.server.parameters, "state": {"type": self.server.state}, "name": "calm-otter"}
            return self.send(200, {**run, "flow_id": "f1", "deployment_id": "d1"})
        if path.endswith("/set_state"):
            answer = self.server.propose(body["state"])
            if self.server.lose_answers:
                self.server.lose_answers -= 1
                return None
            return self.send(201, answer)
        return self.send(201, {"id": "a1"} if path.startswith("/artifacts") else None)

    def send(self, status: int, document: object) -> None:
        data = json.dumps(document).encode() if document is not None else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def no_reporter_outlives_its_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A job's process ends with its reporter; this one goes on, and another test's server may get its port."""
    made: list[prefect.Prefect] = []
    begin = prefect.Prefect.__init__

    def remembered(told: prefect.Prefect, *words: Any, **pace: Any) -> None:
        begin(told, *words, **pace)
        made.append(told)

    monkeypatch.setattr(prefect.Prefect, "__init__", remembered)
    yield
    for told in made:
        told._ending.set()
        if told._thread.is_alive():
            told._thread.join()


@pytest.fixture
def server() -> Iterator[FakePrefect]:
    with FakePrefect() as fake:
        thread = threading.Thread(target=fake.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield fake
        fake.shutdown()
        thread.join()


def reporter(server: FakePrefect, **pace: float) -> prefect.Prefect:
    return prefect.Prefect(prefect.Api(server.url), RUN, **{"poll_s": 0.05, **pace})


def until(condition: Any, within_s: float = 3.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def record(text: str, **extra: Any) -> logging.LogRecord:
    return logging.getLogger("finelt").makeRecord("finelt", logging.INFO, "f", 1, text, (), None, extra=extra)


def test_the_environment_decides_who_launched_the_job() -> None:
    assert isinstance(report.launcher({}), report.Plain)
    assert isinstance(report.launcher({"PREFECT_API_URL": "http://x/api"}), report.Plain)
    told = {"PREFECT_API_URL": "http://x/api", "PREFECT__FLOW_RUN_ID": RUN}
    assert isinstance(report.launcher(told), prefect.Prefect)


def test_a_plain_launch_gives_no_parameters_and_always_starts() -> None:
    plain = report.Plain()
    assert plain.started()
    assert plain.parameters() == {}
    assert not plain.cancelled()


def test_detection_imports_neither_a_launcher_nor_the_network() -> None:
    heavy = ("prefect", "http.client", "jobkit.report.prefect")
    script = f"import sys, jobkit.report as r; r.launcher({{}}); print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_auth_string_is_sent_as_basic_and_the_key_wins_over_it(server: FakePrefect) -> None:
    environ = {"PREFECT_API_URL": server.url, "PREFECT_API_AUTH_STRING": "admin:pass"}
    prefect.api(environ).call("GET", f"/flow_runs/{RUN}")
    assert server.authorization == "Basic " + base64.b64encode(b"admin:pass").decode()
    prefect.api({**environ, "PREFECT_API_KEY": "k"}).call("GET", f"/flow_runs/{RUN}")
    assert server.authorization == "Bearer k"


@pytest.mark.parametrize("state", ["PENDING", "SCHEDULED"])
def test_a_pending_or_scheduled_run_starts_and_its_given_parameters_are_options(server: FakePrefect, state: str) -> None:
    server.state = state
    told = reporter(server)
    assert told.started()
    assert server.state == "RUNNING"
    assert told.parameters() == {"lake": "/lake", "tickers": ["AAPL", "IBM"]}


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED", "PAUSED"])
def test_a_run_in_any_other_state_is_left_alone(server: FakePrefect, state: str) -> None:
    server.state = state
    assert not reporter(server).started()
    assert server.proposals() == []


def test_a_run_cancelled_before_it_started_ends_cancelled(server: FakePrefect) -> None:
    server.state = "CANCELLING"
    assert not reporter(server).started()
    assert server.state == "CANCELLED"


def test_wait_is_waited_for_and_then_asked_again(server: FakePrefect) -> None:
    server.wait_s = [0.2, 0.1]
    before = time.monotonic()
    assert reporter(server).started()
    assert time.monotonic() - before >= 0.3
    assert server.proposals() == ["RUNNING"] * 3


def test_a_run_cancelled_while_it_waits_does_not_start(server: FakePrefect) -> None:
    server.wait_s = [30]
    threading.Timer(0.2, setattr, (server, "state", "CANCELLING")).start()
    assert not reporter(server).started()
    assert server.state == "CANCELLED"


def test_a_lost_answer_is_no_second_transition(server: FakePrefect) -> None:
    server.lose_answers = 1
    assert reporter(server).started()
    sent = [body["state"]["state_details"]["transition_id"] for body in server.bodies(f"/flow_runs/{RUN}/set_state")]
    assert len(sent) == 2
    assert len(set(sent)) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503, 0])
def test_weather_is_retried(server: FakePrefect, status: int) -> None:
    server.failures = {f"/flow_runs/{RUN}": [status, status], f"/flow_runs/{RUN}/set_state": [status]}
    assert reporter(server).started()


@pytest.mark.parametrize(("status", "error"), [(401, errors.MisconfiguredError), (404, errors.MisconfiguredError)])
def test_a_refusal_is_not_retried_and_is_told_where_the_parameters_are_missed(
    server: FakePrefect, status: int, error: type[errors.JobError]
) -> None:
    server.failures = {f"/flow_runs/{RUN}": [status]}
    told = reporter(server, poll_s=60)
    assert told.started()
    with pytest.raises(error, match=str(status)):
        told.parameters()


def test_a_server_that_never_answers_makes_the_job_try_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect, "START_WITHIN_S", 0.2)
    told = prefect.Prefect(prefect.Api("http://127.0.0.1:1/api"), RUN)
    assert told.started()
    with pytest.raises(errors.TemporaryError, match=r"127\.0\.0\.1:1"):
        told.parameters()


@pytest.mark.parametrize(
    ("exit_code", "state"), [(0, "COMPLETED"), (2, "FAILED"), (65, "FAILED"), (70, "FAILED"), (75, "FAILED"), (143, "CRASHED")]
)
def test_the_last_state_follows_the_exit_code_and_carries_the_sentence(server: FakePrefect, exit_code: int, state: str) -> None:
    told = reporter(server)
    told.started()
    told.finished(RECEIPT, exit_code, "12 partitions: 3 committed")
    assert server.state == state
    assert server.bodies(f"/flow_runs/{RUN}/set_state")[-1]["state"]["message"] == "12 partitions: 3 committed"


def test_a_cancelled_run_is_never_overwritten(server: FakePrefect) -> None:
    told = reporter(server, poll_s=60)
    told.started()
    server.state = "CANCELLED"
    told.finished(RECEIPT, 0, "done")
    assert server.proposals() == ["RUNNING"]


def test_a_run_being_cancelled_ends_cancelled(server: FakePrefect) -> None:
    told = reporter(server, poll_s=60)
    told.started()
    server.state = "CANCELLING"
    told.finished(RECEIPT, 143, "stopped")
    assert server.proposals() == ["RUNNING", "CANCELLED"]


def test_a_cancellation_between_the_look_and_the_last_state_ends_cancelled(server: FakePrefect, monkeypatch: pytest.MonkeyPatch) -> None:
    told = reporter(server, poll_s=60)
    told.started()
    propose = told._propose

    def cancel_then_propose(state: str, *more: Any) -> dict[str, Any]:
        server.state = "CANCELLING" if server.proposals() == ["RUNNING"] else server.state
        return propose(state, *more)

    monkeypatch.setattr(told, "_propose", cancel_then_propose)
    told.finished(RECEIPT, 0, "done")
    assert server.proposals() == ["RUNNING", "COMPLETED", "CANCELLED"]


def test_the_last_state_survives_a_server_that_is_away_for_a_while(server: FakePrefect) -> None:
    told = reporter(server, poll_s=60)
    told.started()
    server.failures = {f"/flow_runs/{RUN}": [503] * 4, f"/flow_runs/{RUN}/set_state": [0, 503]}
    told.finished(RECEIPT, 0, "done")
    assert server.state == "COMPLETED"


def test_the_receipt_of_a_job_that_ends_while_the_server_is_away_is_there_before_its_state(
    server: FakePrefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefect, "STOP_WITHIN_S", 0.1)
    told = reporter(server, poll_s=0.1)
    told.started()
    server.failures = {path: [0, 503, 503, 503, 503] for path in (f"/flow_runs/{RUN}", "/artifacts/", f"/flow_runs/{RUN}/set_state")}
    told.finished(RECEIPT, 0, "done")
    assert {body["type"] for body in server.bodies("/artifacts/")} == {"receipt", "table"}
    assert [path for _, path, _ in server.seen][-1] == f"/flow_runs/{RUN}/set_state"
    assert server.state == "COMPLETED"


def test_reporting_to_nobody_ends_in_time_and_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect, "STOP_WITHIN_S", 0.3)
    told = prefect.Prefect(prefect.Api("http://127.0.0.1:1/api"), RUN, poll_s=0.1)
    told.log(record("lost"))
    before = time.monotonic()
    told.finished(RECEIPT, 143, "stopped")
    assert time.monotonic() - before < 5


def test_cancellation_is_seen_while_the_job_works_and_stops_it_once_by_its_own_sigterm(
    server: FakePrefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: kills.append((pid, number)))
    told = reporter(server)
    told.started()
    server.state = "CANCELLING"
    until(told.cancelled)
    time.sleep(0.2)
    assert kills == [(os.getpid(), signal.SIGTERM)]
    told.finished(RECEIPT, 143, "stopped")
    assert server.state == "CANCELLED"


def test_the_pace_of_looking_keeps_the_two_seconds() -> None:
    assert prefect.POLL_S < 2


def test_logs_go_in_batches_with_their_fields(server: FakePrefect) -> None:
    told = reporter(server)
    for number in range(450):
        told.log(record("partition", rows=number))
    told.started()  # only now does the thread begin to send
    until(lambda: len(server.bodies("/logs/")) >= 3)
    told.finished(RECEIPT, 0, "done")
    assert [len(batch) for batch in server.bodies("/logs/")] == [200, 200, 50]
    last = server.bodies("/logs/")[-1][-1]
    assert (last["message"], last["level"], last["flow_run_id"]) == ("partition rows=449", logging.INFO, RUN)


def test_a_failed_log_batch_is_sent_again_and_nothing_is_lost_or_doubled(server: FakePrefect) -> None:
    server.failures = {"/logs/": [503, 0, 503, 503, 503]}
    told = reporter(server)
    told.started()
    told.log(record("one"))
    told.log(record("two"))
    until(lambda: server.bodies("/logs/"))
    told.finished(RECEIPT, 0, "done")
    told_lines = [entry["message"] for batch in server.bodies("/logs/") for entry in batch]
    assert Counter(told_lines) == {"one": 1, "two": 1}


def test_refused_logs_do_not_stop_the_next_ones(server: FakePrefect) -> None:
    server.failures = {"/logs/": [422]}
    told = reporter(server, poll_s=0.1)
    told.started()
    told.log(record("too odd"))
    until(lambda: not server.failures["/logs/"])
    told.log(record("fine"))
    told.finished(RECEIPT, 0, "done")
    assert [entry["message"] for batch in server.bodies("/logs/") for entry in batch] == ["fine"]


def test_the_receipt_is_there_for_people_and_for_machines_before_the_last_state(server: FakePrefect) -> None:
    told = reporter(server)
    told.started()
    told.finished(RECEIPT, 0, "1 partition: 1 committed; 3 rows")
    whole, table = server.bodies("/artifacts/")
    assert whole == {"type": "receipt", "data": RECEIPT, "flow_run_id": RUN}
    assert (table["key"], table["type"]) == ("receipt-extract-things", "table")
    assert json.loads(table["data"]) == [{"dataset": "things", "partition": "year=2012", "outcome": "committed", "rows": 3}]
    assert "1 committed; 3 rows" in table["description"]
    paths = [path for _, path, _ in server.seen]
    assert paths.index("/artifacts/") < len(paths) - 1 - paths[::-1].index(f"/flow_runs/{RUN}/set_state")


def test_long_work_shows_one_progress_artifact_and_short_work_none(server: FakePrefect, monkeypatch: pytest.MonkeyPatch) -> None:
    short = reporter(server)
    short.started()
    short.progress(1, 2, "year=2012")
    short.finished(RECEIPT, 0, "done")
    assert [body["type"] for body in server.bodies("/artifacts/")] == ["receipt", "table"]
    monkeypatch.setattr(prefect, "PROGRESS_AFTER_S", 0.0)
    server.state = "PENDING"
    long = reporter(server)
    long.started()
    long.progress(1, 4, "year=2012")
    until(lambda: len(server.bodies("/artifacts/")) == 3)
    long.progress(3, 4, "year=2013")
    until(lambda: server.bodies("/artifacts/a1"))
    assert server.bodies("/artifacts/")[2] == {"data": 25.0, "description": "1/4 year=2012", "type": "progress", "flow_run_id": RUN}
    assert server.bodies("/artifacts/a1") == [{"data": 75.0, "description": "3/4 year=2013"}]
    long.finished(RECEIPT, 0, "done")


def test_a_working_job_beats_for_the_automation_that_finds_dead_runs(server: FakePrefect) -> None:
    told = reporter(server, heartbeat_s=0.1)
    told.started()
    until(lambda: len(server.bodies("/events")) >= 2)
    event = server.bodies("/events")[0][0]
    assert event["event"] == "prefect.flow-run.heartbeat"
    assert event["resource"]["prefect.resource.id"] == f"prefect.flow-run.{RUN}"
    assert {"prefect.resource.id": "prefect.deployment.d1", "prefect.resource.role": "deployment"} in event["related"]
    told.finished(RECEIPT, 0, "done")
