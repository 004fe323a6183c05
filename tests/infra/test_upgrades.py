"""What the pages on upgrades promise: docs/boundary-change.md, docs/second-region.md, docs/first-deployment.md."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from infra import stack
from infra.parameters import list_scheduled
from infra.testing.mock_engine import ACCOUNT, REGION, Graph, graph, start_graphs
from jobs.catalogue import REPOSITORY, catalogue
from tests.infra.graph_reader import ALARM, ROLE, stack_description

if TYPE_CHECKING:
    from collections.abc import Iterator

POLICY, OTHER_REGION = "iam/policy:Policy", "us-west-2"
SECOND_REGION = {"aws:region": OTHER_REGION, "first_in_account": "false"}
READS_ONLY = {"parameters": json.dumps({"vendors": []})}  # those of docs/second-region.md


def start_own_graphs() -> None:
    start_graphs([SECOND_REGION], stack="prod-us")
    start_graphs([READS_ONLY])


def test_the_command_updates_the_boundary_and_nothing_else(dev: Graph) -> None:
    urn = stack.boundary_urn(stack.Stack("dev", ACCOUNT, REGION))
    assert [resource.type for resource in dev.resources if resource.urn == urn] == [POLICY]


def test_a_changed_boundary_keeps_its_arn_which_is_all_that_roles_know(dev: Graph) -> None:
    """IAM replaces a policy whose name, path or description changes; its document gets a new version."""
    boundary = dev.the(POLICY, "-boundary")
    assert set(boundary.inputs) == {"name", "policy"}
    bounded = [role.inputs["permissionsBoundary"] for role in dev.of(ROLE) if "permissionsBoundary" in role.inputs]
    assert set(bounded) == {boundary.arn}
    document = boundary.inputs["policy"]
    others = [resource for resource in dev.resources if resource is not boundary and document in json.dumps(resource.inputs)]
    assert others == []


def find_foreign_regions(given: Graph, region: str) -> Iterator[str]:
    """No resource names another region than the stack's, except where CloudFront requires us-east-1."""
    for resource in given.resources:
        named = set(re.findall(r"\b(?:us|eu|ap|ca|sa)-(?:north|south|east|west|central)+-\d\b", json.dumps(resource.inputs)))
        if named - {region}:
            yield f"{resource.type} {resource.name} names {', '.join(sorted(named))}"


def test_a_stack_in_another_region_names_no_other() -> None:
    given = graph("prod-us", choices=SECOND_REGION)
    assert list(find_foreign_regions(given, OTHER_REGION)) == []


def test_a_region_that_only_reads_schedules_no_extract_and_has_no_alarm_for_one() -> None:
    given = graph(choices=READS_ONLY)
    parameters = stack_description(given)["parameters"]
    assert list(list_scheduled(catalogue(), parameters)) == []
    assert [alarm.name for alarm in given.of(ALARM) if alarm.name.endswith("-late") and not alarm.name.endswith("-data-late")] == []


def test_a_region_in_the_program_is_found(dev: Graph) -> None:
    assert list(find_foreign_regions(dev, OTHER_REGION))


def test_every_assumption_about_aws_links_to_its_document() -> None:
    rows = [line for line in (REPOSITORY / "docs/first-deployment.md").read_text().splitlines() if line.startswith("| ")]
    assumptions = [row for row in rows if not row.startswith(("| assumption", "| ---"))]
    assert len(assumptions) > 30
    for row in assumptions:
        cells = row.strip("| ").split(" | ")
        assert len(cells) == 3, row
        assert re.search(r"\]\(https://(docs\.aws\.amazon\.com|www\.pulumi\.com)/", cells[1]), row
