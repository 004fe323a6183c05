"""Every AWS call that our code makes is allowed for the role that makes it, and no role of our code allows what is never called.

The calls are recorded from botocore while the code runs against an emulated account. What AWS itself does with a role (to pull an image,
write a log, open a network interface) and what Prefect's worker does on ECS is listed below, with its source.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
import pytest
from jobkit import secrets as job_secrets
from jobkit import stores
from moto import mock_aws

from infra import policies
from infra.fargate_task import PULL_ACTIONS
from infra.job_permissions import GLUE_ACTIONS
from infra.testing.mock_engine import ACCOUNT, REGION, graph
from jobs.catalogue import catalogue
from orchestration.ecs import register_stack
from orchestration.events import start_dropped_files
from tests.infra.graph_reader import FUNCTION, REPLICAS, ROLE, TASK, as_list, containers_of, environment_of, role_policy, stack_description

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infra.testing.mock_engine import Graph

LAKE = f"finelt-dev-lake-{ACCOUNT}"
# The IAM action of an operation of S3, where the names differ. Source: "Actions, resources, and condition keys for Amazon S3".
ACTIONS = {"HeadObject": "GetObject", "ListObjectsV2": "ListBucket", "ListBuckets": "ListAllMyBuckets"}
BY_LAMBDA = {
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:SendMessage",
    *policies.NETWORK_INTERFACE_ACTIONS,
    *policies.NETWORK_INTERFACE_LISTS,
}
BY_ENCRYPTION = {"kms:Decrypt", "kms:GenerateDataKey"}  # S3, SQS and Secrets Manager call KMS with the rights of the caller
BY_STEP_FUNCTIONS = set(policies.STEP_FUNCTIONS_ACTIONS)  # tests of jobkit's launcher
# What RunTask checks beside itself. Source: "Grant permission to tag resources on creation" and "Amazon ECS task execution IAM role".
BY_RUN_TASK = {"iam:PassRole", "ecs:TagResource"}


# The roles of what calls AWS in no other way than these, by the source that says so: Prefect's server only logs in to its database, a flow
# calls Prefect alone, Systems Manager opens the sessions of the bastion, and VPC writes flow logs.
OTHER_ROLES = {
    "prefect": {"rds-db:connect"},
    "prefect-services": {"rds-db:connect"},
    "flows": set(),
    "bastion": set(policies.SESSION_CHANNEL_ACTIONS),
    "flow-logs": {"logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"},
}
# What ECS does to start a task. Source: "Amazon ECS task execution IAM role".
BY_ECS = {"ecr:GetAuthorizationToken", *PULL_ACTIONS, "logs:CreateLogStream", "logs:PutLogEvents"}
BY_ECS_FOR_SECRETS = {"secretsmanager:GetSecretValue", "kms:Decrypt"}
BY_GITHUB = {"deploy", "preview"}  # test_permissions.py


class Call(NamedTuple):
    """One call: its IAM action and the resource that the action names."""

    action: str
    resource: str


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Call]]:
    """The calls that code makes against an emulated account with the stack's lake."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("MOTO_ACCOUNT_ID", ACCOUNT)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket=LAKE, CreateBucketConfiguration={"LocationConstraint": REGION})
        recorded: list[Call] = []

        def record(params: dict[str, Any], model: Any, **_: object) -> None:
            recorded.append(describe_call(model.service_model.endpoint_prefix, model.name, params))

        session = boto3.Session()
        session.events.register("provide-client-params.*", lambda params, model, **_: record(params, model))
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)
        yield recorded


def describe_call(service: str, operation: str, parameters: dict[str, Any]) -> Call:
    """Return a call with the ARN that IAM compares with the policies."""
    if service == "s3":
        key = f"/{parameters['Key']}" if "Key" in parameters else ""
        return Call(f"s3:{ACTIONS.get(operation, operation)}", f"arn:aws:s3:::{parameters['Bucket']}{key}")
    if service == "ecs":
        return Call(f"ecs:{operation}", "*")  # IAM has no resource for what we call
    secret = parameters.get("SecretId", "")
    return Call(
        f"{service}:{operation}",
        secret if secret.startswith("arn:") else f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{secret}-AbCdEf",
    )


