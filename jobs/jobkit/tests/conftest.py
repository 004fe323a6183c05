from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from jobkit.stores import Store, open_store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store may be: the same tests hold for both kinds."""
    return f"file://{tmp_path}/lake" if request.param == "file" else f"s3://{request.getfixturevalue('bucket')}/some/prefix"


@pytest.fixture
def store(url: str) -> Store:
    return open_store(url)
