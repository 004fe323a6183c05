"""The Prefect launcher against a fake server whose answers are those measured on Prefect's own."""

from __future__ import annotations

import base64
import json
import logging
import os
import signal
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from jobkit import errors, prefect_api
from jobkit.launchers import prefect

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
    """One flow run and its orchestration rules. Each path answers with its `failures` first; 0 closes the connection without a response."""

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
        return [body for _, called, body in self.seen if called == path]

    def proposals(self) -> list[str]:
        return [body["state"]["type"] for body in self.bodies(f"/flow_runs/{RUN}/set_state")]

    def propose(self, state: dict[str, Any]) -> dict[str, Any]:
        requested, transition = state["type"], state["state_details"]["transition_id"]
        if transition in self.transitions:
            return self.answer("REJECT", reason="This transition has already been made")
        if requested == "RUNNING" and self.wait_s:
            return self.answer("WAIT", delay_seconds=self.wait_s.pop(0))
        if self.state == "CANCELLING" and requested != "CANCELLED":
            return self.answer("REJECT", reason="cancelling")
        self.transitions[transition] = self.state = requested
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
        if statuses := self.server.failures.get(path):
            status = statuses.pop(0)
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
def stop_launchers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stop each launcher's thread. A job's process ends with it, but here it would go on, and another test's server could get its port."""
    created: list[prefect.Prefect] = []
    init = prefect.Prefect.__init__

    def init_and_register(launcher: prefect.Prefect, *args: Any, **kwargs: Any) -> None:
        init(launcher, *args, **kwargs)
        created.append(launcher)

    monkeypatch.setattr(prefect.Prefect, "__init__", init_and_register)
    yield
    for launcher in created:
        launcher._ending.set()
        if launcher._thread.is_alive():
            launcher._thread.join()


@pytest.fixture
def server() -> Iterator[FakePrefect]:
    with FakePrefect() as fake:
        thread = threading.Thread(target=fake.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield fake
        fake.shutdown()
        thread.join()


def connect(server: FakePrefect, **intervals: float) -> prefect.Prefect:
    return prefect.Prefect(prefect_api.Api(server.url), RUN, **{"poll_s": 0.05, **intervals})


def wait_until(condition: Any, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def record(text: str, **extra: Any) -> logging.LogRecord:
    return logging.getLogger("finelt").makeRecord("finelt", logging.INFO, "f", 1, text, (), None, extra=extra)


def test_the_auth_string_is_sent_as_basic_auth_unless_there_is_an_api_key(server: FakePrefect) -> None:
    environ = {"PREFECT_API_URL": server.url, "PREFECT_API_AUTH_STRING": "admin:pass"}
    prefect_api.api(environ).call("GET", f"/flow_runs/{RUN}")
    assert server.authorization == "Basic " + base64.b64encode(b"admin:pass").decode()
    prefect_api.api({**environ, "PREFECT_API_KEY": "k"}).call("GET", f"/flow_runs/{RUN}")
    assert server.authorization == "Bearer k"


@pytest.mark.parametrize("state", ["PENDING", "SCHEDULED"])
def test_a_pending_or_scheduled_run_starts_with_its_parameters_as_options(server: FakePrefect, state: str) -> None:
    server.state = state
    launcher = connect(server)
    assert launcher.claim()
    assert server.state == "RUNNING"
    assert launcher.options() == {"lake": "/lake", "tickers": ["AAPL", "IBM"]}


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED", "PAUSED"])
def test_a_run_in_any_other_state_does_not_start(server: FakePrefect, state: str) -> None:
    server.state = state
    assert not connect(server).claim()
    assert server.proposals() == []


def test_a_run_cancelled_before_it_starts_ends_cancelled(server: FakePrefect) -> None:
    server.state = "CANCELLING"
    assert not connect(server).claim()
    assert server.state == "CANCELLED"


def test_a_wait_response_is_followed_by_a_retry_after_its_delay(server: FakePrefect) -> None:
    server.wait_s = [0.2, 0.1]
    before = time.monotonic()
    assert connect(server).claim()
    assert time.monotonic() - before >= 0.3
    assert server.proposals() == ["RUNNING"] * 3


def test_a_run_cancelled_during_a_wait_does_not_start(server: FakePrefect) -> None:
    server.wait_s = [30]
    threading.Timer(0.2, setattr, (server, "state", "CANCELLING")).start()
    assert not connect(server).claim()
    assert server.state == "CANCELLED"


def test_a_lost_response_is_retried_with_the_same_transition_id(server: FakePrefect) -> None:
    server.lose_answers = 1
    assert connect(server).claim()
    sent = [body["state"]["state_details"]["transition_id"] for body in server.bodies(f"/flow_runs/{RUN}/set_state")]
    assert len(sent) == 2
    assert len(set(sent)) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503, 0])
