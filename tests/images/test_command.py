"""`scripts/images` finds Docker and a base image, checks budgets and reports errors in one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from images import __main__ as command
from images import docker_cli, plan, size
from images.base import parse_codename
from images.docker_cli import BuildEnvironment, EngineError
from jobs.catalogue import REPOSITORY
from tests.images.trees import SPECS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jobs.catalogue import JobSpec

every_job = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)

DEBIAN_12 = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_CODENAME=bookworm\n'


def test_a_base_uses_this_machines_debian_release() -> None:
    assert parse_codename(DEBIAN_12) == "bookworm"


@pytest.mark.parametrize(
    "system", ["ID=fedora\n", 'ID=ubuntu\nVERSION_CODENAME=noble\nPRETTY_NAME="Ubuntu 24.04"', "ID=debian\nVERSION_CODENAME=bullseye"]
)
def test_a_base_needs_a_supported_debian_release(system: str) -> None:
    with pytest.raises(EngineError, match=r"Debian 12 or later.*FINELT_PYTHON_IMAGE"):
        parse_codename(system)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes docker commands that answer as wanted, the first one first on PATH."""
    docker_cli.find_client.cache_clear()
    monkeypatch.setenv("PATH", "")

    def make(name: str, version: str, *, buildx: bool) -> Path:
        path = tmp_path / name / "docker"
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\n[ $1 = version ] && echo {version} && exit\n[ $1 = buildx ] && exit {0 if buildx else 1}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{path.parent}".strip(":"))
        return path

    return make


@pytest.fixture(autouse=True)
def _forget_the_client() -> None:
    docker_cli.find_client.cache_clear()


def test_a_docker_command_that_cannot_build_is_skipped(programs: Callable[..., Path]) -> None:
    programs("a", "28.2.2", buildx=False)
    old = programs("b", "20.10.24+dfsg1", buildx=False)
    assert docker_cli.find_client() == str(old)


def test_a_docker_command_with_buildx_is_used(programs: Callable[..., Path]) -> None:
    new = programs("a", "28.2.2", buildx=True)
    programs("b", "20.10.24+dfsg1", buildx=False)
    assert docker_cli.find_client() == str(new)


def test_a_machine_without_a_docker_command_that_builds_is_an_error(programs: Callable[..., Path]) -> None:
    with pytest.raises(EngineError, match="no docker command"):
        docker_cli.find_client()
    programs("a", "28.2.2", buildx=False)
    with pytest.raises(EngineError, match="docker-buildx"):
        docker_cli.find_client()


def test_the_build_environment_comes_from_environment_variables() -> None:
    assert BuildEnvironment.from_environ({}) == BuildEnvironment()
    here = BuildEnvironment.from_environ(
        {"FINELT_PYTHON_IMAGE": "p", "SSL_CERT_FILE": "/c", "FINELT_BUILD_NETWORK": "host", "FINELT_PLATFORM": "linux/arm64"}
    )
    assert (here.python_image, str(here.ca), here.network, here.platform) == ("p", "/c", "host", "linux/arm64")


@every_job
def test_every_job_has_a_budget_and_reports_an_excess(spec: JobSpec) -> None:
    good = size.Measurement(spec.name, size_bytes=1, describe_s=0.4, own_cpu_s=0.09)
    assert good.excesses == []
    assert "MB over the base" in replace(good, size_bytes=size.budget_bytes(good.job) + 1).excesses[0]
    assert "describe in a container" in replace(good, describe_s=0.51).excesses[0]
    assert "CPU time for describe" in replace(good, own_cpu_s=0.11).excesses[0]


def test_changed_prints_json_for_a_matrix() -> None:
    result = CliRunner().invoke(command.images, ["changed", "--since", "HEAD"])
    assert set(json.loads(result.stdout)) <= {spec.name for spec in (*SPECS, *plan.SERVICES)}


def test_an_unknown_name_is_a_usage_error() -> None:
    result = CliRunner().invoke(command.images, ["build", "made-up"])
    assert result.exit_code == 2
    assert "there is no image 'made-up'" in result.stderr


def test_an_error_is_one_sentence(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "images", "changed", "--since", "no-such-commit"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("images: git ")
    assert "Traceback" not in done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "images", "list"],
        cwd=REPOSITORY,
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_the_old_option_again_still_rebuilds_with_a_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(docker_cli, "build_image", lambda *_, **options: calls.append(options) or "an-image")
    old = CliRunner().invoke(command.images, ["build", SPECS[0].name, "--again"])
    new = CliRunner().invoke(command.images, ["build", SPECS[0].name, "--rebuild"])
    assert calls == [{"rebuild": True}, {"rebuild": True}]
    assert (old.stdout, "deprecated" in old.stderr) == ("an-image\n", True)
    assert (new.stdout, new.stderr) == ("an-image\n", "")
