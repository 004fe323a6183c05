"""The Step Functions launcher, against a fake API."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from jobkit import redaction
from jobkit.launchers import stepfunctions

from jobs.jobkit.tests.launcher_receipt import RECEIPT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Api(ThreadingHTTPServer):
    """A fake Step Functions API. It sends `answers` first, then successes."""

    daemon_threads = True

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.answers: list[tuple[int, bytes]] = []
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    server: Api

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        name = self.headers["x-amz-target"].removeprefix("AWSStepFunctions.")
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.server.calls.append((name, json.loads(body), headers))
        status, answer = self.server.answers.pop(0) if self.server.answers else (200, b"{}")
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-key")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)


def token(api: Api) -> dict[str, str]:
    """Return the environment of a task that was started with a task token."""
    return {"FINELT_TASK_TOKEN": "t0ken", "AWS_ENDPOINT_URL": api.url, "AWS_REGION": "eu-central-1"}


def isolate_credentials(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Hide this machine's keys and profiles from botocore, and the metadata service of an instance."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(folder / name))


def test_success_carries_the_receipt_and_failure_the_exit_code(api: Api) -> None:
    stepfunctions.StepFunctions(token(api)).report_end(RECEIPT, 0, "done")
    stepfunctions.StepFunctions(token(api)).report_end({**RECEIPT, "exit_code": 75}, 75, "the vendor is unavailable")
    (success, output, headers), (failure, why, _) = api.calls
    assert (success, json.loads(output["output"]), output["taskToken"]) == ("SendTaskSuccess", RECEIPT, "t0ken")
    assert (failure, why["error"], why["cause"]) == ("SendTaskFailure", "Exit75", "the vendor is unavailable")
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")


def test_a_receipt_too_long_for_the_api_goes_without_its_partitions(api: Api) -> None:
    many = {**RECEIPT, "partitions": [{"dataset": "things", "partition": "x" * 1000}] * 400}
    stepfunctions.StepFunctions(token(api)).report_end(many, 0, "done")
    assert json.loads(api.calls[0][1]["output"])["partitions"] == []


def test_an_unavailable_api_is_retried_and_a_refusal_is_not(api: Api) -> None:
    api.answers = [(503, b""), (200, b"{}")]
    stepfunctions.StepFunctions(token(api)).report_end(RECEIPT, 0, "done")
    assert len(api.calls) == 2
    api.answers = [(400, b'{"__type": "com.amazonaws.swf.service.v2.model#TaskTimedOut"}')]
    stepfunctions.StepFunctions(token(api)).report_end(RECEIPT, 0, "done")
    assert len(api.calls) == 3


def test_it_sends_heartbeats_and_stops_a_job_whose_task_has_timed_out(api: Api) -> None:
    """The job is a separate process, because it sends itself SIGTERM."""
    api.answers = [(200, b"{}"), (500, b""), (400, b'{"__type": "TaskTimedOut"}')]
    code = (
        "import os, time\nfrom jobkit.launchers import stepfunctions\n"
        "launcher = stepfunctions.StepFunctions(os.environ, heartbeat_s=0.05)\nlauncher.claim()\ntime.sleep(120)"
    )
    ended = subprocess.run([sys.executable, "-c", code], env={**os.environ, **token(api)}, check=False)
    assert ended.returncode == -signal.SIGTERM
    assert [name for name, _, _ in api.calls] == ["SendTaskHeartbeat"] * 3


def test_the_role_of_a_container_gives_the_credentials(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Role(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            expiration = (datetime.now(UTC) + timedelta(hours=6)).isoformat()
            keys = {"AccessKeyId": "AKIDOFROLE", "SecretAccessKey": "role-secret-key", "Token": "role-session", "Expiration": expiration}
            self.send_response(200 if self.headers.get("Authorization") == "z" else 403)
            self.end_headers()
            self.wfile.write(json.dumps(keys).encode())

        def log_message(self, *_: object) -> None:
            pass

    isolate_credentials(monkeypatch, tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), Role) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{server.server_address[1]}/y")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "z")
        stepfunctions.StepFunctions({**os.environ, **token(api)}).report_end(RECEIPT, 0, "done")
        server.shutdown()
    ((_, _, headers),) = api.calls
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDOFROLE/")
    assert headers["x-amz-security-token"] == "role-session"
    assert redaction.redact("role-secret-key") == "***"


def test_without_credentials_no_report_is_sent_and_no_error_raised(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate_credentials(monkeypatch, tmp_path)
    monkeypatch.setattr(stepfunctions, "FINAL_WITHIN_S", 0.5)
    stepfunctions.StepFunctions({**os.environ, **token(api)}).report_end(RECEIPT, 0, "done")
    assert api.calls == []
