"""Emit a state machine in Amazon States Language that runs the ECS task definitions of a stack. Each job reports with its task token."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestration.emit.aws import require_stack
from orchestration.emit.pipeline import MAX_RETRIES, RETRY_EXIT_CODE, RETRY_PAUSE_S

if TYPE_CHECKING:
    from orchestration.emit.pipeline import Pipeline, PipelineStep

HEARTBEAT_S = 180  # the reporter sends one every thirty seconds; starting a task takes a minute
DATE = "{{% $exists($states.context.Execution.Input.{name}) ? $states.context.Execution.Input.{name} : 'today' %}}"


def emit(pipeline: Pipeline) -> str:
    """Return JSON. The input of an execution may have `start` and `end`. Raises UsageError without a stack, or if it lacks a job."""
    require_stack(pipeline)
    levels = pipeline.levels()
    states: dict[str, dict[str, Any]] = {}
    for number, steps in enumerate(levels):
        states[_state_name(steps, number)] = _build_task(pipeline, steps[0]) if len(steps) == 1 else _build_parallel(pipeline, steps)
    for name, following in zip(states, [*list(states)[1:], None], strict=True):
        states[name]["Next" if following else "End"] = following or True
    comment = pipeline.header.replace("\n", ". ")
    return json.dumps({"Comment": comment, "QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states}, indent=2) + "\n"


def _state_name(steps: list[PipelineStep], number: int) -> str:
    return steps[0].name if len(steps) == 1 else f"side-by-side-{number + 1}"


def _build_parallel(pipeline: Pipeline, steps: list[PipelineStep]) -> dict[str, Any]:
    branches = [{"StartAt": step.name, "States": {step.name: {**_build_task(pipeline, step), "End": True}}} for step in steps]
    return {"Type": "Parallel", "Branches": branches}


def _build_task(pipeline: Pipeline, step: PipelineStep) -> dict[str, Any]:
    pool = pipeline.stack["pool"]
    environment = {"FINELT_TASK_TOKEN": "{% $states.context.Task.Token %}", **step.environment}
    override = {
        "Name": "job",
        "Command": step.argv({name: DATE.format(name=name) for name in step.dates}),
        "Environment": [{"Name": name, "Value": value} for name, value in environment.items()],
    }
    network = {"Subnets": pool["subnets"], "SecurityGroups": pool["security_groups"], "AssignPublicIp": "DISABLED"}
    return {
        "Type": "Task",
        "Comment": step.spec.description,
        "Resource": "arn:aws:states:::ecs:runTask.waitForTaskToken",
        "Arguments": {
            "Cluster": pool["cluster"],
            "TaskDefinition": pipeline.stack["tasks"][step.name],
            "CapacityProviderStrategy": [{"CapacityProvider": pool["capacity_provider"], "Weight": 1}],
            "NetworkConfiguration": {"AwsvpcConfiguration": network},
            "Overrides": {"Cpu": str(step.spec.cpu), "Memory": str(step.spec.memory), "ContainerOverrides": [override]},
            "PropagateTags": "TASK_DEFINITION",
        },
        "TimeoutSeconds": step.limit_s,
        "HeartbeatSeconds": HEARTBEAT_S,
        "Retry": [
            {"ErrorEquals": [f"Exit{RETRY_EXIT_CODE}"], "IntervalSeconds": RETRY_PAUSE_S, "BackoffRate": 2.0, "MaxAttempts": MAX_RETRIES}
        ],
    }
