"""CloudFront in front of the site's bucket, for a site whose audience is the public."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from infra import policies
from infra.options import child_of

if TYPE_CHECKING:
    from infra.policies import Statement
    from infra.settings import Settings

# Policies that AWS manages. Source: "Use managed cache policies" and "Use managed response headers policies" in CloudFront's guide.
CACHING_OPTIMIZED = "658327ea-f89d-4fab-a63d-7e88639e58f6"
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
CLOUDFRONT_REGION = "us-east-1"
TLS_POLICY = "TLSv1.2_2021"
SECURITY_HEADERS = "67f7725c-6f97-4210-82d7-5512b31e9d03"


@dataclass(frozen=True)
class SiteDistributionArgs:
    """Arguments of `SiteDistribution`. `access_logs` is the policy of the bucket that gets the logs of requests."""

    settings: Settings
    site: aws.s3.Bucket
    access_logs: aws.s3.BucketPolicy


class SiteDistribution(pulumi.ComponentResource):
    """A distribution that serves the site by HTTPS and logs each request. Only it can read the bucket.

    Pages under v/ are cached: they change only when they are withdrawn. Everything else is read from the bucket on each request.
    """

    domain_name: pulumi.Output[str]

    def __init__(self, name: str, args: SiteDistributionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:SiteDistribution", name, None, opts)
        access_control = aws.cloudfront.OriginAccessControl(
            name,
            name=name,
            origin_access_control_origin_type="s3",
            signing_behavior="always",
            signing_protocol="sigv4",
            opts=child_of(self),
        )
        self._site = args.site
        self._distribution = aws.cloudfront.Distribution(
            name,
            enabled=True,
            comment=name,
            default_root_object="index.html",
            http_version="http2and3",
            price_class="PriceClass_100",
            origins=[
                {
                    "origin_id": "site",
                    "domain_name": args.site.bucket_regional_domain_name,
                    "origin_path": "/site",
                    "origin_access_control_id": access_control.id,
                }
            ],
            default_cache_behavior=aws.cloudfront.DistributionDefaultCacheBehaviorArgs(**_behavior(), cache_policy_id=CACHING_DISABLED),
            ordered_cache_behaviors=[
                aws.cloudfront.DistributionOrderedCacheBehaviorArgs(**_behavior(), path_pattern=path, cache_policy_id=CACHING_OPTIMIZED)
                for path in ("/v/*", "/assets/*")  # what never changes
            ],
            restrictions={"geo_restriction": {"restriction_type": "none"}},
            aliases=[args.settings.site_domain] if args.settings.site_domain else [],
            viewer_certificate=_viewer_certificate(args.settings),
            opts=child_of(self),
        )
        self._log_requests(name, args)
        self.domain_name = self._distribution.domain_name
        self.register_outputs({"domain_name": self.domain_name})

    def _log_requests(self, name: str, args: SiteDistributionArgs) -> None:
        """Deliver a log of all requests to the bucket of access logs.

        The source has to be in us-east-1, the bucket may be anywhere. Source: "Standard logging (v2)" in CloudFront's guide.
        """
        child = pulumi.ResourceOptions(parent=self)
        source = aws.cloudwatch.LogDeliverySource(
            name, name=name, log_type="ACCESS_LOGS", resource_arn=self._distribution.arn, region=CLOUDFRONT_REGION, opts=child
        )
        bucket = pulumi.Output.concat("arn:aws:s3:::", args.access_logs.bucket, "/cloudfront")
        destination = aws.cloudwatch.LogDeliveryDestination(
            name,
            name=name,
            output_format="json",
            region=CLOUDFRONT_REGION,
            delivery_destination_configuration={"destination_resource_arn": bucket},
            opts=child,
        )
        aws.cloudwatch.LogDelivery(
            name,
            delivery_source_name=source.name,
            delivery_destination_arn=destination.arn,
            region=CLOUDFRONT_REGION,
            opts=child,
        )

    def read_statement(self) -> Statement:
        """Return the bucket policy's statement that lets the distribution read the site."""
        objects = [pulumi.Output.concat(self._site.arn, "/site/*")]
        condition = {"StringEquals": {"aws:SourceArn": self._distribution.arn}}
        return policies.allow_service("cloudfront", ("s3:GetObject",), objects, condition)


def _viewer_certificate(settings: Settings) -> dict[str, Any]:
    """Return the certificate. CloudFront's own accepts TLS 1.0, whatever one asks for; only with an own one can a policy be chosen."""
    if not settings.site_certificate:
        return {"cloudfront_default_certificate": True}
    return {"acm_certificate_arn": settings.site_certificate, "ssl_support_method": "sni-only", "minimum_protocol_version": TLS_POLICY}


def _behavior() -> dict[str, Any]:
    """Return what the two cache behaviors have in common."""
    return {
        "target_origin_id": "site",
        "viewer_protocol_policy": "redirect-to-https",
        "allowed_methods": ["GET", "HEAD"],
        "cached_methods": ["GET", "HEAD"],
        "compress": True,
        "response_headers_policy_id": SECURITY_HEADERS,
    }
