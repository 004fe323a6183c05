from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
import pytest
from jobkit.store import Store, open_store
from moto import mock_aws

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket of an emulated S3."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="lake")
        yield "lake"


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store may be: the same tests hold for both kinds."""
    return f"file://{tmp_path}/lake" if request.param == "file" else f"s3://{request.getfixturevalue('bucket')}/some/prefix"


@pytest.fixture
def store(url: str) -> Store:
    return open_store(url)
