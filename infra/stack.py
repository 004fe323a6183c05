"""The command `scripts/stack`: check the machine and the account, create the bucket for Pulumi's state, deploy a stack.

Pulumi does most of the work. This command adds what Pulumi cannot do itself: create the storage of its own state, and run the task inside
the network that creates the warehouse's roles, the work pool and the deployments.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import click
import yaml
from botocore.exceptions import BotoCoreError, ClientError
from jobkit.errors import ExitCode
from jobkit.version import version_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FOLDER = Path(__file__).parent
KEY_ALIAS = "alias/finelt-state"
REGISTRATION_TIMEOUT_S, POLL_INTERVAL_S = 900, 5
PLACEHOLDER_ACCOUNT = "0" * 12
CONTAINERD_STORE = "io.containerd.snapshotter.v1"
BINFMT = Path("/proc/sys/fs/binfmt_misc")
AGENT_POLLS = 60
BASTION_TAG = {"purpose": "bastion"}
FORWARD_DOCUMENT = "AWS-StartPortForwardingSessionToRemoteHost"  # of Systems Manager
ANALYST = "analyst"  # the role in the warehouse that orchestration/warehouse_roles.py creates
TARGETS = {"prefect": (4200, 4200), "warehouse": (5432, 5433)}  # by name: the port there and the port here
PUSH_INSTEAD = "let CI build the images, or push them with scripts/images (infra/README.md, Images)"


class StackError(click.ClickException):
    """The stack cannot be deployed; the message says why and what to do."""


@dataclass(frozen=True)
class Stack:
    """A stack's name, account, region, and the architecture of its images."""

    name: str
    account: str
    region: str
    architecture: str = "arm64"

    @property
    def bucket(self) -> str:
        """The bucket that holds Pulumi's state."""
        return f"finelt-state-{self.account}-{self.region}"

    @property
    def environment(self) -> dict[str, str]:
        """Pulumi's environment: the URL of its state, the region, and no check for a newer version of Pulumi."""
        state = f"s3://{self.bucket}?region={self.region}"
        return {**os.environ, "PULUMI_BACKEND_URL": state, "AWS_REGION": self.region, "PULUMI_SKIP_UPDATE_CHECK": "true"}

    @property
    def secrets_provider(self) -> str:
        """The key that encrypts secrets in Pulumi's state, as a URL."""
        return f"awskms:///{KEY_ALIAS}?region={self.region}"


def read_stack(name: str) -> Stack:
    """Read a stack from Pulumi.<name>.yaml. Raises StackError."""
    path = FOLDER / f"Pulumi.{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.name.split(".")[1] for file in FOLDER.glob("Pulumi.*.yaml")))
        raise StackError(f"there is no {path.name}; copy Pulumi.dev.yaml, or choose one of {known}")
    config: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["config"]
    accounts = config.get("aws:allowedAccountIds") or [PLACEHOLDER_ACCOUNT]
    return Stack(name, str(accounts[0]), str(config["aws:region"]), str(config["finelt:architecture"]))


def find_missing(stack: Stack, which: Callable[[str], str | None] = shutil.which) -> Iterator[str]:
    """Yield what this machine and account lack, one sentence each, with the fix."""
    if which("pulumi") is None:
        yield "there is no pulumi command; run curl -fsSL https://get.pulumi.com | sh (or: brew install pulumi)"
    if which("docker") is None:
        yield "there is no docker command, which builds the images; install one (Debian: apt-get install docker.io)"
    else:
        yield from find_missing_for_builds(stack)
    if stack.account == PLACEHOLDER_ACCOUNT:
        yield f"Pulumi.{stack.name}.yaml names no account; set aws:allowedAccountIds to the one it may touch"
    try:
        account = boto3.client("sts", region_name=stack.region).get_caller_identity()["Account"]
    except (ClientError, BotoCoreError) as error:
        yield f"AWS rejects the credentials: {error}; run aws sso login, or set AWS_PROFILE"
        return
    if stack.account not in (account, PLACEHOLDER_ACCOUNT):
        yield f"the credentials are for account {account}, Pulumi.{stack.name}.yaml is for {stack.account}; set AWS_PROFILE"
        return
    try:
        boto3.client("s3", region_name=stack.region).head_bucket(Bucket=stack.bucket, ExpectedBucketOwner=account)
    except (ClientError, BotoCoreError):
        yield f"there is no bucket for Pulumi's state; run ./scripts/stack bootstrap {stack.name}"


