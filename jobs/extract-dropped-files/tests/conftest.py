from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that a test has just written is whole."""
    monkeypatch.setattr("extract_dropped_files.source.SETTLE_S", 0.0)


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where lake and drop may be: the same tests hold for both kinds."""
    return f"file://{tmp_path}" if request.param == "file" else f"s3://{request.getfixturevalue('bucket')}"
