"""The permissions boundary: the most that any role of the stack may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra import policies
from infra.options import child_of

if TYPE_CHECKING:
    from infra.settings import Settings

# The actions of all running code together. A role's own policy is narrower; the boundary limits the damage when a policy is widened.
RUNTIME_ACTIONS = {
    "s3": ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"),
    "secretsmanager": ("secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"),
    "kms": ("kms:Decrypt", "kms:GenerateDataKey"),
    "ecs": ("ecs:RunTask", "ecs:DescribeTasks", "ecs:StopTask", "ecs:TagResource"),
    "sqs": ("sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:GetQueueAttributes"),
    "ecr": ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"),
    "logs": ("logs:CreateLogStream", "logs:PutLogEvents"),
    "ec2": policies.NETWORK_INTERFACE_ACTIONS,
}
# IAM has no resource for these actions.
RESOURCELESS_ACTIONS = ("ecr:GetAuthorizationToken", "ecs:DescribeTaskDefinition", *policies.NETWORK_INTERFACE_LISTS)


def boundary_arn(settings: Settings) -> str:
    """Return the ARN of the boundary. Every role of the stack has it; the deploy role can create no role without it."""
    return f"arn:aws:iam::{settings.account}:policy/{settings.name}-boundary"


@dataclass(frozen=True)
class PermissionsBoundaryArgs:
    """Arguments of `PermissionsBoundary`."""

    settings: Settings


class PermissionsBoundary(pulumi.ComponentResource):
    """The policy that bounds every role: runtime actions on the stack's own resources, and passing its roles to ECS tasks."""

    policy: aws.iam.Policy

    def __init__(self, name: str, args: PermissionsBoundaryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:PermissionsBoundary", name, None, opts)
        settings = args.settings
        statements = [policies.allow(RUNTIME_ACTIONS[service], arns) for service, arns in _stack_arns(settings).items()]
        roles = [f"arn:aws:iam::{settings.account}:role/{settings.name}-*"]
        to_tasks = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
        statements += [policies.allow(RESOURCELESS_ACTIONS, ["*"]), policies.allow(("iam:PassRole",), roles, to_tasks)]
        self.policy = aws.iam.Policy(name, name=name, policy=policies.document(*statements), opts=child_of(self))
        self.register_outputs({"policy": self.policy.arn})


def _stack_arns(settings: Settings) -> dict[str, list[str]]:
    """Return the ARN patterns of the stack's resources by service."""
    scope = f"{settings.region}:{settings.account}"
    return {
        "s3": [f"arn:aws:s3:::{settings.name}-*"],
        "secretsmanager": [f"arn:aws:secretsmanager:{scope}:secret:{settings.name}/*", f"arn:aws:secretsmanager:{scope}:secret:rds!*"],
        "kms": [f"arn:aws:kms:{scope}:key/*"],
        "ecs": [f"arn:aws:ecs:{scope}:task-definition/{settings.name}-*:*", f"arn:aws:ecs:{scope}:task/{settings.name}/*"],
        "sqs": [f"arn:aws:sqs:{scope}:{settings.name}-*"],
        "ecr": [f"arn:aws:ecr:{scope}:repository/{settings.name}/*"],
        "logs": [f"arn:aws:logs:{scope}:log-group:/finelt/{settings.stack}/*"],
        "ec2": [f"arn:aws:ec2:{scope}:{kind}/*" for kind in policies.NETWORK_INTERFACE_RESOURCES],
    }
