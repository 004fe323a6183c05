"""What AWS limits stays within the limit for 10, 40 and 200 jobs. An excess would appear only at `pulumi up`, halfway."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from infra.testing.mock_engine import Graph, Resource, graph, start_graphs
from tests.infra.catalogues import make_catalogue
from tests.infra.graph_reader import FUNCTION, ROLE, TASK

if TYPE_CHECKING:
    from collections.abc import Iterator

# Sources: "IAM and AWS STS quotas" (white space does not count; 2,048 for a trust policy unless raised), "Amazon ECS service quotas",
# "Lambda quotas", "Amazon SNS" and "AWS KMS" quotas of a policy.
INLINE_CHARACTERS, MANAGED_CHARACTERS, TRUST_CHARACTERS, NAME_CHARACTERS = 10_240, 6_144, 2_048, 64
TASK_BYTES, ENVIRONMENT_BYTES, KEY_POLICY_BYTES = 64 * 1024, 4 * 1024, 32 * 1024
ROLES = 1_000  # in an account; a job has two

SIZES = (10, 40, 200)


def find_exceeded_quotas(stack: Graph) -> Iterator[str]:
    """Every policy, task definition, name and environment is within its quota."""
    inline: dict[str, int] = {}
    for policy in stack.of("iam/rolePolicy:RolePolicy"):
        inline[policy.inputs["role"]] = inline.get(policy.inputs["role"], 0) + count_characters(policy.inputs["policy"])
    sizes = [("inline policies of the role", name, size, INLINE_CHARACTERS) for name, size in inline.items()]
    for label, kind, key, limit in (
        ("managed policy", "iam/policy:Policy", "policy", MANAGED_CHARACTERS),
        ("trust policy", ROLE, "assumeRolePolicy", TRUST_CHARACTERS),
        ("key policy", "kms/key:Key", "policy", KEY_POLICY_BYTES),
    ):
        sizes += [(label, resource.name, count_characters(resource.inputs[key]), limit) for resource in stack.of(kind)]
    sizes += [("role's name", role.name, len(role.physical_name), NAME_CHARACTERS) for role in stack.of(ROLE)]
    sizes += [("task definition", task.name, len(json.dumps(task.inputs)), TASK_BYTES) for task in stack.of(TASK)]
    environments = [(function.name, function.inputs["environment"]["variables"]) for function in stack.of(FUNCTION)]
    sizes += [("environment", name, len(json.dumps(variables)), ENVIRONMENT_BYTES) for name, variables in environments]
    sizes.append(("number of roles", "the stack", len(list(stack.of(ROLE))), ROLES))
    for label, name, size, limit in sizes:
        if size > limit:
            yield f"{label} {name}: {size:,} of at most {limit:,}; name a pattern instead of each job, or move the text out"


def start_own_graphs() -> None:
    for size in SIZES:
        start_graphs([{"parameters": "{}"}], make_catalogue(size))


def count_characters(document: str) -> int:
    """Return the size of a policy as IAM counts it."""
    return len(re.sub(r"\s", "", document))


@pytest.mark.parametrize("size", SIZES)
def test_the_stack_stays_within_every_quota(size: int) -> None:
    assert list(find_exceeded_quotas(graph(choices={"parameters": "{}"}, specs=make_catalogue(size)))) == []


def test_the_largest_stack_name_leaves_room_for_long_job_names() -> None:
    stack = graph("a" * 16, choices={"parameters": "{}"}, specs=make_catalogue(1))
    assert list(find_exceeded_quotas(stack)) == []


def test_the_worker_needs_no_larger_policy_for_more_jobs(dev: Graph) -> None:
    many = graph(choices={"parameters": "{}"}, specs=make_catalogue(40))
    for name in ("dev-worker", "dev-register"):
        kind = "iam/rolePolicy:RolePolicy"
        assert len(many.the(kind, name).inputs["policy"]) == len(dev.the(kind, name).inputs["policy"])


def test_an_excess_is_found() -> None:
    policies = [Resource("iam/rolePolicy:RolePolicy", name, {"role": "worker", "policy": "x" * 6_000}) for name in "ab"]
    trust = Resource(ROLE, "role", {"assumeRolePolicy": "x" * 3_000})
    task = Resource(TASK, "task", {"containerDefinitions": "x" * 70_000})
    messages = list(find_exceeded_quotas(Graph((*policies, trust, task))))
    assert [message.partition(":")[0] for message in messages] == [
        "inline policies of the role worker",
        "trust policy role",
        "task definition task",
    ]
