"""S3: the lake, the site and their access logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws  # noqa: TC002  Pulumi evaluates a component's annotations

from infra import policies
from infra.private_bucket import PrivateBucket, PrivateBucketArgs
from infra.site_distribution import CLOUDFRONT_REGION, SiteDistribution, SiteDistributionArgs

if TYPE_CHECKING:
    from infra.keys import Keys
    from infra.policies import Statement
    from infra.settings import Settings

NONCURRENT_DAYS = 90
DATA_LIFECYCLE: dict[str, Any] = {
    "id": "what was replaced or never finished",
    "status": "Enabled",
    "filter": {"prefix": ""},
    "noncurrent_version_expiration": {"noncurrent_days": NONCURRENT_DAYS},
    "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
}
LOG_LIFECYCLE: dict[str, Any] = {"id": "a year", "status": "Enabled", "filter": {"prefix": ""}, "expiration": {"days": 365}}


@dataclass(frozen=True)
class StorageArgs:
    """Arguments of `Storage`."""

    settings: Settings
    keys: Keys


class Storage(pulumi.ComponentResource):
    """The buckets. The site has a distribution only if its audience is the public; otherwise readers need rights on its bucket."""

    lake: aws.s3.Bucket
    site: aws.s3.Bucket
    site_host: pulumi.Output[str]

    def __init__(self, name: str, args: StorageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:Storage", name, None, opts)
        self._access_logs = self._create_access_logs(args)
        lake, site = self._create_data_bucket(args, "lake"), self._create_data_bucket(args, "site")
        lake.attach_policy(*_protect_commits(lake.bucket, args.settings))
        self.lake, self.site, self.site_host = lake.bucket, site.bucket, site.bucket.bucket
        site_statements = []
        if args.settings.audience == "public":
            child = pulumi.ResourceOptions(parent=self)
            distribution_args = SiteDistributionArgs(args.settings, site.bucket, self._access_logs)
            distribution = SiteDistribution(f"{args.settings.name}-site", distribution_args, child)
            site_statements, self.site_host = [distribution.read_statement()], distribution.domain_name
        site.attach_policy(*site_statements)
        self.register_outputs({"lake": self.lake.bucket, "site": self.site_host})

    def _create_data_bucket(self, args: StorageArgs, purpose: str) -> PrivateBucket:
        bucket_args = PrivateBucketArgs(args.settings, purpose, DATA_LIFECYCLE, args.keys.data.arn, self._access_logs)
        return PrivateBucket(f"{args.settings.name}-{purpose}", bucket_args, pulumi.ResourceOptions(parent=self))

    def _create_access_logs(self, args: StorageArgs) -> aws.s3.BucketPolicy:
        """Create the bucket of access logs and return its policy. S3 can deliver logs only to a bucket that S3's own key encrypts.

        Source of CloudFront's statement: "Permissions" of "Standard logging (v2)" in CloudFront's guide.
        """
        bucket_args = PrivateBucketArgs(args.settings, "access-logs", LOG_LIFECYCLE)
        logs = PrivateBucket(f"{args.settings.name}-access-logs", bucket_args, pulumi.ResourceOptions(parent=self))
        objects = [pulumi.Output.concat(logs.bucket.arn, "/*")]
        condition: dict[str, Any] = {"StringEquals": {"aws:SourceAccount": args.settings.account}}
        statements = [policies.allow_service("logging.s3", ("s3:PutObject",), objects, condition)]
        if args.settings.audience == "public":
            source = f"arn:aws:logs:{CLOUDFRONT_REGION}:{args.settings.account}:delivery-source:*"
            condition = {**condition, "ArnLike": {"aws:SourceArn": source}}
            statements.append(policies.allow_service("delivery.logs", ("s3:PutObject",), objects, condition))
        return logs.attach_policy(*statements)


def _protect_commits(lake: aws.s3.Bucket, settings: Settings) -> list[Statement]:
    """Deny to write a commit without If-None-Match: a commit is never overwritten.

    Only a person may replace one or the record of the expired ones, with If-Match: `finelt erase` and `finelt lake expire` do.
    """
    commits = [pulumi.Output.concat(lake.arn, "/lake/raw/*/_commits/*")]
    is_write = {"Bool": {"s3:ObjectCreationOperation": "true"}}
    jobs = {"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{settings.account}:role{settings.run_role_path}*"}}
    return [
        policies.deny_everyone(("s3:PutObject",), commits, {"Null": {"s3:if-none-match": "true"}, **is_write, **jobs}),
        policies.deny_everyone(("s3:PutObject",), commits, {"Null": {"s3:if-none-match": "true", "s3:if-match": "true"}, **is_write}),
    ]
