"""Secrets come by reference; what is not a reference is refused without being repeated."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import boto3
import pytest
from jobkit import redaction, secrets
from jobkit.errors import BadDataError, MisconfiguredError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
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
    with pytest.raises(MisconfiguredError, match="no key|not a JSON object"):
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


@pytest.mark.parametrize(
    "reference", ["env://u:hunter2@X", "file://u:hunter2@/x", "file:///x?token=hunter2", "env://X#hunter2", "[hunter2", "env://[hunter2"]
)
def test_a_reference_with_a_credential_in_it_is_refused_and_not_repeated(reference: str) -> None:
    with pytest.raises(UsageError) as told:
        secrets.resolve(reference)
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize("inside", ["\n", "\r\n", "\x00", "\x01", "\x1b", "\x7f", "\t", "\x85", "\u2028"])
@pytest.mark.parametrize("resolve", [secrets.resolve, secrets.resolve_token])
def test_a_secret_with_a_control_character_is_refused_by_its_place(tmp_path: Path, inside: str, resolve: Callable[[str], str]) -> None:
    (tmp_path / "token").write_bytes(f"tulip{inside}horse\n".encode())
    with pytest.raises(MisconfiguredError, match=f"file://{tmp_path}/token holds") as told:
        resolve(f"file://{tmp_path}/token")
    assert "tulip" not in str(told.value)
    assert "horse" not in str(told.value)


def test_a_token_goes_into_a_header_and_a_password_need_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "t\u00fclip-horse")
    assert secrets.resolve("env://TOKEN") == "t\u00fclip-horse"
    with pytest.raises(MisconfiguredError, match="env://TOKEN holds a character outside ASCII") as told:
        secrets.resolve_token("env://TOKEN")
    assert "horse" not in str(told.value)


@pytest.mark.parametrize("bytes_", [b"t\xfclip-horse", b"\xff\xfet\x00u\x00"])
def test_a_secret_that_is_no_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_: bytes) -> None:
    (tmp_path / "token").write_bytes(bytes_)
    monkeypatch.setitem(os.environb, b"TOKEN", bytes_.replace(b"\0", b""))
    for reference in (f"file://{tmp_path}/token", "env://TOKEN"):
        with pytest.raises(MisconfiguredError, match=reference):
            secrets.resolve(reference)


def test_a_file_that_is_no_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "movie").write_bytes(b"x" * 70_000)
    with pytest.raises(MisconfiguredError, match="which no secret has"):
        secrets.resolve(f"file://{tmp_path}/movie")


def test_a_byte_order_mark_is_no_part_of_a_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\r\n", encoding="utf-8-sig")
    assert secrets.resolve(f"file://{tmp_path}/token") == "s3cret"


def test_a_secret_too_short_to_be_masked_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("TOKEN", "abc")
    assert secrets.resolve("env://TOKEN") == "abc"
    assert [record.getMessage() for record in caplog.records] == ["a secret is too short to be masked; use a longer one"]


def test_what_was_resolved_is_masked_and_refused_in_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobkit.redaction.known_secrets._encodings", ())
    monkeypatch.setattr("jobkit.redaction.known_secrets._sent_encodings", ())
    monkeypatch.setenv("TOKEN", "tulip-horse")
    monkeypatch.setenv("PASSWORD", "orange-mug")
    secrets.resolve("env://PASSWORD")
    secrets.resolve_token("env://TOKEN")
    assert redaction.redact("tulip-horse, orange-mug") == "***, ***"
    secrets.refuse_echo(b"orange-mug", "the vendor")
    with pytest.raises(BadDataError, match="the answer of the vendor holds the secret") as told:
        secrets.refuse_echo(b"your key is tulip-horse", "the vendor")
    assert "tulip" not in str(told.value)
