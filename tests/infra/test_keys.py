"""Each KMS key policy covers the services that use the key, with conditions that those services support.

IAM policies do not help here: the caller is the service itself.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from infra.testing.mock_engine import ACCOUNT, REGION, Graph, Resource, graph
from tests.infra.graph_reader import CHOICES

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG_CONTEXT = "kms:EncryptionContext:aws:logs:arn"
CLUSTER_CONTEXT = {"kms:EncryptionContext:aws:ecs:clusterAccount", "kms:EncryptionContext:aws:ecs:clusterName"}
DELIVER = {"kms:Decrypt", "kms:GenerateDataKey"}
# Condition keys that a service sends when it uses a key. Sources: the developer guides of CloudWatch Logs ("Encrypt log data"), ECS
# ("Fargate ephemeral storage"), CloudFront ("SSE-KMS"), SNS ("Key management": no aws:Source keys for EventBridge) and Budgets.
SUPPORTED = {
    f"logs.{REGION}": {LOG_CONTEXT},
    "fargate": {*CLUSTER_CONTEXT, "kms:GrantOperations"},
    "cloudfront": {"aws:SourceArn"},
    "events": set[str](),
    "cloudwatch": {"aws:SourceAccount", "aws:SourceArn"},
    "budgets": {"aws:SourceAccount", "aws:SourceArn"},
}


class Use(NamedTuple):
    """A service that uses a key for a resource, and the actions that it needs."""

    resource: str
    key: str
    service: str
    actions: set[str]


def find_uses(stack: Graph) -> Iterator[Use]:
    """Yield each use of a key by a service that calls KMS in its own name."""
    for logs in stack.of("cloudwatch/logGroup:LogGroup"):
        yield Use(
            logs.name, logs.inputs["kmsKeyId"], f"logs.{REGION}", {"kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"}
        )
    for cluster in stack.of("ecs/cluster:Cluster"):
        storage = cluster.inputs["configuration"]["managedStorageConfiguration"]["fargateEphemeralStorageKmsKeyId"]
        yield Use(cluster.name, storage, "fargate", {"kms:GenerateDataKeyWithoutPlaintext", "kms:CreateGrant"})
    keys = {
        resource.arn: resource.inputs.get("kmsMasterKeyId", "")
        for kind in ("sqs/queue:Queue", "sns/topic:Topic")
        for resource in stack.of(kind)
    }
    for policy in (*stack.of("sqs/queuePolicy:QueuePolicy"), *stack.of("sns/topicPolicy:TopicPolicy")):
        for statement in json.loads(policy.inputs["policy"])["Statement"]:
            if statement["Effect"] == "Allow":
                service = statement["Principal"]["Service"].removesuffix(".amazonaws.com")
                yield from (Use(arn, keys[arn], service, DELIVER) for arn in statement["Resource"])
    if any(stack.of("cloudfront/distribution:Distribution")):
        encryption = stack.the("s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration", "-site")
        key = encryption.inputs["rules"][0]["applyServerSideEncryptionByDefault"]["kmsMasterKeyId"]
        yield Use("site", key, "cloudfront", {"kms:Decrypt"})


def find_locked_out_services(stack: Graph) -> Iterator[str]:
    """A key policy allows each service that uses the key what it needs."""
    keys = {key.arn: key for key in stack.of("kms/key:Key")}
    for use in find_uses(stack):
        granted = {action for statement in list_grants(keys[use.key], use.service) for action in statement["Action"]}
        if missing := use.actions - granted:
            listed = ", ".join(sorted(missing))
            yield f"the policy of {keys[use.key].name} does not allow {use.service} {listed}, which {use.resource} needs"


def find_unsupported_conditions(stack: Graph) -> Iterator[str]:
    """A condition on a key that a service does not send is never true: the service is locked out without a message."""
    for key in stack.of("kms/key:Key"):
        for service, supported in SUPPORTED.items():
            for statement in list_grants(key, service):
                names = {name for operator in statement.get("Condition", {}).values() for name in operator}
                if extra := names - supported:
                    yield f"{service} does not send {', '.join(sorted(extra))} when it uses {key.name}: remove the condition"


def list_grants(key: Resource, service: str) -> list[dict[str, Any]]:
    """Return the statements of a key's policy for a service."""
    principal = {"Service": f"{service}.amazonaws.com"}
    return [statement for statement in json.loads(key.inputs["policy"])["Statement"] if statement["Principal"] == principal]


@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_every_service_can_use_the_keys_of_what_it_serves(choices: dict[str, str]) -> None:
    stack = graph(choices=choices)
    assert list(find_locked_out_services(stack)) == []
    assert list(find_unsupported_conditions(stack)) == []


def test_the_rule_knows_every_service_that_a_key_policy_names(dev: Graph) -> None:
    principals = {
        statement["Principal"].get("Service", "").removesuffix(".amazonaws.com")
        for key in dev.of("kms/key:Key")
        for statement in json.loads(key.inputs["policy"])["Statement"]
    }
    assert principals - {""} <= set(SUPPORTED)


def test_only_this_stacks_cluster_can_use_the_data_key_for_storage(dev: Graph) -> None:
    (data,) = [key for key in dev.of("kms/key:Key") if key.name.endswith("-data")]
    for statement in list_grants(data, "fargate"):
        assert statement["Condition"]["StringEquals"] == dict(zip(sorted(CLUSTER_CONTEXT), (ACCOUNT, "finelt-dev"), strict=True))


def make_key(*statements: dict[str, Any]) -> Resource:
    return Resource("kms/key:Key", "key", {"policy": json.dumps({"Statement": statements})}, "key", arn="arn:key")


def test_a_service_without_its_statement_is_found() -> None:
    configuration = {"managedStorageConfiguration": {"fargateEphemeralStorageKmsKeyId": "arn:key"}}
    stack = Graph((make_key(), Resource("ecs/cluster:Cluster", "cluster", {"configuration": configuration})))
    (message,) = find_locked_out_services(stack)
    assert message == "the policy of key does not allow fargate kms:CreateGrant, kms:GenerateDataKeyWithoutPlaintext, which cluster needs"


def test_a_condition_that_eventbridge_does_not_support_is_found() -> None:
    statement = {"Principal": {"Service": "events.amazonaws.com"}, "Action": [], "Condition": {"StringEquals": {"aws:SourceAccount": "1"}}}
    (message,) = find_unsupported_conditions(Graph((make_key(statement),)))
    assert "events does not send aws:SourceAccount" in message
