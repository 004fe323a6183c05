"""Images of jobs, and hardened containers that run them."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from images import base, docker_cli, plan
from images.docker_cli import BuildEnvironment, EngineError
from jobs.catalogue import catalogue
from tests.job_output import JobOutput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobs.catalogue import JobSpec

SPECS = catalogue()
EXTRACTS = [spec for spec in SPECS if spec.name.startswith("extract-")]
UNPRIVILEGED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
every_job = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


@cache
def build_environment() -> BuildEnvironment:
    """Read the build environment; if the recipe's base cannot be pulled, use one built from Debian's packages."""
    environment = BuildEnvironment.from_environ(os.environ)
    if environment.python_image is None:
        default = plan.read_default_base(plan.read_checkout())
        try:
            docker_cli.image_exists(default) or docker_cli.docker("pull", "--quiet", default)
        except EngineError:
            return replace(environment, python_image=base.ensure_base(), network=environment.network or "host")
    return environment


@cache
def image(spec: JobSpec) -> str:
    return docker_cli.build_image(spec, build_environment())


def harden(tmp_mib: int) -> list[str]:
    """Return the flags of a container as a job runs in AWS: nothing is writable but /tmp, of the size that the job declares."""
    return [*UNPRIVILEGED, "--tmpfs", f"/tmp:size={tmp_mib}m"]  # noqa: S108


def run(spec: JobSpec, *words: str, flags: Sequence[str] = ("--network", "none"), environ: dict[str, str] | None = None) -> JobOutput:
    """Run a job in a hardened container and remove it."""
    name = f"finelt-test-{secrets.token_hex(4)}"
    given = [word for variable in environ or {} for word in ("--env", variable)]
    command = [docker_cli.find_client(), "run", "--rm", "--name", name, *harden(spec.tmp_mib), *flags, *given, image(spec), *words]
    try:
        done = subprocess.run(command, env={**os.environ, **(environ or {})}, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        docker_cli.docker("rm", "--force", name)
        raise
    return JobOutput(done.returncode, done.stdout, done.stderr)


def python(spec: JobSpec, code: str, *flags: str) -> str:
    """Run Python code in the image and return its output."""
    return docker_cli.docker("run", "--rm", "--network", "none", "--entrypoint", "/app/bin/python", *flags, image(spec), "-c", code)


def inspected(spec: JobSpec) -> dict[str, Any]:
    (document,) = json.loads(docker_cli.docker("image", "inspect", image(spec)))
    assert isinstance(document, dict)
    return document


def layers(name: str) -> list[str]:
    (document,) = json.loads(docker_cli.docker("image", "inspect", name))
    return list(document["RootFS"]["Layers"])
