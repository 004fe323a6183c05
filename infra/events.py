"""The start of a run for each dropped file: S3 notifies EventBridge, a rule selects the drop, and a Lambda function calls Prefect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws
from jobkit.prefect_api import deployment_path

from infra import policies
from infra.options import child_of
from infra.prefect_worker import POOL
from infra.queues import allow_rule_to_send, create_dead_letter_queue
from infra.roles import create_role
from jobs.catalogue import DROP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.job_image import JobImage
    from infra.keys import Keys
    from infra.network import Network
    from infra.policies import Statement, Text
    from infra.prefect_server import PrefectServer
    from infra.settings import Settings
    from infra.storage import Storage
    from jobs.catalogue import JobSpec

FUNCTION = "start-dropped-files"
HANDLER = "orchestration.events.start_dropped_files.handler"
DROP_PREFIX = "drop/"
TIMEOUT_S, MEMORY_MIB = 60, 256
MAX_RETRIES, MAX_EVENT_AGE_S = 2, 6 * 3600


@dataclass(frozen=True)
class EventsArgs:
    """Arguments of `Events`. `job` reads dropped files."""

    settings: Settings
    keys: Keys
    boundary: Text
    network: Network
    storage: Storage
    image: JobImage
    server: PrefectServer
    job: str


def find_drop_reader(specs: Sequence[JobSpec]) -> str | None:
    """Return the job that reads dropped files, None if the catalogue has none."""
    return next((spec.name for spec in specs if DROP in spec.reads), None)


class Events(pulumi.ComponentResource):
    """The function, and the dead-letter queue of the events that started no run."""

    function: aws.lambda_.Function
    dead_letters: aws.sqs.Queue

    def __init__(self, name: str, args: EventsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:Events", name, None, opts)
        settings, self._name = args.settings, name
        self._arn = f"arn:aws:lambda:{settings.region}:{settings.account}:function:{name}"
        self.dead_letters = create_dead_letter_queue(name, args.keys, self)
        self.function = self._create_function(args)
        aws.lambda_.FunctionEventInvokeConfig(
            name,
            function_name=self.function.name,
            maximum_retry_attempts=MAX_RETRIES,
            maximum_event_age_in_seconds=MAX_EVENT_AGE_S,
            opts=child_of(self),
        )
        self._create_rule(settings, args.storage.lake)
        self.register_outputs({"function": self.function.name, "dead_letters": self.dead_letters.arn})

    def _create_function(self, args: EventsArgs) -> aws.lambda_.Function:
        settings, name = args.settings, self._name
        log_group = aws.cloudwatch.LogGroup(
            name,
            name=f"/finelt/{settings.stack}/{FUNCTION}",
            retention_in_days=settings.log_days,
            kms_key_id=args.keys.logs.arn,
            opts=child_of(self),
        )
        role = create_role(
            name,
            self,
            path=settings.role_path,
            boundary=args.boundary,
            trust=policies.trust_service("lambda", settings.account),
            statements=self._function_statements(args, log_group),
        )
        return aws.lambda_.Function(
            name,
            name=name,
            package_type="Image",
            image_uri=args.image.digest,
            image_config={"entry_points": ["/app/bin/python", "-m", "awslambdaric"], "commands": [HANDLER]},
            architectures=[settings.architecture],
            role=role.role.arn,
            timeout=TIMEOUT_S,
            memory_size=MEMORY_MIB,
            reserved_concurrent_executions=settings.reserved_concurrency or None,
            environment={
                "variables": {
                    "FINELT_DEPLOYMENT": deployment_path(args.job, POOL),
                    "FINELT_DROP": DROP_PREFIX,
                    "FINELT_PREFECT_AUTH": pulumi.Output.concat("secretsmanager://", args.server.auth_secret.name),
                    "PREFECT_API_URL": args.server.api_url,
                }
            },
            vpc_config={"subnet_ids": args.network.subnet_ids, "security_group_ids": [args.network.security_group_id("events")]},
            dead_letter_config={"target_arn": self.dead_letters.arn},
            logging_config={"log_format": "Text", "log_group": log_group.name},
            opts=child_of(self, depends_on=[*role.policies, self._allow_lambda_to_pull(args.image), args.network]),
        )

    def _allow_lambda_to_pull(self, image: JobImage) -> aws.ecr.RepositoryPolicy:
        condition = {"ArnLike": {"aws:SourceArn": self._arn}}
        statement = policies.allow_service("lambda", ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"), [], condition)
        return aws.ecr.RepositoryPolicy(
            self._name, repository=image.repository.name, policy=policies.document(statement), opts=child_of(self)
        )

    def _function_statements(self, args: EventsArgs, log_group: aws.cloudwatch.LogGroup) -> list[Statement]:
        """Return the function's permissions: read its one secret, write its log and dead letters, connect to the VPC."""
        scope = f"arn:aws:ec2:{args.settings.region}:{args.settings.account}"
        interfaces = [f"{scope}:{kind}/*" for kind in policies.NETWORK_INTERFACE_RESOURCES]
        network_actions = (*policies.NETWORK_INTERFACE_ACTIONS, *policies.NETWORK_INTERFACE_LISTS)
        return [
            policies.allow(("secretsmanager:GetSecretValue",), [args.server.auth_secret.arn]),
            policies.allow(("logs:CreateLogStream", "logs:PutLogEvents"), [pulumi.Output.concat(log_group.arn, ":*")]),
            policies.allow(("sqs:SendMessage",), [self.dead_letters.arn]),
            policies.allow(("kms:Decrypt", "kms:GenerateDataKey"), [args.keys.data.arn, args.keys.messages.arn]),
            # Lambda creates the interfaces with the function's role, and their names are not known in advance.
            policies.allow(policies.NETWORK_INTERFACE_ACTIONS, interfaces),
            policies.allow(policies.NETWORK_INTERFACE_LISTS, ["*"]),
            # Lambda alone needs them. It adds the condition's key to every call of the function's code, which is thus denied.
            policies.deny(network_actions, ["*"], {"ArnEquals": {"lambda:SourceFunctionArn": self._arn}}),
        ]

    def _create_rule(self, settings: Settings, lake: aws.s3.Bucket) -> None:
        """Invoke the function for each new object under the drop; send what EventBridge cannot deliver to the dead-letter queue."""
        name = self._name
        aws.s3.BucketNotification(f"{settings.name}-lake", bucket=lake.id, eventbridge=True, opts=child_of(self))
        pattern = {
            "source": ["aws.s3"],
            "detail-type": ["Object Created"],
            "detail": {"bucket": {"name": [lake.bucket]}, "object": {"key": [{"prefix": DROP_PREFIX}]}},
        }
        rule = aws.cloudwatch.EventRule(name, name=name, event_pattern=pulumi.Output.json_dumps(pattern), opts=child_of(self))
        permission = aws.lambda_.Permission(
            name,
            function=self.function.name,
            action="lambda:InvokeFunction",
            principal="events.amazonaws.com",
            source_arn=rule.arn,
            source_account=settings.account,
            opts=child_of(self),
        )
        aws.cloudwatch.EventTarget(
            name,
            rule=rule.name,
            arn=self.function.arn,
            dead_letter_config={"arn": self.dead_letters.arn},
            opts=child_of(self, depends_on=[permission, allow_rule_to_send(f"{name}-dead", self.dead_letters, rule, self)]),
        )
