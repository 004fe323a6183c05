"""The way into the network for people: a task that they start for a session, and the policies that let them.

The task runs only during a session and has no address that anybody could reach. AWS Systems Manager forwards a port through it to
Prefect or to the warehouse (`scripts/stack connect`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra import policies
from infra.fargate_task import FargateTask, FargateTaskArgs
from infra.stack import ANALYST, BASTION_TAG, FORWARD_DOCUMENT, bastion_parameter

if TYPE_CHECKING:
    from infra.keys import Keys
    from infra.network import Network
    from infra.policies import Statement, Text
    from infra.prefect_server import PrefectServer
    from infra.settings import Settings
    from infra.storage import Storage
    from infra.warehouse import Warehouse

LONGEST_SESSION_S = 4 * 3600


@dataclass(frozen=True)
class BastionArgs:
    """Arguments of `Bastion`."""

    settings: Settings
    keys: Keys
    boundary: Text
    network: Network
    image: Text
    server: PrefectServer
    storage: Storage
    warehouse: Warehouse


class Bastion(pulumi.ComponentResource):
    """The task definition, what `scripts/stack connect` has to know about it, and two policies to attach to people."""

    task: FargateTask
    reader_policy: aws.iam.Policy
    operator_policy: aws.iam.Policy

    def __init__(self, name: str, args: BastionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:Bastion", name, None, opts)
        settings, child = args.settings, pulumi.ResourceOptions(parent=self)
        task_args = FargateTaskArgs(
            settings,
            args.keys,
            args.boundary,
            name="bastion",
            image=args.image,
            cpu=256,
            memory=512,
            command=["python", "-c", f"import time; time.sleep({LONGEST_SESSION_S})"],
            statements=[policies.allow(policies.SESSION_CHANNEL_ACTIONS, ["*"])],
            has_sessions=True,
        )
        self.task = FargateTask(name, task_args, child)
        description = {
            "cluster": settings.name,
            "task_definition": self.task.definition.arn,
            "subnets": args.network.subnet_ids,
            "security_groups": [args.network.security_group_id("bastion")],
            "hosts": {
                "prefect": args.server.api_url.apply(lambda url: url.partition("://")[2].partition(":")[0]),
                "warehouse": args.warehouse.database.instance.address,
            },
        }
        parameter = aws.ssm.Parameter(
            name, name=bastion_parameter(settings.stack), type="String", value=pulumi.Output.json_dumps(description), opts=child
        )
        reading = [*self._session_statements(settings, parameter.arn), *_reading_statements(args)]
        self.reader_policy = aws.iam.Policy(
            f"{settings.name}-reader", name=f"{settings.name}-reader", policy=policies.document(*reading), opts=child
        )
        self.operator_policy = aws.iam.Policy(
            f"{settings.name}-operator",
            name=f"{settings.name}-operator",
            policy=policies.document(
                policies.allow(("secretsmanager:GetSecretValue",), [args.server.auth_secret.arn]),
                policies.allow(("kms:Decrypt",), [args.keys.data.arn]),
            ),
            opts=child,
        )
        self.register_outputs({"reader_policy": self.reader_policy.arn, "operator_policy": self.operator_policy.arn})

    def _session_statements(self, settings: Settings, parameter_arn: Text) -> list[Statement]:
        """Return the permission to start and stop the task, and to forward a port through it.

        Source: "Actions, resources, and condition keys" of Amazon ECS and of AWS Systems Manager in the service authorization reference.
        """
        scope = f"{settings.region}:{settings.account}"
        tasks = f"arn:aws:ecs:{scope}:task/{settings.name}/*"
        definitions = f"arn:aws:ecs:{scope}:task-definition/{self.task.definition_family}:*"
        cluster = {"ArnEquals": {"ecs:cluster": f"arn:aws:ecs:{scope}:cluster/{settings.name}"}}
        passed = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
        tagged = {f"aws:ResourceTag/{name}": value for name, value in BASTION_TAG.items()}
        return [
            policies.allow(("ssm:GetParameter",), [parameter_arn]),
            policies.allow(("ecs:RunTask",), [definitions], cluster),
            policies.allow(("ecs:TagResource",), [tasks], {"StringEquals": {"ecs:CreateAction": "RunTask"}}),
            policies.allow(("iam:PassRole",), [self.task.role.arn, self.task.execution_role.arn], passed),
            policies.allow(("ecs:DescribeTasks",), [tasks]),
            policies.allow(("ecs:StopTask", "ssm:StartSession"), [tasks], {"StringEquals": tagged}),
            policies.allow(("ssm:StartSession",), [f"arn:aws:ssm:{settings.region}::document/{FORWARD_DOCUMENT}"]),
            policies.allow(("ssm:TerminateSession",), ["arn:aws:ssm:*:*:session/${aws:userid}-*"]),
        ]


def _reading_statements(args: BastionArgs) -> list[Statement]:
    """Return the permission to log in to the warehouse as `analyst`, without a password, and to read the site."""
    settings, instance = args.settings, args.warehouse.database.instance
    login = pulumi.Output.concat(f"arn:aws:rds-db:{settings.region}:{settings.account}:dbuser:", instance.resource_id, f"/{ANALYST}")
    site = args.storage.site.arn
    return [
        policies.allow(("rds-db:connect",), [login]),
        policies.allow(("s3:ListBucket",), [site]),
        policies.allow(("s3:GetObject",), [pulumi.Output.concat(site, "/site/*")]),
        policies.allow(("kms:Decrypt",), [args.keys.data.arn], {"StringEquals": {"kms:ViaService": f"s3.{settings.region}.amazonaws.com"}}),
    ]