def test_temporary_errors_are_retried(server: FakePrefect, status: int) -> None:
    server.failures = {f"/flow_runs/{RUN}": [status, status], f"/flow_runs/{RUN}/set_state": [status]}
    assert connect(server).claim()


@pytest.mark.parametrize(("status", "error"), [(401, errors.MisconfiguredError), (404, errors.MisconfiguredError)])
def test_a_refusal_is_not_retried_and_is_raised_when_the_parameters_are_needed(
    server: FakePrefect, status: int, error: type[errors.JobError]
) -> None:
    server.failures = {f"/flow_runs/{RUN}": [status]}
    launcher = connect(server, poll_s=60)
    assert launcher.claim()
    with pytest.raises(error, match=str(status)):
        launcher.options()


def test_a_server_that_never_answers_is_a_temporary_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect, "START_WITHIN_S", 0.2)
    launcher = prefect.Prefect(prefect_api.Api("http://127.0.0.1:1/api"), RUN)
    assert launcher.claim()
    with pytest.raises(errors.TemporaryError, match=r"127\.0\.0\.1:1"):
        launcher.options()


def test_an_overloaded_server_gets_more_time_for_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that needs 45 seconds for a response answers at last; a timeout that stays short would never get one."""
    api, clock, timeouts = prefect_api.Api("http://127.0.0.1:9/api"), [0.0], []

    def send(method: str, path: str, body: object, timeout_s: float) -> str:
        timeouts.append(timeout_s)
        clock.append(clock[-1] + min(timeout_s, 45.0))
        if timeout_s < 45.0:
            raise prefect_api.UnreachableError(f"{method} {path}: timed out {body}")
        return "answered"

    monkeypatch.setattr(api, "_send", send)
    monkeypatch.setattr(prefect_api.time, "monotonic", lambda: clock[-1])
    monkeypatch.setattr(prefect_api.time, "sleep", lambda pause_s: clock.append(clock[-1] + pause_s))
    assert api.call("GET", "/admin/version", within_s=prefect_api.SERVER_OUTAGE_BUDGET_S) == "answered"
    assert timeouts == [10.0, 20.0, 40.0, 60.0]


@pytest.mark.parametrize(
    ("exit_code", "state"), [(0, "COMPLETED"), (2, "FAILED"), (65, "FAILED"), (70, "FAILED"), (75, "FAILED"), (143, "CRASHED")]
)
def test_the_final_state_follows_the_exit_code_and_has_the_summary(server: FakePrefect, exit_code: int, state: str) -> None:
    launcher = connect(server)
    launcher.claim()
    launcher.report_end(RECEIPT, exit_code, "12 partitions: 3 committed")
    assert server.state == state
    assert server.bodies(f"/flow_runs/{RUN}/set_state")[-1]["state"]["message"] == "12 partitions: 3 committed"


def test_a_cancelled_run_is_never_overwritten(server: FakePrefect) -> None:
    launcher = connect(server, poll_s=60)
    launcher.claim()
    server.state = "CANCELLED"
    launcher.report_end(RECEIPT, 0, "done")
    assert server.proposals() == ["RUNNING"]


def test_a_run_being_cancelled_ends_cancelled(server: FakePrefect) -> None:
    launcher = connect(server, poll_s=60)
    launcher.claim()
    server.state = "CANCELLING"
    launcher.report_end(RECEIPT, 143, "stopped")
    assert server.proposals() == ["RUNNING", "CANCELLED"]


def test_a_cancellation_between_the_last_poll_and_the_final_state_ends_cancelled(
    server: FakePrefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = connect(server, poll_s=60)
    launcher.claim()
    propose = launcher._propose

    def cancel_then_propose(state: str, *more: Any) -> dict[str, Any]:
        server.state = "CANCELLING" if server.proposals() == ["RUNNING"] else server.state
        return propose(state, *more)

    monkeypatch.setattr(launcher, "_propose", cancel_then_propose)
    launcher.report_end(RECEIPT, 0, "done")
    assert server.proposals() == ["RUNNING", "COMPLETED", "CANCELLED"]


def test_the_final_state_survives_a_server_outage(server: FakePrefect) -> None:
    launcher = connect(server, poll_s=60)
    launcher.claim()
    server.failures = {f"/flow_runs/{RUN}": [503] * 4, f"/flow_runs/{RUN}/set_state": [0, 503]}
    launcher.report_end(RECEIPT, 0, "done")
    assert server.state == "COMPLETED"


def test_the_receipt_of_a_job_that_ends_during_an_outage_is_sent_before_its_state(
    server: FakePrefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefect, "STOP_WITHIN_S", 0.1)
    launcher = connect(server, poll_s=0.1)
    launcher.claim()
    server.failures = {path: [0, 503, 503, 503, 503] for path in (f"/flow_runs/{RUN}", "/artifacts/", f"/flow_runs/{RUN}/set_state")}
    launcher.report_end(RECEIPT, 0, "done")
    assert {body["type"] for body in server.bodies("/artifacts/")} == {"receipt", "table"}
    assert [path for _, path, _ in server.seen][-1] == f"/flow_runs/{RUN}/set_state"
    assert server.state == "COMPLETED"


def test_reporting_to_an_unreachable_server_ends_without_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect, "STOP_WITHIN_S", 0.3)
    launcher = prefect.Prefect(prefect_api.Api("http://127.0.0.1:1/api"), RUN, poll_s=0.1)
    launcher.log(record("lost"))
    launcher.report_end(RECEIPT, 143, "stopped")


def test_a_cancellation_during_the_job_sends_it_one_sigterm(server: FakePrefect, monkeypatch: pytest.MonkeyPatch) -> None:
    kills: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: kills.append((pid, number)))
    launcher = connect(server)
    launcher.claim()
    server.state = "CANCELLING"
    wait_until(lambda: bool(kills))
    polls = len(server.bodies(f"/flow_runs/{RUN}"))
    wait_until(lambda: len(server.bodies(f"/flow_runs/{RUN}")) >= polls + 3)
    assert kills == [(os.getpid(), signal.SIGTERM)]
    launcher.report_end(RECEIPT, 143, "stopped")
    assert server.state == "CANCELLED"


def test_a_cancellation_is_noticed_within_two_seconds() -> None:
    assert prefect.POLL_S < 2


def test_logs_are_sent_in_batches_with_their_fields(server: FakePrefect) -> None:
    launcher = connect(server)
    for number in range(450):
        launcher.log(record("partition", rows=number))
    launcher.claim()  # the thread starts to send here
    wait_until(lambda: len(server.bodies("/logs/")) >= 3)
    launcher.report_end(RECEIPT, 0, "done")
    assert [len(batch) for batch in server.bodies("/logs/")] == [200, 200, 50]
    last = server.bodies("/logs/")[-1][-1]
    assert (last["message"], last["level"], last["flow_run_id"]) == ("partition rows=449", logging.INFO, RUN)


def test_a_failed_log_batch_is_retried_without_loss_or_duplicates(server: FakePrefect) -> None:
    server.failures = {"/logs/": [503, 0, 503, 503, 503]}
    launcher = connect(server)
    launcher.claim()
    launcher.log(record("one"))
    launcher.log(record("two"))
    wait_until(lambda: server.bodies("/logs/"))
    launcher.report_end(RECEIPT, 0, "done")
    messages = [entry["message"] for batch in server.bodies("/logs/") for entry in batch]
    assert Counter(messages) == {"one": 1, "two": 1}


def test_a_refused_log_batch_does_not_stop_the_next_one(server: FakePrefect) -> None:
    server.failures = {"/logs/": [422]}
    launcher = connect(server, poll_s=0.1)
    launcher.claim()
    launcher.log(record("refused"))
    wait_until(lambda: not server.failures["/logs/"])
    launcher.log(record("accepted"))
    launcher.report_end(RECEIPT, 0, "done")
    assert [entry["message"] for batch in server.bodies("/logs/") for entry in batch] == ["accepted"]


def test_the_receipt_is_sent_as_data_and_as_a_table_before_the_final_state(server: FakePrefect) -> None:
    launcher = connect(server)
    launcher.claim()
    launcher.report_end(RECEIPT, 0, "1 partition: 1 committed; 3 rows")
    whole, table = server.bodies("/artifacts/")
    assert whole == {"type": "receipt", "data": RECEIPT, "flow_run_id": RUN}
    assert (table["key"], table["type"]) == ("receipt-extract-things", "table")
    assert json.loads(table["data"]) == [{"dataset": "things", "partition": "year=2012", "outcome": "committed", "rows": 3}]
    assert "1 committed; 3 rows" in table["description"]
    paths = [path for _, path, _ in server.seen]
    assert paths.index("/artifacts/") < len(paths) - 1 - paths[::-1].index(f"/flow_runs/{RUN}/set_state")


def test_each_dataset_that_a_run_changed_is_an_event_of_its_materialization(server: FakePrefect) -> None:
    launcher = connect(server)
    launcher.claim()
    changed = {"dataset": "things", "partition": "year=2013", "outcome": "committed", "rows": 4}
    same = {"dataset": "others", "partition": "year=2012", "outcome": "unchanged", "rows": 9}
    launcher.report_end({**RECEIPT, "partitions": [*RECEIPT["partitions"], changed, same]}, 0, "done")
    ((event,),) = server.bodies("/events")
    assert (event["event"], event["resource"]["prefect.resource.id"]) == ("prefect.asset.materialization.succeeded", "finelt://things")
    assert event["payload"] == {"job": "extract-things", "partitions": 2, "rows": 7}
    assert {"prefect.resource.id": f"prefect.flow-run.{RUN}", "prefect.resource.role": "flow-run"} in event["related"]


def test_a_long_job_has_one_progress_artifact_and_a_short_job_none(server: FakePrefect, monkeypatch: pytest.MonkeyPatch) -> None:
    short = connect(server)
    short.claim()
    short.report_progress(1, 2, "year=2012")
    short.report_end(RECEIPT, 0, "done")
    assert [body["type"] for body in server.bodies("/artifacts/")] == ["receipt", "table"]
    monkeypatch.setattr(prefect, "PROGRESS_AFTER_S", 0.0)
    server.state = "PENDING"
    long = connect(server)
    long.claim()
    long.report_progress(1, 4, "year=2012")
    wait_until(lambda: len(server.bodies("/artifacts/")) == 3)
    long.report_progress(3, 4, "year=2013")
    wait_until(lambda: server.bodies("/artifacts/a1"))
    assert server.bodies("/artifacts/")[2] == {"data": 25.0, "description": "1/4 year=2012", "type": "progress", "flow_run_id": RUN}
    assert server.bodies("/artifacts/a1") == [{"data": 75.0, "description": "3/4 year=2013"}]
    long.report_end(RECEIPT, 0, "done")


def test_a_running_job_sends_heartbeats_for_the_automation_that_finds_dead_runs(server: FakePrefect) -> None:
    launcher = connect(server, heartbeat_s=0.1)
    launcher.claim()
    wait_until(lambda: len(server.bodies("/events")) >= 2)
    event = server.bodies("/events")[0][0]
    assert event["event"] == "prefect.flow-run.heartbeat"
    assert event["resource"]["prefect.resource.id"] == f"prefect.flow-run.{RUN}"
    assert {"prefect.resource.id": "prefect.deployment.d1", "prefect.resource.role": "deployment"} in event["related"]
    launcher.report_end(RECEIPT, 0, "done")
