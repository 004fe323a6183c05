"""Fixtures that cross jobs, and the rule for tests that need a Docker engine."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

import pytest

from tests.fixtures_demo import demo_directory, demos, story
from tests.fixtures_postgres import postgres_server, warehouse
from tests.fixtures_recorded import feeds

__all__ = ["demo_directory", "demos", "feeds", "postgres_server", "story", "warehouse"]


@cache
def docker_engine_is_missing() -> str | None:
    """Return why no Docker engine can be used, or None if one answers."""
    docker = shutil.which("docker")
    if docker is None:
        return "no docker command on this machine"
    answer = subprocess.run([docker, "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, check=False)
    return None if answer.returncode == 0 else f"no Docker engine answers: {answer.stderr.strip().splitlines()[-1:]}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `docker` if no engine answers; fail it if FINELT_REQUIRE_DOCKER=1 requires one."""
    if item.get_closest_marker("docker") and (reason := docker_engine_is_missing()):
        if os.environ.get("FINELT_REQUIRE_DOCKER") == "1":
            pytest.fail(f"FINELT_REQUIRE_DOCKER=1, but {reason}", pytrace=False)
        pytest.skip(reason)
