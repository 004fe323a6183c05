"""The names of two stacks never match each other's prefixes: `prod` has no right on `prod-eu`, in the same account."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from infra.testing.mock_engine import Graph, Resource, graph, start_graphs
from tests.infra.graph_reader import as_list

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND = {"first_in_account": "false"}
POLICIES = ("iam/policy:Policy", "iam/rolePolicy:RolePolicy")
# Conditions that bind a pattern: tasks run only on the stack's own cluster; all stacks of an account share the key of Pulumi's state.
BINDING = {"ecs:cluster", "kms:ResourceAliases"}


def start_own_graphs() -> None:
    start_graphs([{}], stack="prod")
    start_graphs([{}, SECOND], stack="prod-eu")


def find_rights_on_another_stack(stack: Graph, other: Graph) -> Iterator[str]:
    """No policy of a stack allows an action on a resource of another, unless it also allows it on every resource."""
    foreign = {resource.arn for resource in other.resources if resource.arn} - {resource.arn for resource in stack.resources}
    for kind in POLICIES:
        for policy in stack.of(kind):
            for statement in json.loads(policy.inputs["policy"])["Statement"]:
                if statement["Effect"] == "Allow" and not is_bound(statement):
                    for pattern in as_list(statement["Resource"]):
                        matched = [arn for arn in foreign if pattern != "*" and fnmatchcase(arn, pattern)]
                        if matched:
                            yield f"{policy.name} allows {statement['Action'][0]} on {matched[0]}: end {pattern} with a delimiter"


def is_bound(statement: dict[str, Any]) -> bool:
    """Return whether a condition limits a statement to the stack."""
    return any(BINDING & set(names) for names in statement.get("Condition", {}).values())


def test_no_policy_of_a_stack_reaches_a_stack_whose_name_begins_with_its_own() -> None:
    prod, other = graph("prod"), graph("prod-eu")
    assert list(find_rights_on_another_stack(prod, other)) == []
    assert list(find_rights_on_another_stack(other, prod)) == []


def test_two_stacks_in_one_account_and_region_share_no_name() -> None:
    """Except for what exists once in an account, which only the first stack creates."""
    prod, other = graph("prod"), graph("prod-eu", choices=SECOND)
    names = [{(resource.type, resource.physical_name) for resource in stack.resources} for stack in (prod, other)]
    inner = ("finelt:images:JobImage", "servicediscovery/service:Service", "cloudwatch/logMetricFilter:LogMetricFilter")
    assert {(kind, name) for kind, name in names[0] & names[1] if kind not in inner} == set(), "others have names within a parent"


def test_a_prefix_without_a_delimiter_is_found() -> None:
    document = {"Statement": [{"Effect": "Allow", "Action": ["iam:DeleteRole"], "Resource": ["arn:aws:iam::1:role/finelt-prod-*"]}]}
    policy = Resource("iam/rolePolicy:RolePolicy", "deploy", {"policy": json.dumps(document)})
    other = Resource("iam/role:Role", "job", {}, arn="arn:aws:iam::1:role/finelt-prod-eu-job")
    (message,) = find_rights_on_another_stack(Graph((policy,)), Graph((other,)))
    assert "end arn:aws:iam::1:role/finelt-prod-* with a delimiter" in message
