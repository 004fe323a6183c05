"""Where data live: the lake, the site, the warehouse, and the secrets that lead to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from infra import policies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.keys import Keys
    from infra.network import Network
    from infra.settings import Settings
    from jobs.catalogue import JobSpec

POSTGRES_VERSION, FAMILY = "17", "postgres17"
NONCURRENT_DAYS = 90
WAREHOUSE, PREFECT = "finelt", "prefect"
PASSWORD = "warehouse_password"  # noqa: S105  the option's name


@dataclass(frozen=True)
class Data:
    """Buckets, the warehouse, and secrets by job and option: each job that speaks to the warehouse has a user and a password of its own.

    The site has a distribution where it is for the public; one for an internal audience is read from its bucket, with rights there.
    """

    lake: aws.s3.Bucket
    site: aws.s3.Bucket
    distribution: aws.cloudfront.Distribution | None
    warehouse: aws.rds.Instance
    secrets: dict[tuple[str, str], aws.secretsmanager.Secret]

    def tokens(self) -> dict[tuple[str, str], aws.secretsmanager.Secret]:
        """The secrets that a person puts in: keys of vendors."""
        return {key: secret for key, secret in self.secrets.items() if key[1] != PASSWORD}

    def passwords(self) -> dict[str, aws.secretsmanager.Secret]:
        """Those of the warehouse by job, which nobody outside ever sees: the registration makes them."""
        return {job: secret for (job, option), secret in self.secrets.items() if option == PASSWORD}


def make(settings: Settings, keys: Keys, network: Network, specs: Sequence[JobSpec]) -> Data:
    """The data of a stack."""
    access_logs = _access_logs(settings, keys)
    lake, site = _bucket(settings, keys, "lake", access_logs), _bucket(settings, keys, "site", access_logs)
    distribution = _distribution(settings, site, access_logs) if settings.audience == "public" else None
    inside = pulumi.Output.concat(lake.arn, "/lake/raw/*/_commits/*")
    absent = policies.deny(
        ("s3:PutObject",), [inside], {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}
    )
    _policy(settings, "lake", lake, [absent])
    _policy(settings, "site", site, [_viewer(site, distribution)] if distribution else [])
    warehouse = database(settings, keys, network, "warehouse", settings.warehouse_class, settings.warehouse_gb)
    secrets = {(spec.name, option): secret(settings, keys, f"{spec.name}/{option}") for spec in specs for option in spec.secrets}
    return Data(lake, site, distribution, warehouse, secrets)


def _viewer(site: aws.s3.Bucket, distribution: aws.cloudfront.Distribution) -> policies.Statement:
    """The distribution reads the site."""
    objects = [pulumi.Output.concat(site.arn, "/site/*")]
    return policies.service("cloudfront", ("s3:GetObject",), objects, {"StringEquals": {"aws:SourceArn": distribution.arn}})


def secret(settings: Settings, keys: Keys, name: str) -> aws.secretsmanager.Secret:
    """A secret without a value: whoever has it puts it in, and Pulumi never sees it."""
    return aws.secretsmanager.Secret(
        f"{settings.name}-{name}",
        name=f"{settings.name}/{name}",
        kms_key_id=keys.data.arn,
        recovery_window_in_days=30 if settings.protect else 0,
    )


def database(settings: Settings, keys: Keys, network: Network, role: str, size: str, storage_gb: int) -> aws.rds.Instance:
    """A Postgres that only its own security group reaches, by TLS only; its master password is made, kept and changed by RDS."""
    name = f"{settings.name}-{role}"
    subnets = aws.rds.SubnetGroup(name, subnet_ids=network.subnet_ids)
    rules = {"rds.force_ssl": "1", "log_min_duration_statement": "5000", "log_connections": "1"}
    parameters = aws.rds.ParameterGroup(name, family=FAMILY, parameters=[{"name": key, "value": value} for key, value in rules.items()])
    group = "warehouse" if role == "warehouse" else "prefect-database"
    return aws.rds.Instance(
        name,
        identifier=name,
        engine="postgres",
        engine_version=POSTGRES_VERSION,
        instance_class=size,
        allocated_storage=storage_gb,
        max_allocated_storage=4 * storage_gb,
        storage_type="gp3",
        storage_encrypted=True,
        kms_key_id=keys.data.arn,
        db_name=WAREHOUSE if role == "warehouse" else PREFECT,
        username="keeper",
        manage_master_user_password=True,
        master_user_secret_kms_key_id=keys.data.arn,
        db_subnet_group_name=subnets.name,
        vpc_security_group_ids=[network.group_id(group)],
        parameter_group_name=parameters.name,
        publicly_accessible=False,
        multi_az=settings.multi_az,
        iam_database_authentication_enabled=True,
        backup_retention_period=settings.backup_days,
        copy_tags_to_snapshot=True,
        deletion_protection=settings.protect,
        skip_final_snapshot=not settings.protect,
        final_snapshot_identifier=f"{name}-last" if settings.protect else None,
        auto_minor_version_upgrade=True,
        performance_insights_enabled=True,
        performance_insights_kms_key_id=keys.data.arn,
        enabled_cloudwatch_logs_exports=["postgresql", "upgrade"],
        opts=pulumi.ResourceOptions(protect=settings.protect),
    )


def _bucket(settings: Settings, keys: Keys, role: str, access_logs: aws.s3.Bucket) -> aws.s3.Bucket:
    """A private, encrypted, versioned bucket."""
    bucket = _private(settings, role)
    name = f"{settings.name}-{role}"
    aws.s3.BucketServerSideEncryptionConfiguration(
        name,
        bucket=bucket.id,
        rules=[
            {
                "apply_server_side_encryption_by_default": {"sse_algorithm": "aws:kms", "kms_master_key_id": keys.data.arn},
                "bucket_key_enabled": True,
            }
        ],
    )
    aws.s3.BucketLogging(name, bucket=bucket.id, target_bucket=access_logs.id, target_prefix=f"{role}/")
    aws.s3.BucketLifecycleConfiguration(
        name,
        bucket=bucket.id,
        rules=[
            aws.s3.BucketLifecycleConfigurationRuleArgs(
                id="what was replaced or never finished",
                status="Enabled",
                filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
                noncurrent_version_expiration=aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
                    noncurrent_days=NONCURRENT_DAYS
                ),
                abort_incomplete_multipart_upload=aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                    days_after_initiation=7
                ),
            )
        ],
    )
    return bucket


def _private(settings: Settings, role: str) -> aws.s3.Bucket:
    name = f"{settings.name}-{role}"
    bucket = aws.s3.Bucket(
        name,
        bucket=f"{name}-{settings.account}",
        force_destroy=not settings.protect,
        opts=pulumi.ResourceOptions(protect=settings.protect),
    )
    aws.s3.BucketPublicAccessBlock(
        name, bucket=bucket.id, block_public_acls=True, block_public_policy=True, ignore_public_acls=True, restrict_public_buckets=True
    )
    aws.s3.BucketOwnershipControls(name, bucket=bucket.id, rule={"object_ownership": "BucketOwnerEnforced"})
    aws.s3.BucketVersioning(name, bucket=bucket.id, versioning_configuration={"status": "Enabled"})
    return bucket


def _access_logs(settings: Settings, keys: Keys) -> aws.s3.Bucket:
    """Who read what. S3 and CloudFront write here, which they can only with S3's own key."""
    del keys
    bucket = _private(settings, "access-logs")
    name = f"{settings.name}-access-logs"
    aws.s3.BucketServerSideEncryptionConfiguration(
        name, bucket=bucket.id, rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}]
    )
    aws.s3.BucketLifecycleConfiguration(
        name,
        bucket=bucket.id,
        rules=[{"id": "a year", "status": "Enabled", "filter": {"prefix": ""}, "expiration": {"days": 365}}],
    )
    own = {"StringEquals": {"aws:SourceAccount": settings.account}}
    writer = policies.service("logging.s3", ("s3:PutObject",), [pulumi.Output.concat(bucket.arn, "/*")], own)
    _policy(settings, "access-logs", bucket, [writer])
    return bucket


