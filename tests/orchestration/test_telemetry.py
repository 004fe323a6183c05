"""No service that is started here tells its makers that it runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from infra.stack import Stack
from infra.testing.mock_engine import graph
from orchestration.compose import command
from orchestration.deployments import register
from orchestration.local import prefect_server
from orchestration.local import worker as local_worker
from orchestration.workers import command as worker

ROOT = Path(__file__).parents[2]
# What is pulled, and the word of its command line that keeps it silent; None where it has nothing to tell. Another image needs a line here.
PULLED = {"postgres": None, "chrislusf/seaweedfs": "-master.telemetry=false"}
SERVER_SILENT = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


def is_prefects_server(words: list[str]) -> bool:
    return "prefect" in words and "server" in words


def test_every_service_in_containers_is_silent() -> None:
    services = yaml.safe_load((ROOT / command.FILE).read_text())["services"]
    for name, service in services.items():
        image = service["image"].partition(":")[0]
        if image.startswith("$"):
            if is_prefects_server(service["command"]):
                assert SERVER_SILENT.items() <= service["environment"].items(), name
            continue
        word = PULLED[image]
        assert word is None or word in service["command"], name


def test_every_image_of_ours_asks_not_to_be_tracked() -> None:
    """Prefect's clients, dbt and what else obeys the variable, in whatever container they run."""
    recipe = (ROOT / "images" / "job.Dockerfile").read_text()
    for stage in re.split(r"^FROM ", recipe, flags=re.MULTILINE)[1:]:
        if "USER 65532" in stage:  # an image, not a step on the way
            assert re.search(r"^ENV .*DO_NOT_TRACK=1", stage, re.MULTILINE), stage.splitlines()[0]


def test_every_task_in_aws_is_silent() -> None:
    for task in graph().of("ecs/taskDefinition:TaskDefinition"):
        for container in json.loads(task.inputs["containerDefinitions"]):
            environment: dict[str, Any] = {entry["name"]: entry["value"] for entry in container["environment"]}
            assert environment.get("DO_NOT_TRACK", "1") == "1", task.name
            if is_prefects_server(container.get("command", [])):
                assert SERVER_SILENT.items() <= environment.items(), task.name


def test_what_runs_on_this_machine_is_silent() -> None:
    assert SERVER_SILENT.items() <= prefect_server.SERVER_SETTINGS.items()
    for settings in (local_worker.SETTINGS, worker.SETTINGS, register.CONTAINER_ENVIRONMENT):
        assert settings["DO_NOT_TRACK"] == "1"
    assert yaml.safe_load((ROOT / "dbt" / "dbt_project.yml").read_text())["flags"]["send_anonymous_usage_stats"] is False


def test_pulumi_asks_nobody_for_a_newer_one() -> None:
    assert Stack("dev", "123456789012", "eu-central-1").environment["PULUMI_SKIP_UPDATE_CHECK"] == "true"
    for file in ("deploy.yml", "preview.yml"):
        workflow = yaml.safe_load((ROOT / ".github" / "workflows" / file).read_text())
        (job,) = (job for job in workflow["jobs"].values() if "pulumi" in json.dumps(job))
        assert job["env"]["PULUMI_SKIP_UPDATE_CHECK"] == "true", file
