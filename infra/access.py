"""Who may deploy: GitHub Actions, from one repository and one environment, and never more than the boundary lets any role do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi_aws as aws

from infra import policies, tasks

if TYPE_CHECKING:
    import pulumi

    from infra.settings import Settings

ISSUER = "token.actions.githubusercontent.com"
POWER = "arn:aws:iam::aws:policy/PowerUserAccess"  # AWS's own: everything but IAM, which is given below by name
# What running takes, all roles together. A role's own policy is narrower; this is for the day somebody widens one.
RUNNING = {
    "s3": ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"),
    "secretsmanager": ("secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"),
    "kms": ("kms:Decrypt", "kms:GenerateDataKey"),
    "ecs": ("ecs:RunTask", "ecs:DescribeTasks", "ecs:StopTask", "ecs:TagResource"),
    "sqs": ("sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:GetQueueAttributes"),
    "ecr": ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"),
    "logs": ("logs:CreateLogStream", "logs:PutLogEvents"),
    "ec2": policies.INTERFACES,
}
# What a deployment may never do to the role that deploys, be it of this stack or of another whose name begins the same.
ON_ITSELF = (
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
ON_THE_BOUNDARY = ("iam:CreatePolicyVersion", "iam:DeletePolicy", "iam:DeletePolicyVersion", "iam:SetDefaultPolicyVersion")
ANYWHERE = ("ecr:GetAuthorizationToken", "ecs:DescribeTaskDefinition", *policies.INTERFACES_SEEN)  # which have no resource


def make(settings: Settings) -> pulumi.Output[str]:
    """The ARN of the role that deploys; also what holds for the account as a whole, where no other stack in it has made that."""
    provider: policies.Text = f"arn:aws:iam::{settings.account}:oidc-provider/{ISSUER}"
    if settings.first_in_account:
        aws.s3.AccountPublicAccessBlock(
            settings.name, block_public_acls=True, block_public_policy=True, ignore_public_acls=True, restrict_public_buckets=True
        )
        provider = aws.iam.OpenIdConnectProvider(settings.name, url=f"https://{ISSUER}", client_id_lists=["sts.amazonaws.com"]).arn
    aws.ebs.EncryptionByDefault(settings.name, enabled=True)
    boundary = _boundary(settings)
    claims = {
        f"{ISSUER}:aud": "sts.amazonaws.com",
        f"{ISSUER}:sub": f"repo:{settings.repository}:environment:{settings.stack}",
    }
    trusted = policies.document(
        {
            "Effect": "Allow",
            "Principal": {"Federated": provider},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": claims},
        }
    )
    name = f"{settings.name}-deploy"
    role = aws.iam.Role(name, name=name, assume_role_policy=trusted, max_session_duration=3600)
    aws.iam.RolePolicyAttachment(name, role=role.name, policy_arn=POWER)
    aws.iam.RolePolicy(name, role=role.id, policy=policies.document(*_deploying(settings, boundary)))
    return role.arn


def _boundary(settings: Settings) -> aws.iam.Policy:
    """The most that any role of the stack may do: what running takes, on the stack's own things, and nothing in IAM but passing them on."""
    name = f"{settings.name}-boundary"
    here = f"{settings.region}:{settings.account}"
    things = {
        "s3": [f"arn:aws:s3:::{settings.name}-*"],
        "secretsmanager": [f"arn:aws:secretsmanager:{here}:secret:{settings.name}/*", f"arn:aws:secretsmanager:{here}:secret:rds!*"],
        "kms": [f"arn:aws:kms:{here}:key/*"],
        "ecs": [f"arn:aws:ecs:{here}:task-definition/{settings.name}-*:*", f"arn:aws:ecs:{here}:task/{settings.name}/*"],
        "sqs": [f"arn:aws:sqs:{here}:{settings.name}-*"],
        "ecr": [f"arn:aws:ecr:{here}:repository/{settings.name}/*"],
        "logs": [f"arn:aws:logs:{here}:log-group:/finelt/{settings.stack}/*"],
        "ec2": [f"arn:aws:ec2:{here}:{kind}/*" for kind in policies.INTERFACES_IN],
    }
    statements = [policies.allow(RUNNING[service], arns) for service, arns in things.items()]
    roles = [f"arn:aws:iam::{settings.account}:role/{settings.name}-*"]
    to_tasks = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
    statements += [policies.allow(ANYWHERE, ["*"]), policies.allow(("iam:PassRole",), roles, to_tasks)]
    return aws.iam.Policy(name, name=name, policy=policies.document(*statements))


def _deploying(settings: Settings, boundary: aws.iam.Policy) -> list[policies.Statement]:
    """What a deployment does in IAM. Roles only under our names, only with the boundary, which it cannot change.

    Nor can it change the role that it has itself: who may take that on is for whoever runs `scripts/stack up` by hand.
    """
    everywhere = f"arn:aws:iam::{settings.account}"
    roles = [f"arn:aws:iam::{settings.account}:role/{settings.name}-*"]
    bounded = {"StringEquals": {"iam:PermissionsBoundary": tasks.boundary_arn(settings)}}
    reading = (
        "iam:GetRole",
        "iam:GetRolePolicy",
        "iam:ListRolePolicies",
        "iam:ListAttachedRolePolicies",
        "iam:ListInstanceProfilesForRole",
    )
    services = ["ecs-tasks.amazonaws.com", "lambda.amazonaws.com", "vpc-flow-logs.amazonaws.com"]
    return [
        policies.allow(reading, roles),
        policies.allow(("iam:CreateRole", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:PutRolePermissionsBoundary"), roles, bounded),
        policies.allow(("iam:DeleteRole", "iam:TagRole", "iam:UntagRole", "iam:UpdateAssumeRolePolicy"), roles),
        policies.allow(("iam:PassRole",), roles, {"StringEquals": {"iam:PassedToService": services}}),
        policies.allow(("iam:GetPolicy", "iam:GetPolicyVersion", "iam:ListPolicyVersions"), [boundary.arn]),
        policies.allow(("iam:GetOpenIDConnectProvider",), [f"arn:aws:iam::{settings.account}:oidc-provider/{ISSUER}"]),
        policies.forbid(ON_ITSELF, [f"{everywhere}:role/finelt-*-deploy"]),
        policies.forbid(("iam:DeleteRolePermissionsBoundary",), [f"{everywhere}:role/*"]),
        policies.forbid(ON_THE_BOUNDARY, [f"{everywhere}:policy/finelt-*-boundary"]),
    ]
