"""Keys: one for data, one for logs, one for messages. Their policies say which service may use them for whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi_aws as aws

from infra import policies

if TYPE_CHECKING:
    from infra.policies import Statement
    from infra.settings import Settings

USE = ("kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext")
DESCRIBE = "kms:DescribeKey"


@dataclass(frozen=True)
class Keys:
    """`data` for buckets, images, databases and secrets; `logs` for log groups; `messages` for queues and topics."""

    data: aws.kms.Key
    logs: aws.kms.Key
    messages: aws.kms.Key


def make(settings: Settings) -> Keys:
    """The keys of a stack."""
    logs = policies.service(
        f"logs.{settings.region}",
        (*USE, DESCRIBE),
        ["*"],
        {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:{settings.region}:{settings.account}:log-group:*"}},
    )
    senders = [
        policies.service(
            name, ("kms:Decrypt", "kms:GenerateDataKey", DESCRIBE), ["*"], {"StringEquals": {"aws:SourceAccount": settings.account}}
        )
        for name in ("events", "cloudwatch", "budgets")
    ]
    cloudfront = policies.service(
        "cloudfront",
        ("kms:Decrypt", DESCRIBE),
        ["*"],
        {"ArnLike": {"aws:SourceArn": f"arn:aws:cloudfront::{settings.account}:distribution/*"}},
    )
    return Keys(_key(settings, "data", [cloudfront]), _key(settings, "logs", [logs]), _key(settings, "messages", senders))


def _key(settings: Settings, name: str, more: list[Statement]) -> aws.kms.Key:
    """A key that the account's own policies govern, and `more`. In a key's policy "*" is the key itself."""
    root = {"AWS": f"arn:aws:iam::{settings.account}:root"}
    own = {"Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"}
    key = aws.kms.Key(
        f"{settings.name}-{name}",
        description=f"{settings.name} {name}",
        enable_key_rotation=True,
        deletion_window_in_days=30 if settings.protect else 7,
        policy=policies.document(own, *more),
    )
    aws.kms.Alias(f"{settings.name}-{name}", name=f"alias/{settings.name}-{name}", target_key_id=key.key_id)
    return key
