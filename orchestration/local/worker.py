"""A Prefect worker for one machine, of a process or a Docker pool: its environment is what jobs may see, and no more."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from jobs.catalogue import REPOSITORY
from orchestration.local import processes

if TYPE_CHECKING:
    from pathlib import Path

    from orchestration.local.prefect_server import Server
    from orchestration.local.processes import Program

SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_CLIENT_MAX_RETRIES": "50",  # the local server asks for them a tenth of a second apart
    "PREFECT_WORKER_QUERY_SECONDS": "0.25",
    "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "1",
}
# Prefect's own first profile has a setting of the server's, which would go to every job.
PROFILE = 'active = "local"\n[profiles.local]\n'


def start(directory: Path, server: Server, pool: str, kind: str = "process") -> Program:
    """Start a worker of the pool; it takes runs once it is released."""
    home = directory / "prefect" / "worker"
    home.mkdir(parents=True, exist_ok=True)
    (home / "profiles.toml").write_text(PROFILE, encoding="utf-8")
    environment = {"PREFECT_HOME": str(home), "PYTHONPATH": str(REPOSITORY), **server.client_settings(), **SETTINGS}
    command = [sys.executable, "-m", "orchestration.workers.process", pool, kind, "--wait-for-release"]
    return processes.start("Prefect worker", command, directory, environment, held=True)
