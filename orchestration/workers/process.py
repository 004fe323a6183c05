"""Run a Prefect worker of a process, Docker or ECS pool: `python -m orchestration.workers.process POOL KIND [--wait-for-release]`.

It also ends runs whose process, container or machine is gone (reconcile.py).

With `--wait-for-release` it loads Prefect while a local server still starts, then waits for a line on stdin. Until then the server may
not be ready, the pool not registered, and runs of an earlier stack not yet ended.
"""

from __future__ import annotations

import gc
import os
import socket
import sys

import click
from jobkit.version import version_option

AT_ONCE = "at once"  # until 0.1.0 a worker waited for its release unless it had this argument


def work(pool: str, kind: str, *, wait_for_release: bool) -> None:
    """Work until SIGTERM or SIGINT. With `wait_for_release`, start only when a line arrives on stdin."""
    gc.disable()  # a fifth of the time that loading takes
    import asyncio  # noqa: PLC0415  seconds of imports, for the worker's own process only
    import signal  # noqa: PLC0415

    from jobkit.prefect_api import api  # noqa: PLC0415
    from prefect.logging import get_logger  # noqa: PLC0415
    from prefect.plugins import load_prefect_collections  # noqa: PLC0415
    from prefect.utilities.processutils import setup_signal_handlers_worker  # noqa: PLC0415
    from prefect.workers.base import BaseWorker  # noqa: PLC0415
    from prefect.workers.process import ProcessWorker  # noqa: PLC0415

    from orchestration.workers import reconcile  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores SIGINT; a worker stops by it
    load_prefect_collections()  # else the worker does it when it first reaches its server, and everything waits for it
    gc.freeze()
    gc.enable()
    if kind == "ecs":
        from orchestration.ecs import task_failures  # noqa: PLC0415

        task_failures.install()
    if wait_for_release and not sys.stdin.readline():
        return  # the process that started us is gone
    setup_signal_handlers_worker(os.getpid(), f"the {kind} worker", print)
    worker_class = ProcessWorker if kind == "process" else BaseWorker.get_worker_class_from_type(kind)
    if worker_class is None:
        sys.exit(f"this installation of Prefect has no worker of kind {kind!r}; install its prefect integration")
    worker = worker_class(work_pool_name=pool, name=f"{socket.gethostname()}-{os.getpid()}", create_pool_if_not_found=False)
    reconcile.start_thread(api(os.environ), get_logger("finelt.reconcile"))
    if kind == "docker":
        import docker  # type: ignore[import-untyped]  # noqa: PLC0415

        from orchestration.workers import containers  # noqa: PLC0415

        containers.start_thread(docker.from_env(), pool, get_logger("finelt.containers"))
    try:
        asyncio.run(worker.start(with_healthcheck=kind != "process"))
    except KeyboardInterrupt:
        pass
    except Exception:  # noqa: BLE001  whatever Prefect raises
        get_logger("finelt.worker").exception("the worker ended with an error; its process ends too, so that it is started again")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # threads of Prefect's would keep the process, and with it a container that takes no runs


@click.command()
@version_option()
@click.argument("pool")
@click.argument("kind")
@click.argument("deprecated", required=False, type=click.Choice([AT_ONCE]))
@click.option("--wait-for-release", is_flag=True, help="Start only when a line arrives on stdin.")
def main(pool: str, kind: str, deprecated: str | None, *, wait_for_release: bool) -> None:
    """Run a worker of POOL, which is of KIND."""
    if deprecated:
        click.echo(f"the argument {deprecated!r} is deprecated and will be removed in the next version; leave it out", err=True)
    work(pool, kind, wait_for_release=wait_for_release)


if __name__ == "__main__":
    main(prog_name="orchestration.workers.process")
