"""Run jobs as processes that are forked from one that has imported them: dbt alone takes two seconds to import.

A forked job has its own process id, arguments, environment, folder, output and signals, and everything else as if it had been started.
Tests of the start of a process (its imports, memory or command) and tests that read its output while it runs must start it.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from select import select
from tempfile import TemporaryFile
from threading import Lock
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PRELOADED = ("jobkit", "load_warehouse", "transform_warehouse", "publish_marts")
_starting = Lock()


class ForkedJob:
    """What tests need of subprocess.Popen, with both outputs captured as text. Its command is `python -m MODULE WORDS...`."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        assert list(command[:2]) == [sys.executable, "-m"], f"only a module can be forked, not {command}"
        environ = dict(os.environ if env is None else env)
        for name in ("PYTHONPATH", "PYTHONPROFILEIMPORTTIME", "PYTHONWARNINGS", "PYTHONHASHSEED"):
            assert environ.get(name) == os.environ.get(name), f"{name} acts when an interpreter starts; start the job, do not fork it"
        self.args = list(command)
        self.returncode: int | None = None
        self._stdout, self._stderr = TemporaryFile(), TemporaryFile()  # noqa: SIM115  closed when they are read
        request = {"module": command[2], "words": command[3:], "environ": environ, "folder": str(Path.cwd())}
        status, writer = os.pipe()
        with _starting:
            server = _server()
        socket.send_fds(server, [json.dumps(request).encode()], [self._stdout.fileno(), self._stderr.fileno(), writer])
        os.close(writer)
        self._status = os.fdopen(status, "rb", buffering=0)
        self.pid = int(self._status.readline())

    def poll(self) -> int | None:
        """Return the exit code (negative: a signal), or None while the job runs."""
        return self.returncode if self.returncode is not None or not select([self._status], [], [], 0)[0] else self.wait()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code."""
        if self.returncode is None:
            if not select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            with self._status:
                self.returncode = int(self._status.readline())
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end and return stdout and stderr."""
        self.wait(timeout)
        with self._stdout, self._stderr:
            return _read(self._stdout), _read(self._stderr)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the job has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()
        self._stdout.close()
        self._stderr.close()


def run(command: Sequence[str], env: Mapping[str, str] | None = None, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run a job to its end, as subprocess.run with captured text. Kill it and raise TimeoutExpired if it takes too long."""
    with ForkedJob(command, env) as job:
        try:
            stdout, stderr = job.communicate(timeout)
        except subprocess.TimeoutExpired:
            job.kill()
            raise
    assert job.returncode is not None
    return subprocess.CompletedProcess(job.args, job.returncode, stdout, stderr)


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


@cache
def _server() -> socket.socket:
    """Start the process that forks. It ends when this socket is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    program = Path(__file__).with_name("fork_server.py")
    with theirs:
        process = subprocess.Popen([sys.executable, program, *PRELOADED], stdin=theirs)

    def stop() -> None:
        ours.close()
        process.wait()

    atexit.register(stop)
    return ours
