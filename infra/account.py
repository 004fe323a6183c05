"""Settings of the AWS account as a whole: no public buckets, encrypted disks, and GitHub as an identity provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra.options import child_of

if TYPE_CHECKING:
    from infra.settings import Settings

GITHUB_ISSUER = "token.actions.githubusercontent.com"


@dataclass(frozen=True)
class AccountArgs:
    """Arguments of `Account`."""

    settings: Settings


class Account(pulumi.ComponentResource):
    """The account's settings. The public access block and the identity provider exist once per account: its first stack creates them.

    They stay when the stack is destroyed: they protect everything in the account, and other stacks use the identity provider.
    """

    github_provider_arn: pulumi.Input[str]

    def __init__(self, name: str, args: AccountArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:Account", name, None, opts)
        self.github_provider_arn = f"arn:aws:iam::{args.settings.account}:oidc-provider/{GITHUB_ISSUER}"
        if args.settings.first_in_account:
            aws.s3.AccountPublicAccessBlock(
                name,
                block_public_acls=True,
                block_public_policy=True,
                ignore_public_acls=True,
                restrict_public_buckets=True,
                opts=child_of(self, retain_on_delete=True),
            )
            self.github_provider_arn = aws.iam.OpenIdConnectProvider(
                name, url=f"https://{GITHUB_ISSUER}", client_id_lists=["sts.amazonaws.com"], opts=child_of(self, retain_on_delete=True)
            ).arn
        aws.ebs.EncryptionByDefault(name, enabled=True, opts=child_of(self, retain_on_delete=True))
        self.register_outputs({"github_provider_arn": self.github_provider_arn})
