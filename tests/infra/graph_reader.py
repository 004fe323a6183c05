"""Short names for the resource types of a graph, and functions that read JSON in their inputs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.testing.mock_engine import Graph, Resource

DATABASE, TASK, BUCKET = "rds/instance:Instance", "ecs/taskDefinition:TaskDefinition", "s3/bucket:Bucket"
FUNCTION, ALARM, QUEUE = "lambda/function:Function", "cloudwatch/metricAlarm:MetricAlarm", "sqs/queue:Queue"
LOGS, ROLE, REPOSITORY = "cloudwatch/logGroup:LogGroup", "iam/role:Role", "ecr/repository:Repository"
# Settings that together create every resource that a stack can have. Tests share them, because each run of the program takes seconds.
PUBLIC: dict[str, str] = {
    "egress": "endpoints",
    "audience": "public",
    "site_domain": "data.example.com",
    "site_certificate": "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d",
}
REPLICAS: dict[str, str] = {"egress": "nat-per-zone", "server_replicas": "2", "multi_az": "true"}
LOW_COST: dict[str, str] = {"egress": "nat-instance", "insights": "false"}
OTHER_HARDWARE: dict[str, str] = {"architecture": "x86_64", "spot": "false", **LOW_COST}
CHOICES: tuple[dict[str, str], ...] = ({}, PUBLIC, REPLICAS, LOW_COST)


def policy_documents(stack: Graph) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every IAM policy document that grants or denies actions, with the resource's type and name."""
    for resource in stack.resources:
        if "policy" in resource.inputs and resource.type != "ecr/lifecyclePolicy:LifecyclePolicy":
            yield f"{resource.type} {resource.name}", json.loads(resource.inputs["policy"])


def role_policy(stack: Graph, name: str) -> dict[str, Any]:
    """Return the policy document of the one role policy whose name ends with `name`."""
    return dict(json.loads(stack.the("iam/rolePolicy:RolePolicy", name).inputs["policy"]))


def as_list(value: Any) -> list[Any]:
    """Return a value that IAM allows to be a list or a single item as a list."""
    return value if isinstance(value, list) else [value]


def container_of(task: Resource) -> dict[str, Any]:
    """Return the definition of a task's own container, which is the last one."""
    return containers_of(task)[-1]


def containers_of(task: Resource) -> list[dict[str, Any]]:
    """Return the definitions of a task's containers: init containers first."""
    return list(json.loads(task.inputs["containerDefinitions"]))


def stack_description(stack: Graph) -> dict[str, Any]:
    """Return the description of the stack that the registration reads."""
    (description,) = stack.of("s3/bucketObjectv2:BucketObjectv2")
    return dict(json.loads(description.inputs["content"]))


def environment_of(task: Resource) -> dict[str, str]:
    """Return the plain environment of a task's container."""
    return {variable["name"]: variable["value"] for variable in container_of(task)["environment"]}
