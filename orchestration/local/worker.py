"""Start a Prefect worker of a local stack. Jobs inherit its environment, so it has only what they may see."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from jobs.catalogue import REPOSITORY
from orchestration.local import processes

if TYPE_CHECKING:
    from pathlib import Path

    from orchestration.local.prefect_server import PrefectServer
    from orchestration.local.processes import Program

SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_CLIENT_MAX_RETRIES": "50",  # the local server asks clients to wait only a tenth of a second
    "PREFECT_WORKER_QUERY_SECONDS": "0.5",  # each query costs the server as much as a request of a job
    "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "1",
}
# Prefect's own default profile has a server setting, which every job would inherit.
PROFILE = 'active = "local"\n[profiles.local]\n'


def start_worker(directory: Path, server: PrefectServer, pool: str, kind: str = "process") -> Program:
    """Start a paused worker of the pool; it takes runs once it is resumed."""
    home = directory / "prefect" / "worker"
    home.mkdir(parents=True, exist_ok=True)
    (home / "profiles.toml").write_text(PROFILE, encoding="utf-8")
    environment = {"PREFECT_HOME": str(home), "PYTHONPATH": str(REPOSITORY), **server.client_settings(), **SETTINGS}
    command = [sys.executable, "-m", "orchestration.workers.process", pool, kind, "--wait-for-release"]
    return processes.start_program("Prefect worker", command, directory, environment, paused=True)