def find_missing_for_builds(stack: Stack) -> Iterator[str]:
    """Yield what Pulumi lacks to build the stack's images on this machine, one sentence each, with the fix."""
    done = subprocess.run(["docker", "info", "--format", "{{json .}}"], capture_output=True, text=True, check=False)  # noqa: S607
    if done.returncode:
        yield "Docker Engine does not respond; start it (Debian: systemctl start docker)"
        return
    engine = json.loads(done.stdout)
    if any(CONTAINERD_STORE in value for value in engine.get("DriverStatus") or []):  # pairs of a name and a value
        yield (
            "Docker Engine stores images in containerd, where Pulumi's provider cannot build (github.com/pulumi/pulumi-docker/issues/967);"
            ' put {"features": {"containerd-snapshotter": false}} into /etc/docker/daemon.json and restart the engine,'
            f" or {PUSH_INSTEAD}"
        )
    wanted = "aarch64" if stack.architecture == "arm64" else stack.architecture
    if engine.get("Architecture") != wanted and not can_emulate(wanted, engine):
        yield (
            f"the images are for {stack.architecture}, Docker Engine runs on {engine.get('Architecture')} and emulates no other machine;"
            f" install an emulator (Debian: apt-get install qemu-user-static), or {PUSH_INSTEAD}"
        )
    if os.environ.get("FINELT_BUILD_CA"):
        yield (
            "FINELT_BUILD_CA is set, but Pulumi's provider passes no certificates to a build"
            f" (github.com/pulumi/pulumi-docker/issues/539); unset it if the build needs no proxy, or {PUSH_INSTEAD}"
        )


def can_emulate(machine: str, engine: Mapping[str, Any]) -> bool:
    """Return whether the engine runs programs of another machine. Docker Desktop does; on Linux, the kernel has to know an emulator.

    Source: "Strategies" in Docker's documentation of multi-platform builds, and binfmt-misc in the kernel's documentation.
    """
    return "Docker Desktop" in engine.get("OperatingSystem", "") or (BINFMT / f"qemu-{machine}").exists()


def bootstrap(stack: Stack) -> list[str]:
    """Create the bucket for Pulumi's state and the key for the secrets in it; return what was created, an empty list if both exist."""
    created = []
    s3, kms = boto3.client("s3", region_name=stack.region), boto3.client("kms", region_name=stack.region)
    if not any(alias["AliasName"] == KEY_ALIAS for page in kms.get_paginator("list_aliases").paginate() for alias in page["Aliases"]):
        key = kms.create_key(Description="Secrets in Pulumi's state")["KeyMetadata"]["KeyId"]
        kms.enable_key_rotation(KeyId=key)
        kms.create_alias(AliasName=KEY_ALIAS, TargetKeyId=key)
        created.append(f"key {KEY_ALIAS}")
    try:
        s3.head_bucket(Bucket=stack.bucket)
    except ClientError:
        location = {"CreateBucketConfiguration": {"LocationConstraint": stack.region}} if stack.region != "us-east-1" else {}
        s3.create_bucket(Bucket=stack.bucket, **location)
        created.append(f"bucket {stack.bucket}")
    # Repeated on every run, which completes a run that was interrupted.
    s3.put_bucket_versioning(Bucket=stack.bucket, VersioningConfiguration={"Status": "Enabled"})
    access_block = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    s3.put_public_access_block(Bucket=stack.bucket, PublicAccessBlockConfiguration=access_block)
    encryption = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY_ALIAS}, "BucketKeyEnabled": True}
    s3.put_bucket_encryption(Bucket=stack.bucket, ServerSideEncryptionConfiguration={"Rules": [encryption]})
    deny_plaintext = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{stack.bucket}", f"arn:aws:s3:::{stack.bucket}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    s3.put_bucket_policy(Bucket=stack.bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny_plaintext]}))
    return created


