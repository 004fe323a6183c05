"""One measured run, several in turns, and how they are shown."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, NamedTuple

import psutil  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestration.local.postgres import Postgres

KIB_A_MIB = 1024
LOOK_EVERY_S = 0.01


class Took(NamedTuple):
    """One run: seconds by the clock, of the client's and the server's processors, and the client's greatest memory in MiB.

    All of it is 0 that was not measured.
    """

    wall_s: float
    cpu_s: float = 0.0
    server_cpu_s: float = 0.0
    peak_mib: float = 0.0


Way = Callable[[], Took]


class FailedError(RuntimeError):
    """A measured program ended badly, with this code; the message ends with what it said last."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def process(command: Sequence[str], *, server: Postgres | None = None, env: Mapping[str, str] | None = None) -> Took:
    """A program from its start to its exit, its children included. Raises FailedError unless it ends with 0."""
    before_s, began_s = server_cpu_s(server), time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **(env or {})}) as running:  # noqa: S603
        with _watched(running.pid) as peaks:
            said = running.stderr.read() if running.stderr else b""
            _, status, usage = os.wait4(running.pid, 0)
        wall_s = time.perf_counter() - began_s
        running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        said_last = said.decode(errors="replace")[-500:]
        raise FailedError(f"{command[0]} ended with {running.returncode}: {said_last}", running.returncode)
    return Took(wall_s, usage.ru_utime + usage.ru_stime, server_cpu_s(server) - before_s, max(peaks) / KIB_A_MIB)


@contextmanager
def _watched(pid: int) -> Iterator[list[int]]:
    """The most memory in KiB that a process and its children had, time and again.

    Not from getrusage: what it tells of a child begins with what its parent had at the fork.
    """
    peaks = [0]

    def watch(over: Event) -> None:
        while not over.wait(LOOK_EVERY_S):
            peaks.append(_peak_kib(pid))

    with meanwhile(watch):
        yield peaks


@contextmanager
def meanwhile(work: Callable[[Event], None]) -> Iterator[None]:
    """Work done in a thread while the block lasts; it is given an event that tells it to end, and waited for."""
    over = Event()
    worker = Thread(target=work, args=[over])
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


def _peak_kib(pid: int) -> int:
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        with suppress(OSError):  # ended meanwhile
            status = Path(f"/proc/{one}/status").read_text(encoding="utf-8")
            total += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
            waiting += map(int, Path(f"/proc/{one}/task/{one}/children").read_text(encoding="utf-8").split())
    return total


def server_cpu_s(server: Postgres | None) -> float:
    """Processor seconds of a server so far: of its processes that live, and of those that ended."""
    if server is None:
        return 0.0
    parent = psutil.Process(server.pid)
    told = parent.cpu_times()
    total_s = told.user + told.system + told.children_user + told.children_system
    for child in parent.children():
        with suppress(psutil.NoSuchProcess):  # ended meanwhile
            total_s += sum(child.cpu_times()[:2])
    return float(total_s)


def in_turns(ways: Mapping[str, Way], times: int, check: Callable[[str], None] | None = None) -> dict[str, list[Took]]:
    """Every way so many times, one after the other, after one turn that is not counted; `check` is given its name after each."""
    found: dict[str, list[Took]] = {name: [] for name in ways}
    for turn in range(times + 1):
        for name, way in ways.items():
            took = way()
            if check:
                check(name)
            if turn:
                found[name].append(took)
    return found


def median(runs: Sequence[Took]) -> Took:
    """The middle of each figure."""
    return Took(*(statistics.median(figures) for figures in zip(*runs, strict=True)))


def table(found: Mapping[str, Sequence[Took]], ours: str, *, server: bool = True) -> Iterator[str]:
    """Rows of medians in Markdown, each with what `ours` takes of its time."""
    own_s = median(found[ours]).wall_s
    columns = ["seconds [least]", f"{ours} is", "CPU s", *(["server CPU s"] if server else []), "MiB"]
    yield f"| way | {' | '.join(columns)} |"
    yield f"| --- |{' ---: |' * len(columns)}"
    for name, runs in found.items():
        middle, least_s = median(runs), min(run.wall_s for run in runs)
        cells = [f"{middle.wall_s:.3g} [{least_s:.3g}]", f"{own_s / middle.wall_s:.2g} of it", f"{middle.cpu_s:.2f}"]
        cells += [f"{middle.server_cpu_s:.2f}"] if server else []
        yield f"| {name} | {' | '.join(cells)} | {middle.peak_mib:.0f} |"


def plot(title: str, unit: str, bars: Mapping[str, float]) -> Iterator[str]:
    """A bar each, as Mermaid, which GitHub draws: the picture is text and stands in the page with its figures."""
    names = ", ".join(f'"{name}"' for name in bars)
    yield from ("", "```mermaid", "xychart-beta horizontal", f'    title "{title}"', f"    x-axis [{names}]")
    values = ", ".join(f"{value:.0f}" for value in bars.values())
    yield from (f'    y-axis "{unit}" 0 --> {max(bars.values()):.0f}', f"    bar [{values}]", "```")
