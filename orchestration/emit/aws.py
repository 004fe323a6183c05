"""What definitions in AWS need to know of the stack that infra/ made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from jobkit.errors import UsageError

from orchestration.emit.pipeline import remote

if TYPE_CHECKING:
    from orchestration.emit.pipeline import Chain


def settled(chain: Chain) -> Chain:
    """The chain, when all that AWS has to know is known. Raises UsageError."""
    if not chain.stack:
        raise UsageError(
            "roles, network and secrets are those of a stack; add --stack FILE, from pulumi -C infra stack output stack --json"
        )
    remote(chain, "AWS")
    for step in chain.steps:
        if step.name not in chain.stack["tasks"]:
            raise UsageError(f"the stack has no task definition for {step.name}; run pulumi up in infra/, which makes one for each job")
        if step.secrets:
            secret = step.secrets[0].option
            raise UsageError(f"the stack has no secret for {secret} of {step.name}; add --set {secret}=secretsmanager://NAME")
    return replace(chain)


def role(arn: str, name: str) -> str:
    """The role of that name in the account of an ARN."""
    return f"arn:aws:iam::{arn.split(':')[4]}:role/{name}"
