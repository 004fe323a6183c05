"""Start and stop the programs of a local stack. Each has its own session and log file, and an environment variable that marks the stack.

The variable names the stack's directory. Child processes inherit it, so everything that a killed stack left running can be found, and a
reused process id that belongs to another program is never touched.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]
from jobkit.errors import MisconfiguredError, TemporaryError

from orchestration.polling import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

STACK_ENV = "FINELT_STACK"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
INHERITED = ("HOME", "LANG", "LC_ALL", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ", *PROXIES)
STOP_TIMEOUT_S = 10.0
TAIL_LINES = 3


@dataclass(frozen=True)
class Program:
    """A started program and its log file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def resume(self) -> None:
        """Let a program that was started `paused` continue."""
        if self.process.stdin and not self.process.stdin.closed:
            with suppress(BrokenPipeError):
                self.process.stdin.write(b"go\n")
                self.process.stdin.close()

    def wait_until(self, is_ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `is_ready`. Raises MisconfiguredError if the program ends first, TemporaryError if it takes too long."""

        def is_ready_or_ended() -> bool:
            if is_ready():
                return True
            self.raise_if_ended()
            return False

        if not wait_until(is_ready_or_ended, timeout_s=timeout_s):
            raise TemporaryError(f"the {self.name} was not ready within {timeout_s:.0f} s; its log is {self.log}; try again")

    def raise_if_ended(self) -> None:
        """Raise MisconfiguredError with the end of the log if the program has ended."""
        if self.process.poll() is not None:
            raise MisconfiguredError(f"the {self.name} ended with {self.process.returncode}: {self.log_tail()}; its log is {self.log}")

    def log_tail(self) -> str:
        """Return the last lines of the log, joined to one."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return " | ".join([line.strip() for line in lines if line.strip()][-TAIL_LINES:]) or "its log is empty"


def start_program(
    name: str,
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    *,
    paused: bool = False,
    inherited_fds: Sequence[int] = (),
) -> Program:
    """Start a program. Of our environment it sees only what any program needs, and `environment`.

    A `paused` program waits for `resume` by reading its stdin.
    """
    log = directory / "logs" / f"{name.lower().replace(' ', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    inherited = {key: os.environ[key] for key in INHERITED if key in os.environ}
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  our own programs
            command,
            env={**inherited, "PYTHONUNBUFFERED": "1", STACK_ENV: str(directory), **environment},
            stdin=subprocess.PIPE if paused else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=inherited_fds,
        )
    return Program(name, process, log)


def stop_program(program: Program, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Stop a program and everything in its session."""
    stop_processes([process for process in psutil.process_iter() if _session_of(process) == program.process.pid], timeout_s)
    with suppress(subprocess.TimeoutExpired):
        program.process.wait(timeout_s)


def find_leftover_processes(directory: Path) -> list[psutil.Process]:
    """Return the processes that an earlier stack of this directory left running."""
    return [process for process in psutil.process_iter() if _stack_of(process) == str(directory) and process.pid != os.getpid()]


def terminate_processes(processes: list[psutil.Process]) -> None:
    """Send SIGTERM and do not wait."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()


def stop_processes(processes: list[psutil.Process], timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Send SIGTERM, then SIGKILL to those that still run after `timeout_s`."""
    terminate_processes(processes)
    _, running = psutil.wait_procs(processes, timeout_s)
    for process in running:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(running, timeout_s)


def _session_of(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except OSError:
        return None


def _stack_of(process: psutil.Process) -> str | None:
    try:
        return str(process.environ().get(STACK_ENV))
    except psutil.Error:
        return None
