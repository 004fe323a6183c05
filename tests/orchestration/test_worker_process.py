"""A worker outlives an overloaded server, and its process ends with it, so that it is started again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from jobkit.prefect_api import RETRIED

from orchestration.deployments.model import CLIENT_SETTINGS

ROOT = Path(__file__).parents[2]
FAILING = """
import threading, time
from prefect.workers import process

class Failing:
    def __init__(self, **_):
        pass

    async def start(self, **_):
        threading.Thread(target=time.sleep, args=(3600,)).start()
        raise RuntimeError("Server error '500 Internal Server Error'")

process.ProcessWorker = Failing
from orchestration.workers import process as program
program.work("default", "process", wait_for_release=False)
"""
READ_CODES = """
from prefect.settings import get_current_settings
client = get_current_settings().client
print(sorted(client.retry_extra_codes), client.max_retries)
"""


def environment(**more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**inherited, "PREFECT_API_URL": "http://127.0.0.1:9/api", **more}


def test_the_process_of_a_worker_that_failed_ends_while_its_threads_go_on() -> None:
    program = [sys.executable, "-c", FAILING]
    ended = subprocess.run(program, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 1
    assert "the worker ended with an error; its process ends too" in ended.stdout + ended.stderr
    assert "500 Internal Server Error" in ended.stdout + ended.stderr


def test_workers_and_what_they_start_retry_what_an_overloaded_server_answers() -> None:
    """Prefect itself retries 408, 429, 502 and 503."""
    profiles = str(ROOT / "orchestration" / "workers" / "profiles.toml")
    for settings in ({"PREFECT_PROFILES_PATH": profiles}, CLIENT_SETTINGS):
        found = subprocess.run([sys.executable, "-c", READ_CODES], env=environment(**settings), capture_output=True, text=True, check=True)
        assert found.stdout.split("\n")[0] == f"{sorted(RETRIED - {408, 429, 502, 503})} 8"
