"""A private, versioned, encrypted S3 bucket that accepts TLS only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from infra import policies
from infra.options import child_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.policies import Statement
    from infra.settings import Settings


@dataclass(frozen=True)
class PrivateBucketArgs:
    """Arguments of `PrivateBucket`. Without `kms_key_arn` S3's own key encrypts; without `access_logs` requests are not logged.

    `access_logs` is the policy of the bucket of access logs: S3 logs only into a bucket whose policy allows it.
    """

    settings: Settings
    purpose: str
    lifecycle_rule: Mapping[str, Any]
    kms_key_arn: pulumi.Input[str] | None = None
    access_logs: aws.s3.BucketPolicy | None = None


class PrivateBucket(pulumi.ComponentResource):
    """A bucket named <stack>-<purpose>-<account>, with everything that makes it private. `attach_policy` completes it."""

    bucket: aws.s3.Bucket

    def __init__(self, name: str, args: PrivateBucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:PrivateBucket", name, None, opts)
        settings = args.settings
        self._name = name
        self.bucket = aws.s3.Bucket(
            name,
            bucket=f"{name}-{settings.account}",
            force_destroy=not settings.protect,
            opts=child_of(self, protect=settings.protect),
        )
        self._restrict_access()
        self._encrypt(args.kms_key_arn)
        if args.access_logs:
            aws.s3.BucketLogging(
                name,
                bucket=self.bucket.id,
                target_bucket=args.access_logs.bucket,
                target_prefix=f"{args.purpose}/",
                opts=child_of(self),
            )
        aws.s3.BucketLifecycleConfiguration(name, bucket=self.bucket.id, rules=[args.lifecycle_rule], opts=child_of(self))
        self.register_outputs({"bucket": self.bucket.bucket})

    def attach_policy(self, *statements: Statement) -> aws.s3.BucketPolicy:
        """Attach the bucket policy and return it: a Deny of requests without TLS, and `statements`. Call it once."""
        resources = [self.bucket.arn, pulumi.Output.concat(self.bucket.arn, "/*")]
        policy = policies.document(policies.deny_plaintext("s3", resources), *statements)
        return aws.s3.BucketPolicy(self._name, bucket=self.bucket.id, policy=policy, opts=child_of(self))

    def _restrict_access(self) -> None:
        """Block public access, switch off ACLs and keep old versions."""
        aws.s3.BucketPublicAccessBlock(
            self._name,
            bucket=self.bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child_of(self),
        )
        owner_rule = {"object_ownership": "BucketOwnerEnforced"}
        aws.s3.BucketOwnershipControls(self._name, bucket=self.bucket.id, rule=owner_rule, opts=child_of(self))
        versioning = {"status": "Enabled"}
        aws.s3.BucketVersioning(self._name, bucket=self.bucket.id, versioning_configuration=versioning, opts=child_of(self))

    def _encrypt(self, kms_key_arn: pulumi.Input[str] | None) -> None:
        rule: dict[str, Any] = {"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}
        if kms_key_arn is not None:
            default = {"sse_algorithm": "aws:kms", "kms_master_key_id": kms_key_arn}
            rule = {"apply_server_side_encryption_by_default": default, "bucket_key_enabled": True}
        aws.s3.BucketServerSideEncryptionConfiguration(self._name, bucket=self.bucket.id, rules=[rule], opts=child_of(self))
