"""The demo as a person runs it: killed and repeated for its own tests. All tests that only read its results share a copy of them."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil
import pytest

from orchestration.local import postgres_home, processes, stack

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


def start(directory: Path, *arguments: str, folder: Path = REPOSITORY) -> subprocess.Popen[str]:
    """Start a demo with the settings of the folder."""
    command = [str(REPOSITORY / "scripts" / "demo"), "--dir", str(directory), *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def finish(process: subprocess.Popen[str], directory: Path, began_s: float, kept: int = 0) -> Run:
    said, _ = process.communicate(timeout=300)
    receipts = directory / "receipts.jsonl"
    lines = receipts.read_text().splitlines()[kept:] if receipts.exists() else []
    return Run(process.returncode, said, time.monotonic() - began_s, [json.loads(line) for line in lines])


def run(directory: Path, *arguments: str, folder: Path = REPOSITORY) -> Run:
    receipts = directory / "receipts.jsonl"
    kept = len(receipts.read_text().splitlines()) if receipts.exists() else 0
    return finish(start(directory, *arguments, folder=folder), directory, time.monotonic(), kept)


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


class Demos(NamedTuple):
    """The first two runs of a story: one during another demo, and one after that demo was killed. See Story."""

    directory: Path
    copied: Path
    concurrent: Run
    first: Run
    left: list[list[str]]


def run_demos(directory: Path) -> tuple[Run, Run, list[list[str]]]:
    """Kill a demo half-way, and run one to the end."""
    half = start(directory)
    try:
        until_said(half, "starting Prefect")
        wait_for_lock(half, directory)
        concurrent = run(directory)
        until_said(half, "extract-treasury-yields: started")
    finally:
        half.send_signal(signal.SIGKILL)
        half.communicate()
    return concurrent, run(directory), left(directory)


def copy_demo(directory: Path, copied: Path) -> None:
    """Copy the directory of a finished demo, and its database if that is elsewhere."""
    subprocess.run(["cp", "-a", directory, copied], check=True)
    if home := postgres_home._relocated_home(directory / "postgres", postgres_home.server_account()):
        own = postgres_home._create_private_home(copied / "postgres")
        subprocess.run(["cp", "-a", home / postgres_home.DATA, own], check=True)


@pytest.fixture(scope="session")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Demos:
    """Run the first demos of the story. All xdist workers share them; the first to need them runs them."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    directory, copied, finished = shared / "shared-demo" / "D", shared / "copied-demo", shared / "shared-demo.json"
    with (shared / "shared-demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            directory.parent.mkdir(exist_ok=True)
            concurrent, first, running = run_demos(directory)
            copy_demo(directory, copied)
            finished.write_text(json.dumps([asdict(concurrent), asdict(first), running]))
    concurrent, first, running = json.loads(finished.read_text())
    return Demos(directory, copied, Run(**concurrent), Run(**first), running)


@pytest.fixture(scope="session")
def story(demos: Demos) -> Iterator[Story]:
    second = run(demos.directory, "--keep")
    yield Story(demos.directory, demos.concurrent, demos.first, demos.left, second)
    stack.stop_kept(demos.directory)


@pytest.fixture(scope="session")
def demo_directory(demos: Demos) -> Path:
    """Return the directory of a finished demo, to be read only."""
    assert demos.first.code == 0, demos.first.said
    return demos.copied
