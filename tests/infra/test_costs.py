"""COSTS.md is computed from the resources that the program creates."""

from __future__ import annotations

from infra import costs


def test_the_page_of_costs_is_up_to_date() -> None:
    assert costs.PAGE.read_text(encoding="utf-8") == costs.render_page(), "run ./scripts/costs"
