"""Check that the stack of infra/ has what a definition for AWS needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit.errors import UsageError

from orchestration.emit.pipeline import require_urls

if TYPE_CHECKING:
    from orchestration.emit.pipeline import Pipeline


def require_stack(pipeline: Pipeline) -> None:
    """Raise UsageError unless the stack has a task definition for each job, and every secret and path is one that AWS can reach."""
    if not pipeline.stack:
        raise UsageError(
            "roles, network and secrets are those of a stack; add --stack FILE, from pulumi -C infra stack output stack --json"
        )
    require_urls(pipeline, "AWS")
    for step in pipeline.steps:
        if step.name not in pipeline.stack["tasks"]:
            raise UsageError(f"the stack has no task definition for {step.name}; run pulumi up in infra/, which makes one for each job")
        if step.secrets:
            secret = step.secrets[0].option
            raise UsageError(f"the stack has no secret for {secret} of {step.name}; add --set {secret}=secretsmanager://NAME")


def role_arn(arn: str, name: str) -> str:
    """Return the ARN of a role in the account of another ARN."""
    return f"arn:aws:iam::{arn.split(':')[4]}:role/{name}"
