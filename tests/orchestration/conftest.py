"""The definitions of one pipeline for every scheduler, printed once."""

from __future__ import annotations

import pytest

from tests.orchestration.emitted_definitions import CONTAINERS, MORE, VALUES, emit


@pytest.fixture(scope="session")
def emitted() -> dict[str, str]:
    """The definition of the whole pipeline, by target."""
    return {target: emit(target, *VALUES, *MORE) for target in (*CONTAINERS, "batch", "stepfunctions")}
