"""What a role is granted lies within its permissions boundary; IAM denies the rest without a word."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pytest

from infra.testing.mock_engine import Graph, Resource, graph
from tests.infra.graph_reader import CHOICES, ROLE, as_list

if TYPE_CHECKING:
    from collections.abc import Iterator

ROLE_POLICY, POLICY = "iam/rolePolicy:RolePolicy", "iam/policy:Policy"


def find_denied_grants(stack: Graph) -> Iterator[str]:
    """A role's boundary allows every action and resource that the role's own policies allow."""
    boundaries = {policy.arn: json.loads(policy.inputs["policy"])["Statement"] for policy in stack.of(POLICY)}
    roles = {role.id: role for role in stack.of(ROLE) if "permissionsBoundary" in role.inputs}
    for policy in stack.of(ROLE_POLICY):
        if role := roles.get(policy.inputs["role"]):
            boundary = boundaries[role.inputs["permissionsBoundary"]]
            for action, resource in list_grants(policy):
                if not any(covers(statement, action, resource) for statement in boundary):
                    yield f"{role.name}: the boundary denies {action} on {resource}; add it to permissions_boundary.py or drop the grant"


def list_grants(policy: Resource) -> Iterator[tuple[str, str]]:
    """Yield each action and resource that a policy allows."""
    for statement in json.loads(policy.inputs["policy"])["Statement"]:
        if statement["Effect"] == "Allow":
            yield from ((action, resource) for action in as_list(statement["Action"]) for resource in as_list(statement["Resource"]))


def covers(statement: dict[str, Any], action: str, resource: str) -> bool:
    """Return whether a statement allows an action on everything that a resource pattern matches."""
    return action in as_list(statement["Action"]) and any(fnmatchcase(resource, pattern) for pattern in as_list(statement["Resource"]))


@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_no_role_is_granted_what_its_boundary_denies(choices: dict[str, str]) -> None:
    assert list(find_denied_grants(graph(choices=choices))) == []


def test_the_boundary_allows_no_action_that_no_role_is_granted(dev: Graph) -> None:
    granted = {action for policy in dev.of(ROLE_POLICY) for action, _ in list_grants(policy)}
    boundary = dev.the(POLICY, "-boundary")
    assert {action for action, _ in list_grants(boundary)} - granted == set()


def make_policy(kind: str, action: str, resource: str, **inputs: str) -> Resource:
    document = {"Statement": [{"Effect": "Allow", "Action": [action], "Resource": [resource]}]}
    return Resource(kind, "policy", {"policy": json.dumps(document), **inputs}, arn="arn:boundary")


@pytest.mark.parametrize(("action", "resource"), [("s3:PutObject", "arn:lake/a"), ("s3:GetObject", "arn:site/a")])
def test_a_grant_outside_the_boundary_is_found(action: str, resource: str) -> None:
    role = Resource(ROLE, "role", {"permissionsBoundary": "arn:boundary"}, id="role")
    boundary = make_policy(POLICY, "s3:GetObject", "arn:lake/*")
    assert not list(find_denied_grants(Graph((role, boundary, make_policy(ROLE_POLICY, "s3:GetObject", "arn:lake/a", role="role")))))
    assert list(find_denied_grants(Graph((role, boundary, make_policy(ROLE_POLICY, action, resource, role="role")))))
