"""Secrets come by reference; what is not a reference is refused without being repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
import pytest
from jobkit import secrets
from jobkit.errors import MisconfiguredError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_secret_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret\n")
    assert secrets.resolve("env://TOKEN") == "s3cret"


def test_a_secret_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    assert secrets.resolve(f"file://{tmp_path}/token") == "s3cret"


@pytest.mark.usefixtures("bucket")
def test_a_secret_from_aws() -> None:
    boto3.client("secretsmanager").create_secret(Name="prod/tiingo", SecretString='{"token": "s3cret"}')
    boto3.client("ssm").put_parameter(Name="/prod/tiingo", Value="s4cret", Type="SecureString")
    assert secrets.resolve("secretsmanager://prod/tiingo#token") == "s3cret"
    assert secrets.resolve("ssm://prod/tiingo") == "s4cret"
    with pytest.raises(MisconfiguredError, match="no key|no JSON object"):
        secrets.resolve("secretsmanager://prod/tiingo#other")
    with pytest.raises(MisconfiguredError, match="prod/none"):
        secrets.resolve("secretsmanager://prod/none")


@pytest.mark.parametrize("reference", ["env://NOT_SET_ANYWHERE", "file:///no/such/file"])
def test_a_missing_secret_names_its_place(reference: str) -> None:
    with pytest.raises(MisconfiguredError, match="no secret at"):
        secrets.resolve(reference)


def test_a_secret_itself_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as told:
        secrets.resolve("hunter2hunter2")
    assert "hunter2" not in str(told.value)
