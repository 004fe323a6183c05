"""Remove the containers of finished runs from a Docker engine. They are kept for a day, so that they can be inspected."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging

KEEP = "24h"
EVERY_S = 3600.0
POOL_LABEL = "io.prefect.work-pool-name"  # set by Prefect's worker


def prune_containers(client: Any, pool: str, keep: str = KEEP) -> list[str]:  # noqa: ANN401  docker has no types
    """Remove the finished containers of the pool's runs that are older than `keep`; return their ids. Raises DockerException."""
    removed = client.containers.prune(filters={"label": f"{POOL_LABEL}={pool}", "until": keep})
    return list(removed["ContainersDeleted"] or [])


def start_thread(client: Any, pool: str, logger: logging.Logger, *, every_s: float = EVERY_S) -> threading.Event:  # noqa: ANN401
    """Prune now and every hour, until the returned event is set or this process ends."""
    from docker.errors import DockerException  # type: ignore[import-untyped]  # noqa: PLC0415  only a Docker pool needs it
    from requests.exceptions import RequestException  # noqa: PLC0415

    stop = threading.Event()

    def prune() -> None:
        while True:
            try:
                if removed := prune_containers(client, pool):
                    logger.info("removed %s containers of runs that finished more than %s ago", len(removed), KEEP)
            except (DockerException, RequestException) as error:
                logger.warning("old containers were not removed: %s; this is tried again in %s s", error, every_s)
            if stop.wait(every_s):
                return

    threading.Thread(target=prune, name="prune", daemon=True).start()
    return stop
