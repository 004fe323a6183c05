"""A stack from an empty account to a running one: what is missing on this machine, the bucket for Pulumi's state, and the deployment.

Pulumi itself does the work. Around it is what Pulumi cannot do for itself: keep its state somewhere, and start the one task inside the
network that makes the warehouse's role, the work pool and the deployments.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import click
import yaml
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FOLDER = Path(__file__).parent
KEY_ALIAS = "alias/finelt-state"
REGISTERED_WITHIN_S, LOOK_EVERY_S = 900, 5
EMPTY_ACCOUNT = "0" * 12


class StackError(click.ClickException):
    """What keeps the stack from being made, in one sentence with the fix."""


@dataclass(frozen=True)
class Stack:
    """A stack's name, and where it is to be."""

    name: str
    account: str
    region: str

    @property
    def bucket(self) -> str:
        """The bucket of Pulumi's state."""
        return f"finelt-state-{self.account}-{self.region}"

    @property
    def environment(self) -> dict[str, str]:
        """What Pulumi is told: where its state is, the region, and to ask nobody whether there is a newer Pulumi."""
        state = f"s3://{self.bucket}?region={self.region}"
        return {**os.environ, "PULUMI_BACKEND_URL": state, "AWS_REGION": self.region, "PULUMI_SKIP_UPDATE_CHECK": "true"}

    @property
    def secrets_provider(self) -> str:
        """What Pulumi encrypts secrets in its state with."""
        return f"awskms:///{KEY_ALIAS}?region={self.region}"


def read(name: str) -> Stack:
    """A stack, from Pulumi.<name>.yaml. Raises StackError."""
    path = FOLDER / f"Pulumi.{name}.yaml"
    if not path.is_file():
        there = ", ".join(sorted(found.name.split(".")[1] for found in FOLDER.glob("Pulumi.*.yaml")))
        raise StackError(f"there is no {path.name}; copy Pulumi.dev.yaml, or choose one of {there}")
    config: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["config"]
    accounts = config.get("aws:allowedAccountIds") or [EMPTY_ACCOUNT]
    return Stack(name, str(accounts[0]), str(config["aws:region"]))


def missing(stack: Stack, which: Callable[[str], str | None] = shutil.which) -> Iterator[str]:
    """What this machine and account lack, each with what mends it."""
    if which("pulumi") is None:
        yield "there is no pulumi command; curl -fsSL https://get.pulumi.com | sh (or: brew install pulumi)"
    if which("docker") is None:
        yield "there is no docker command, which builds the images; install one (Debian: apt-get install docker.io docker-buildx)"
    elif subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:  # noqa: S607
        yield "no Docker engine answers; start it (Debian: systemctl start docker)"
    if stack.account == EMPTY_ACCOUNT:
        yield f"Pulumi.{stack.name}.yaml names no account; set aws:allowedAccountIds to the one it may touch"
    try:
        account = boto3.client("sts", region_name=stack.region).get_caller_identity()["Account"]
    except (ClientError, BotoCoreError) as error:
        yield f"AWS does not know us: {error}; aws sso login, or set AWS_PROFILE"
        return
    if stack.account not in (account, EMPTY_ACCOUNT):
        yield f"the credentials are for account {account}, Pulumi.{stack.name}.yaml is for {stack.account}; set AWS_PROFILE"
        return
    try:
        boto3.client("s3", region_name=stack.region).head_bucket(Bucket=stack.bucket, ExpectedBucketOwner=account)
    except (ClientError, BotoCoreError):
        yield f"there is no bucket for Pulumi's state; ./scripts/stack bootstrap {stack.name}"


def bootstrap(stack: Stack) -> list[str]:
    """What was made of the bucket for Pulumi's state and the key for the secrets in it; nothing the second time."""
    made = []
    s3, kms = boto3.client("s3", region_name=stack.region), boto3.client("kms", region_name=stack.region)
    if not any(alias["AliasName"] == KEY_ALIAS for page in kms.get_paginator("list_aliases").paginate() for alias in page["Aliases"]):
        key = kms.create_key(Description="Secrets in Pulumi's state")["KeyMetadata"]["KeyId"]
        kms.enable_key_rotation(KeyId=key)
        kms.create_alias(AliasName=KEY_ALIAS, TargetKeyId=key)
        made.append(f"key {KEY_ALIAS}")
    try:
        s3.head_bucket(Bucket=stack.bucket)
    except ClientError:
        elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": stack.region}} if stack.region != "us-east-1" else {}
        s3.create_bucket(Bucket=stack.bucket, **elsewhere)
        made.append(f"bucket {stack.bucket}")
    # Said again each time: it costs nothing, and heals a run that was cut short.
    s3.put_bucket_versioning(Bucket=stack.bucket, VersioningConfiguration={"Status": "Enabled"})
    blocked = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    s3.put_public_access_block(Bucket=stack.bucket, PublicAccessBlockConfiguration=blocked)
    encrypted = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY_ALIAS}, "BucketKeyEnabled": True}
    s3.put_bucket_encryption(Bucket=stack.bucket, ServerSideEncryptionConfiguration={"Rules": [encrypted]})
    plain = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{stack.bucket}", f"arn:aws:s3:::{stack.bucket}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    s3.put_bucket_policy(Bucket=stack.bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [plain]}))
    return made


