"""From a dropped file to its run: the Lambda function with the settings of infra/, a real Prefect server, and the job."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from images import docker_cli
from images.plan import SERVICES
from infra.testing.mock_engine import Resource, graph
from jobs.catalogue import REPOSITORY, catalogue
from orchestration.deployments import descriptions, register
from orchestration.local import prefect_server
from tests.images.containers import build_environment, harden
from tests.orchestration.fargate import forget
from tests.orchestration.lambda_runtime import Answer, Runtime, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobkit.prefect_api import Api

    from tests.fixtures_postgres import Warehouse

JOB, POOL = "extract-dropped-files", "ecs"
KEY = "custodian_positions/bank-2012-12-03.csv"
CSV = """position_date,custodian,account,isin,quantity,price,market_value,currency
2012-12-03,Bank,A1,US0378331005,10,1.5,15,USD
2012-12-03,Bank,A2,US0378331005,-2.5,1.5,-3.75,USD
"""


@cache
def function() -> Resource:
    """The resources of infra/."""
    return graph("dev").the("lambda/function:Function", "-start-dropped-files")


def event(key: str = f"drop/{KEY}", version: str = "v1") -> dict[str, Any]:
    """Return the event that EventBridge sends for a new object."""
    told = {"key": key, "size": 5, "etag": "b1946ac92492d2347c6235b4d2611184", "version-id": version, "sequencer": "00617F08299329D189"}
    detail = {"version": "0", "bucket": {"name": "finelt-dev-lake-123456789012"}, "object": told, "reason": "PutObject"}
    return {"version": "0", "id": "17793124-05d4", "detail-type": "Object Created", "source": "aws.s3", "detail": detail}


@dataclass(frozen=True)
class Stack:
    """A Prefect server with the job, its credentials, and the directories."""

    api: Api
    url: str
    auth: str
    aws: dict[str, str]
    folder: Path

    def environment(self, lambda_side: Runtime, **changes: str) -> dict[str, str]:
        """The environment that Lambda gives the function: the variables of infra/, and keys of its role."""
        told = function().inputs["environment"]["variables"]
        return {**told, "PREFECT_API_URL": self.url, "AWS_LAMBDA_RUNTIME_API": lambda_side.address, **self.aws, **changes}

    def runs(self) -> list[dict[str, Any]]:
        """Return all flow runs of the job, oldest first."""
        found = self.api.call("GET", f"/deployments/name/{JOB}/{JOB}-{POOL}")
        wanted = {"deployments": {"id": {"any_": [found["id"]]}}, "sort": "START_TIME_ASC"}
        return list(self.api.call("POST", "/flow_runs/filter", wanted))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("events")
    with ExitStack() as ends:
        moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        moto.start()
        ends.callback(moto.stop)
        prefect = prefect_server.start_server(folder)
        ends.callback(lambda: prefect_server.stop_server(prefect))
        address, port = moto.get_host_and_port()
        forget(f"http://{address}:{port}")
        keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-central-1"}
        aws = {"AWS_ENDPOINT_URL": f"http://{address}:{port}", **keys}
        auth = prefect.client_settings()["PREFECT_API_AUTH_STRING"]
        client = boto3.client(
            "secretsmanager",
            endpoint_url=aws["AWS_ENDPOINT_URL"],
            region_name="eu-central-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )
        client.create_secret(Name="finelt-dev/prefect/auth", SecretString=auth)
        prefect.wait_until_ready()
        specs = [spec for spec in catalogue() if spec.name == JOB]
        (wanted,) = register.job_deployments(specs, descriptions.installed_commands(specs), kind="process", pool=POOL)
        places = {"lake": f"{folder}/lake", "drop": f"{folder}/drop"}
        given = replace(wanted, fields={**wanted.fields, "parameters": places})
        register.register_deployments(prefect.api(), [given], kind="process", pool=POOL)
        yield Stack(prefect.api(), prefect.url, auth, aws, folder)


@contextmanager
def started(stack: Stack, **changes: str) -> Iterator[Runtime]:
    """Start the function as its image does: with awslambdaric and the handler's name."""
    (handler,) = function().inputs["imageConfig"]["commands"]
    with runtime() as side:
        paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "jobs" / "jobkit")])
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": paths, **stack.environment(side, **changes)}
        command = [sys.executable, "-m", "awslambdaric", handler]
        with subprocess.Popen(command, env=environ, cwd=stack.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            try:
                yield side
            finally:
                process.kill()
                output, _ = process.communicate()
                assert stack.auth.encode() not in output


def ok(answer: Answer) -> dict[str, Any]:
    assert answer.kind == "response", answer
    return dict(answer.document)


def test_repeated_events_of_a_file_start_one_run_and_its_rows_reach_the_warehouse(stack: Stack, warehouse: Warehouse) -> None:
    dropped = stack.folder / "drop" / KEY
    dropped.parent.mkdir(parents=True)
    dropped.write_text(CSV)
    with started(stack) as side:
        first, second = ok(side.invoke(event())), ok(side.invoke(event()))
    assert first == second
    assert first["key"] == KEY
    (run,) = stack.runs()
    assert (run["id"], run["parameters"]["key"]) == (first["flow_run_id"], KEY)
    assert run["state"]["type"] == "SCHEDULED"

    told = {"PREFECT_API_URL": stack.url, "PREFECT_API_AUTH_STRING": stack.auth, "PREFECT__FLOW_RUN_ID": run["id"]}
    done = subprocess.run(
        [sys.executable, "-m", "extract_dropped_files", "run"], env={**os.environ, **told}, capture_output=True, check=True
    )
    assert json.loads(done.stdout)["committed"] == 1
    assert stack.runs()[0]["state"]["type"] == "COMPLETED"
    assert not dropped.exists()
    load_into(warehouse, stack.folder / "lake")


def load_into(warehouse: Warehouse, lake: Path) -> None:
    """Load the lake and check that the dropped rows are in the warehouse."""
    words = ["--lake", str(lake), "--warehouse", warehouse.url, "--warehouse-password", warehouse.password_reference]
    subprocess.run([sys.executable, "-m", "load_warehouse", "run", *words], capture_output=True, check=True)
    found = warehouse.rows("select account, quantity::text from raw.custodian_positions order by account")
    assert found == [("A1", "10.000000"), ("A2", "-2.500000")]


def test_another_version_of_a_file_starts_another_run(stack: Stack) -> None:
    before = len(stack.runs())
    with started(stack) as side:
        ids = {ok(side.invoke(event(f"drop/{KEY}.gz", version)))["flow_run_id"] for version in ("v1", "v2", "v2")}
        old = event("drop/custodian_positions/plain.csv")
        del old["detail"]["object"]["version-id"]
        ids |= {ok(side.invoke(old))["flow_run_id"] for _ in range(2)}
    assert len(ids) == 3
    assert len(stack.runs()) == before + 3


@pytest.mark.parametrize("key", [f"drop/accepted/{KEY}", f"drop/rejected/{KEY}.reasons.json", "drop/custodian_positions/"])
def test_files_that_the_job_moved_aside_start_no_run(stack: Stack, key: str) -> None:
    before = len(stack.runs())
    with started(stack) as side:
        assert ok(side.invoke(event(key)))["flow_run_id"] is None
    assert len(stack.runs()) == before


def test_a_run_that_cannot_be_started_is_an_error_that_lambda_retries(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/api"
    faults = {
        "UnreachableError": ({"PREFECT_API_URL": nobody}, event(), "Connection refused"),
        "MisconfiguredError": ({"FINELT_PREFECT_AUTH": "secretsmanager://finelt-dev/nothing"}, event(), "finelt-dev/nothing"),
        "EventError": ({"FINELT_DEPLOYMENT": "extract-dropped-files/nowhere"}, event(), "./scripts/stack register"),
    }
    for kind, (changes, told, words) in faults.items():
        with started(stack, **changes) as side:
            answer = side.invoke(told, seconds=3)
            assert (answer.kind, answer.document["errorType"]) == ("error", kind)
            assert words in answer.document["errorMessage"]
            assert stack.auth not in json.dumps(answer.document)
            again = side.invoke({"detail": {}})  # the process lives on
            assert (again.kind, again.document["errorType"]) == ("error", "EventError")
            assert "not an 'Object Created' event" in again.document["errorMessage"]


@pytest.mark.docker
def test_the_image_of_the_function_starts_the_run(stack: Stack) -> None:
    (service,) = (service for service in SERVICES if service.name == "start-dropped-files")
    image = docker_cli.build_image(service, build_environment())
    told = function().inputs["imageConfig"]
    with runtime() as side:
        environ = stack.environment(side)
        name = f"finelt-test-{secrets.token_hex(4)}"
        given = [word for variable in environ for word in ("--env", variable)]
        entry, *words = [*told["entryPoints"], *told["commands"]]
        command = [
            docker_cli.find_client(),
            "run",
            "--rm",
            "--name",
            name,
            "--network",
            "host",
            *harden(512),  # what Lambda gives
            *given,
            "--entrypoint",
            entry,
            image,
            *words,
        ]
        with subprocess.Popen(command, env={**os.environ, **environ}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            try:
                ids = {ok(side.invoke(event("drop/custodian_positions/image.csv")))["flow_run_id"] for _ in range(2)}
            finally:
                docker_cli.docker("rm", "--force", name)
                output, _ = process.communicate()
    assert stack.auth.encode() not in output
    assert len(ids) == 1
    assert ids <= {run["id"] for run in stack.runs()}
