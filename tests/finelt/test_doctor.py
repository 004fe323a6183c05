"""scripts/doctor on different machines: it lists what is missing, with the command that fixes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = {
    "docker": 'case "$1" in version) echo 28.1 ;; compose) echo 2.40 ;; esac',
    "pulumi": "echo v3.272",
    "aws": 'case "$1" in sts) echo 123456789012 ;; *) echo eu-central-1 ;; esac',
}


def doctor(tmp_path: Path, programs: dict[str, str], *words: str, **environ: str) -> tuple[int, dict[str, str]]:
    """Run it on a machine with these programs only; return the exit code, and what is missing with its fix."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    clean = {"PATH": str(folder), "HOME": str(tmp_path), **environ}
    done = subprocess.run([sys.executable, ROOT / "finelt" / "doctor.py", *words], env=clean, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    missing = {line.split()[1]: lines[number + 1].split("fix: ")[1] for number, line in enumerate(lines) if line.startswith("missing")}
    return done.returncode, missing


def test_a_machine_with_everything_misses_nothing(tmp_path: Path) -> None:
    _, missing = doctor(tmp_path, PROGRAMS)
    assert set(missing) <= {"pulumi"}  # whose libraries are there where scripts/setup infra was


def test_a_bare_machine_lists_every_fix_and_can_still_run_the_demo(tmp_path: Path) -> None:
    code, missing = doctor(tmp_path, {}, "--for", "demo")
    assert (code, set(missing)) == (0, {"docker", "compose", "pulumi", "credentials", "region"})
    assert missing["docker"] == "apt-get install docker.io"
    assert missing["region"] == "export AWS_REGION=eu-central-1"


@pytest.mark.parametrize("goal", ["containers", "aws"])
def test_a_goal_that_cannot_be_reached_is_exit_code_1(tmp_path: Path, goal: str) -> None:
    assert doctor(tmp_path, {}, "--for", goal)[0] == 1


@pytest.mark.parametrize(
    ("name", "script", "found"),
    [
        ("docker", "exit 1", "docker"),
        ("aws", "exit 255", "credentials"),
        ("pulumi", "exit 1", "pulumi"),
        ("docker", "exec cat /no", "compose"),
    ],
)
def test_a_program_that_fails_counts_as_missing(tmp_path: Path, name: str, script: str, found: str) -> None:
    assert found in doctor(tmp_path, {**PROGRAMS, name: script})[1]


def test_credentials_in_the_environment_are_found_and_never_printed(tmp_path: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "canary-7f3a9c", "AWS_SECRET_ACCESS_KEY": "canary-7f3a9c", "AWS_REGION": "eu-west-1"}
    assert not {"credentials", "region"} & set(doctor(tmp_path, {}, **keys)[1])
    environ = {**os.environ, **keys}
    process = subprocess.run([ROOT / "scripts" / "doctor"], env=environ, capture_output=True, text=True, check=False)
    assert (process.returncode, "canary" in process.stdout + process.stderr) == (0, False)
