"""Emulate Fargate: moto answers as AWS does, each accepted task runs as a container, and its end is reported to the queue.

Moto knows tasks but runs none. What a task definition says of its container is what the container gets here: image, user, read-only root,
memory, capabilities, secrets. Only the network is this machine's own, and so are the addresses and keys that stand for a task role.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import urllib.request
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
from moto.backends import get_backend
from moto.core.exceptions import JsonRESTError
from moto.core.responses import ActionResult
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.server import ThreadedMotoServer

from images import docker_cli
from infra.testing.mock_engine import ACCOUNT, REGION

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

LABEL = "finelt.test-fargate"
LOOK_EVERY_S = 0.1
CAPACITY = "Capacity is unavailable at this time. Please try again later or in a different availability zone"


@dataclass
class Fargate:
    """The emulated cluster. `refusals` are errors for the next calls of RunTask, by family; tasks of `stuck` families never start."""

    endpoint: str
    images: Mapping[str, str]
    queue: str
    refusals: dict[str, list[str]] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)
    run_tasks: list[dict[str, Any]] = field(default_factory=list)
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def environment(self) -> dict[str, str]:
        """Return the token that stands for a task role."""
        keys = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "x"}
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION, **keys}

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.endpoint, region_name=REGION, aws_access_key_id=ACCOUNT, aws_secret_access_key="x")

    def secret(self, reference: str) -> str:
        """Return the secret that a task definition refers to: arn:...:secret:name-AbCdEf, optionally with a JSON key."""
        parts = reference.split(":")
        value = str(self.client("secretsmanager").get_secret_value(SecretId=parts[6][:-7])["SecretString"])
        return str(json.loads(value)[parts[7]]) if len(parts) > 7 else value

    def containers(self) -> list[dict[str, Any]]:
        ids = docker_cli.docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}={self.name}").split()
        return list(json.loads(docker_cli.docker("inspect", *ids))) if ids else []

    def container_of(self, run_id: str) -> str:
        """Wait for the container of a flow run and return its id."""
        wanted = ["--filter", f"label={LABEL}={self.name}", "--filter", f"label=run={run_id}"]
        deadline = time.monotonic() + 600
        while not (found := docker_cli.docker("ps", "--quiet", *wanted)):
            assert time.monotonic() < deadline, f"no container for {run_id}"
            time.sleep(LOOK_EVERY_S)
        return found

    def work(self) -> None:
        """Run each new task, until closed."""
        seen: set[str] = set()
        while not self._ended.wait(LOOK_EVERY_S):
            for tasks in list(get_backend("ecs")[ACCOUNT][REGION].tasks.values()):
                for task in list(tasks.values()):
                    if task.task_arn not in seen:
                        seen.add(task.task_arn)
                        threading.Thread(target=self._run, args=[task], daemon=True).start()

    def close(self) -> None:
        self._ended.set()
        if ids := docker_cli.docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}={self.name}").split():
            docker_cli.docker("rm", "--force", *ids)

    def answer(self, family: str) -> ActionResult | None:
        """Return the refusal of RunTask; None if it accepts the task."""
        if not self.refusals.get(family):
            return None
        refusal = self.refusals[family].pop(0)
        if refusal == CAPACITY:
            return ActionResult({"tasks": [], "failures": [{"reason": CAPACITY}]})
        raise JsonRESTError(refusal, "Rate exceeded")

    def _run(self, task: Any) -> None:
        definition = get_backend("ecs")[ACCOUNT][REGION].describe_task_definition(task.task_definition_arn)
        (container,) = definition.container_definitions
        (override,) = task.overrides["containerOverrides"]
        self.run_tasks.append({"definition": task.task_definition_arn, "overrides": task.overrides})
        if definition.family in self.stuck:
            reason = "ResourceInitializationError: unable to pull secrets or registry auth: connection timed out"
            self._tell(task, definition, "STOPPED", stopCode="TaskFailedToStart", stoppedReason=reason, containers=[])
            return
        try:
            made = self._start(container, override, {tag["key"]: tag["value"] for tag in task.tags})
        except subprocess.CalledProcessError as error:
            reason = f"CannotPullContainerError: {error.stderr.strip().splitlines()[0]}"
            told = [{"name": container["name"], "lastStatus": "STOPPED", "reason": reason}]
            self._tell(task, definition, "STOPPED", stopCode="TaskFailedToStart", stoppedReason=reason, containers=told)
            return
        self._tell(task, definition, "RUNNING", containers=[{"name": container["name"], "lastStatus": "RUNNING"}])
        with subprocess.Popen([docker_cli.find_client(), "wait", made], stdout=subprocess.DEVNULL) as waiting:  # to inspect it takes more
            while waiting.poll() is None:
                if task.desired_status == "STOPPED":
                    docker_cli.docker("stop", "--time", str(container["stopTimeout"]), made)
                time.sleep(LOOK_EVERY_S)
        state = json.loads(docker_cli.docker("inspect", "--format", "{{json .State}}", made))
        ended = {"name": container["name"], "lastStatus": "STOPPED", "exitCode": state["ExitCode"]}
        if state["OOMKilled"]:
            ended["reason"] = "OutOfMemoryError: Container killed due to memory usage"
        why = {"stopCode": "EssentialContainerExited", "stoppedReason": "Essential container in task exited"}
        self._tell(task, definition, "STOPPED", containers=[ended], **why)

    def _start(self, container: dict[str, Any], override: dict[str, Any], tags: dict[str, str]) -> str:
        environment = {entry["name"]: entry["value"] for entry in [*container["environment"], *override["environment"]]}
        secrets = {entry["name"]: self.secret(entry["valueFrom"]) for entry in container["secrets"]}
        environment |= {**secrets, **self.environment}
        (tmp,) = container["linuxParameters"]["tmpfs"]
        words = ["run", "--detach", "--network", "host", "--read-only", "--init", "--cap-drop", "ALL", "--user", container["user"]]
        words += ["--memory", f"{container['memory']}m", "--memory-swap", f"{container['memory']}m"]
        words += ["--tmpfs", f"{tmp['containerPath']}:size={tmp['size']}m,{','.join(tmp['mountOptions'])}"]
        words += ["--label", f"{LABEL}={self.name}", "--label", f"run={tags['prefect.io/flow-run-id']}"]
        for name in environment:
            words += ["--env", name]
        image = self.images.get(container["image"].partition("/")[2].partition("@")[0], container["image"])
        command = [docker_cli.find_client(), *words, "--pull", "never", image, *override["command"]]
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def _tell(self, task: Any, definition: Any, status: str, **more: object) -> None:
        """Post the event that EventBridge would post."""
        detail = {"taskArn": task.task_arn, "clusterArn": task.cluster_arn, "taskDefinitionArn": task.task_definition_arn}
        detail |= {"lastStatus": status, "desiredStatus": task.desired_status, "memory": definition.memory, **more}
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        event = {"id": str(uuid.uuid4()), "detail-type": "ECS Task State Change", "source": "aws.ecs", "time": now, "detail": detail}
        self.client("sqs").send_message(QueueUrl=self.queue, MessageBody=json.dumps(event))


def forget(url: str) -> None:
    """Reset moto, which other tests of this process may have used."""
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")).close()  # noqa: S310  loopback


def start(images: Mapping[str, str], patch: pytest.MonkeyPatch) -> tuple[Fargate, ThreadedMotoServer]:
    """Run AWS and Fargate. A patch lets RunTask refuse tasks."""
    patch.setenv("MOTO_ACCOUNT_ID", ACCOUNT)
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    forget(f"http://{host}:{port}")
    fargate = Fargate(f"http://{host}:{port}", images, "")
    take = EC2ContainerServiceResponse.run_task

    def run_task(self: EC2ContainerServiceResponse) -> ActionResult:
        family = self._get_param("taskDefinition").rpartition("/")[2].partition(":")[0]
        return fargate.answer(family) or take(self)

    patch.setattr(EC2ContainerServiceResponse, "run_task", run_task)
    threading.Thread(target=fargate.work, daemon=True).start()
    return fargate, moto
