"""Measure processes, repeat measurements in turn, and format them."""

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

KIB_PER_MIB = 1024
SAMPLE_INTERVAL_S = 0.01


class Measurement(NamedTuple):
    """One run: wall-clock seconds, CPU seconds of client and server, the client's peak memory, and what the server wrote for it.

    A figure that was not measured is 0.
    """

    wall_s: float
    cpu_s: float = 0.0
    server_cpu_s: float = 0.0
    peak_mib: float = 0.0
    wal_mb: float = 0.0
    temporary_mb: float = 0.0


Method = Callable[[], Measurement]


class FailedError(RuntimeError):
    """A measured program failed with `code`. The message has the end of its output."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def run_process(command: Sequence[str], *, server: Postgres | None = None, env: Mapping[str, str] | None = None) -> Measurement:
    """Run a program and measure it with its children. Raises FailedError unless it exits with 0."""
    before_s, started_s = server_cpu_s(server), time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **(env or {})}) as running:  # noqa: S603
        with _record_memory(running.pid) as peaks:
            stderr = running.stderr.read() if running.stderr else b""
            _, status, usage = os.wait4(running.pid, 0)
        wall_s = time.perf_counter() - started_s
        running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        last_output = stderr.decode(errors="replace")[-500:]
        raise FailedError(f"{command[0]} ended with {running.returncode}: {last_output}", running.returncode)
    return Measurement(wall_s, usage.ru_utime + usage.ru_stime, server_cpu_s(server) - before_s, max(peaks) / KIB_PER_MIB)


@contextmanager
def _record_memory(pid: int) -> Iterator[list[int]]:
    """Record the peak memory in KiB of a process and its children, by sampling.

    getrusage is not used, because the peak of a child includes the memory of its parent at the fork.
    """
    peaks = [0]

    def watch(stopping: Event) -> None:
        while not stopping.wait(SAMPLE_INTERVAL_S):
            peaks.append(_read_peak_kib(pid))

    with run_in_background(watch):
        yield peaks


@contextmanager
def run_in_background(work: Callable[[Event], None]) -> Iterator[None]:
    """Run work in a thread during the block. It gets an event that asks it to end, and the block waits for it."""
    stopping = Event()
    worker = Thread(target=work, args=[stopping])
    worker.start()
    try:
        yield
    finally:
        stopping.set()
        worker.join()


def read_peak_mib(pid: int) -> float:
    """Return the peak memory in MiB of a running process and its children so far."""
    return _read_peak_kib(pid) / KIB_PER_MIB


def _read_peak_kib(pid: int) -> int:
    total, pending = 0, [pid]
    while pending:
        process_id = pending.pop()
        with suppress(OSError):  # ended meanwhile
            status = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8")
            total += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
            for children in Path(f"/proc/{process_id}/task").glob("*/children"):  # a thread's are not among those of the others
                pending += map(int, children.read_text(encoding="utf-8").split())
    return total


def server_cpu_s(server: Postgres | None) -> float:
    """Return the CPU seconds of a server so far, including processes that have ended."""
    if server is None:
        return 0.0
    parent = psutil.Process(server.pid)
    while True:
        children = parent.children()
        text = parent.cpu_times()
        total_s = text.user + text.system + text.children_user + text.children_system
        for child in children:
            with suppress(psutil.NoSuchProcess):  # ended meanwhile
                total_s += sum(child.cpu_times()[:2])
        if parent.children() == children:  # else one ended, and may be counted twice or not at all
            return float(total_s)


def run_in_turns(methods: Mapping[str, Method], times: int, check: Callable[[str], None] | None = None) -> dict[str, list[Measurement]]:
    """Run every way `times` times in turn, after a warm-up, which counts only if there is no other run.

    `check` gets the name of the way after each run.
    """
    runs_by_method: dict[str, list[Measurement]] = {name: [] for name in methods}
    for turn in range(times + 1):
        for name, method in methods.items():
            run = method()
            if check:
                check(name)
            if turn or not times:
                runs_by_method[name].append(run)
    return runs_by_method


def median(runs: Sequence[Measurement]) -> Measurement:
    """Return the median of each figure."""
    return Measurement(*(statistics.median(figures) for figures in zip(*runs, strict=True)))


def format_table(runs_by_method: Mapping[str, Sequence[Measurement]], ours: str, *, server: bool = True) -> Iterator[str]:
    """Yield a table of medians in Markdown, each with the time of `ours` relative to it."""
    ours_s = median(runs_by_method[ours]).wall_s
    columns = ["seconds [least]", f"{ours}, relative", "CPU s", *(["server CPU s"] if server else []), "MiB"]
    yield f"| way | {' | '.join(columns)} |"
    yield f"| --- |{' ---: |' * len(columns)}"
    for name, runs in runs_by_method.items():
        typical, least_s = median(runs), min(run.wall_s for run in runs)
        cells = [f"{typical.wall_s:.3g} [{least_s:.3g}]", f"{ours_s / typical.wall_s:.2g}", f"{typical.cpu_s:.2f}"]
        cells += [f"{typical.server_cpu_s:.2f}"] if server else []
        yield f"| {name} | {' | '.join(cells)} | {typical.peak_mib:.0f} |"


def format_chart(title: str, unit: str, bars: Mapping[str, float]) -> Iterator[str]:
    """Yield a bar chart in Mermaid, which GitHub draws."""
    names = ", ".join(f'"{name}"' for name in bars)
    yield from ("", "```mermaid", "xychart-beta horizontal", f'    title "{title}"', f"    x-axis [{names}]")
    values = ", ".join(f"{value:.0f}" for value in bars.values())
    yield from (f'    y-axis "{unit}" 0 --> {max(bars.values()):.0f}', f"    bar [{values}]", "```")
