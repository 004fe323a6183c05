"""AWS accepts every value in the graph: botocore validates the tasks, cfn-lint everything that CloudFormation knows."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
from botocore.validate import ParamValidator

from infra.testing.mock_engine import Graph, graph
from tests.infra.cloudformation import KINDS, render_template
from tests.infra.graph_reader import ALARM, CHOICES, DATABASE, FUNCTION, LOGS, QUEUE, TASK


def test_ecs_accepts_every_task_definition(dev: Graph) -> None:
    client = boto3.client("ecs", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    shape = client.meta.service_model.operation_model("RegisterTaskDefinition").input_shape
    for task in dev.of(TASK):
        request = {"family": task.inputs["family"], "containerDefinitions": json.loads(task.inputs["containerDefinitions"])}
        report = ParamValidator().validate(request, shape)
        assert not report.has_errors(), (task.name, report.generate_report())


def lint(folder: Path, *stacks: Graph) -> dict[str, str]:
    """Return what cfn-lint objects to in some graphs, by the resource's logical name. It sees equal resources of several graphs once."""
    files = [folder / f"template{number}.json" for number in range(len(stacks))]
    seen: set[str] = set()
    for file, stack in zip(files, stacks, strict=True):
        template = render_template(stack)
        texts = {name: json.dumps([name, resource], sort_keys=True) for name, resource in template["Resources"].items()}
        template["Resources"] = {name: resource for name, resource in template["Resources"].items() if texts[name] not in seen}
        seen |= set(texts.values())
        file.write_text(json.dumps(template))
    ignored = ("W3010", "W3691")  # zones come from AWS; a major version of Postgres is intended
    command = [Path(sys.executable).with_name("cfn-lint"), "--format", "json", "--regions", "eu-central-1", "--ignore-checks", *ignored]
    done = subprocess.run([*command, "--template", *map(str, files)], capture_output=True, text=True, check=False)
    return {problem["Location"]["Path"][1]: problem["Message"] for problem in json.loads(done.stdout)}


def test_aws_accepts_every_value(tmp_path: Path) -> None:
    assert lint(tmp_path, *(graph(choices=choices) for choices in CHOICES)) == {}


def test_an_invalid_value_is_found(dev: Graph, tmp_path: Path) -> None:
    seeded: dict[str, tuple[str, dict[str, Any]]] = {
        ALARM: ("-dropped-files-errors", {"comparisonOperator": "MoreThan"}),
        LOGS: ("-start-dropped-files", {"retentionInDays": 13}),
        FUNCTION: ("-start-dropped-files", {"architectures": ["arm65"]}),
        TASK: ("-load-warehouse", {"memory": "8192"}),
        DATABASE: ("-warehouse", {"instanceClass": "db.t4g.tiny"}),
        "ec2/subnet:Subnet": ("-private-0", {"cidrBlock": "10.20.0.0/99"}),
        QUEUE: ("-task-events", {"visibilityTimeoutSeconds": 90_000}),
        "lambda/permission:Permission": ("-start-dropped-files", {"action": "invoke"}),
    }
    wrong = Graph(tuple(replace(right := dev.the(kind, name), inputs=right.inputs | inputs) for kind, (name, inputs) in seeded.items()))
    problems = lint(tmp_path, wrong)
    types = {inputs["Type"] for name, inputs in render_template(wrong)["Resources"].items() if name in problems}
    expected = {f"AWS::{KINDS[kind].type}" for kind in seeded}
    assert types == expected, problems
