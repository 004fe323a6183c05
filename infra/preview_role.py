"""The role that GitHub Actions assumes to preview a pull request. It can read Pulumi's state, and change nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra import policies
from infra.deploy_role import trust_github
from infra.nat_instance import AMI_PARAMETER
from infra.stack import KEY_ALIAS, Stack

if TYPE_CHECKING:
    from infra.policies import Statement, Text
    from infra.settings import Settings

# What the program asks AWS in a preview. IAM has no resource for these.
QUERIES = ("ec2:DescribeAvailabilityZones", "ecr:GetAuthorizationToken", "secretsmanager:GetRandomPassword")


@dataclass(frozen=True)
class PreviewRoleArgs:
    """Arguments of `PreviewRole`."""

    settings: Settings
    github_provider_arn: Text


class PreviewRole(pulumi.ComponentResource):
    """The role of a preview: a pull request's own code runs with it, from the environment <stack>-preview."""

    arn: pulumi.Output[str]

    def __init__(self, name: str, args: PreviewRoleArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:PreviewRole", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        trust = trust_github(args.settings, args.github_provider_arn, f"{args.settings.stack}-preview")
        role = aws.iam.Role(name, name=name, assume_role_policy=trust, max_session_duration=3600, opts=child)
        aws.iam.RolePolicy(name, role=role.id, policy=policies.document(*_statements(args.settings)), opts=child)
        self.arn = role.arn
        self.register_outputs({"arn": self.arn})


def _statements(settings: Settings) -> list[Statement]:
    """Return the permissions to read the state with its secrets, and to see which images ECR has.

    A preview of a self-managed backend takes no lock.
    """
    bucket = f"arn:aws:s3:::{Stack(settings.stack, settings.account, settings.region).bucket}"
    repositories = f"arn:aws:ecr:{settings.region}:{settings.account}:repository/{settings.name}/*"
    keys = f"arn:aws:kms:{settings.region}:{settings.account}:key/*"
    return [
        policies.allow(("s3:ListBucket",), [bucket]),
        policies.allow(("s3:GetObject",), [f"{bucket}/.pulumi/*"]),
        policies.allow(("kms:Decrypt",), [keys], {"ForAnyValue:StringEquals": {"kms:ResourceAliases": KEY_ALIAS}}),
        policies.allow(QUERIES, ["*"]),
        policies.allow(("ecr:DescribeImages",), [repositories]),
        policies.allow(("ssm:GetParameter",), [f"arn:aws:ssm:{settings.region}:*:parameter{AMI_PARAMETER}"]),
    ]
