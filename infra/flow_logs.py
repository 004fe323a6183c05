"""VPC flow logs, in CloudWatch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra import policies
from infra.options import child_of
from infra.roles import create_role

if TYPE_CHECKING:
    from infra.keys import Keys
    from infra.settings import Settings

ACTIONS = ("logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams")


@dataclass(frozen=True)
class FlowLogsArgs:
    """Arguments of `FlowLogs`."""

    settings: Settings
    keys: Keys
    boundary: pulumi.Input[str]
    vpc_id: pulumi.Input[str]


class FlowLogs(pulumi.ComponentResource):
    """The log group, the role that writes to it, and the flow log of a VPC."""

    log_group: aws.cloudwatch.LogGroup

    def __init__(self, name: str, args: FlowLogsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:FlowLogs", name, None, opts)
        settings = args.settings
        self.log_group = aws.cloudwatch.LogGroup(
            name,
            name=f"/finelt/{settings.stack}/flow-logs",
            retention_in_days=settings.log_days,
            kms_key_id=args.keys.logs.arn,
            opts=child_of(self),
        )
        source = f"arn:aws:ec2:{settings.region}:{settings.account}:vpc-flow-log/*"
        resources = [self.log_group.arn, pulumi.Output.concat(self.log_group.arn, ":*")]
        role = create_role(
            name,
            self,
            path=settings.role_path,
            boundary=args.boundary,
            trust=policies.trust_service("vpc-flow-logs", settings.account, source),
            statements=[policies.allow(ACTIONS, resources)],
        )
        aws.ec2.FlowLog(
            name,
            vpc_id=args.vpc_id,
            traffic_type="ALL",
            iam_role_arn=role.role.arn,
            log_destination=self.log_group.arn,
            opts=child_of(self, depends_on=role.policies),
        )
        self.register_outputs({"log_group": self.log_group.name})
