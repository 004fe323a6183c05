"""Builders of IAM policy documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Text = pulumi.Input[str]
Statement = dict[str, Any]
# Lambda calls these to connect a function to a VPC. Source: "Giving Lambda functions access to resources in an Amazon VPC".
NETWORK_INTERFACE_ACTIONS = (
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
)
NETWORK_INTERFACE_RESOURCES = ("network-interface", "security-group", "subnet")
NETWORK_INTERFACE_LISTS = ("ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets")  # IAM has no resource for these

# A job started by a state machine of `scripts/emit` reports its end. IAM has no resource here: the task token authorizes the call.
STEP_FUNCTIONS_ACTIONS = ("states:SendTaskSuccess", "states:SendTaskFailure", "states:SendTaskHeartbeat")

# The agent in a task that people open sessions in. IAM has no resource for these. Source: "Task IAM role permissions" of ECS Exec.
SESSION_CHANNEL_ACTIONS = (
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
)


def allow(actions: Sequence[str], resources: Sequence[Text], condition: Mapping[str, Any] | None = None) -> Statement:
    """Return an Allow statement of a role's policy."""
    statement: Statement = {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return {**statement, "Condition": condition} if condition else statement


def deny(actions: Sequence[str], resources: Sequence[Text], condition: Mapping[str, Any] | None = None) -> Statement:
    """Return a Deny statement of a role's policy. It overrides every Allow."""
    statement: Statement = {"Effect": "Deny", "Action": list(actions), "Resource": list(resources)}
    return {**statement, "Condition": condition} if condition else statement


def deny_everyone(actions: Sequence[str], resources: Sequence[Text], condition: Mapping[str, Any]) -> Statement:
    """Return a Deny statement of a resource's policy. It applies to every principal."""
    return {"Effect": "Deny", "Principal": "*", "Action": list(actions), "Resource": list(resources), "Condition": condition}


def deny_plaintext(service: str, resources: Sequence[Text]) -> Statement:
    """Return a Deny statement of a resource's policy for requests without TLS. `service` is an IAM prefix, such as s3."""
    return deny_everyone((f"{service}:*",), resources, {"Bool": {"aws:SecureTransport": "false"}})


def allow_service(name: str, actions: Sequence[str], resources: Sequence[Text], condition: Mapping[str, Any] | None = None) -> Statement:
    """Return an Allow statement of a resource's policy for an AWS service. `name` is its principal without .amazonaws.com.

    Without resources the statement has no Resource element, as the policy of an ECR repository requires.
    """
    statement: Statement = {"Effect": "Allow", "Principal": {"Service": f"{name}.amazonaws.com"}, "Action": list(actions)}
    return statement | ({"Resource": list(resources)} if resources else {}) | ({"Condition": condition} if condition else {})


def document(*statements: Statement) -> pulumi.Output[str]:
    """Return the policy document as JSON."""
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": list(statements)})


def trust_service(name: str, account: str, source_arn: str | None = None) -> pulumi.Output[str]:
    """Return a trust policy: an AWS service may assume the role on behalf of resources in this account, or of `source_arn` alone."""
    condition: dict[str, Any] = {"StringEquals": {"aws:SourceAccount": account}}
    if source_arn:
        condition["ArnLike"] = {"aws:SourceArn": source_arn}
    principal = {"Service": f"{name}.amazonaws.com"}
    return document({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", "Condition": condition})
