"""Every command has --version, and every package has the version of the repository."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from jobkit.version import read_version

from jobs.catalogue import REPOSITORY, catalogue

SCRIPTS = sorted(path.name for path in (REPOSITORY / "scripts").iterdir() if path.is_file())
JOBS = [spec.name for spec in catalogue()]
WORKER = "orchestration.workers.process"  # what the containers of workers run; no script starts it
VERSION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def version_of(*command: str | Path) -> str:
    done = subprocess.run([*command, "--version"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_prints_the_version(name: str) -> None:
    program = f"scripts/{name}" if name in ("setup", "test", "types", "doctor") else "finelt"
    assert version_of(REPOSITORY / "scripts" / name) == f"{program}, version {VERSION}\n"


def test_the_command_of_the_environment_prints_the_version() -> None:
    assert version_of(Path(sys.executable).with_name("finelt")) == f"finelt, version {VERSION}\n"


@pytest.mark.parametrize("name", JOBS)
def test_every_job_prints_the_version(name: str) -> None:
    assert version_of(Path(sys.executable).with_name(name)) == f"{name}, version {VERSION}\n"


def test_the_worker_prints_the_version() -> None:
    assert version_of(sys.executable, "-m", WORKER) == f"{WORKER}, version {VERSION}\n"


def test_an_installed_jobkit_without_its_source_knows_the_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("jobkit.version._SOURCE", tmp_path / "pyproject.toml")
    assert read_version() == VERSION


def test_dbt_installs_no_parser_that_it_would_download_from_elsewhere() -> None:
    """dbt-core 1.12 asks for a package that fetches a program from GitHub when it is installed; an override leaves it out."""
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("dbt-core-experimental-parser")
    assert importlib.metadata.version("dbt-core").startswith("1.12.")