def register(stack: Stack, outputs: Mapping[str, Any]) -> None:
    """Run the task that registers pool and deployments, and wait for its end. Raises StackError with the reason it gives."""
    ecs = boto3.client("ecs", region_name=stack.region)
    place = {"subnets": outputs["subnets"], "securityGroups": outputs["register_security_groups"], "assignPublicIp": "DISABLED"}
    answer = ecs.run_task(
        cluster=outputs["cluster"],
        taskDefinition=outputs["register"],
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": place},
    )
    if not answer["tasks"]:
        raise StackError(f"the registration was not taken: {answer['failures'][0]['reason']}; run ./scripts/stack register {stack.name}")
    task = answer["tasks"][0]["taskArn"]
    waiter = ecs.get_waiter("tasks_stopped")
    waiter.wait(
        cluster=outputs["cluster"],
        tasks=[task],
        WaiterConfig={"Delay": LOOK_EVERY_S, "MaxAttempts": REGISTERED_WITHIN_S // LOOK_EVERY_S},
    )
    (ended,) = ecs.describe_tasks(cluster=outputs["cluster"], tasks=[task])["tasks"]
    code = ended["containers"][0].get("exitCode")
    if code != 0:
        raise StackError(
            f"the registration ended with {code}: {ended.get('stoppedReason', 'no reason given')}; its log is"
            f" /finelt/{stack.name}/register, ./scripts/stack register {stack.name} tries again"
        )


def pulumi(stack: Stack, *words: str) -> None:
    """Run Pulumi on the stack, in sight. Raises StackError when it fails."""
    done = subprocess.run(["pulumi", *words, "--stack", stack.name], cwd=FOLDER, env=stack.environment, check=False)  # noqa: S603, S607
    if done.returncode:
        raise StackError(f"pulumi {words[0]} ended with {done.returncode}; what it said is above")


def outputs(stack: Stack) -> dict[str, Any]:
    """What the program exports."""
    command = ["pulumi", "stack", "output", "--json", "--stack", stack.name]
    done = subprocess.run(command, cwd=FOLDER, env=stack.environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise StackError(f"the stack {stack.name} has no outputs yet: {done.stderr.strip()}; ./scripts/stack up {stack.name}")
    return dict(json.loads(done.stdout))


@click.group()
def main() -> None:
    """Make a stack in AWS, step by step: check, bootstrap, preview, up."""


@main.command()
@click.argument("name")
def check(name: str) -> None:
    """Say what is missing on this machine and in this account, and how to mend it; 78 when something is."""
    lacks = list(missing(read(name)))
    for sentence in lacks:
        click.echo(sentence)
    if lacks:
        raise SystemExit(78)
    click.echo(f"nothing is missing; ./scripts/stack preview {name}")


@main.command(name="bootstrap")
@click.argument("name")
def bootstrap_command(name: str) -> None:
    """Make the bucket for Pulumi's state, the key for the secrets in it, and the empty stack."""
    stack = read(name)
    for what in bootstrap(stack) or ["nothing: all is there"]:
        click.echo(f"made {what}")
    pulumi(stack, "stack", "select", "--create", "--secrets-provider", stack.secrets_provider)


@main.command()
@click.argument("name")
def preview(name: str) -> None:
    """Say what `up` would change."""
    pulumi(read(name), "preview", "--diff")


@main.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask before it changes something.")
def up(name: str, *, yes: bool) -> None:
    """Build and push the images, make what is missing, change what is different, and register pool and deployments."""
    stack = read(name)
    pulumi(stack, "up", *(["--yes"] if yes else []))
    register(stack, outputs(stack))
    click.echo("registered; Prefect has the work pool and a deployment for every job and flow")


@main.command(name="register")
@click.argument("name")
def register_command(name: str) -> None:
    """Register pool and deployments again, which changes what has changed."""
    stack = read(name)
    register(stack, outputs(stack))


if __name__ == "__main__":
    main(prog_name="scripts/stack")
