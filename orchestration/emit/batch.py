"""Emit job definitions for AWS Batch on Fargate, one JSON object per line, each the input of RegisterJobDefinition."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestration.emit.aws import require_stack, role_arn
from orchestration.emit.pipeline import MAX_RETRIES, RETRY_EXIT_CODE

if TYPE_CHECKING:
    from orchestration.emit.pipeline import Pipeline, PipelineStep


def emit(pipeline: Pipeline) -> str:
    """Return a line for `aws batch register-job-definition --cli-input-json` per job, in the order for submit-job's --depends-on.

    Raises UsageError without a stack, or if the stack lacks a job.
    """
    require_stack(pipeline)
    return "".join(json.dumps(_build_definition(pipeline, step)) + "\n" for step in pipeline.steps)


def _build_definition(pipeline: Pipeline, step: PipelineStep) -> dict[str, Any]:
    arn = pipeline.stack["tasks"][step.name]
    region, family = arn.split(":")[3], arn.rpartition("/")[2].partition(":")[0]
    stack = family.removesuffix(f"-{step.name}").removeprefix("finelt-")
    container = {
        "image": step.image,
        "command": step.argv({name: f"Ref::{name}" for name in step.dates}),
        "environment": [{"name": name, "value": value} for name, value in {"AWS_REGION": region, **step.environment}.items()],
        "resourceRequirements": [{"type": "VCPU", "value": f"{step.cpus:g}"}, {"type": "MEMORY", "value": str(step.spec.memory)}],
        "jobRoleArn": role_arn(arn, family),
        "executionRoleArn": role_arn(arn, f"{family}-start"),
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
        "parameters": step.date_placeholders,
        "containerProperties": container,
        "retryStrategy": {
            "attempts": 1 + MAX_RETRIES,
            "evaluateOnExit": [{"onExitCode": str(RETRY_EXIT_CODE), "action": "RETRY"}, {"onReason": "*", "action": "EXIT"}],
        },
        "timeout": {"attemptDurationSeconds": step.limit_s},
        "propagateTags": True,
        "tags": {"project": "finelt"},
    }