def _policy(settings: Settings, role: str, bucket: aws.s3.Bucket, more: list[policies.Statement]) -> None:
    """A bucket's policy: TLS only, and `more`."""
    everything = [bucket.arn, pulumi.Output.concat(bucket.arn, "/*")]
    plain = policies.deny(("s3:*",), everything, {"Bool": {"aws:SecureTransport": "false"}})
    aws.s3.BucketPolicy(f"{settings.name}-{role}", bucket=bucket.id, policy=policies.document(plain, *more))


def _distribution(settings: Settings, site: aws.s3.Bucket, access_logs: aws.s3.Bucket) -> aws.cloudfront.Distribution:
    """The site for everybody, by https, from a bucket that nobody else reads.

    What is below v/ is cached, as it changes only where it is withdrawn; the rest is asked for anew.
    """
    del access_logs
    name = f"{settings.name}-site"
    control = aws.cloudfront.OriginAccessControl(
        name, name=name, origin_access_control_origin_type="s3", signing_behavior="always", signing_protocol="sigv4"
    )
    cached, asked = (
        "658327ea-f89d-4fab-a63d-7e88639e58f6",
        "4135ea2d-6df8-44a3-9df3-4b5a84be39ad",
    )  # AWS's CachingOptimized, CachingDisabled
    secure = "67f7725c-6f97-4210-82d7-5512b31e9d03"  # AWS's SecurityHeadersPolicy
    common: dict[str, Any] = {
        "target_origin_id": "site",
        "viewer_protocol_policy": "redirect-to-https",
        "allowed_methods": ["GET", "HEAD"],
        "cached_methods": ["GET", "HEAD"],
        "compress": True,
        "response_headers_policy_id": secure,
    }
    return aws.cloudfront.Distribution(
        name,
        enabled=True,
        comment=name,
        default_root_object="index.html",
        http_version="http2and3",
        price_class="PriceClass_100",
        origins=[
            {
                "origin_id": "site",
                "domain_name": site.bucket_regional_domain_name,
                "origin_path": "/site",
                "origin_access_control_id": control.id,
            }
        ],
        default_cache_behavior=aws.cloudfront.DistributionDefaultCacheBehaviorArgs(**common, cache_policy_id=asked),
        ordered_cache_behaviors=[
            aws.cloudfront.DistributionOrderedCacheBehaviorArgs(**common, path_pattern="/v/*", cache_policy_id=cached)
        ],
        restrictions={"geo_restriction": {"restriction_type": "none"}},
        viewer_certificate={"cloudfront_default_certificate": True, "minimum_protocol_version": "TLSv1.2_2021"},
    )
