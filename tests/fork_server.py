"""Import the jobs' packages once, then fork for each run that `tests.forks` asks for; that module starts this program."""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import re
import runpy
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from select import select

REQUEST_BYTES = 1 << 20
STATUSES: dict[int, int] = {}  # by the id of a job's process: where its end is written
LOOKED_UP = re.compile(r"[{(]")  # in what dbt does not take for a literal


def preload(package: str) -> None:
    """Import every module of a package that is no program, and with it the libraries that it needs."""
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def fill_caches() -> None:
    """Fill dbt's caches of JSON schemas, parsed macros and rendered literals: a fifth of a build's time, half of that of a parse.

    Their values depend on nothing but the keys.
    """
    from dbt.adapters.postgres.connections import PostgresCredentials
    from dbt.artifacts import resources
    from dbt.clients.jinja import get_rendered
    from dbt.contracts import project as contracts
    from dbt.contracts.graph import nodes, unparsed
    from dbt_common.clients.jinja import template_cache
    from dbt_common.utils.dict import deep_map_render
    from transform_warehouse import manifest_cache, project

    for kind in (
        *(contracts.ProjectFlags, contracts.ProfileConfig, contracts.Project, contracts.PackageConfig, contracts.Configuration),
        *(PostgresCredentials, nodes.ModelNode, nodes.SeedNode, nodes.GenericTestNode),
        *(resources.ModelConfig, resources.SeedConfig, resources.TestConfig, resources.SourceConfig),
        *(unparsed.UnparsedNodeUpdate, unparsed.UnparsedModelUpdate, unparsed.UnparsedSourceDefinition),
    ):
        kind.json_schema()
    if not manifest_cache._cache_path(project.CHECKOUT_PROJECT).exists():
        return  # to parse the project would change more of dbt's state
    manifest = manifest_cache.load_manifest(project.CHECKOUT_PROJECT, database="")
    for macro in manifest.macros.values():
        template_cache.get_node_template(macro)
    for node in manifest.nodes.values():
        if metadata := getattr(node, "test_metadata", None):
            deep_map_render(
                lambda value, _: value if not isinstance(value, str) or LOOKED_UP.search(value) else get_rendered(value, {}, native=True),
                metadata.kwargs,
            )


def serve(requests: socket.socket) -> str:
    """Fork for each request until the tests end. Return only in a job's process: the name of the module that it must run.

    A handler of SIGCHLD would not do: for a job that ends just before the wait for a request, it would run after the next request.
    """
    ended, waker = os.pipe()
    os.set_blocking(ended, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a signal that is ignored wakes nobody
    while True:
        readable, _, _ = select([requests, ended], [], [])
        if ended in readable:
            os.read(ended, REQUEST_BYTES)
            reap()
        if requests not in readable:
            continue
        request, fds, _, _ = socket.recv_fds(requests, REQUEST_BYTES, 3)
        if not request:
            os._exit(0)
        stdout, stderr, status = fds
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in (ended, waker, requests.detach(), status, *STATUSES.values()):
                os.close(fd)
            return become_job(json.loads(request), stdout, stderr)
        STATUSES[pid] = status
        os.write(status, b"%d\n" % pid)
        os.close(stdout)
        os.close(stderr)


def reap() -> None:
    """Tell those who wait for jobs that have ended how they ended."""
    with suppress(ChildProcessError):
        while True:
            pid, code = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            status = STATUSES.pop(pid)
            with suppress(BrokenPipeError):  # nobody waits any more
                os.write(status, b"%d\n" % os.waitstatus_to_exitcode(code))
            os.close(status)


def become_job(request: dict[str, str], stdout: int, stderr: int) -> str:
    """Take the arguments, the environment, the folder and the outputs of the request."""
    for fd, target in ((stdout, 1), (stderr, 2)):
        os.dup2(fd, target)
        os.close(fd)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environ"])
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv, sys.path[0] = [request["module"], *request["words"]], request["folder"]
    return request["module"]


def run_job(module: str) -> None:
    """Run a job, and end as an interpreter does, but leave its modules as they are: to clear them takes longer than a short job."""
    code: object = None
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code
    if not isinstance(code, int | None):
        sys.stderr.write(f"{code}\n")
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit((code or 0) & 0xFF)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for name in sys.argv[1:]:
        preload(name)
    fill_caches()
    gc.collect()
    gc.freeze()
    run_job(serve(socket.socket(fileno=0)))
