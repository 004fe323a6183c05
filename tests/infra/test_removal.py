"""What is removed leaves nothing behind that blocks a return, and takes nothing from others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.testing.mock_engine import Graph, Resource
from tests.infra.graph_reader import DATABASE, REPOSITORY, TASK

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "secretsmanager/secret:Secret"
ACCOUNT_WIDE = (
    "ebs/encryptionByDefault:EncryptionByDefault",
    "s3/accountPublicAccessBlock:AccountPublicAccessBlock",
    "iam/openIdConnectProvider:OpenIdConnectProvider",
)


def find_names_that_stay_taken(stack: Graph) -> Iterator[str]:
    """A job can be removed and put back, also in a stack whose data is protected."""
    for repository in stack.of(REPOSITORY):
        if repository.inputs.get("forceDelete") is not True:
            yield f"{repository.name}: ECR deletes no repository with images; set force_delete"
    for secret in stack.of(SECRET):
        if not secret.name.endswith("prefect/auth") and secret.inputs.get("recoveryWindowInDays") != 0:
            yield f"{secret.name}: a deleted secret keeps its name; set recovery_window_in_days=0"


def find_shared_settings_that_are_removed(stack: Graph) -> Iterator[str]:
    """Settings of the whole account stay when the stack is destroyed."""
    for kind in ACCOUNT_WIDE:
        yield from (
            f"{kind} {resource.name} belongs to the account: set retain_on_delete"
            for resource in stack.of(kind)
            if not resource.retain_on_delete
        )


def find_revisions_that_end(stack: Graph) -> Iterator[str]:
    """A task definition stays active when a new revision replaces it: deployments and rollbacks name the previous one."""
    yield from (f"{task.name}: set skip_destroy" for task in stack.of(TASK) if task.inputs.get("skipDestroy") is not True)


RULES = (find_names_that_stay_taken, find_shared_settings_that_are_removed, find_revisions_that_end)


def test_nothing_blocks_a_return_and_nothing_shared_is_removed(dev: Graph) -> None:
    assert [sentence for rule in RULES for sentence in rule(dev)] == []


def test_each_rule_finds_a_violation() -> None:
    seeded = (
        Resource(REPOSITORY, "job", {"forceDelete": False}),
        Resource(SECRET, "job/token", {"recoveryWindowInDays": 30}),
        Resource(ACCOUNT_WIDE[0], "account", {}),
        Resource(TASK, "job", {}),
    )
    assert [len(list(rule(Graph(seeded)))) for rule in RULES] == [2, 1, 1]


def test_the_last_snapshot_of_a_stack_has_a_name_of_its_own(dev: Graph) -> None:
    """The name contains the ID of the stack's key, which is new in each life of the stack."""
    key = dev.the("kms/key:Key", "-data")
    names = [database.inputs["finalSnapshotIdentifier"] for database in dev.of(DATABASE)]
    assert all(name.endswith(f"-last-{key.arn.partition('key/')[2][:8]}") for name in names)
    assert len(set(names)) == len(names)


def test_services_wait_until_they_are_steady(dev: Graph) -> None:
    """Otherwise `up` succeeds although Prefect never starts."""
    assert all(service.inputs["waitForSteadyState"] is True for service in dev.of("ecs/service:Service"))
