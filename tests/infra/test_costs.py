"""COSTS.md is computed from the resources that the program creates."""

from __future__ import annotations

from infra import costs
from infra.testing.mock_engine import graph, start_graphs
from tests.infra.graph_reader import LOW_COST


def start_own_graphs() -> None:
    start_graphs(costs.CHOICES.values())


def test_the_page_of_costs_is_up_to_date() -> None:
    assert costs.PAGE.read_text(encoding="utf-8") == costs.render_page(), "run ./scripts/costs"


def test_a_stack_at_low_cost_stays_below_70_dollars_a_month() -> None:
    bill = list(costs.list_bill(graph(choices=costs.LOW_COST)))
    assert sum(item.usd for item in bill) <= 70
    assert costs.LOW_COST == LOW_COST, "the tests check this stack with every rule"
