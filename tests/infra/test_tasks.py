"""What a task definition names exists in the image that it runs, and a container that hangs is replaced."""

from __future__ import annotations

import importlib.util
import re
import socket
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from infra.prefect_server import connection_check
from infra.testing.mock_engine import Graph, Resource, graph
from jobs.catalogue import catalogue
from tests.infra.graph_reader import ALARM, CHOICES, TASK, container_of, containers_of, environment_of
from tests.infra.rules import with_container

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULE = re.compile(r"(prefect|orchestration)\w*(\.\w+)+")


def find_missing_modules(stack: Graph) -> Iterator[str]:
    """Every module that a task's command or environment names can be imported: `uv.lock` has its package."""
    for task in stack.of(TASK):
        command = [word for definition in containers_of(task) for word in definition.get("command", [])]
        names = [name for flag, name in pairwise(command) if flag == "-m"]
        for name in [*names, *(value for value in environment_of(task).values() if MODULE.fullmatch(value))]:
            try:
                found = importlib.util.find_spec(name)
            except ModuleNotFoundError:
                found = None
            if found is None:
                yield f"{task.name} names the module {name}, which is not installed: add its package to the group `orchestration`"


def find_services_without_check_or_alarm(stack: Graph) -> Iterator[str]:
    """Each service has a health check, and an alarm for the case that none of its tasks runs."""
    watched = {alarm.inputs["dimensions"].get("ServiceName") for alarm in stack.of(ALARM)}
    tasks = {task.arn: task for task in stack.of(TASK)}
    for service in stack.of("ecs/service:Service"):
        if "healthCheck" not in container_of(tasks[service.inputs["taskDefinition"]]):
            yield f"{service.name} has no health check: a task that hangs runs for ever"
        if service.physical_name not in watched:
            yield f"{service.name} has no alarm: nobody learns that it is down"


@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_every_module_that_a_task_names_is_installed(choices: dict[str, str]) -> None:
    assert list(find_missing_modules(graph(choices=choices))) == []


@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_every_service_has_a_health_check_and_an_alarm(choices: dict[str, str]) -> None:
    assert list(find_services_without_check_or_alarm(graph(choices=choices))) == []


def find_wrong_tmp(stack: Graph) -> Iterator[str]:
    """The task of a job has a /tmp of the size that the job declares."""
    for spec in catalogue():
        (tmp,) = container_of(stack.the(TASK, f"-{spec.name}"))["linuxParameters"]["tmpfs"]
        if (tmp["containerPath"], tmp["size"]) != ("/tmp", spec.tmp_mib):  # noqa: S108
            yield f"{spec.name} declares {spec.tmp_mib} MiB of /tmp and gets {tmp['size']}"


def test_every_job_gets_the_tmp_that_it_declares(dev: Graph) -> None:
    assert list(find_wrong_tmp(dev)) == []
    linux = {"linuxParameters": {"tmpfs": [{"containerPath": "/tmp", "size": 64}]}}  # noqa: S108
    assert list(find_wrong_tmp(with_container(dev, "-publish-marts", **linux))) == ["publish-marts declares 512 MiB of /tmp and gets 64"]


def test_a_module_that_is_not_installed_is_found() -> None:
    container = '[{"environment": [{"name": "PREFECT_MESSAGING_BROKER", "value": "prefect_nats.messaging"}]}]'
    (message,) = find_missing_modules(Graph((Resource(TASK, "prefect", {"containerDefinitions": container}),)))
    assert "prefect_nats.messaging" in message


def test_a_service_without_a_check_and_an_alarm_is_found() -> None:
    task = Resource(TASK, "prefect", {"containerDefinitions": '[{"environment": []}]'}, arn="arn:task")
    service = Resource("ecs/service:Service", "prefect", {"taskDefinition": "arn:task"})
    assert len(list(find_services_without_check_or_alarm(Graph((task, service))))) == 2


def test_the_background_services_are_unhealthy_without_a_connection_to_the_database() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", connection_check(server.getsockname()[1])]
        assert subprocess.run(command, check=False).returncode == 1, "nobody is connected"
        with socket.create_connection(server.getsockname()):
            assert subprocess.run(command, check=False).returncode == 0
