"""Job definitions for AWS Batch on Fargate, one JSON object a line, each the input of RegisterJobDefinition."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestration.emit.aws import role, settled
from orchestration.emit.pipeline import RETRIED, RETRIES

if TYPE_CHECKING:
    from orchestration.emit.pipeline import Chain, Step


def emit(chain: Chain) -> str:
    """A line for `aws batch register-job-definition --cli-input-json` each, in the order for submit-job's --depends-on.

    Raises UsageError without a stack or where it lacks a job.
    """
    return "".join(json.dumps(_definition(settled(chain), step)) + "\n" for step in chain.steps)


def _definition(chain: Chain, step: Step) -> dict[str, Any]:
    arn = chain.stack["tasks"][step.name]
    region, family = arn.split(":")[3], arn.rpartition("/")[2].partition(":")[0]
    stack = family.removesuffix(f"-{step.name}").removeprefix("finelt-")
    container = {
        "image": step.image,
        "command": step.words({name: f"Ref::{name}" for name in step.dates}),
        "environment": [{"name": name, "value": value} for name, value in {"AWS_REGION": region, **step.environment}.items()],
        "resourceRequirements": [{"type": "VCPU", "value": f"{step.cpus:g}"}, {"type": "MEMORY", "value": str(step.spec.memory)}],
        "jobRoleArn": role(arn, family),
        "executionRoleArn": role(arn, f"{family}-start"),
        "networkConfiguration": {"assignPublicIp": "DISABLED"},
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": f"/finelt/{stack}/{step.name}",
                "awslogs-region": region,
                "awslogs-stream-prefix": "batch",
            },
        },
    }
    return {
        "jobDefinitionName": family,
        "type": "container",
        "platformCapabilities": ["FARGATE"],
        "parameters": step.today,
        "containerProperties": container,
        "retryStrategy": {
            "attempts": 1 + RETRIES,
            "evaluateOnExit": [{"onExitCode": str(RETRIED), "action": "RETRY"}, {"onReason": "*", "action": "EXIT"}],
        },
        "timeout": {"attemptDurationSeconds": step.limit_s},
        "propagateTags": True,
        "tags": {"project": "finelt"},
    }
