"""The task definitions of infra/, run by Prefect's own ECS worker: the daily flow, and each way a task can end."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from images import docker_cli
from images.plan import SERVICES
from infra.testing.mock_engine import graph
from jobs.catalogue import REPOSITORY, catalogue
from orchestration.console import follow
from orchestration.ecs import register_stack, task_failures
from orchestration.local import prefect_server, processes
from orchestration.local.sample_parameters import build_sample_extracts
from tests.infra.graph_reader import stack_description
from tests.orchestration import fargate as aws
from tests.orchestration.daily_jobs import DAILY, drop_commit_times

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobkit.prefect_api import Api

    from orchestration.local.postgres import Postgres

LAKE, SITE = "finelt-dev-lake-123456789012", "finelt-dev-site-123456789012"
JOB = "extract-ecb-fx-rates"
CANARY = "canary-5b21"
WAREHOUSE_JOBS = [spec.name for spec in catalogue() if "warehouse_password" in spec.secrets]
TIMEOUT_S = 600
ARN = "arn:aws:ecs:eu-central-1:123456789012:task-definition/finelt-dev-{}:1"
DEFINITION = ("family", "cpu", "memory", "networkMode", "requiresCompatibilities", "runtimePlatform", "taskRoleArn", "executionRoleArn")


@dataclass(frozen=True)
class Stack:
    """The running stack and the parameters of its flows."""

    api: Api
    fargate: aws.Fargate
    parameters: dict[str, Any]
    definitions: dict[str, dict[str, Any]]
    waiting: str
    worker: processes.Program

    def variant(self, name: str, **container: object) -> str:
        """Register a job's task definition under another name, with a changed container, and return its ARN."""
        told = self.definitions[JOB]
        changed = [{**told["containerDefinitions"][0], **container}]
        answer = self.fargate.client("ecs").register_task_definition(**{**told, "family": name, "containerDefinitions": changed})
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    def start(self, *, arn: str | None = None, **options: object) -> str:
        """Start a run of the job for a day on its own task definition, without the vendor's concurrency limit; return its id."""
        told = {"lake": self.parameters["lake"], "start": "2012-01-02", "end": "2012-01-02", **options}
        found = self.api.call("GET", f"/deployments/name/{JOB}/{JOB}-ecs")
        wanted = {"parameters": told, "work_queue_name": "default", "job_variables": {"task_definition_arn": arn} if arn else {}}
        return str(self.api.call("POST", f"/deployments/{found['id']}/create_flow_run", wanted)["id"])

    def state(self, run_id: str) -> dict[str, Any]:
        return dict(self.api.call("GET", f"/flow_runs/{run_id}")["state"])

    def ending(self, run_id: str, *wanted: str) -> tuple[str, str]:
        """Wait for a run to end and return its state."""
        deadline = time.monotonic() + TIMEOUT_S
        while (state := self.state(run_id))["type"] not in (wanted or follow.FINAL_STATES):
            self.worker.raise_if_ended()
            assert time.monotonic() < deadline, f"{state['type']}: {state['message']}; {self.worker.log_tail()}"
            time.sleep(0.2)
        return str(state["type"]), str(state["message"])


def definitions() -> dict[str, dict[str, Any]]:
    """Return the task definitions of infra/ by name, in the form of botocore."""
    made = {}
    for resource in graph("dev").of("ecs/taskDefinition:TaskDefinition"):
        told = {key: resource.inputs[key] for key in DEFINITION}
        told["runtimePlatform"] = {key: value for key, value in told["runtimePlatform"].items() if value}
        made[resource.name.removeprefix("finelt-dev-")] = {
            **told,
            "containerDefinitions": json.loads(resource.inputs["containerDefinitions"]),
        }
    return made


