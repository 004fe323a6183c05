"""`scripts/stack` reports what is missing with its fix, and runs Pulumi and the registration in order."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner
from moto import mock_aws

from infra import stack
from infra.testing.mock_engine import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEV = stack.Stack("dev", ACCOUNT, "eu-central-1")
PULUMI = """#!{python}
import json, os, sys
call = {{"arguments": sys.argv[1:], "backend": os.environ["PULUMI_BACKEND_URL"]}}
with open({log!r}, "a") as log:
    log.write(json.dumps(call) + "\\n")
if "output" in sys.argv:
    print({outputs!r})
sys.exit({code})
"""


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("MOTO_ACCOUNT_ID", ACCOUNT)
    with mock_aws():
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """infra/ with a stack whose account is set."""
    named = (stack.FOLDER / "Pulumi.dev.yaml").read_text().replace("000000000000", ACCOUNT)
    (tmp_path / "Pulumi.dev.yaml").write_text(named)
    monkeypatch.setattr(stack, "FOLDER", tmp_path)
    return tmp_path


def fake_pulumi(folder: Path, monkeypatch: pytest.MonkeyPatch, outputs: dict[str, Any], code: int = 0) -> Path:
    """Put a fake Pulumi on PATH that records its arguments; return the log."""
    log, command = folder / "commands.jsonl", folder / "bin" / "pulumi"
    command.parent.mkdir(exist_ok=True)
    command.write_text(PULUMI.format(python=sys.executable, log=str(log), outputs=json.dumps(outputs), code=code))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:/usr/bin:/bin")
    return log


def read_commands(log: Path) -> list[list[str]]:
    return [json.loads(line)["arguments"] for line in log.read_text().splitlines()]


def test_check_lists_everything_that_a_bare_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    problems = list(stack.find_missing(stack.read_stack("dev"), lambda _: None))
    assert [sentence.split(";")[0].split(":")[0] for sentence in problems] == [
        "there is no pulumi command",
        "there is no docker command, which builds the images",
        "Pulumi.dev.yaml names no account",
        "AWS rejects the credentials",
    ]
    assert all(";" in sentence for sentence in problems)


ENGINE = {"Architecture": "x86_64", "OperatingSystem": "Debian", "DriverStatus": [["Backing Filesystem", "extfs"]]}
CONTAINERD = [["driver-type", "io.containerd.snapshotter.v1"]]


@pytest.mark.parametrize(
    ("engine", "architecture", "emulators", "environment", "expected"),
    [
        ({}, "x86_64", (), {}, []),
        ({}, "arm64", ("qemu-aarch64",), {}, []),
        ({"Architecture": "aarch64"}, "arm64", (), {}, []),
        ({"OperatingSystem": "Docker Desktop"}, "arm64", (), {}, []),
        ({}, "arm64", ("qemu-arm",), {}, ["the images are for arm64, Docker Engine runs on x86_64"]),
        ({"Architecture": "aarch64"}, "x86_64", (), {}, ["the images are for x86_64, Docker Engine runs on aarch64"]),
        ({"DriverStatus": CONTAINERD}, "x86_64", (), {}, ["Docker Engine stores images in containerd"]),
        ({}, "x86_64", (), {"FINELT_BUILD_CA": "/ca.pem"}, ["FINELT_BUILD_CA is set"]),
    ],
)
def test_check_says_what_a_build_lacks(
    engine: dict[str, Any],
    architecture: str,
    emulators: tuple[str, ...],
    environment: dict[str, str],
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"#!{sys.executable}\nprint({json.dumps({**ENGINE, **engine})!r})\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("FINELT_BUILD_CA", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(stack, "BINFMT", tmp_path)
    for emulator in emulators:
        (tmp_path / emulator).touch()
    problems = list(stack.find_missing_for_builds(replace(DEV, architecture=architecture)))
    assert [problem[: len(start)] for problem, start in zip(problems, expected, strict=True)] == expected
    assert all(stack.PUSH_INSTEAD in problem for problem in problems)


@pytest.mark.usefixtures("account", "folder")
def test_bootstrap_creates_the_state_bucket_once_private_and_encrypted() -> None:
    absent = [sentence for sentence in stack.find_missing(DEV, lambda _: None) if "bootstrap" in sentence]
    assert absent == ["there is no bucket for Pulumi's state; run ./scripts/stack bootstrap dev"]
    assert stack.read_stack("dev") == DEV
    assert stack.bootstrap(DEV) == ["key alias/finelt-state", f"bucket {DEV.bucket}"]
    assert stack.bootstrap(DEV) == []
    assert not [sentence for sentence in stack.find_missing(DEV, lambda _: None) if "bootstrap" in sentence]
    s3 = boto3.client("s3")
    assert s3.get_bucket_versioning(Bucket=DEV.bucket)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=DEV.bucket)["PublicAccessBlockConfiguration"].values())
    (rule,) = s3.get_bucket_encryption(Bucket=DEV.bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": stack.KEY_ALIAS}
    assert '"aws:SecureTransport": "false"' in s3.get_bucket_policy(Bucket=DEV.bucket)["Policy"]


@pytest.mark.usefixtures("account")
def test_check_reports_credentials_for_another_account() -> None:
    other = stack.Stack("prod", "111111111111", "eu-central-1")
    (problem,) = [sentence for sentence in stack.find_missing(other, lambda _: None) if "credentials" in sentence]
    assert problem == f"the credentials are for account {ACCOUNT}, Pulumi.prod.yaml is for 111111111111; set AWS_PROFILE"


def test_a_stack_without_a_file_is_an_error() -> None:
    result = CliRunner().invoke(stack.main, ["preview", "staging"])
    assert result.exit_code == 1
    assert result.output == "Error: there is no Pulumi.staging.yaml; copy Pulumi.dev.yaml, or choose one of dev, prod\n"


@pytest.mark.usefixtures("account")
def test_up_runs_pulumi_and_then_the_registration(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ecs = boto3.client("ecs", region_name=DEV.region)
    ecs.create_cluster(clusterName="finelt-dev")
    definition = ecs.register_task_definition(
        family="finelt-dev-register", networkMode="awsvpc", containerDefinitions=[{"name": "job", "image": "i", "memory": 512}]
    )["taskDefinition"]["taskDefinitionArn"]
    subnet = boto3.client("ec2", region_name=DEV.region).describe_subnets()["Subnets"][0]["SubnetId"]
    outputs = {"cluster": "finelt-dev", "register": definition, "subnets": [subnet], "register_security_groups": []}
    log = fake_pulumi(folder, monkeypatch, outputs)
    final_state = {"containers": [{"exitCode": 0}]}
    monkeypatch.setattr(stack, "POLL_INTERVAL_S", 1)
    describe = type(ecs)._make_api_call

    def describe_as_stopped(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        response = describe(client, operation, parameters)
        if operation == "DescribeTasks":  # moto runs no task
            response["tasks"] = [{**task, **final_state, "lastStatus": "STOPPED"} for task in response["tasks"]]
        return response

    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", describe_as_stopped)
    result = CliRunner().invoke(stack.main, ["up", "dev", "--yes"])
    assert result.exit_code == 0, result.output
    assert read_commands(log) == [["up", "--yes", "--stack", "dev"], ["stack", "output", "--json", "--stack", "dev"]]
    assert json.loads(log.read_text().splitlines()[0])["backend"] == f"s3://{DEV.bucket}?region=eu-central-1"
    assert len(ecs.list_tasks(cluster="finelt-dev", desiredStatus="RUNNING")["taskArns"]) == 1
    final_state |= {"containers": [{"exitCode": 77}], "stoppedReason": "Essential container in task exited"}
    result = CliRunner().invoke(stack.main, ["register", "dev"])
    assert result.exit_code == 1
    assert "the registration ended with 77" in result.output
    assert "/finelt/dev/register" in result.output


@pytest.mark.usefixtures("account")
def test_nothing_is_registered_if_pulumi_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = fake_pulumi(folder, monkeypatch, {}, code=3)
    result = CliRunner().invoke(stack.main, ["up", "dev", "--yes"])
    assert result.exit_code == 1
    assert "pulumi up ended with 3" in result.output
    assert len(read_commands(log)) == 1
    with pytest.raises(ClientError):
        boto3.client("ecs", region_name=DEV.region).list_tasks(cluster="finelt-dev")


@pytest.mark.usefixtures("account")
def test_bootstrap_selects_the_stack_with_a_key_for_its_secrets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = fake_pulumi(folder, monkeypatch, {})
    assert CliRunner().invoke(stack.main, ["bootstrap", "dev"]).exit_code == 0
    provider = "awskms:///alias/finelt-state?region=eu-central-1"
    assert read_commands(log) == [["stack", "select", "--create", "--secrets-provider", provider, "--stack", "dev"]]
