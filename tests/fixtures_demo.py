"""The demo as a person runs it, once for all tests that look at what it left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from orchestration.local import processes

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Run:
    """One run of the demo: its exit code, what it printed, how long it took, and the receipts it added."""

    code: int
    said: str
    elapsed_s: float
    receipts: list[dict[str, Any]]


@dataclass(frozen=True)
class Story:
    """What happened in one directory, in order."""

    directory: Path
    at_once: Run
    first: Run
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


def left(directory: Path) -> list[list[str]]:
    """Command lines of what still runs for a directory: programs with its mark, and its Postgres."""
    servers = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    ours = [line for line in servers if any(word.startswith(str(directory)) for word in line)]
    return ours + [process.cmdline() for process in processes.left_behind(directory)]


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    directory = tmp_path_factory.mktemp("demo") / "D"
    half = start(directory)
    try:
        until_said(half, "starting Prefect")
        time.sleep(0.5)
        at_once = run(directory)
        until_said(half, "extract-treasury-yields: started")
    finally:
        half.send_signal(signal.SIGKILL)
        half.communicate()
    first = run(directory)
    second = run(directory)
    yield Story(directory, at_once, first, second)
    processes.end(processes.left_behind(directory))
