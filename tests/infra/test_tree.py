"""Resources form a tree of components, and a stack deployed before there were components is not replaced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from infra.testing.mock_engine import Graph, graph
from jobs.catalogue import catalogue
from tests.infra.graph_reader import CHOICES

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD_URNS = Path(__file__).with_name("urns_before_components.txt")


def read_old_urns() -> Iterator[str]:
    """Yield the URNs of a stack from before there were components; a line with {job} stands for every job."""
    for line in OLD_URNS.read_text(encoding="utf-8").splitlines():
        yield from {line.replace("{job}", spec.name) for spec in catalogue()}


def find_replaced(stacks: list[Graph]) -> set[str]:
    """Return the old URNs that no resource has, neither as its URN nor as an alias."""
    kept = {urn for stack in stacks for resource in stack.resources for urn in (resource.urn, *stack.former_urns(resource))}
    return set(read_old_urns()) - kept


def test_every_resource_from_before_the_components_has_an_alias_to_its_old_urn() -> None:
    """Pulumi would otherwise delete it and create another, with all data in it."""
    assert find_replaced([graph(choices=choices) for choices in CHOICES]) == set()


def test_a_resource_without_its_alias_is_found(dev: Graph) -> None:
    without = replace(dev, resources=tuple(replace(resource, aliases=()) for resource in dev.resources))
    assert "urn:pulumi:dev::finelt::aws:s3/bucket:Bucket::finelt-dev-lake" in find_replaced([without])


def test_components_alone_are_at_the_root(dev: Graph) -> None:
    roots = [resource for resource in dev.resources if not resource.parent]
    assert [resource.urn for resource in roots if not resource.type.startswith("finelt:infra:")] == []
    assert len(roots) < 25, "the first level of a preview is a table of contents"


def test_a_resource_is_below_the_component_that_its_file_defines(dev: Graph) -> None:
    for kind, name, chain in (
        ("s3/bucket:Bucket", "-lake", ["Storage", "PrivateBucket"]),
        ("rds/instance:Instance", "-prefect", ["PrefectServer", "PostgresDatabase"]),
        ("ecs/service:Service", "-worker", ["PrefectWorker", "FargateService"]),
        ("ecs/taskDefinition:TaskDefinition", "-load-warehouse", ["Jobs", "FargateTask"]),
        ("iam/role:Role", "-deploy", ["DeployRole"]),
    ):
        types = dev.the(kind, name).urn.split("::")[2].split("$")
        assert types == [*(f"finelt:infra:{component}" for component in chain), f"aws:{kind}"]
