"""Fixtures of the tests of commands on a lake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty lake: a directory, and a versioned bucket of an emulator."""
    if request.param == "file":
        yield str(tmp_path / "lake")
        return
    for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="a-lake")
        boto3.client("s3").put_bucket_versioning(Bucket="a-lake", VersioningConfiguration={"Status": "Enabled"})
        yield "s3://a-lake/x"
