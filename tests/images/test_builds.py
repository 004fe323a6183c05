"""Builds are reproducible, images share layers, and a push returns the digest."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from images import __main__ as command
from images import docker_cli, plan
from jobs.catalogue import REPOSITORY
from tests.images.containers import EXTRACTS, SPECS, build_environment, image, layers
from tests.images.registry import run_registry
from tests.test_job_contract import CANARY

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.docker


def test_two_builds_of_the_same_files_give_the_same_layers_and_leave_no_certificate(tmp_path: Path) -> None:
    """Other certificates change no layer, and none of them stays in the image."""
    bundle = tmp_path / "ca.pem"
    own = build_environment().ca
    bundle.write_text(f"{own.read_text() if own else ''}\n# {CANARY}\n")
    spec = next(spec for spec in SPECS if spec.name == "transform-warehouse")  # it has the layers of every job, and the dbt project
    first = layers(image(spec))
    again = docker_cli.build_image(spec, replace(build_environment(), ca=bundle if own else None), rebuild=True)
    assert layers(again) == first
    assert CANARY.encode() not in saved(again)


def saved(name: str) -> bytes:
    """Return what a registry would receive: the configuration and every layer."""
    return subprocess.run([docker_cli.find_client(), "save", name], capture_output=True, check=True).stdout


def test_a_build_by_hand_from_the_repository_gives_the_same_layers() -> None:
    """The recipe's .dockerignore and the build context select the same files."""
    spec = SPECS[0]
    planned = docker_cli.plan_image(spec, build_environment())
    given = [word for name, value in planned.args.items() for word in ("--build-arg", f"{name}={value}")]
    given += ["--network", build_environment().network] if build_environment().network else []
    given += ["--secret", f"id=ca,src={build_environment().ca}"] if build_environment().ca else []
    words = [docker_cli.find_client(), "build", "--quiet", "--file", str(REPOSITORY / plan.RECIPE), *given, str(REPOSITORY)]
    done = subprocess.run(words, env={**os.environ, "DOCKER_BUILDKIT": "1"}, capture_output=True, text=True, check=True)
    assert layers(done.stdout.strip()) == layers(image(spec))


def test_extract_jobs_share_all_layers_but_their_own() -> None:
    """The exceptions have libraries to check identifiers, extract-dropped-files also to read Excel."""
    stacks = {spec.name: layers(image(spec)) for spec in EXTRACTS}
    assert len({stack[0] for stack in stacks.values()}) == 1
    assert len({tuple(stack[-2:]) for stack in stacks.values()}) == len(EXTRACTS)
    for name in ("extract-dropped-files", "extract-gleif-entities", "extract-gleif-isins", "extract-openfigi-identifiers"):
        del stacks[name]
    assert len({tuple(stack[:-2]) for stack in stacks.values()}) == 1


def test_push_returns_the_registrys_digest_and_pushes_no_tag_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry refuses existing tags."""
    monkeypatch.setattr(command, "read_environment", build_environment)
    spec = SPECS[0]
    with run_registry() as (address, contents):
        missing = CliRunner().invoke(command.images, ["missing", f"{address}/finelt", spec.name])
        absent = CliRunner().invoke(command.images, ["digests", f"{address}/finelt", spec.name])
        reference = docker_cli.push_image(image(spec), f"{address}/finelt/{spec.name}")
        assert docker_cli.push_image(image(spec), f"{address}/finelt/{spec.name}") == reference
        found = CliRunner().invoke(command.images, ["digests", f"{address}/finelt", spec.name])
        docker_cli.docker("image", "rm", f"{address}/finelt/{spec.name}:{image(spec).rpartition(':')[2]}")
    assert json.loads(missing.stdout) == [spec.name]
    assert isinstance(absent.exception, docker_cli.EngineError)
    assert json.loads(found.stdout) == {spec.name: reference}
    name, _, digest = reference.partition("@")
    assert name == f"{address}/finelt/{spec.name}"
    manifest = json.loads(contents.manifests[digest])
    assert len(manifest["layers"]) == len(layers(image(spec)))
    assert {layer["digest"] for layer in manifest["layers"]} <= set(contents.blobs)
