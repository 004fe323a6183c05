"""A Prefect worker, as a program: `python -m orchestration.workers.process POOL KIND`, of a process, a Docker or an ECS pool.

It loads Prefect while a local server still starts, and waits for a line on stdin: until then the server may be on its way, the pool
unregistered, and runs of an earlier stack not yet put away. With `at once` as a third word it does not wait.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys


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
    if kind == "ecs":
        from orchestration.ecs import task_failures  # noqa: PLC0415

        task_failures.install()
    if when != "at once" and not sys.stdin.readline():
        return  # whoever started us is gone
    setup_signal_handlers_worker(os.getpid(), f"the {kind} worker", print)
    of_kind = ProcessWorker if kind == "process" else BaseWorker.get_worker_class_from_type(kind)
    if of_kind is None:
        sys.exit(f"this installation of Prefect has no worker of kind {kind!r}")
    working = of_kind(work_pool_name=pool, name=f"{socket.gethostname()}-{os.getpid()}", create_pool_if_not_found=False)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(working.start(with_healthcheck=kind == "ecs"))


if __name__ == "__main__":
    main(*sys.argv[1:])
