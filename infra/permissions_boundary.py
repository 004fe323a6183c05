"""The permissions boundary: the most that any role of the stack may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra import policies
from infra.job_permissions import GLUE_ACTIONS, glue_arns
from infra.options import child_of

if TYPE_CHECKING:
    from infra.keys import Keys
    from infra.policies import Statement, Text
    from infra.settings import Settings

# The actions of all running code together. A role's own policy is narrower; the boundary limits the damage when a policy is widened.
RUNTIME_ACTIONS = {
    "s3": ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"),
    "secretsmanager": ("secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"),
    "kms": ("kms:Decrypt", "kms:GenerateDataKey"),
    "ecs": ("ecs:DescribeTasks", "ecs:StopTask", "ecs:TagResource"),
    "sqs": ("sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ChangeMessageVisibility"),
    "ecr": ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"),
    "logs": ("logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"),
    "ec2": policies.NETWORK_INTERFACE_ACTIONS,
    "rds-db": ("rds-db:connect",),
    "glue": GLUE_ACTIONS,
}
# IAM has no resource for these actions.
RESOURCELESS_ACTIONS = (
    "ecr:GetAuthorizationToken",
    "ecs:DescribeTaskDefinition",
    *policies.NETWORK_INTERFACE_LISTS,
    *policies.STEP_FUNCTIONS_ACTIONS,
    *policies.SESSION_CHANNEL_ACTIONS,
)
BUCKETS = ("lake", "site")
DATABASE_ROLE = "prefect"  # whose login needs an IAM token
QUEUES = ("task-events", "task-events-dead", "start-dropped-files-dead")


@dataclass(frozen=True)
class PermissionsBoundaryArgs:
    """Arguments of `PermissionsBoundary`."""

    settings: Settings
    keys: Keys


class PermissionsBoundary(pulumi.ComponentResource):
    """The policy that bounds every role: runtime actions on the stack's own resources, and passing the roles of runs to ECS tasks.

    Roles take `policy.arn`, so that Pulumi creates the policy before them and deletes it after them.
    """

    policy: aws.iam.Policy

    def __init__(self, name: str, args: PermissionsBoundaryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:PermissionsBoundary", name, None, opts)
        settings = args.settings
        statements = [policies.allow(RUNTIME_ACTIONS[service], arns) for service, arns in _stack_arns(settings, args.keys).items()]
        statements += [policies.allow(RESOURCELESS_ACTIONS, ["*"]), pass_run_roles(settings), run_tasks(settings)]
        self.policy = aws.iam.Policy(name, name=name, policy=policies.document(*statements), opts=child_of(self))
        self.register_outputs({"policy": self.policy.arn})


def pass_run_roles(settings: Settings) -> Statement:
    """Return the permission to pass the roles of the stack's jobs and flows to ECS tasks. Its size does not depend on their number."""
    roles = [f"arn:aws:iam::{settings.account}:role{settings.run_role_path}*"]
    return policies.allow(("iam:PassRole",), roles, {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}})


def run_tasks(settings: Settings) -> Statement:
    """Return the permission to run tasks on the stack's own cluster.

    The pattern also matches the families of a stack whose name begins with this one's. Their roles cannot be passed.
    """
    scope = f"arn:aws:ecs:{settings.region}:{settings.account}"
    families = [f"{scope}:task-definition/{settings.name}-*:*"]
    return policies.allow(("ecs:RunTask",), families, {"ArnEquals": {"ecs:cluster": f"{scope}:cluster/{settings.name}"}})


def _stack_arns(settings: Settings, keys: Keys) -> dict[str, list[Text]]:
    """Return the ARNs of the stack's resources by service. A pattern ends behind a delimiter, or it would match another stack's."""
    scope = f"{settings.region}:{settings.account}"
    buckets = [f"arn:aws:s3:::{settings.name}-{purpose}-{settings.account}" for purpose in BUCKETS]
    return {
        "s3": [*buckets, *(f"{bucket}/*" for bucket in buckets)],
        "secretsmanager": [f"arn:aws:secretsmanager:{scope}:secret:{settings.name}/*", f"arn:aws:secretsmanager:{scope}:secret:rds!*"],
        "kms": [keys.data.arn, keys.messages.arn],
        "ecs": [f"arn:aws:ecs:{scope}:task/{settings.name}/*"],
        "sqs": [f"arn:aws:sqs:{scope}:{settings.name}-{queue}" for queue in QUEUES],
        "ecr": [f"arn:aws:ecr:{scope}:repository/{settings.name}/*"],
        "logs": [f"arn:aws:logs:{scope}:log-group:/finelt/{settings.stack}/*"],
        "ec2": [f"arn:aws:ec2:{scope}:{kind}/*" for kind in policies.NETWORK_INTERFACE_RESOURCES],
        "rds-db": [f"arn:aws:rds-db:{scope}:dbuser:*/{DATABASE_ROLE}"],
        "glue": glue_arns(settings),
    }
