"""Three KMS keys: for data, for logs and for messages. Each key policy names the services that may use the key, and for whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra import policies
from infra.options import child_of

if TYPE_CHECKING:
    from infra.policies import Statement
    from infra.settings import Settings

USE_ACTIONS = (
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
)
DESCRIBE_ACTION = "kms:DescribeKey"


@dataclass(frozen=True)
class KeysArgs:
    """Arguments of `Keys`."""

    settings: Settings


class Keys(pulumi.ComponentResource):
    """`data` encrypts buckets, images, databases and secrets; `logs` log groups; `messages` queues and topics."""

    data: aws.kms.Key
    logs: aws.kms.Key
    messages: aws.kms.Key

    def __init__(self, name: str, args: KeysArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:Keys", name, None, opts)
        settings = args.settings
        self.data = self._create_key(settings, "data", [_cloudfront_statement(settings), *_fargate_statements(settings)])
        self.logs = self._create_key(settings, "logs", [_logs_statement(settings)])
        self.messages = self._create_key(settings, "messages", _publisher_statements(settings))
        self.register_outputs({"data": self.data.arn, "logs": self.logs.arn, "messages": self.messages.arn})

    def _create_key(self, settings: Settings, purpose: str, service_statements: list[Statement]) -> aws.kms.Key:
        """Create a key that IAM policies of the account govern. In a key policy the resource "*" means the key itself."""
        root = {"AWS": f"arn:aws:iam::{settings.account}:root"}
        account_statement = {"Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"}
        name = f"{settings.name}-{purpose}"
        key = aws.kms.Key(
            name,
            description=f"{settings.name} {purpose}",
            enable_key_rotation=True,
            deletion_window_in_days=30 if settings.protect else 7,
            policy=policies.document(account_statement, *service_statements),
            opts=child_of(self),
        )
        aws.kms.Alias(name, name=f"alias/{name}", target_key_id=key.key_id, opts=child_of(self))
        return key


def _logs_statement(settings: Settings) -> Statement:
    log_groups = f"arn:aws:logs:{settings.region}:{settings.account}:log-group:*"
    condition = {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": log_groups}}
    return policies.allow_service(f"logs.{settings.region}", (*USE_ACTIONS, DESCRIBE_ACTION), ["*"], condition)


def _publisher_statements(settings: Settings) -> list[Statement]:
    """Return statements for the services that publish to queues and topics.

    EventBridge supports no aws:SourceAccount here: its deliveries would fail without a trace. The policies of queues and topics limit it.
    Source: "Managing Amazon SNS encryption keys and costs" in the SNS developer guide.
    """
    actions = ("kms:Decrypt", "kms:GenerateDataKey", DESCRIBE_ACTION)
    condition = {"StringEquals": {"aws:SourceAccount": settings.account}}
    events = policies.allow_service("events", actions, ["*"])
    return [events, *(policies.allow_service(name, actions, ["*"], condition) for name in ("cloudwatch", "budgets"))]


def _fargate_statements(settings: Settings) -> list[Statement]:
    """Return statements for the ephemeral storage of tasks on the stack's cluster, without which no task starts.

    Source: "Customer managed keys for AWS Fargate ephemeral storage" in the ECS developer guide.
    """
    context = {
        "kms:EncryptionContext:aws:ecs:clusterAccount": settings.account,
        "kms:EncryptionContext:aws:ecs:clusterName": settings.name,
    }
    grant = {"StringEquals": context, "ForAllValues:StringEquals": {"kms:GrantOperations": ["Decrypt"]}}
    return [
        policies.allow_service("fargate", ("kms:GenerateDataKeyWithoutPlaintext",), ["*"], {"StringEquals": context}),
        policies.allow_service("fargate", ("kms:CreateGrant",), ["*"], grant),
    ]


def _cloudfront_statement(settings: Settings) -> Statement:
    condition = {"ArnLike": {"aws:SourceArn": f"arn:aws:cloudfront::{settings.account}:distribution/*"}}
    return policies.allow_service("cloudfront", ("kms:Decrypt", DESCRIBE_ACTION), ["*"], condition)
