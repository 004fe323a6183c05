"""Fixtures that cross jobs, and the rule for tests that need a Docker engine."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

import pytest

from tests.fixtures_demo import story
from tests.fixtures_postgres import postgres_server, warehouse
from tests.fixtures_recorded import feeds

__all__ = ["feeds", "postgres_server", "story", "warehouse"]


LONG = ("test_faults", "test_compose", "test_tutorial", "test_incremental", "test_ecs_worker", "test_docs", "test_images")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take minutes come first, so that at the end no process waits for another's long one."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@cache
def docker_engine_is_missing() -> str | None:
    """Why no Docker engine can be used, or None when one answers."""
    docker = shutil.which("docker")
    if docker is None:
        return "no docker command on this machine"
    answer = subprocess.run([docker, "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, check=False)
    return None if answer.returncode == 0 else f"no Docker engine answers: {answer.stderr.strip().splitlines()[-1:]}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `docker` where there is no engine; fail it where FINELT_REQUIRE_DOCKER=1 says there must be one."""
    if item.get_closest_marker("docker") and (reason := docker_engine_is_missing()):
        if os.environ.get("FINELT_REQUIRE_DOCKER") == "1":
            pytest.fail(f"FINELT_REQUIRE_DOCKER=1, but {reason}", pytrace=False)
        pytest.skip(reason)
