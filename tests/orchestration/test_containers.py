"""Containers of finished runs are removed after a day, and no others."""

from __future__ import annotations

import logging
import threading
from typing import Any

from docker.errors import DockerException

from orchestration.workers import containers


class Engine:
    """A Docker client that fails the first time."""

    def __init__(self) -> None:
        self.containers, self.filters = self, list[dict[str, str]]()
        self.pruned_twice = threading.Event()

    def prune(self, filters: dict[str, str]) -> dict[str, Any]:
        self.filters.append(filters)
        if len(self.filters) == 1:
            raise DockerException("the engine restarts")
        self.pruned_twice.set()
        return {"ContainersDeleted": ["a", "b"]}


def test_old_containers_of_the_pool_are_removed_again_and_again_even_after_a_failure(caplog: Any) -> None:
    engine = Engine()
    with caplog.at_level(logging.INFO):
        stop = containers.start_thread(engine, "docker", logging.getLogger("test"), every_s=0.01)
        try:
            assert engine.pruned_twice.wait(60)
        finally:
            stop.set()
    assert engine.filters[:2] == [{"label": "io.prefect.work-pool-name=docker", "until": "24h"}] * 2
    assert "old containers were not removed: the engine restarts" in caplog.text


def test_nothing_to_remove_is_no_error() -> None:
    engine = Engine()
    engine.filters.append({})
    engine.prune = lambda filters: {"ContainersDeleted": None}  # type: ignore[method-assign]  # noqa: ARG005
    assert containers.prune_containers(engine, "docker") == []
