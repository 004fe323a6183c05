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

# Policies that AWS manages. Source: "Use managed cache policies" and "Use managed response headers policies" in CloudFront's guide.
CACHING_OPTIMIZED = "658327ea-f89d-4fab-a63d-7e88639e58f6"
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
SECURITY_HEADERS = "67f7725c-6f97-4210-82d7-5512b31e9d03"


@dataclass(frozen=True)
class SiteDistributionArgs:
    """Arguments of `SiteDistribution`."""

    site: aws.s3.Bucket


class SiteDistribution(pulumi.ComponentResource):
    """A distribution that serves the site by HTTPS. Only it can read the bucket.

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
                aws.cloudfront.DistributionOrderedCacheBehaviorArgs(**_behavior(), path_pattern="/v/*", cache_policy_id=CACHING_OPTIMIZED)
            ],
            restrictions={"geo_restriction": {"restriction_type": "none"}},
            viewer_certificate={"cloudfront_default_certificate": True},  # with it, CloudFront also accepts TLS 1.0
            opts=child_of(self),
        )
        self.domain_name = self._distribution.domain_name
        self.register_outputs({"domain_name": self.domain_name})

    def read_statement(self) -> Statement:
        """Return the bucket policy's statement that lets the distribution read the site."""
        objects = [pulumi.Output.concat(self._site.arn, "/site/*")]
        condition = {"StringEquals": {"aws:SourceArn": self._distribution.arn}}
        return policies.allow_service("cloudfront", ("s3:GetObject",), objects, condition)


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
