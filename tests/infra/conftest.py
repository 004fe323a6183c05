"""Fixtures of the infrastructure tests."""

from __future__ import annotations

import pytest

from infra.testing.mock_engine import Graph, graph, start_graphs
from tests.infra.graph_reader import CHOICES


@pytest.fixture(scope="session", autouse=True)
def _started_graphs() -> None:
    """Run the program for the settings that most tests share in a second process, while the first tests run."""
    start_graphs(CHOICES)


@pytest.fixture(scope="session")
def dev() -> Graph:
    """The graph of the stack `dev` with default settings."""
    return graph()