def find_refused_calls(policy: dict[str, Any], calls: list[Call]) -> Iterator[str]:
    """A role allows every call of its code."""
    for call in calls:
        if not any(
            call.action in as_list(statement["Action"])
            and any(fnmatchcase(call.resource, pattern) for pattern in as_list(statement["Resource"]))
            for statement in policy["Statement"]
            if statement["Effect"] == "Allow"
        ):
            yield f"the role does not allow {call.action} on {call.resource}, which its code calls"


def find_unused_rights(policy: dict[str, Any], calls: list[Call], others: set[str]) -> Iterator[str]:
    """A role allows nothing that is never called."""
    allowed = {action for statement in policy["Statement"] if statement["Effect"] == "Allow" for action in as_list(statement["Action"])}
    for action in sorted(allowed - {call.action for call in calls} - others):
        yield f"the role allows {action}, which its code never calls"


def call_registration(stack: Graph) -> None:
    """Read the description and make and read a password, as the registration does."""
    client = boto3.client("secretsmanager")
    register_stack.read_description(environment_of(stack.the(TASK, "-register"))["FINELT_STACK"])
    for _ in range(2):
        register_stack.read_or_create_password(client, "finelt-dev/load-warehouse/warehouse_password")
    register_stack.read_images(boto3.client("ecs"), {"flows": "finelt-dev-flows"})
    assert register_stack.read_secret(client, environment_of(stack.the(TASK, "-register"))["FINELT_NOTIFICATIONS"]) is None


def call_function(stack: Graph) -> None:
    """Read Prefect's password, as the function does for each event."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.the(FUNCTION, "-start-dropped-files").inputs["environment"]["variables"].items():
            patch.setenv(name, value)
        start_dropped_files.connect()


def call_extract(_: Graph) -> None:
    """Use a dataset of the lake in each way that jobkit's lake does."""
    lake = stores.open_store(f"s3://{LAKE}/lake")
    key = "raw/ecb_fx_rates/x"
    lake.put_if_absent(key, b"1")
    lake.put(f"{key}/y", b"2")
    assert lake.get(key) == b"1"
    assert lake.exists(key)
    assert lake.stat(key)
    assert lake.get_size(key) == 1
    assert any(lake.list_keys("raw/ecb_fx_rates/"))
    assert lake.list_folders("raw/ecb_fx_rates/")


def call_drop(_: Graph) -> None:
    """Move a dropped file and read the login of an SFTP server, as extract-dropped-files does."""
    drop = stores.open_store(f"s3://{LAKE}/drop")
    drop.put("a/x.csv", b"1")
    data, tag = drop.get_with_etag("a/x.csv")
    drop.put("accepted/a/x.csv", data)
    assert any(drop.list_keys("a/"))
    drop.delete_if_match("a/x.csv", tag)
    assert job_secrets.resolve_login("secretsmanager://finelt-dev/extract-dropped-files/sftp_credential") == "river-Tulip4"


ROLES: dict[str, tuple[Callable[[Graph], None], set[str]]] = {
    "dev-register": (call_registration, BY_ENCRYPTION),
    "dev-start-dropped-files": (call_function, BY_ENCRYPTION | BY_LAMBDA),
    "dev-extract-ecb-fx-rates": (call_extract, BY_ENCRYPTION | BY_STEP_FUNCTIONS),
    "dev-extract-dropped-files": (call_drop, BY_ENCRYPTION | BY_STEP_FUNCTIONS),
}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_allows_the_calls_of_its_code_and_no_others(role: str, calls: list[Call], dev: Graph) -> None:
    run, others = ROLES[role]
    create_account(dev)
    calls.clear()
    run(dev)
    assert calls
    policy = role_policy(dev, role)
    assert list(find_refused_calls(policy, calls)) == []
    assert list(find_unused_rights(policy, calls, others)) == []


def create_account(stack: Graph) -> None:
    """Create what the code reads: the description and the secrets."""
    secrets = boto3.client("secretsmanager")
    boto3.client("s3").put_object(Bucket=LAKE, Key="infra/stack.json", Body=json.dumps(stack_description(stack)).encode())
    secrets.create_secret(Name="finelt-dev/prefect/auth", SecretString="user:password")
    secrets.create_secret(Name="finelt-dev/load-warehouse/warehouse_password")
    secrets.create_secret(Name="finelt-dev/prefect/notifications")
    secrets.create_secret(Name="finelt-dev/extract-dropped-files/sftp_credential", SecretString="river-Tulip4")
    boto3.client("ecs").register_task_definition(
        family="finelt-dev-flows", containerDefinitions=[{"name": "job", "image": "i", "memory": 512}]
    )


