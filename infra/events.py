"""From a dropped file to a run: S3 tells EventBridge, a rule picks the drop, a Lambda function asks Prefect. What fails is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra import policies, tasks
from infra.orchestrator import POOL

if TYPE_CHECKING:
    from infra.data import Data
    from infra.images import JobImage
    from infra.keys import Keys
    from infra.network import Network
    from infra.policies import Statement, Text
    from infra.settings import Settings

FUNCTION, JOB = "start-dropped-files", "extract-dropped-files"
HANDLER = "orchestration.events.start_dropped_files.handler"
DROP = "drop/"
TIMEOUT_S, MEMORY_MIB, AT_ONCE = 60, 256, 5
TRIES_AGAIN, OLDEST_S = 2, 6 * 3600


@dataclass(frozen=True)
class Events:
    """What the alarms look at: the function, and the queue of events that started nothing."""

    function: aws.lambda_.Function
    dead_letters: aws.sqs.Queue


def make(
    settings: Settings, keys: Keys, network: Network, data: Data, image: JobImage, password: aws.secretsmanager.Secret, api_url: Text
) -> Events:
    """The way of a dropped file to its run."""
    name = f"{settings.name}-{FUNCTION}"
    aws.s3.BucketNotification(f"{settings.name}-lake", bucket=data.lake.id, eventbridge=True)
    logs = aws.cloudwatch.LogGroup(
        name, name=f"/finelt/{settings.stack}/{FUNCTION}", retention_in_days=settings.log_days, kms_key_id=keys.logs.arn
    )
    dead = aws.sqs.Queue(f"{name}-dead", name=f"{name}-dead", kms_master_key_id=keys.messages.arn, message_retention_seconds=14 * 86_400)
    role = aws.iam.Role(
        name,
        name=name,
        assume_role_policy=policies.trust("lambda", settings.account),
        permissions_boundary=tasks.boundary_arn(settings),
    )
    itself = f"arn:aws:lambda:{settings.region}:{settings.account}:function:{name}"
    allowed = aws.iam.RolePolicy(name, role=role.id, policy=policies.document(*_allowed(settings, keys, itself, logs, dead, password)))
    pulls = policies.service("lambda", ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"), [], {"ArnLike": {"aws:SourceArn": itself}})
    del pulls["Resource"]  # a repository's policy is about itself
    pulling = aws.ecr.RepositoryPolicy(name, repository=image.repository.name, policy=policies.document(pulls))
    function = aws.lambda_.Function(
        name,
        name=name,
        package_type="Image",
        image_uri=image.digest,
        image_config={"entry_points": ["/app/bin/python", "-m", "awslambdaric"], "commands": [HANDLER]},
        architectures=[settings.architecture],
        role=role.arn,
        timeout=TIMEOUT_S,
        memory_size=MEMORY_MIB,
        reserved_concurrent_executions=AT_ONCE,
        environment={
            "variables": {
                "FINELT_DEPLOYMENT": f"{JOB}/{POOL}",
                "FINELT_DROP": DROP,
                "FINELT_PREFECT_AUTH": pulumi.Output.concat("secretsmanager://", password.name),
                "PREFECT_API_URL": api_url,
            }
        },
        vpc_config={"subnet_ids": network.subnet_ids, "security_group_ids": [network.group_id("events")]},
        dead_letter_config={"target_arn": dead.arn},
        logging_config={"log_format": "Text", "log_group": logs.name},
        opts=pulumi.ResourceOptions(depends_on=[allowed, pulling]),
    )
    aws.lambda_.FunctionEventInvokeConfig(
        name, function_name=function.name, maximum_retry_attempts=TRIES_AGAIN, maximum_event_age_in_seconds=OLDEST_S
    )
    _rule(settings, name, data.lake, function, dead)
    return Events(function, dead)


def _rule(settings: Settings, name: str, lake: aws.s3.Bucket, function: aws.lambda_.Function, dead: aws.sqs.Queue) -> None:
    """New objects below the drop go to the function; what EventBridge cannot hand over goes to the queue."""
    pattern = {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [lake.bucket]}, "object": {"key": [{"prefix": DROP}]}},
    }
    rule = aws.cloudwatch.EventRule(name, name=name, event_pattern=pulumi.Output.json_dumps(pattern))
    aws.cloudwatch.EventTarget(name, rule=rule.name, arn=function.arn, dead_letter_config={"arn": dead.arn})
    aws.lambda_.Permission(
        name,
        function=function.name,
        action="lambda:InvokeFunction",
        principal="events.amazonaws.com",
        source_arn=rule.arn,
        source_account=settings.account,
    )
    sender = policies.service("events", ("sqs:SendMessage",), [dead.arn], {"ArnEquals": {"aws:SourceArn": rule.arn}})
    plain = policies.deny(("sqs:*",), [dead.arn], {"Bool": {"aws:SecureTransport": "false"}})
    aws.sqs.QueuePolicy(f"{name}-dead", queue_url=dead.url, policy=policies.document(sender, plain))


def _allowed(
    settings: Settings, keys: Keys, itself: str, logs: aws.cloudwatch.LogGroup, dead: aws.sqs.Queue, password: aws.secretsmanager.Secret
) -> list[Statement]:
    """What the function may do: read its one secret, write its log and its dead letters, and have a place in the network."""
    return [
        policies.allow(("secretsmanager:GetSecretValue",), [password.arn]),
        policies.allow(("logs:CreateLogStream", "logs:PutLogEvents"), [pulumi.Output.concat(logs.arn, ":*")]),
        policies.allow(("sqs:SendMessage",), [dead.arn]),
        policies.allow(("kms:Decrypt", "kms:GenerateDataKey"), [keys.data.arn, keys.messages.arn]),
        # Lambda makes the interfaces with the function's own role, and gives no name of one beforehand.
        policies.allow(
            policies.INTERFACES, [f"arn:aws:ec2:{settings.region}:{settings.account}:{kind}/*" for kind in policies.INTERFACES_IN]
        ),
        policies.allow(policies.INTERFACES_SEEN, ["*"]),  # which have no resource
        {  # that is for Lambda alone; the function's code has no business there
            "Effect": "Deny",
            "Action": [*policies.INTERFACES, *policies.INTERFACES_SEEN],
            "Resource": ["*"],
            "Condition": {"ArnEquals": {"lambda:SourceFunctionArn": itself}},
        },
    ]