def register(stack: Stack, outputs: Mapping[str, Any]) -> None:
    """Run the registration task and wait until it stops. Raises StackError with the reason if it fails."""
    ecs = boto3.client("ecs", region_name=stack.region)
    vpc_configuration = {"subnets": outputs["subnets"], "securityGroups": outputs["register_security_groups"], "assignPublicIp": "DISABLED"}
    response = ecs.run_task(
        cluster=outputs["cluster"],
        taskDefinition=outputs["register"],
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": vpc_configuration},
    )
    if not response["tasks"]:
        raise StackError(
            f"ECS did not start the registration: {response['failures'][0]['reason']}; run ./scripts/stack register {stack.name}"
        )
    task = response["tasks"][0]["taskArn"]
    waiter = ecs.get_waiter("tasks_stopped")
    waiter.wait(
        cluster=outputs["cluster"],
        tasks=[task],
        WaiterConfig={"Delay": POLL_INTERVAL_S, "MaxAttempts": REGISTRATION_TIMEOUT_S // POLL_INTERVAL_S},
    )
    (stopped,) = ecs.describe_tasks(cluster=outputs["cluster"], tasks=[task])["tasks"]
    code = stopped["containers"][0].get("exitCode")
    if code != 0:
        raise StackError(
            f"the registration ended with {code}: {stopped.get('stoppedReason', 'no reason given')}; its log is"
            f" /finelt/{stack.name}/register; to retry, run ./scripts/stack register {stack.name}"
        )


def bastion_parameter(stack: str) -> str:
    """Return the name of the SSM parameter that describes the stack's bastion."""
    return f"/finelt/{stack}/bastion"


@contextmanager
def open_bastion(stack: Stack) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Start the bastion's task and yield its description and its ID for Systems Manager; stop the task at the end. Raises StackError."""
    ssm, ecs = boto3.client("ssm", region_name=stack.region), boto3.client("ecs", region_name=stack.region)
    description = json.loads(ssm.get_parameter(Name=bastion_parameter(stack.name))["Parameter"]["Value"])
    vpc_configuration = {"subnets": description["subnets"], "securityGroups": description["security_groups"], "assignPublicIp": "DISABLED"}
    cluster = description["cluster"]
    response = ecs.run_task(
        cluster=cluster,
        taskDefinition=description["task_definition"],
        launchType="FARGATE",
        enableExecuteCommand=True,
        networkConfiguration={"awsvpcConfiguration": vpc_configuration},
        tags=[{"key": key, "value": value} for key, value in BASTION_TAG.items()],
    )
    if not response["tasks"]:
        raise StackError(f"ECS did not start the bastion: {response['failures'][0]['reason']}; run the command again")
    task = response["tasks"][0]["taskArn"]
    try:
        yield description, f"ecs:{cluster}_{task.rpartition('/')[2]}_{_wait_for_agent(ecs, cluster, task)}"
    finally:
        ecs.stop_task(cluster=cluster, task=task, reason="the session ended")


def _wait_for_agent(ecs: Any, cluster: str, task: str) -> str:  # noqa: ANN401  boto3 has no types
    """Wait until the container of a task accepts sessions; return its runtime ID. Raises StackError."""
    for _ in range(AGENT_POLLS):
        (state,) = ecs.describe_tasks(cluster=cluster, tasks=[task])["tasks"]
        (container,) = state["containers"]
        if state["lastStatus"] == "STOPPED":
            raise StackError(f"the bastion stopped: {state.get('stoppedReason', 'no reason given')}; its log group ends with /bastion")
        if any(agent["lastStatus"] == "RUNNING" for agent in container.get("managedAgents", [])):
            return str(container["runtimeId"])
        time.sleep(POLL_INTERVAL_S)
    raise StackError("the bastion accepts no session; check that the task reaches ssmmessages (infra/network.py)")


def run_pulumi(stack: Stack, *arguments: str) -> None:
    """Run Pulumi on the stack, with its output on the terminal. Raises StackError if it fails."""
    try:
        done = subprocess.run(["pulumi", *arguments, "--stack", stack.name], cwd=FOLDER, env=stack.environment, check=False)  # noqa: S603, S607
    except FileNotFoundError:
        raise StackError(f"there is no pulumi command; ./scripts/stack check {stack.name} lists what is missing, with the fix") from None
    if done.returncode:
        raise StackError(f"pulumi {arguments[0]} ended with {done.returncode}; its output is above")


def read_outputs(stack: Stack) -> dict[str, Any]:
    """Return the outputs that the program exports. Raises StackError if there are none yet."""
    command = ["pulumi", "stack", "output", "--json", "--stack", stack.name]
    done = subprocess.run(command, cwd=FOLDER, env=stack.environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise StackError(f"the stack {stack.name} has no outputs yet: {done.stderr.strip()}; run ./scripts/stack up {stack.name}")
    return dict(json.loads(done.stdout))


@click.group()
@version_option()
def main() -> None:
    """Create a stack in AWS, step by step: check, bootstrap, preview, up."""


@main.command()
@click.argument("name")
def check(name: str) -> None:
    """List what is missing on this machine and in this account, and how to fix it; exit with 78 if something is."""
    problems = list(find_missing(read_stack(name)))
    for sentence in problems:
        click.echo(sentence)
    if problems:
        raise SystemExit(ExitCode.MISCONFIGURED)
    click.echo(f"nothing is missing; next, run ./scripts/stack preview {name}")


@main.command(name="bootstrap")
@click.argument("name")
def bootstrap_command(name: str) -> None:
    """Create the bucket for Pulumi's state, the key for the secrets in it, and the empty stack."""
    stack = read_stack(name)
    try:
        created = bootstrap(stack)
    except (ClientError, BotoCoreError) as error:
        raise StackError(f"AWS refused: {error}; ./scripts/stack check {name} lists what is missing, with the fix") from None
    for name_created in created or ["nothing; everything exists"]:
        click.echo(f"created {name_created}")
    run_pulumi(stack, "stack", "select", "--create", "--secrets-provider", stack.secrets_provider)


@main.command()
@click.argument("name")
def preview(name: str) -> None:
    """Show what `up` would change."""
    run_pulumi(read_stack(name), "preview", "--diff")


@main.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask before changes.")
def up(name: str, *, yes: bool) -> None:
    """Build and push the images, create and update the resources, and register the work pool and the deployments."""
    stack = read_stack(name)
    run_pulumi(stack, "up", *(["--yes"] if yes else []))
    register(stack, read_outputs(stack))
    click.echo("registered; Prefect has the work pool and a deployment for every job and flow")


@main.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask before changes.")
def boundary(name: str, *, yes: bool) -> None:
    """Update the permissions boundary alone, which GitHub's deployment may not do (docs/boundary-change.md)."""
    stack = read_stack(name)
    run_pulumi(stack, "up", "--target", boundary_urn(stack), *(["--yes"] if yes else []))


def boundary_urn(stack: Stack) -> str:
    """Return the URN of the boundary in Pulumi's state."""
    return f"urn:pulumi:{stack.name}::finelt::finelt:infra:PermissionsBoundary$aws:iam/policy:Policy::finelt-{stack.name}-boundary"


@main.command(name="register")
@click.argument("name")
def register_command(name: str) -> None:
    """Register the work pool and the deployments again. Only what has changed is updated."""
    stack = read_stack(name)
    register(stack, read_outputs(stack))


@main.command()
@click.argument("name")
@click.argument("target", type=click.Choice(list(TARGETS)))
def connect(name: str, target: str) -> None:
    """Forward a port of this machine to Prefect or to the warehouse, until Ctrl-C. Needs the aws command and its Session Manager plugin."""
    if missing := [command for command in ("aws", "session-manager-plugin") if shutil.which(command) is None]:
        raise StackError(
            f'there is no {missing[0]} command; install it as "Install the Session Manager plugin for the AWS CLI" in AWS\'s guide says'
        )
    stack, (remote, local) = read_stack(name), TARGETS[target]
    with open_bastion(stack) as (description, session_target):
        host = description["hosts"][target]
        click.echo(_explain_connection(stack, target, host, local))
        parameters = {"host": [host], "portNumber": [str(remote)], "localPortNumber": [str(local)]}
        command = ["aws", "ssm", "start-session", "--region", stack.region, "--target", session_target]
        command += ["--document-name", FORWARD_DOCUMENT, "--parameters", json.dumps(parameters)]
        done = subprocess.run(command, check=False)  # noqa: S603
    if done.returncode:
        raise StackError(f"aws ssm start-session ended with {done.returncode}; its output is above")


def _explain_connection(stack: Stack, target: str, host: str, port: int) -> str:
    """Return what to do with the forwarded port."""
    if target == "prefect":
        secret = f"aws secretsmanager get-secret-value --secret-id finelt-{stack.name}/prefect/auth --query SecretString --output text"
        return f"open http://127.0.0.1:{port} and enter what this prints:\n  {secret}"
    token = f"aws rds generate-db-auth-token --hostname {host} --port 5432 --username {ANALYST} --region {stack.region}"
    return (
        f"connect as {ANALYST} to 127.0.0.1:{port}, with a token as the password, which is valid for 15 minutes, such as\n"
        f'  PGPASSWORD="$({token})" psql "host={host} hostaddr=127.0.0.1 port={port} dbname=finelt user={ANALYST} sslmode=require"'
    )
