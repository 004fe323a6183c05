"""Fixtures of the infrastructure tests, and their order."""

from __future__ import annotations

import pytest

from infra.testing.mock_engine import Graph, graph, start_graphs
from tests.infra.graph_reader import CHOICES

FIRST = "test_stack.py"  # needs no graph, so it runs while the first are made
LAST = ("test_images.py", "test_settings.py")  # wait for one run of the program after the other, so they run when all others are made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that need graphs of their own after the others: these graphs are made while the others run."""
    items.sort(key=lambda item: (item.path.name != FIRST, item.path.name in LAST, _needs_own_graphs(item)))


def _needs_own_graphs(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and hasattr(item.module, "start_own_graphs")


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
