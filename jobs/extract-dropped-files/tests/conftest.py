from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat a file that a test has just written as complete."""
    monkeypatch.setattr("extract_dropped_files.source.SETTLE_S", 0.0)
    monkeypatch.setattr("extract_dropped_files.inbox.SETTLE_S", 0.0)


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a directory, then of a bucket: the tests hold for both."""
    return f"file://{tmp_path}" if request.param == "file" else f"s3://{request.getfixturevalue('bucket')}"
