"""A state machine in Amazon States Language over the ECS task definitions of a stack; each job answers with its task token."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestration.emit.aws import settled
from orchestration.emit.pipeline import PAUSE_S, RETRIED, RETRIES

if TYPE_CHECKING:
    from orchestration.emit.pipeline import Chain, Step

HEARTBEAT_S = 180  # the reporter beats every thirty seconds; starting a task takes a minute
DATE = "{{% $exists($states.context.Execution.Input.{name}) ? $states.context.Execution.Input.{name} : 'today' %}}"


def emit(chain: Chain) -> str:
    """JSON; the input of an execution may hold `start` and `end`. Raises UsageError without a stack or where it lacks a job."""
    levels = settled(chain).levels()
    states: dict[str, dict[str, Any]] = {}
    for number, steps in enumerate(levels):
        states[_name(steps, number)] = _task(chain, steps[0]) if len(steps) == 1 else _side_by_side(chain, steps)
    for name, following in zip(states, [*list(states)[1:], None], strict=True):
        states[name]["Next" if following else "End"] = following or True
    comment = chain.header.replace("\n", ". ")
    return json.dumps({"Comment": comment, "QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states}, indent=2) + "\n"


def _name(steps: list[Step], number: int) -> str:
    return steps[0].name if len(steps) == 1 else f"side-by-side-{number + 1}"


def _side_by_side(chain: Chain, steps: list[Step]) -> dict[str, Any]:
    branches = [{"StartAt": step.name, "States": {step.name: {**_task(chain, step), "End": True}}} for step in steps]
    return {"Type": "Parallel", "Branches": branches}


def _task(chain: Chain, step: Step) -> dict[str, Any]:
    pool = chain.stack["pool"]
    environment = {"FINELT_TASK_TOKEN": "{% $states.context.Task.Token %}", **step.environment}
    override = {
        "Name": "job",
        "Command": step.words({name: DATE.format(name=name) for name in step.dates}),
        "Environment": [{"Name": name, "Value": value} for name, value in environment.items()],
    }
    network = {"Subnets": pool["subnets"], "SecurityGroups": pool["security_groups"], "AssignPublicIp": "DISABLED"}
    return {
        "Type": "Task",
        "Comment": step.spec.description,
        "Resource": "arn:aws:states:::ecs:runTask.waitForTaskToken",
        "Arguments": {
            "Cluster": pool["cluster"],
            "TaskDefinition": chain.stack["tasks"][step.name],
            "CapacityProviderStrategy": [{"CapacityProvider": pool["capacity_provider"], "Weight": 1}],
            "NetworkConfiguration": {"AwsvpcConfiguration": network},
            "Overrides": {"Cpu": str(step.spec.cpu), "Memory": str(step.spec.memory), "ContainerOverrides": [override]},
            "PropagateTags": "TASK_DEFINITION",
        },
        "TimeoutSeconds": step.limit_s,
        "HeartbeatSeconds": HEARTBEAT_S,
        "Retry": [{"ErrorEquals": [f"Exit{RETRIED}"], "IntervalSeconds": PAUSE_S, "BackoffRate": 2.0, "MaxAttempts": RETRIES}],
    }
