"""SQS queues that EventBridge rules send to, with dead-letter queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi_aws as aws

from infra import policies
from infra.options import child_of

if TYPE_CHECKING:
    import pulumi

    from infra.keys import Keys

DEAD_LETTER_RETENTION_S = 14 * 86_400


def create_dead_letter_queue(name: str, keys: Keys, parent: pulumi.Resource) -> aws.sqs.Queue:
    """Create the queue <name>-dead for messages that could not be processed."""
    return aws.sqs.Queue(
        f"{name}-dead",
        name=f"{name}-dead",
        kms_master_key_id=keys.messages.arn,
        message_retention_seconds=DEAD_LETTER_RETENTION_S,
        opts=child_of(parent),
    )


def allow_rule_to_send(name: str, queue: aws.sqs.Queue, rule: aws.cloudwatch.EventRule, parent: pulumi.Resource) -> aws.sqs.QueuePolicy:
    """Let an EventBridge rule send to the queue, and deny requests without TLS. A queue has one policy; the rule's target depends on it."""
    send = policies.allow_service("events", ("sqs:SendMessage",), [queue.arn], {"ArnEquals": {"aws:SourceArn": rule.arn}})
    policy = policies.document(send, policies.deny_plaintext("sqs", [queue.arn]))
    return aws.sqs.QueuePolicy(name, queue_url=queue.url, policy=policy, opts=child_of(parent))
