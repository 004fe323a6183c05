"""From an empty account to a running stack: what is missing is told with its fix, and the steps around Pulumi do what they say."""

from __future__ import annotations

import json
import sys
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
told = {{"words": sys.argv[1:], "backend": os.environ["PULUMI_BACKEND_URL"]}}
with open({log!r}, "a") as log:
    log.write(json.dumps(told) + "\\n")
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
    """infra/, with a stack in an account that is named."""
    named = (stack.FOLDER / "Pulumi.dev.yaml").read_text().replace("000000000000", ACCOUNT)
    (tmp_path / "Pulumi.dev.yaml").write_text(named)
    monkeypatch.setattr(stack, "FOLDER", tmp_path)
    return tmp_path


def pulumi(folder: Path, monkeypatch: pytest.MonkeyPatch, outputs: dict[str, Any], code: int = 0) -> Path:
    """A Pulumi that only writes down what it is asked."""
    log, command = folder / "asked.jsonl", folder / "bin" / "pulumi"
    command.parent.mkdir(exist_ok=True)
    command.write_text(PULUMI.format(python=sys.executable, log=str(log), outputs=json.dumps(outputs), code=code))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:/usr/bin:/bin")
    return log


def asked(log: Path) -> list[list[str]]:
    return [json.loads(line)["words"] for line in log.read_text().splitlines()]


def test_a_bare_machine_is_told_all_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    told = list(stack.missing(stack.read("dev"), lambda _: None))
    assert [sentence.split(";")[0].split(":")[0] for sentence in told] == [
        "there is no pulumi command",
        "there is no docker command, which builds the images",
        "Pulumi.dev.yaml names no account",
        "AWS does not know us",
    ]
    assert all(";" in sentence for sentence in told)


@pytest.mark.usefixtures("account", "folder")
def test_the_bucket_of_the_state_is_made_once_private_and_encrypted() -> None:
    absent = [sentence for sentence in stack.missing(DEV, lambda _: None) if "bootstrap" in sentence]
    assert absent == ["there is no bucket for Pulumi's state; ./scripts/stack bootstrap dev"]
    assert stack.read("dev") == DEV
    assert stack.bootstrap(DEV) == ["key alias/finelt-state", f"bucket {DEV.bucket}"]
    assert stack.bootstrap(DEV) == []
    assert not [sentence for sentence in stack.missing(DEV, lambda _: None) if "bootstrap" in sentence]
    s3 = boto3.client("s3")
    assert s3.get_bucket_versioning(Bucket=DEV.bucket)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=DEV.bucket)["PublicAccessBlockConfiguration"].values())
    (rule,) = s3.get_bucket_encryption(Bucket=DEV.bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": stack.KEY_ALIAS}
    assert '"aws:SecureTransport": "false"' in s3.get_bucket_policy(Bucket=DEV.bucket)["Policy"]


@pytest.mark.usefixtures("account")
def test_credentials_for_another_account_are_told() -> None:
    other = stack.Stack("prod", "111111111111", "eu-central-1")
    (told,) = [sentence for sentence in stack.missing(other, lambda _: None) if "credentials" in sentence]
    assert told == f"the credentials are for account {ACCOUNT}, Pulumi.prod.yaml is for 111111111111; set AWS_PROFILE"


def test_a_stack_that_has_no_file_is_told() -> None:
    told = CliRunner().invoke(stack.main, ["preview", "staging"])
    assert told.exit_code == 1
    assert told.output == "Error: there is no Pulumi.staging.yaml; copy Pulumi.dev.yaml, or choose one of dev, prod\n"


@pytest.mark.usefixtures("account")
def test_up_runs_pulumi_and_then_the_registration(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ecs = boto3.client("ecs", region_name=DEV.region)
    ecs.create_cluster(clusterName="finelt-dev")
    definition = ecs.register_task_definition(
        family="finelt-dev-register", networkMode="awsvpc", containerDefinitions=[{"name": "job", "image": "i", "memory": 512}]
    )["taskDefinition"]["taskDefinitionArn"]
    subnet = boto3.client("ec2", region_name=DEV.region).describe_subnets()["Subnets"][0]["SubnetId"]
    outputs = {"cluster": "finelt-dev", "register": definition, "subnets": [subnet], "register_security_groups": []}
    log = pulumi(folder, monkeypatch, outputs)
    ended = {"containers": [{"exitCode": 0}]}
    monkeypatch.setattr(stack, "LOOK_EVERY_S", 1)
    describe = type(ecs)._make_api_call

    def described(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        answer = describe(client, operation, parameters)
        if operation == "DescribeTasks":  # moto runs nothing
            answer["tasks"] = [{**task, **ended, "lastStatus": "STOPPED"} for task in answer["tasks"]]
        return answer

    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", described)
    told = CliRunner().invoke(stack.main, ["up", "dev", "--yes"])
    assert told.exit_code == 0, told.output
    assert asked(log) == [["up", "--yes", "--stack", "dev"], ["stack", "output", "--json", "--stack", "dev"]]
    assert json.loads(log.read_text().splitlines()[0])["backend"] == f"s3://{DEV.bucket}?region=eu-central-1"
    assert len(ecs.list_tasks(cluster="finelt-dev", desiredStatus="RUNNING")["taskArns"]) == 1
    ended |= {"containers": [{"exitCode": 77}], "stoppedReason": "Essential container in task exited"}
    told = CliRunner().invoke(stack.main, ["register", "dev"])
    assert told.exit_code == 1
    assert "the registration ended with 77" in told.output
    assert "/finelt/dev/register" in told.output


@pytest.mark.usefixtures("account")
def test_what_pulumi_refuses_goes_no_further(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = pulumi(folder, monkeypatch, {}, code=3)
    told = CliRunner().invoke(stack.main, ["up", "dev", "--yes"])
    assert told.exit_code == 1
    assert "pulumi up ended with 3" in told.output
    assert len(asked(log)) == 1
    with pytest.raises(ClientError):
        boto3.client("ecs", region_name=DEV.region).list_tasks(cluster="finelt-dev")


@pytest.mark.usefixtures("account")
def test_bootstrap_selects_the_stack_with_a_key_for_its_secrets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = pulumi(folder, monkeypatch, {})
    assert CliRunner().invoke(stack.main, ["bootstrap", "dev"]).exit_code == 0
    provider = "awskms:///alias/finelt-state?region=eu-central-1"
    assert asked(log) == [["stack", "select", "--create", "--secrets-provider", provider, "--stack", "dev"]]
