"""A forked job has what a started one would have, and nothing of the job before it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests import forks

if TYPE_CHECKING:
    from pathlib import Path

PROBE = """
import atexit, json, os, sys, time
from jobkit import failpoints
found = {"name": __name__, "argv": sys.argv[1:], "folder": os.getcwd(), "environ": dict(os.environ), "counts": dict(failpoints._counts)}
print(json.dumps(found | {"zone": time.strftime("%Z"), "path": sys.path[0]}), flush=True)
print("to stderr", file=sys.stderr)
os.environ["LEFT"] = "behind"
failpoints._counts["left"] += 1
atexit.register(print, "the end")
if sys.argv[1] == "wait":
    time.sleep(600)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (tmp_path / "probe.py").write_text(PROBE)
    monkeypatch.chdir(tmp_path)
    return [sys.executable, "-m", "probe"]


def test_a_fork_differs_from_a_process_in_nothing_that_a_job_sees(command: list[str], tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "TZ": "Asia/Tokyo", "FINELT_LAKE": "there"}
    for _ in range(2):
        forked = forks.run([*command, "75", "--more"], environ)
        started = subprocess.run([*command, "75", "--more"], env=environ, capture_output=True, text=True, check=False)
        assert (forked.returncode, forked.stderr) == (started.returncode, started.stderr) == (75, "to stderr\n")
        lines = [done.stdout.splitlines() for done in (forked, started)]
        assert [line[1] for line in lines] == ["the end"] * 2
        found, expected = (json.loads(line[0]) for line in lines)
        expected["environ"].pop("LC_CTYPE", None)  # which Python sets at its start, where no locale is set
        assert found == expected
        assert (found["zone"], found["folder"], found["counts"]) == ("JST", str(tmp_path), {})


def test_signals_reach_a_fork_and_give_its_exit_code(command: list[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with forks.ForkedJob([*command, "wait"]) as job:
            with pytest.raises(subprocess.TimeoutExpired):
                job.wait(timeout=0.01)
            assert job.poll() is None
            job.send_signal(number)
            assert job.wait() == -number == job.poll()
    with pytest.raises(subprocess.TimeoutExpired):
        forks.run([*command, "wait"], timeout=0.01)


def test_forks_run_next_to_each_other(command: list[str]) -> None:
    first = forks.ForkedJob([*command, "wait"])
    second = forks.ForkedJob([*command, "3"])
    assert second.communicate()[1] == "to stderr\n"
    assert (first.poll(), second.returncode) == (None, 3)
    first.kill()
    first.communicate()
    assert first.returncode == -signal.SIGKILL


def test_what_acts_at_the_start_of_an_interpreter_cannot_be_forked(command: list[str]) -> None:
    with pytest.raises(AssertionError, match="PYTHONHASHSEED acts when an interpreter starts"):
        forks.run([*command, "0"], {**os.environ, "PYTHONHASHSEED": "7"})
    with pytest.raises(AssertionError, match="only a module"):
        forks.run([sys.executable, "-c", "pass"])
