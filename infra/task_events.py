"""State changes of ECS tasks, delivered to a queue that the Prefect worker reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra.options import child_of
from infra.queues import allow_rule_to_send, create_dead_letter_queue

if TYPE_CHECKING:
    from infra.cluster import Cluster
    from infra.keys import Keys

MAX_RECEIVES = 3
VISIBILITY_TIMEOUT_S = 300


@dataclass(frozen=True)
class TaskEventsArgs:
    """Arguments of `TaskEvents`."""

    keys: Keys
    cluster: Cluster


class TaskEvents(pulumi.ComponentResource):
    """The queue of state changes, and the dead-letter queue of messages that the worker could not read."""

    queue: aws.sqs.Queue
    dead_letters: aws.sqs.Queue

    def __init__(self, name: str, args: TaskEventsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:TaskEvents", name, None, opts)
        self.dead_letters = create_dead_letter_queue(name, args.keys, self)
        redrive_policy = {"deadLetterTargetArn": self.dead_letters.arn, "maxReceiveCount": MAX_RECEIVES}
        self.queue = aws.sqs.Queue(
            name,
            name=name,
            kms_master_key_id=args.keys.messages.arn,
            visibility_timeout_seconds=VISIBILITY_TIMEOUT_S,
            redrive_policy=pulumi.Output.json_dumps(redrive_policy),
            opts=child_of(self),
        )
        pattern = {"source": ["aws.ecs"], "detail-type": ["ECS Task State Change"], "detail": {"clusterArn": [args.cluster.arn]}}
        rule = aws.cloudwatch.EventRule(name, name=name, event_pattern=pulumi.Output.json_dumps(pattern), opts=child_of(self))
        allowed = [allow_rule_to_send(name, self.queue, rule, self), allow_rule_to_send(f"{name}-dead", self.dead_letters, rule, self)]
        aws.cloudwatch.EventTarget(
            name,
            rule=rule.name,
            arn=self.queue.arn,
            dead_letter_config={"arn": self.dead_letters.arn},
            opts=child_of(self, depends_on=allowed),
        )
        self.register_outputs({"queue": self.queue.arn, "dead_letters": self.dead_letters.arn})
