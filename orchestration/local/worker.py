"""A Prefect worker for one machine, of a process or a Docker pool: its environment is what jobs may see, and no more.

Run as a program it is that worker. It loads Prefect while the server still starts, and waits for a line on stdin: until then the
server may be on its way, the pool unregistered, and runs of an earlier stack not yet put away.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
from typing import TYPE_CHECKING

from orchestration.local import programs

if TYPE_CHECKING:
    from pathlib import Path

    from orchestration.local.programs import Program
    from orchestration.local.server import Server

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
    environment = {"PREFECT_HOME": str(home), "PYTHONPATH": str(programs.REPOSITORY), **server.client_settings(), **SETTINGS}
    command = [sys.executable, "-m", "orchestration.local.worker", pool, kind]
    return programs.start("Prefect worker", command, directory, environment, held=True)


def main(pool: str, kind: str, when: str = "released") -> None:
    """Work until SIGTERM or SIGINT; `at once`, or when a line on stdin has released it."""
    gc.disable()  # a fifth of the time that loading takes
    import asyncio  # noqa: PLC0415  seconds of imports, for the worker's own process only
    import signal  # noqa: PLC0415

    from prefect.plugins import load_prefect_collections  # noqa: PLC0415
    from prefect.utilities.processutils import setup_signal_handlers_worker  # noqa: PLC0415
    from prefect.workers.base import BaseWorker  # noqa: PLC0415
    from prefect.workers.process import ProcessWorker  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it; a worker stops by it
    load_prefect_collections()  # the worker does it when it first meets its server, and then everything waits for it
    gc.freeze()
    gc.enable()
    if when != "at once" and not sys.stdin.readline():
        return  # whoever started us is gone
    setup_signal_handlers_worker(os.getpid(), f"the {kind} worker", print)
    of_kind = ProcessWorker if kind == "process" else BaseWorker.get_worker_class_from_type(kind)
    if of_kind is None:
        sys.exit(f"this installation of Prefect has no worker of kind {kind!r}")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(of_kind(work_pool_name=pool, name=f"{socket.gethostname()}-{os.getpid()}", create_pool_if_not_found=False).start())


if __name__ == "__main__":
    main(*sys.argv[1:])
