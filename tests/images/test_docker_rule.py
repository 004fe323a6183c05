"""Tests that need Docker fail instead of being skipped if Docker is required."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEST = "import pytest\n@pytest.mark.docker\ndef test_engine():\n    pass\n"


@pytest.mark.parametrize(("required", "outcome", "code"), [("0", "1 skipped", 0), ("1", "1 error", 1)])
def test_without_an_engine_a_docker_test_is_skipped_or_fails(tmp_path: Path, required: str, outcome: str, code: int) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_runtest_setup\n")
    (tmp_path / "test_inner.py").write_text(TEST)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-rs",
            "-p",
            "no:cacheprovider",
            "-c",
            str(ROOT / "pyproject.toml"),
            "--rootdir",
            str(tmp_path),
            str(tmp_path),
        ],
        env={**os.environ, "DOCKER_HOST": "unix:///nowhere", "FINELT_REQUIRE_DOCKER": required, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert outcome in done.stdout
    assert "no Docker engine" in done.stdout or "no docker command" in done.stdout