def furnish(fargate: aws.Fargate, made: dict[str, dict[str, Any]], auth: str, token: str) -> None:
    """Create the other resources that tasks need, with the names of infra/."""
    ecs = fargate.client("ecs")
    ecs.create_cluster(clusterName="finelt-dev")
    for told in made.values():
        ecs.register_task_definition(**told)
    fargate.queue = fargate.client("sqs").create_queue(QueueName="finelt-dev-task-events")["QueueUrl"]
    for bucket in (LAKE, SITE):
        fargate.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    keep = fargate.client("secretsmanager").create_secret
    keep(Name="finelt-dev/prefect/auth", SecretString=auth)
    for job in WAREHOUSE_JOBS:
        keep(Name=f"finelt-dev/{job}/warehouse_password")
    for job in ("extract-tiingo-prices", "extract-massive-daily-prices"):
        keep(Name=f"finelt-dev/{job}/token", SecretString=token)


def start_worker(
    fargate: aws.Fargate, made: dict[str, dict[str, Any]], prefect: prefect_server.PrefectServer, directory: Path
) -> processes.Program:
    """Start the worker as its own task definition does."""
    (container,) = made["worker"]["containerDefinitions"]
    environment = {entry["name"]: entry["value"] for entry in container["environment"]}
    environment |= {entry["name"]: fargate.secret(entry["valueFrom"]) for entry in container["secrets"]}
    environment["PREFECT_PROFILES_PATH"] = str(REPOSITORY / environment["PREFECT_PROFILES_PATH"].removeprefix("/app/source/"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        environment["PREFECT_WORKER_WEBSERVER_PORT"] = str(free.getsockname()[1])
    environment |= {"PYTHONPATH": str(REPOSITORY), "PREFECT_API_URL": prefect.api().url, **fargate.environment}
    return processes.start_program("ECS worker", [sys.executable, *container["command"][1:]], directory, environment)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, postgres_server: Postgres) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("ecs")
    here = docker_cli.BuildEnvironment.from_environ(os.environ)
    images = {f"finelt-dev/{spec.name}": docker_cli.build_image(spec, here) for spec in [*catalogue(), *SERVICES]}
    made = definitions()
    with ExitStack() as ends, pytest.MonkeyPatch.context() as patch:
        fargate, moto = aws.start(images, patch)
        ends.callback(moto.stop)
        ends.callback(fargate.close)
        prefect = prefect_server.start_server(directory)
        ends.callback(lambda: prefect_server.stop_server(prefect))
        token = f"{CANARY}-{secrets.token_hex(8)}"
        furnish(fargate, made, prefect.client_settings()["PREFECT_API_AUTH_STRING"], token)
        vendors_command = [sys.executable, str(REPOSITORY / "verification" / "sample_vendors"), "--port", "0"]
        vendors = processes.start_program("sample vendors", vendors_command, directory, {})
        ends.callback(lambda: processes.stop_program(vendors))
        parameters = warehouse(postgres_server, fargate, patch)
        told = stack_description(graph("dev"))
        told["parameters"] |= parameters
        place = told["pool"]
        net = fargate.client("ec2").describe_subnets()["Subnets"]
        place["subnets"] = [net[0]["SubnetId"]]
        place["security_groups"] = [fargate.client("ec2").describe_security_groups()["SecurityGroups"][0]["GroupId"]]
        prefect.wait_until_ready()
        register_stack.register_stack(prefect.api(), told)
        worker = start_worker(fargate, made, prefect, directory)
        ends.callback(lambda: processes.stop_program(worker))
        vendors.wait_until(lambda: "\n" in vendors.log.read_text(encoding="utf-8"), 30)
        url = vendors.log.read_text(encoding="utf-8").split("\n")[0]
        extracts = build_sample_extracts(url, "secretsmanager://finelt-dev/extract-tiingo-prices/token")
        of_jobs = {"drop", "contact"}  # options of jobs that are no parameters of a flow
        given = {name: value for name, value in told["parameters"].items() if isinstance(value, str) and name not in of_jobs}
        waiting = ends.enter_context(socket.create_server(("127.0.0.1", 0)))  # takes connections and never answers
        yield Stack(prefect.api(), fargate, {**given, "extracts": extracts}, made, f"http://127.0.0.1:{waiting.getsockname()[1]}", worker)


def warehouse(postgres_server: Postgres, fargate: aws.Fargate, patch: pytest.MonkeyPatch) -> dict[str, str]:
    """A warehouse with a role for each job, as the registration creates it."""
    database, client = f"ecs{secrets.token_hex(4)}", fargate.client("secretsmanager")
    passwords = {job: register_stack.read_or_create_password(client, f"finelt-dev/{job}/warehouse_password") for job in WAREHOUSE_JOBS}
    with psycopg.connect(postgres_server.url, password=postgres_server.password, autocommit=True) as master:
        master.execute(sql.SQL("create database {}").format(sql.Identifier(database)))
        host, port, user = master.info.host, master.info.port, master.info.user
    patch.setattr(register_stack, "DATABASE", database)
    register_stack.create_roles({"host": host, "port": port, "user": user, "password": postgres_server.password}, passwords)
    return {"warehouse": f"postgresql://{{job}}@{host}:{port}/{database}"}


@pytest.mark.docker
def test_the_daily_flow_on_ecs_builds_the_marts_of_the_demo(stack: Stack, demo_directory: Path) -> None:
    run_id = follow.start_flow(stack.api, "daily", "ecs", stack.parameters)
    deadline = time.monotonic() + TIMEOUT_S

    def check() -> None:
        stack.worker.raise_if_ended()
        assert time.monotonic() < deadline, stack.worker.log_tail()

    *steps, ending = follow.follow_flow(stack.api, run_id, check)
    assert isinstance(ending, follow.FlowResult)
    assert ending.state == "COMPLETED", (ending, [step for step in steps if isinstance(step, follow.FlowStep) and step.is_final])
    s3 = stack.fargate.client("s3")
    keys = [entry["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=SITE) for entry in page["Contents"]]
    published = [key for key in keys if "/marts/" in key and not key.endswith(".html")]
    marts = {key.rpartition("/")[2]: s3.get_object(Bucket=SITE, Key=key)["Body"].read() for key in published}
    theirs = {path.name: path.read_bytes() for path in demo_directory.glob("site/v/*/marts/*") if path.suffix != ".html"}
    assert drop_commit_times(marts) == drop_commit_times(theirs)
    ran = {asked["definition"] for asked in stack.fargate.run_tasks}
    assert ran == {
        f"arn:aws:ecs:eu-central-1:123456789012:task-definition/finelt-dev-{name}:1" for name in ("flows", *(spec.name for spec in DAILY))
    }
    families = stack.fargate.client("ecs").list_task_definitions()["taskDefinitionArns"]
    assert not [arn for arn in families if not arn.rpartition("/")[2].startswith("finelt-dev-")], "the worker registers none of its own"
    held = json.dumps(stack.fargate.run_tasks)
    for secret in (
        "finelt-dev/prefect/auth",
        *(f"finelt-dev/{job}/warehouse_password" for job in WAREHOUSE_JOBS),
        "finelt-dev/extract-tiingo-prices/token",
    ):
        assert stack.fargate.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"] not in held
    logs = "".join(docker_cli.docker("logs", container["Id"]) for container in stack.fargate.containers())
    assert CANARY not in logs


@pytest.mark.docker
def test_each_way_a_task_can_end_gives_its_run_a_state_and_a_reason(stack: Stack) -> None:
    """Run all of them concurrently; each ends in its state, with a message that says what to do."""
    fargate = stack.fargate
    fargate.stuck.add("finelt-dev-stuck")
    throttled, refused = stack.variant("finelt-dev-throttled"), stack.variant("finelt-dev-refused")
    fargate.refusals = {
        "finelt-dev-throttled": ["ThrottlingException"],
        "finelt-dev-refused": [aws.CAPACITY] * 3,
    }
    nowhere = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/nowhere@sha256:" + "1" * 64
    runs = {
        "failed": stack.start(lake="s3://nobodys-bucket-of-this-name/lake", base_url=stack.waiting),
        "temporary": stack.start(base_url="http://127.0.0.1:9"),
        "killed": stack.start(base_url=stack.waiting),
        "stopped": stack.start(base_url=stack.waiting),
        "small": stack.start(arn=stack.variant("finelt-dev-small", memory=10)),
        "absent": stack.start(arn=stack.variant("finelt-dev-absent", image=nowhere)),
        "stuck": stack.start(arn=stack.variant("finelt-dev-stuck")),
        "throttled": stack.start(arn=throttled, base_url=stack.parameters["extracts"][JOB]["base_url"]),
        "refused": stack.start(arn=refused),
    }
    for name in ("killed", "stopped"):
        stack.ending(runs[name], "RUNNING")
    docker_cli.docker("kill", fargate.container_of(runs["killed"]))
    stack.api.call("POST", f"/flow_runs/{runs['stopped']}/set_state", {"state": {"type": "CANCELLING"}})
    told = {name: stack.ending(run_id) for name, run_id in runs.items()}
    expected = {
        "failed": ("FAILED", "nobodys-bucket-of-this-name"),
        "temporary": ("FAILED", "127.0.0.1"),
        "killed": ("CRASHED", "it was killed (SIGKILL, exit code 137)"),
        "stopped": ("CANCELLED", ""),
        "small": ("CRASHED", "it needed more memory than the 512 MiB"),
        "absent": ("CRASHED", "its image cannot be pulled"),
        "stuck": ("CRASHED", "it never started: ResourceInitializationError"),
        "throttled": ("COMPLETED", ""),
        "refused": ("CRASHED", "Capacity is unavailable"),
    }
    for name, (state, words) in expected.items():
        assert told[name][0] == state, (name, told[name])
        assert words in told[name][1], (name, told[name])


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"containers": [{"exitCode": 137, "reason": "OutOfMemoryError: killed"}], "memory": "512"}, "more memory than the 512 MiB"),
        ({"containers": [{"exitCode": 137}]}, "was killed (SIGKILL, exit code 137)"),
        ({"containers": [{"exitCode": 0}]}, "reported nothing to Prefect"),
        ({"containers": [{"exitCode": 1}], "stoppedReason": "Essential container in task exited"}, "exit code 1"),
        ({"containers": [{"reason": "CannotPullContainerError: not found"}]}, "its image cannot be pulled: CannotPullContainerError"),
        ({"containers": [], "stopCode": "TaskFailedToStart", "stoppedReason": "no subnet"}, "it never started: no subnet"),
        ({"containers": [{}], "stopCode": "SpotInterruption"}, "Spot capacity was reclaimed"),
        ({}, "it never started: ECS gives no reason"),
    ],
)
def test_the_message_has_the_reason_and_the_task(task: dict[str, Any], words: str) -> None:
    told = task_failures.describe_stop({**task, "taskArn": "arn:aws:ecs:eu-central-1:123456789012:task/finelt-dev/0a1b"})
    assert words in told
    assert told.endswith("(task 0a1b)")


@pytest.mark.docker
def test_a_stopped_task_ends_only_a_run_that_it_still_executes(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", stack.api.url)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", stack.fargate.secret("arn:aws:secretsmanager:r:1:secret:finelt-dev/prefect/auth-AbCdEf"))
    run_id = stack.start(base_url=stack.waiting)
    stack.ending(run_id, "RUNNING")
    event = {"detail": {"taskArn": "arn:aws:ecs:eu-central-1:123456789012:task/finelt-dev/an-earlier-one", "containers": [{"exitCode": 1}]}}
    task_failures.end_run(event, {task_failures.RUN_TAG: run_id})
    assert stack.state(run_id)["type"] == "RUNNING"
    with suppress(docker_cli.EngineError):
        docker_cli.docker("kill", stack.fargate.container_of(run_id))
    state, message = stack.ending(run_id)
    assert state == "CRASHED"
    task_failures.end_run(event, {task_failures.RUN_TAG: run_id})  # the same again, late
    assert (stack.state(run_id)["type"], stack.state(run_id)["message"]) == (state, message)
    task_failures.end_run(event, {task_failures.RUN_TAG: "00000000-0000-4000-8000-000000000000"})  # of a run that is no more