def list_actions(stack: Graph, role: str) -> set[str]:
    """Return the actions that the policies of a role allow."""
    documents = [json.loads(policy.inputs["policy"]) for policy in stack.of("iam/rolePolicy:RolePolicy") if policy.name == role]
    statements = [statement for document in documents for statement in document["Statement"] if statement["Effect"] == "Allow"]
    return {action for statement in statements for action in as_list(statement["Action"])}


def find_unexplained_rights(stack: Graph) -> Iterator[str]:
    """Each role is one of those above, of a job, or of ECS to start a task, and allows what its kind calls."""
    jobs = {f"finelt-dev-{spec.name}" for spec in catalogue()}
    by_jobs = {action for name in ("ecb-fx-rates", "dropped-files") for action in list_actions(stack, f"finelt-dev-extract-{name}")}
    for role in (resource.name for resource in stack.of(ROLE)):
        name, actions = role.removeprefix("finelt-dev-"), list_actions(stack, role)
        if name in BY_GITHUB or f"dev-{name}" in ROLES or name == "worker":
            continue  # another test has its calls
        if name.endswith("-start"):
            task = stack.the(TASK, role.removesuffix("-start"))
            used = BY_ECS | (BY_ECS_FOR_SECRETS if any(container["secrets"] for container in containers_of(task)) else set())
        elif role in jobs:
            used = by_jobs | set(GLUE_ACTIONS)
        elif name in OTHER_ROLES:
            used = OTHER_ROLES[name]
        else:
            yield f"nobody says what {role} calls: add it to the roles above"
            continue
        if unexplained := actions - used:
            yield f"{role} allows {', '.join(sorted(unexplained))}, which nothing calls with it"


def test_no_role_allows_what_nothing_calls_with_it() -> None:
    assert list(find_unexplained_rights(graph(choices=REPLICAS))) == []


def test_an_unknown_role_and_an_unexplained_right_are_found() -> None:
    stack = graph(choices=REPLICAS)
    flows = stack.the("iam/rolePolicy:RolePolicy", "-load-warehouse-start")
    document = {"Statement": [{"Effect": "Allow", "Action": ["s3:GetObject", "logs:PutLogEvents"], "Resource": ["*"]}]}
    policy = replace(flows, name="finelt-dev-flows", inputs={"policy": json.dumps(document)})
    role = replace(stack.the(ROLE, "-flow-logs"), name="finelt-dev-auditor")
    assert list(find_unexplained_rights(replace(stack, resources=(*stack.resources, policy, role)))) == [
        "finelt-dev-flows allows logs:PutLogEvents, s3:GetObject, which nothing calls with it",
        "nobody says what finelt-dev-auditor calls: add it to the roles above",
    ]


def test_the_worker_may_do_with_the_queue_what_prefects_observer_does(dev: Graph) -> None:
    """Read from its source: only a worker on ECS runs it."""
    spec = find_spec("prefect_aws.observers.ecs")
    assert spec
    assert spec.origin
    methods = set(re.findall(r"sqs_client\.(\w+)\(", Path(spec.origin).read_text(encoding="utf-8")))
    called = {f"sqs:{name.title().replace('_', '')}" for name in methods}
    allowed = {action for statement in role_policy(dev, "dev-worker")["Statement"] for action in statement["Action"]}
    assert {action for action in allowed if action.startswith("sqs:")} == called
    assert allowed - called == {
        *("ecs:RunTask", "ecs:DescribeTasks", "ecs:StopTask", "ecs:DescribeTaskDefinition", "kms:Decrypt"),
        *BY_RUN_TASK,
    }


def test_a_refused_call_and_an_unused_right_are_found() -> None:
    policy = {"Statement": [{"Effect": "Allow", "Action": ["s3:GetObject", "s3:DeleteObject"], "Resource": ["arn:aws:s3:::lake/a/*"]}]}
    calls = [Call("s3:GetObject", "arn:aws:s3:::lake/a/x"), Call("s3:PutObject", "arn:aws:s3:::lake/a/x")]
    assert list(find_refused_calls(policy, calls)) == [
        "the role does not allow s3:PutObject on arn:aws:s3:::lake/a/x, which its code calls"
    ]
    assert list(find_unused_rights(policy, calls, set())) == ["the role allows s3:DeleteObject, which its code never calls"]
