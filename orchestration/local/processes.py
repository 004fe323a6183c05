"""Programs that a local stack starts: each in a session of its own, with a log file, an end, and a mark by which it is found again.

The mark is an environment variable that names the stack's directory. Children inherit it, so what a killed stack left behind is
found whole, and a process number that belongs to somebody else by now is never touched.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]
from jobkit.errors import MisconfiguredError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

MARK = "FINELT_STACK"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
INHERITED = ("HOME", "LANG", "LC_ALL", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ", *PROXIES)
STOP_WITHIN_S = 10.0
LOOK_EVERY_S = 0.05
TAIL = 3


@dataclass(frozen=True)
class Program:
    """A started program and the file it logs to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def release(self) -> None:
        """Let a program that was started `held` go on."""
        if self.process.stdin and not self.process.stdin.closed:
            with suppress(BrokenPipeError):
                self.process.stdin.write(b"go\n")
                self.process.stdin.close()

    def wait_until(self, ready: Callable[[], bool], within_s: float) -> None:
        """Nothing, once `ready`. Raises MisconfiguredError when the program ends first, TemporaryError when it takes too long."""
        deadline = time.monotonic() + within_s
        while not ready():
            if self.process.poll() is not None:
                raise MisconfiguredError(
                    f"the {self.name} ended with {self.process.returncode}: {self.last_words()}; its log is {self.log}"
                )
            if time.monotonic() > deadline:
                raise TemporaryError(f"the {self.name} was not ready within {within_s:.0f} s; its log is {self.log}; try again")
            time.sleep(LOOK_EVERY_S)

    def check(self) -> None:
        """Nothing, while it runs. Raises MisconfiguredError with its last words when it has ended."""
        if self.process.poll() is not None:
            raise MisconfiguredError(f"the {self.name} ended with {self.process.returncode}: {self.last_words()}; its log is {self.log}")

    def last_words(self) -> str:
        """The last lines of the log, as one."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return " | ".join([line.strip() for line in lines if line.strip()][-TAIL:]) or "it said nothing"


def start(
    name: str,
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    *,
    held: bool = False,
    inherited_fds: Sequence[int] = (),
) -> Program:
    """Start a program that sees nothing of our environment but what any program needs, and what is given.

    One that is `held` waits for `release` by reading its stdin.
    """
    log = directory / "logs" / f"{name.lower().replace(' ', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    inherited = {key: os.environ[key] for key in INHERITED if key in os.environ}
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  our own programs
            command,
            env={**inherited, "PYTHONUNBUFFERED": "1", MARK: str(directory), **environment},
            stdin=subprocess.PIPE if held else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=inherited_fds,
        )
    return Program(name, process, log)


def stop(program: Program, within_s: float = STOP_WITHIN_S) -> None:
    """End a program and everything in its session."""
    end([process for process in psutil.process_iter() if _session(process) == program.process.pid], within_s)
    with suppress(subprocess.TimeoutExpired):
        program.process.wait(within_s)


def left_behind(directory: Path) -> list[psutil.Process]:
    """What an earlier stack of this directory left running."""
    return [process for process in psutil.process_iter() if _mark(process) == str(directory) and process.pid != os.getpid()]


def ask_to_end(processes: list[psutil.Process]) -> None:
    """Send SIGTERM, and wait for nothing."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()


def end(processes: list[psutil.Process], within_s: float = STOP_WITHIN_S) -> None:
    """End processes: SIGTERM, and SIGKILL for those still there after a while."""
    ask_to_end(processes)
    _, stubborn = psutil.wait_procs(processes, within_s)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, within_s)


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except OSError:
        return None


def _mark(process: psutil.Process) -> str | None:
    try:
        return str(process.environ().get(MARK))
    except psutil.Error:
        return None
