"""The sandbox of the scorecard of faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from verification.faults.sandbox import open_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from verification.faults.sandbox import Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as opened:
        yield opened
