"""Fixtures of the infrastructure tests."""

from __future__ import annotations

import pytest

from infra.testing.mock_engine import Graph, graph


@pytest.fixture(scope="session")
def dev() -> Graph:
    """The graph of the stack `dev` with default settings."""
    return graph()
