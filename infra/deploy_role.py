"""The role that GitHub Actions assumes to deploy: from one repository and one environment, within the permissions boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra import policies
from infra.account import GITHUB_ISSUER
from infra.options import child_of

if TYPE_CHECKING:
    from infra.policies import Statement, Text
    from infra.settings import Settings

POWER_USER_POLICY = "arn:aws:iam::aws:policy/PowerUserAccess"  # everything but IAM; the statements below add IAM by name
READ_ROLE_ACTIONS = (
    "iam:GetRole",
    "iam:GetRolePolicy",
    "iam:ListRolePolicies",
    "iam:ListAttachedRolePolicies",
    "iam:ListInstanceProfilesForRole",
)
# Denied on every deploy role: that of this stack, and that of a stack whose name begins with this stack's.
DEPLOY_ROLE_DENIED_ACTIONS = (
    "iam:AttachRolePolicy",
    "iam:DeleteRole",
    "iam:DeleteRolePolicy",
    "iam:DetachRolePolicy",
    "iam:PassRole",
    "iam:PutRolePermissionsBoundary",
    "iam:PutRolePolicy",
    "iam:TagRole",
    "iam:UntagRole",
    "iam:UpdateAssumeRolePolicy",
    "iam:UpdateRole",
    "iam:UpdateRoleDescription",
)
BOUNDARY_DENIED_ACTIONS = ("iam:CreatePolicyVersion", "iam:DeletePolicy", "iam:DeletePolicyVersion", "iam:SetDefaultPolicyVersion")
PASSED_TO_SERVICES = ["ecs-tasks.amazonaws.com", "lambda.amazonaws.com", "vpc-flow-logs.amazonaws.com"]


@dataclass(frozen=True)
class DeployRoleArgs:
    """Arguments of `DeployRole`."""

    settings: Settings
    github_provider_arn: Text
    boundary: aws.iam.Policy


class DeployRole(pulumi.ComponentResource):
    """The role of a deployment. Only `scripts/stack up`, run by a person, can change the role itself and its boundary."""

    arn: pulumi.Output[str]

    def __init__(self, name: str, args: DeployRoleArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:DeployRole", name, None, opts)
        trust = trust_github(args.settings, args.github_provider_arn, args.settings.stack)
        role = aws.iam.Role(name, name=name, assume_role_policy=trust, max_session_duration=3600, opts=child_of(self))
        aws.iam.RolePolicyAttachment(name, role=role.name, policy_arn=POWER_USER_POLICY, opts=child_of(self))
        statements = _iam_statements(args.settings, args.boundary)
        aws.iam.RolePolicy(name, role=role.id, policy=policies.document(*statements), opts=child_of(self))
        self.arn = role.arn
        self.register_outputs({"arn": self.arn})


def trust_github(settings: Settings, provider_arn: Text, environment: str) -> pulumi.Output[str]:
    """Return a trust policy for GitHub's tokens of the stack's repository and one environment."""
    claims = {
        f"{GITHUB_ISSUER}:aud": "sts.amazonaws.com",
        f"{GITHUB_ISSUER}:sub": f"repo:{settings.repository}:environment:{environment}",
    }
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": provider_arn},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": claims},
    }
    return policies.document(statement)


def _iam_statements(settings: Settings, boundary: aws.iam.Policy) -> list[Statement]:
    """Return the IAM permissions of a deployment: roles below the stack's path and within the boundary.

    The roles of GitHub are not below the path, so a deployment cannot change them. The Deny repeats that for a policy that is added later.
    """
    account = f"arn:aws:iam::{settings.account}"
    roles = [f"{account}:role{settings.role_path}*"]
    bounded = {"StringEquals": {"iam:PermissionsBoundary": boundary.arn}}
    return [
        policies.allow(READ_ROLE_ACTIONS, roles),
        policies.allow(("iam:CreateRole", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:PutRolePermissionsBoundary"), roles, bounded),
        policies.allow(("iam:DeleteRole", "iam:TagRole", "iam:UntagRole", "iam:UpdateAssumeRolePolicy"), roles),
        policies.allow(("iam:PassRole",), roles, {"StringEquals": {"iam:PassedToService": PASSED_TO_SERVICES}}),
        policies.allow(("iam:GetPolicy", "iam:GetPolicyVersion", "iam:ListPolicyVersions"), [boundary.arn]),
        policies.allow(("iam:GetOpenIDConnectProvider",), [f"{account}:oidc-provider/{GITHUB_ISSUER}"]),
        policies.deny(DEPLOY_ROLE_DENIED_ACTIONS, [f"{account}:role/finelt-*-{ending}" for ending in ("deploy", "preview")]),
        policies.deny(("iam:DeleteRolePermissionsBoundary",), [f"{account}:role/*"]),
        policies.deny(BOUNDARY_DENIED_ACTIONS, [f"{account}:policy/finelt-*-boundary"]),
    ]
