"""Fixtures of the infrastructure tests."""

from __future__ import annotations

import pytest

from infra.testing.mock_engine import Graph, graph, start_graphs
from tests.infra.graph_reader import CHOICES


@pytest.fixture(scope="session", autouse=True)
def _started_graphs(request: pytest.FixtureRequest) -> None:
    """Run the program in other processes while the first tests run: for the settings that most tests share, then for those of the files.

    A file that needs graphs of its own has a function `start_own_graphs`.
    """
    start_graphs(CHOICES)
    for module in dict.fromkeys(item.module for item in request.session.items if isinstance(item, pytest.Function)):
        if hasattr(module, "start_own_graphs"):
            module.start_own_graphs()


@pytest.fixture(scope="session")
def dev() -> Graph:
    """The graph of the stack `dev` with default settings."""
    return graph()
