"""Import the jobs' packages once, then fork for each run that `tests.forks` asks for; that module starts this program."""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
import time
from contextlib import suppress

REQUEST_BYTES = 1 << 20


def preload(package: str) -> None:
    """Import every module of a package that is no program, and with it the libraries that it needs."""
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def serve(requests: socket.socket) -> str:
    """Fork for each request until the tests end. Return only in a job's process: the name of the module that it must run."""
    while True:
        request, fds, _, _ = socket.recv_fds(requests, REQUEST_BYTES, 3)
        if not request:
            os._exit(0)
        if os.fork() == 0:
            requests.close()
            return watch(json.loads(request), *fds)
        for fd in fds:
            os.close(fd)


def reap(*_: object) -> None:
    """Wait for those who watched a job that has ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def watch(request: dict[str, str], stdout: int, stderr: int, status: int) -> str:
    """Fork the job's process and return there. Here write its id, wait for it, write how it ended, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(status)
        return become_job(request, stdout, stderr)
    os.write(status, b"%d\n" % pid)
    os.write(status, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os._exit(0)


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


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, reap)
    for name in sys.argv[1:]:
        preload(name)
    gc.collect()
    gc.freeze()
    runpy.run_module(serve(socket.socket(fileno=0)), run_name="__main__", alter_sys=True)
