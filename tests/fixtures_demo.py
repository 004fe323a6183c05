"""The demo as a person runs it: killed and repeated for its own tests, and one plain run for all tests that only read its results."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from orchestration.local import processes, stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobkit.receipt import Receipt

REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Run:
    """One run of the demo: its exit code, what it printed, how long it took, and the receipts it added."""

    code: int
    said: str
    elapsed_s: float
    receipts: list[Receipt]


@dataclass(frozen=True)
class Story:
    """Three runs in one directory: one during another demo, one after that demo was killed, and one more, which is kept.

    `left` are the command lines of the processes that ran on after the first.
    """

    directory: Path
    concurrent: Run
    first: Run
    left: list[list[str]]
    second: Run


def start(directory: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    command = [str(REPOSITORY / "scripts" / "demo"), "--dir", str(directory), *arguments]
    environment = {**os.environ, **more}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def finish(process: subprocess.Popen[str], directory: Path, began_s: float, kept: int = 0) -> Run:
    said, _ = process.communicate(timeout=300)
    receipts = directory / "receipts.jsonl"
    lines = receipts.read_text().splitlines()[kept:] if receipts.exists() else []
    return Run(process.returncode, said, time.monotonic() - began_s, [json.loads(line) for line in lines])


def run(directory: Path, *arguments: str, **more: str) -> Run:
    receipts = directory / "receipts.jsonl"
    kept = len(receipts.read_text().splitlines()) if receipts.exists() else 0
    return finish(start(directory, *arguments, **more), directory, time.monotonic(), kept)


def until_said(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout
    for line in process.stdout:
        if words in line:
            return
    pytest.fail(f"the demo ended without saying {words!r}")


def wait_for_lock(process: subprocess.Popen[str], directory: Path) -> None:
    """Wait until a demo holds the lock of its directory."""
    lock = directory / "lock"
    while not lock.exists() or lock.read_text() != str(process.pid):
        assert process.poll() is None, "the demo ended before it took its lock"
        time.sleep(0.05)


def left(directory: Path) -> list[list[str]]:
    """Return the command lines of processes that still run for a directory: those of its stack, and its Postgres."""
    servers = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    ours = [line for line in servers if any(word.startswith(str(directory)) for word in line)]
    return ours + [process.cmdline() for process in processes.find_leftover_processes(directory)]


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    directory = tmp_path_factory.mktemp("demo") / "D"
    half = start(directory)
    try:
        until_said(half, "starting Prefect")
        wait_for_lock(half, directory)
        concurrent = run(directory)
        until_said(half, "extract-treasury-yields: started")
    finally:
        half.send_signal(signal.SIGKILL)
        half.communicate()
    first = run(directory)
    running = left(directory)
    second = run(directory, "--keep")
    yield Story(directory, concurrent, first, running, second)
    stack.stop_kept(directory)


@pytest.fixture(scope="session")
def demo_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a finished demo, to be read only. All xdist workers share it; the first to need it runs the demo."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    directory, finished = shared / "shared-demo", shared / "shared-demo-finished"
    with (shared / "shared-demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            result = run(directory)
            assert result.code == 0, result.said
            finished.touch()
    return directory
