"""The images that ECR already has."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
from botocore.exceptions import ClientError

ABSENT = ("ImageNotFoundException", "RepositoryNotFoundException")


def find_digest(repository: str, tag: str, *, account: str, region: str) -> str | None:
    """Return the digest of a tag, or None if the repository does not exist or has no such tag.

    Pulumi's own `aws.ecr.get_image` fails if there is no such image, which is the usual case here.
    """
    try:
        response = _client(region).describe_images(registryId=account, repositoryName=repository, imageIds=[{"imageTag": tag}])
    except ClientError as error:
        if error.response["Error"]["Code"] in ABSENT:
            return None
        raise
    (image,) = response["imageDetails"]
    return str(image["imageDigest"])


@cache
def _client(region: str) -> Any:  # noqa: ANN401  boto3 has no types
    return boto3.client("ecr", region_name=region)
