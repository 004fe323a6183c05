"""The definitions for Step Functions and AWS Batch, checked by their validators."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import boto3
from botocore.validate import ParamValidator

from tests import environments
from tests.orchestration.emitted_definitions import LIMITS, ORDER, STACK


def test_step_functions_accepts_the_state_machine_and_retries_exit_code_75_only(emitted: dict[str, str], tmp_path: Path) -> None:
    python = environments.python("statelint", "statelint[jsonata]==3.1.0")
    path = tmp_path / "machine.json"
    path.write_text(emitted["stepfunctions"])
    done = subprocess.run([Path(python).with_name("statelint"), path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    machine = json.loads(emitted["stepfunctions"])
    states, names, name = machine["States"], [], machine["StartAt"]
    while name:
        names.append(name)
        name = states[name].get("Next")
    assert names == ["side-by-side-1", *ORDER[2:]]
    load = states["load-warehouse"]
    assert load["Retry"] == [{"ErrorEquals": ["Exit75"], "IntervalSeconds": 300, "BackoffRate": 2.0, "MaxAttempts": 3}]
    assert load["Arguments"]["TaskDefinition"] == STACK["tasks"]["load-warehouse"]
    (container,) = load["Arguments"]["Overrides"]["ContainerOverrides"]
    assert {"Name": "FINELT_TASK_TOKEN", "Value": "{% $states.context.Task.Token %}"} in container["Environment"]


def test_batch_accepts_the_job_definitions_and_retries_exit_code_75_only(emitted: dict[str, str]) -> None:
    client = boto3.client("batch", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    shape = client.meta.service_model.operation_model("RegisterJobDefinition").input_shape
    definitions = [json.loads(line) for line in emitted["batch"].splitlines()]
    for definition in definitions:
        report = ParamValidator().validate(definition, shape)
        assert not report.has_errors(), report.generate_report()
        rules = definition["retryStrategy"]["evaluateOnExit"]
        assert rules == [{"onExitCode": "75", "action": "RETRY"}, {"onReason": "*", "action": "EXIT"}]
        job = definition["jobDefinitionName"].removeprefix("finelt-dev-")
        assert definition["timeout"] == {"attemptDurationSeconds": LIMITS[job]}
    assert tuple(definition["jobDefinitionName"].removeprefix("finelt-dev-") for definition in definitions) == ORDER
    fx = definitions[0]
    assert fx["containerProperties"]["command"][-4:] == ["--start", "Ref::start", "--end", "Ref::end"]
    assert fx["parameters"] == {"start": "today", "end": "today"}
    assert fx["containerProperties"]["jobRoleArn"] == "arn:aws:iam::123456789012:role/finelt-dev-extract-ecb-fx-rates"
