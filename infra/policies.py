"""IAM policy documents: what is allowed to whom, in as few words as IAM has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Text = pulumi.Input[str]
# What Lambda does to put a function into a network. Source: "Giving Lambda functions access to resources in an Amazon VPC".
INTERFACES = (
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
)
INTERFACES_IN = ("network-interface", "security-group", "subnet")
INTERFACES_SEEN = ("ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets")
Statement = dict[str, Any]


def allow(actions: Sequence[str], resources: Sequence[Text], condition: Mapping[str, Any] | None = None) -> Statement:
    """A statement of a role's policy."""
    statement: Statement = {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return {**statement, "Condition": condition} if condition else statement


def forbid(actions: Sequence[str], resources: Sequence[Text]) -> Statement:
    """A statement of a role's policy that no other one of its policies gets around."""
    return {"Effect": "Deny", "Action": list(actions), "Resource": list(resources)}


def deny(actions: Sequence[str], resources: Sequence[Text], condition: Mapping[str, Any]) -> Statement:
    """A statement of a resource's policy that nobody gets around."""
    return {"Effect": "Deny", "Principal": "*", "Action": list(actions), "Resource": list(resources), "Condition": condition}


def service(name: str, actions: Sequence[str], resources: Sequence[Text], condition: Mapping[str, Any]) -> Statement:
    """A statement of a resource's policy that lets a service of AWS in."""
    principal = {"Service": f"{name}.amazonaws.com"}
    return {"Effect": "Allow", "Principal": principal, "Action": list(actions), "Resource": list(resources), "Condition": condition}


def document(*statements: Statement) -> pulumi.Output[str]:
    """The statements as JSON."""
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": list(statements)})


def trust(name: str, account: str, source_arn: str | None = None) -> pulumi.Output[str]:
    """Who may take a role on: a service of AWS, for this account's resources only."""
    condition: dict[str, Any] = {"StringEquals": {"aws:SourceAccount": account}}
    if source_arn:
        condition["ArnLike"] = {"aws:SourceArn": source_arn}
    principal = {"Service": f"{name}.amazonaws.com"}
    return document({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", "Condition": condition})
