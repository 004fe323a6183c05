"""The reporters for Dagster, Step Functions, Airflow, Argo and Kubernetes, against their protocols. The real ones: test_launchers.py."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from jobkit import errors, launchers, redaction
from jobkit.launchers import dagster, files, prefect, stepfunctions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECEIPT: dict[str, Any] = {
    "job": "extract-things",
    "status": "done",
    "exit_code": 0,
    "rows": 7,
    "committed": 2,
    "unchanged": 0,
    "quarantined": 0,
    "elapsed_s": 1.5,
    "peak_rss_bytes": 1,
    "partitions": [
        {"dataset": "things", "partition": "year=2012", "outcome": "committed", "rows": 3, "sha256": "ab"},
        {"dataset": "others", "partition": "year=2012", "outcome": "committed", "rows": 4, "sha256": "cd"},
    ],
}


def test_the_launcher_is_the_one_the_environment_shows() -> None:
    found = {
        launchers.ShellLauncher: {},
        prefect.Prefect: {"PREFECT__FLOW_RUN_ID": "x", "PREFECT_API_URL": "http://127.0.0.1:9/api"},
        dagster.Dagster: {"DAGSTER_PIPES_CONTEXT": "x"},
        stepfunctions.StepFunctions: {"FINELT_TASK_TOKEN": "x"},
    }
    for kind, environ in found.items():
        assert type(launchers.detect(environ)) is kind


# Files: Airflow on Kubernetes, Argo, any pod.


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "XCOM", tmp_path / "xcom")
    monkeypatch.setattr(files, "TERMINATION", tmp_path / "termination-log")
    return tmp_path


def test_without_a_launcher_that_wants_files_there_are_none(places: Path) -> None:
    files.write({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, RECEIPT, "done")
    assert list(places.iterdir()) == []


def test_airflows_sidecar_argo_and_kubernetes_find_what_they_read(places: Path) -> None:
    (places / "xcom").mkdir()
    (places / "termination-log").touch()
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "FINELT_RECEIPT_FILE": str(places / "receipt.json")}
    files.write(environ, RECEIPT, "ü" * 3000)
    assert json.loads((places / "xcom/return.json").read_text()) == RECEIPT
    assert json.loads((places / "receipt.json").read_text()) == RECEIPT
    assert len((places / "termination-log").read_bytes()) == 4096
    assert (places / "termination-log").read_text() == "ü" * 2048


def test_a_file_that_cannot_be_written_changes_nothing(places: Path) -> None:
    files.write({"FINELT_RECEIPT_FILE": str(places / "nowhere" / "receipt.json")}, RECEIPT, "done")


# Dagster Pipes.


def encoded(document: dict[str, Any]) -> str:
    return base64.b64encode(zlib.compress(json.dumps(document).encode())).decode()


def context(**more: object) -> dict[str, Any]:
    return {"asset_keys": None, "partition_key": None, "partition_key_range": None, "run_id": "r", "extras": {}, **more}


def pipes(told: dict[str, Any], messages: Path) -> dagster.Dagster:
    return dagster.Dagster({"DAGSTER_PIPES_CONTEXT": encoded({"data": told}), "DAGSTER_PIPES_MESSAGES": encoded({"path": str(messages)})})


def said(messages: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in messages.read_text().splitlines()]
    assert all(line["__dagster_pipes_version"] == "0.1" for line in lines)
    return lines


def test_extras_are_options_and_a_days_partition_is_a_range_of_days(tmp_path: Path) -> None:
    told = pipes(context(extras={"lake": "s3://lake"}, partition_key="2012-12-03"), tmp_path / "m").options()
    assert told == {"lake": "s3://lake", "start": "2012-12-03", "end": "2012-12-03"}
    ranged = {"start": "2012-12-03", "end": "2012-12-07"}
    assert pipes(context(partition_key_range=ranged), tmp_path / "m").options() == ranged
    assert pipes(context(partition_key="AAPL"), tmp_path / "m").options() == {}
    own = context(extras={"start": "2012-01-01"}, partition_key="2012-12-03")
    assert pipes(own, tmp_path / "m").options() == {"start": "2012-01-01", "end": "2012-12-03"}


def test_a_context_in_a_file_is_read_and_a_spoilt_one_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "context").write_text(json.dumps(context(extras={"a": 1})))
    assert dagster.Dagster({"DAGSTER_PIPES_CONTEXT": encoded({"path": str(tmp_path / "context")})}).options() == {"a": 1}
    for spoilt in ("x", encoded({}), encoded({"path": str(tmp_path / "nowhere")})):
        with pytest.raises(errors.MisconfiguredError, match="the context of Dagster Pipes cannot be read"):
            dagster.Dagster({"DAGSTER_PIPES_CONTEXT": spoilt}).options()


def test_each_asset_is_told_of_its_own_dataset_with_a_version_of_its_bytes(tmp_path: Path) -> None:
    launcher = pipes(context(asset_keys=["raw/things", "everything"]), tmp_path / "m")
    assert launcher.claim()
    launcher.report_end(RECEIPT, 0, "2 partitions")
    methods = [line["method"] for line in said(tmp_path / "m")]
    assert methods == ["opened", "report_custom_message", "report_asset_materialization", "report_asset_materialization", "closed"]
    things, everything = (line["params"] for line in said(tmp_path / "m")[2:4])
    assert (things["asset_key"], things["metadata"]["rows"]["raw_value"]) == ("raw/things", 3)
    assert (everything["asset_key"], everything["metadata"]["rows"]["raw_value"]) == ("everything", 7)
    assert things["data_version"] != everything["data_version"]


def test_a_failure_materializes_nothing_and_says_why(tmp_path: Path) -> None:
    launcher = pipes(context(asset_keys=["things"]), tmp_path / "m")
    launcher.claim()
    launcher.report_end({**RECEIPT, "exit_code": 75}, 75, "the vendor is away")
    assert [line["method"] for line in said(tmp_path / "m")] == ["opened", "report_custom_message", "closed"]
    assert said(tmp_path / "m")[-1]["params"]["exception"]["message"] == "the vendor is away"


# Step Functions.


class Api(ThreadingHTTPServer):
    """Answers as the Step Functions API; `answers` are taken first."""

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
    """The environment of a task that waits for its token."""
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
    stepfunctions.StepFunctions(token(api)).report_end({**RECEIPT, "exit_code": 75}, 75, "the vendor is away")
    (success, output, headers), (failure, why, _) = api.calls
    assert (success, json.loads(output["output"]), output["taskToken"]) == ("SendTaskSuccess", RECEIPT, "t0ken")
    assert (failure, why["error"], why["cause"]) == ("SendTaskFailure", "Exit75", "the vendor is away")
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")


def test_a_receipt_too_long_for_the_api_goes_without_its_partitions(api: Api) -> None:
    many = {**RECEIPT, "partitions": [{"dataset": "things", "partition": "x" * 1000}] * 400}
    stepfunctions.StepFunctions(token(api)).report_end(many, 0, "done")
    assert json.loads(api.calls[0][1]["output"])["partitions"] == []


def test_an_api_that_is_away_is_asked_again_and_a_refusal_is_not(api: Api) -> None:
    api.answers = [(503, b""), (200, b"{}")]
    stepfunctions.StepFunctions(token(api)).report_end(RECEIPT, 0, "done")
    assert len(api.calls) == 2
    api.answers = [(400, b'{"__type": "com.amazonaws.swf.service.v2.model#TaskTimedOut"}')]
    stepfunctions.StepFunctions(token(api)).report_end(RECEIPT, 0, "done")
    assert len(api.calls) == 3


def test_it_beats_while_it_works_and_stops_the_job_when_nobody_waits_for_it(api: Api) -> None:
    """In a process of its own: it stops itself by SIGTERM."""
    api.answers = [(200, b"{}"), (500, b""), (400, b'{"__type": "TaskTimedOut"}')]
    code = (
        "import os, time\nfrom jobkit.launchers import stepfunctions\n"
        "launcher = stepfunctions.StepFunctions(os.environ, heartbeat_s=0.05)\nlauncher.claim()\ntime.sleep(30)"
    )
    began_s = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **token(api)}, check=False, timeout=30)
    assert done.returncode == -signal.SIGTERM
    assert time.monotonic() - began_s < 20
    assert [name for name, _, _ in api.calls] == ["SendTaskHeartbeat"] * 3


def test_a_containers_role_gives_the_credentials(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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


def test_without_credentials_reporting_gives_up_and_the_job_goes_on(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate_credentials(monkeypatch, tmp_path)
    monkeypatch.setattr(stepfunctions, "FINAL_WITHIN_S", 0.5)
    stepfunctions.StepFunctions({**os.environ, **token(api)}).report_end(RECEIPT, 0, "done")
    assert api.calls == []
