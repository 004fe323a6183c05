"""Pulumi creates what a resource needs before the resource, and deletes it afterwards. Each rule yields a sentence for a violation."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from infra.testing.mock_engine import ARNS, Graph, Resource, graph
from tests.infra.graph_reader import CHOICES, FUNCTION, ROLE, TASK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SERVICE, ROLE_POLICY, ROUTE, ENDPOINT = (
    "ecs/service:Service",
    "iam/rolePolicy:RolePolicy",
    "ec2/route:Route",
    "ec2/vpcEndpoint:VpcEndpoint",
)
EGRESS, NAMESPACE = "vpc/securityGroupEgressRule:SecurityGroupEgressRule", "servicediscovery/privateDnsNamespace:PrivateDnsNamespace"
# By the key of an input: the type of the resource whose name it holds.
NAMES = {
    "ClusterName": "ecs/cluster:Cluster",
    "ServiceName": SERVICE,
    "QueueName": "sqs/queue:Queue",
    "FunctionName": FUNCTION,
    "DBInstanceIdentifier": "rds/instance:Instance",
    "awslogs-group": "cloudwatch/logGroup:LogGroup",
    "logGroupName": "cloudwatch/logGroup:LogGroup",
    "logGroup": "cloudwatch/logGroup:LogGroup",
    "role": ROLE,
    "rule": "cloudwatch/eventRule:EventRule",
    "function": FUNCTION,
    "functionName": FUNCTION,
    "repository": "ecr/repository:Repository",
    "bucket": "s3/bucket:Bucket",
    "targetBucket": "s3/bucket:Bucket",
    "clusterName": "ecs/cluster:Cluster",
    "vpcId": "ec2/vpc:Vpc",
    "PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_SQS_QUEUE_NAME": "sqs/queue:Queue",
}
JSON_INPUTS = {"policy", "assumeRolePolicy", "containerDefinitions", "eventPattern", "redrivePolicy", "dashboardBody", "content"}


def list_texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text in an input with its key. Conditions of policies are left out: AWS does not look up what they name."""
    if isinstance(value, dict):
        if set(value) == {"name", "value"}:  # a variable of a container
            yield from list_texts(value["value"], value["name"])
        else:
            for name, inner in value.items():
                if name != "Condition":
                    yield from list_texts(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from list_texts(inner, key)
    elif isinstance(value, str) and key in JSON_INPUTS:
        yield from list_texts(json.loads(value))
    elif isinstance(value, str):
        yield key, value


def find_named(stack: Graph) -> Iterator[tuple[Resource, Resource, str]]:
    """Yield each resource with each other resource that its inputs name, by ARN, URL or name, and the text."""
    real = [resource for resource in stack.resources if resource.id]
    by_arn = {resource.arn: resource for resource in real if resource.type in ARNS}
    by_name = {(resource.type, resource.physical_name): resource for resource in real}
    for resource in real:
        if resource.type == "iam/policy:Policy" and resource.name.endswith("-boundary"):
            continue  # it exists before what it bounds
        for key, text in list_texts(resource.inputs):
            named = by_name.get((NAMES.get(key, ""), text))
            if text.startswith("arn:aws:"):
                named = next((other for arn, other in by_arn.items() if text == arn or text.startswith((f"{arn}:", f"{arn}/"))), None)
            elif url := re.match(r"\w+://(\w+\.)?([^:/]+)", text):
                named = by_name.get(("s3/bucket:Bucket", url[2])) or by_name.get((NAMESPACE, url[2]))
            if named and named is not resource:
                yield resource, named, text


def find_missing_dependencies(stack: Graph) -> Iterator[str]:
    """A resource depends on whatever it names."""
    for resource, named, text in find_named(stack):
        if not stack.depends(resource, named) and not stack.depends(named, resource):
            yield f"{resource.type} {resource.name} names {text} but does not depend on {named.type} {named.name}: pass its output"


def find_services_that_start_too_early(stack: Graph) -> Iterator[str]:
    """What runs depends on its roles' policies, and on the routes, endpoints and egress rules of its network."""
    services = [*stack.of(SERVICE), *stack.of(FUNCTION)]
    for service in services:
        for kind in (ROUTE, ENDPOINT, EGRESS, "ec2/routeTableAssociation:RouteTableAssociation"):
            for needed in stack.of(kind):
                if not stack.depends(service, needed):
                    yield f"{service.name} may start before {needed.type} {needed.name}: add depends_on"
    roles = {resource.arn: resource for resource in stack.of(ROLE)}
    for user in (*services, *stack.of(TASK), *stack.of("ec2/flowLog:FlowLog")):
        for key in ("role", "taskRoleArn", "executionRoleArn", "iamRoleArn"):
            role = roles.get(user.inputs.get(key, ""))
            for policy in stack.of(ROLE_POLICY):
                if role and policy.inputs["role"] == role.id and not stack.depends(user, policy):
                    yield f"{user.name} may start before the policy of its role {role.name}: add depends_on"


def find_wrong_order(stack: Graph) -> Iterator[str]:
    """What AWS creates or deletes only in an order depends in that order, although no input names it."""
    for first, second, reason in (
        ("ec2/internetGateway:InternetGateway", "ec2/natGateway:NatGateway", "AWS refuses a NAT gateway without an internet gateway"),
        ("ec2/internetGateway:InternetGateway", "ec2/eip:Eip", "AWS detaches no gateway from a VPC with public addresses"),
        ("sns/topicPolicy:TopicPolicy", "budgets/budget:Budget", "AWS Budgets checks that it may publish to the topic"),
    ):
        for later in stack.of(second):
            for earlier in stack.of(first):
                if not stack.depends(later, earlier):
                    yield f"{second} {later.name} does not depend on {first} {earlier.name}: {reason}"


def find_undeliverable_events(stack: Graph) -> Iterator[str]:
    """A delivery starts after the policy that allows it."""
    for target in stack.of("cloudwatch/eventTarget:EventTarget"):
        for kind in ("sns/topicPolicy:TopicPolicy", "sqs/queuePolicy:QueuePolicy", "lambda/permission:Permission"):
            for policy in stack.of(kind):
                texts = [text for _, text in list_texts(policy.inputs)]
                allowed = target.inputs["arn"] in texts or target.inputs["arn"].endswith(f":function:{policy.inputs.get('function')}")
                if allowed and not stack.depends(target, policy):
                    yield f"EventBridge may deliver to {target.inputs['arn']} before {kind} {policy.name} allows it: add depends_on"
    policies = {resource.inputs["bucket"]: resource for resource in stack.of("s3/bucketPolicy:BucketPolicy")}
    for logging in stack.of("s3/bucketLogging:BucketLogging"):
        if not stack.depends(logging, policies[logging.inputs["targetBucket"]]):
            yield f"S3 may deliver access logs of {logging.name} before the policy of their bucket allows it: add depends_on"


RULES = (find_missing_dependencies, find_services_that_start_too_early, find_wrong_order, find_undeliverable_events)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_everything_is_created_and_deleted_in_order(choices: dict[str, str], rule: Callable[[Graph], Iterator[str]]) -> None:
    assert list(rule(graph(choices=choices))) == []


def make_resource(kind: str, name: str, depends_on: tuple[str, ...] = (), **inputs: Any) -> Resource:
    """Return a resource with the ARN and ID that the rules look at."""
    arn = f"arn:aws:test:::{kind}/{name}"
    return Resource(kind, name, inputs, name, arn=arn, id=name, depends_on=frozenset(depends_on))


def test_a_resource_that_names_another_in_plain_text_is_found() -> None:
    boundary = make_resource("iam/policy:Policy", "boundary")
    role = make_resource(ROLE, "role", permissionsBoundary=boundary.arn)
    (message,) = find_missing_dependencies(Graph((role, boundary)))
    assert "role names" in message
    assert not list(find_missing_dependencies(Graph((replace(role, depends_on=frozenset({"boundary"})), boundary))))
    alarm = make_resource("cloudwatch/metricAlarm:MetricAlarm", "alarm", dimensions={"QueueName": "queue"})
    assert list(find_missing_dependencies(Graph((alarm, make_resource("sqs/queue:Queue", "queue")))))


def test_a_service_that_can_start_before_its_route_or_its_policy_is_found() -> None:
    role = make_resource(ROLE, "role")
    policy = make_resource(ROLE_POLICY, "policy", ("role",), role="role")
    task = make_resource(TASK, "task", ("role",), taskRoleArn=role.arn)
    service = make_resource(SERVICE, "service", ("task",))
    messages = list(find_services_that_start_too_early(Graph((role, policy, task, service, make_resource(ROUTE, "route")))))
    assert [message.partition(":")[0] for message in messages] == [
        "service may start before ec2/route",
        "task may start before the policy of its role role",
    ]


def test_a_component_stands_for_everything_below_it() -> None:
    route = replace(make_resource(ROUTE, "route"), parent="network")
    network = Resource("finelt:infra:Network", "network", {}, "network")
    service = make_resource(SERVICE, "service", ("network",))
    assert not list(find_services_that_start_too_early(Graph((network, route, service))))


def test_a_gateway_that_can_be_created_too_early_is_found() -> None:
    resources = (make_resource("ec2/internetGateway:InternetGateway", "internet"), make_resource("ec2/natGateway:NatGateway", "nat"))
    assert len(list(find_wrong_order(Graph(resources)))) == 1


def test_an_event_that_cannot_be_delivered_yet_is_found() -> None:
    target = make_resource("cloudwatch/eventTarget:EventTarget", "target", arn="arn:aws:sqs:::queue")
    policy = make_resource(
        "sqs/queuePolicy:QueuePolicy", "allow", policy=json.dumps({"Statement": [{"Resource": ["arn:aws:sqs:::queue"]}]})
    )
    assert len(list(find_undeliverable_events(Graph((target, policy))))) == 1
