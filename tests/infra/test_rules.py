"""Every resource of a stack obeys the rules, with every choice of settings, and each rule finds a seeded violation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from infra.testing.mock_engine import Graph, graph, start_graphs
from tests.infra.graph_reader import OTHER_HARDWARE, PUBLIC, REPLICAS
from tests.infra.rules import VIOLATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

every_rule = pytest.mark.parametrize("rule", VIOLATIONS, ids=lambda rule: rule.__name__)


def start_own_graphs() -> None:
    start_graphs([{}], unknown=True)
    start_graphs([OTHER_HARDWARE])
    start_graphs([{}], stack="prod")


@every_rule
def test_the_stack_obeys_the_rule(rule: Callable[[Graph], Iterator[str]], dev: Graph) -> None:
    assert list(rule(dev)) == []


@every_rule
def test_the_rule_finds_a_violation(rule: Callable[[Graph], Iterator[str]], dev: Graph) -> None:
    assert list(rule(VIOLATIONS[rule](dev)))


def test_no_urn_occurs_twice(dev: Graph) -> None:
    assert dev.duplicates() == []


def test_a_first_preview_succeeds_although_no_output_is_known(dev: Graph) -> None:
    assert len(graph(unknown=True).resources) == len(dev.resources)


@pytest.mark.parametrize(("name", "choices"), [("dev", PUBLIC), ("dev", REPLICAS), ("dev", OTHER_HARDWARE), ("prod", {})], ids=str)
def test_a_stack_with_other_choices_obeys_every_rule(name: str, choices: dict[str, str]) -> None:
    stack = graph(name, choices=choices)
    assert stack.duplicates() == []
    for rule in VIOLATIONS:
        assert list(rule(stack)) == [], rule.__name__
