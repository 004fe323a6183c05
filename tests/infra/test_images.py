"""Pulumi builds only what ECR does not have: a second `up`, a rollback, a lost state and an interrupted `up` push no tag twice.

Each test runs the program and pushes what it would build to a registry that refuses existing tags, as ECR does.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import pytest
from moto import mock_aws

from images.plan import Plan
from infra import ecr, job_image
from infra.images import read_built_images
from infra.settings import SettingsError
from infra.testing.mock_engine import ACCOUNT, REGION, Graph, graph
from tests.images.registry import run_registry
from tests.infra.graph_reader import FUNCTION, OTHER_HARDWARE, TASK, as_list, container_of, role_policy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IMAGE, COPY = "docker:index/image:Image", "command:local:Command"
ECR = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"


class Registry:
    """The stack's registry. `pushes` counts the images that were pushed."""

    def __init__(self, address: str, tags: dict[str, str]) -> None:
        self.address, self.tags, self.pushes = address, tags, 0

    def deploy(self, choices: dict[str, str] | None = None, *, sees_images: bool = True, interrupted_after: int | None = None) -> Graph:
        """Run the program and push what it builds, as `up` does. Raises HTTPError if a tag exists."""
        stack = graph(choices=choices, images=dict(self.tags) if sees_images else {})
        for image in list(stack.of(IMAGE))[:interrupted_after]:
            self.push(image.inputs["imageName"])
        return stack

    def push(self, image_name: str) -> None:
        repository, _, tag = image_name.partition("/")[2].rpartition(":")
        url = f"http://{self.address}/v2/{repository}/manifests/{tag}"
        with urlopen(Request(url, image_name.encode(), method="PUT")):
            self.pushes += 1


@pytest.fixture
def registry() -> Iterator[Registry]:
    with run_registry() as (address, contents):
        yield Registry(address, contents.tags)


def list_references(stack: Graph) -> set[str]:
    """Return the images that tasks and functions run."""
    tasks = {container_of(task)["image"] for task in stack.of(TASK)}
    return tasks | {function.inputs["imageUri"] for function in stack.of(FUNCTION)}


def test_an_image_that_ecr_has_is_not_built_and_runs_by_the_same_digest(registry: Registry) -> None:
    first = registry.deploy()
    built = registry.pushes
    second = registry.deploy()
    assert built > 10
    assert registry.pushes == built
    assert not list(second.of(IMAGE))
    assert list_references(second) == list_references(first)
    assert {reference.partition("@")[2] for reference in list_references(second)} == set(registry.tags.values())


def test_a_rollback_runs_the_images_of_the_old_version(registry: Registry) -> None:
    old = registry.deploy()
    new = registry.deploy(OTHER_HARDWARE)  # every image has another tag
    pushes = registry.pushes
    assert not list_references(old) & list_references(new)
    assert list_references(registry.deploy()) == list_references(old)
    assert registry.pushes == pushes


def test_an_interrupted_up_continues_with_what_is_missing(registry: Registry) -> None:
    whole = registry.deploy(interrupted_after=5)
    rest = registry.deploy()
    assert len(list(rest.of(IMAGE))) == len(list(whole.of(IMAGE))) - 5
    assert list_references(rest) == list_references(whole)


def test_an_image_that_ci_built_is_copied_and_runs_by_its_own_digest(registry: Registry) -> None:
    built = {"load-warehouse": f"ghcr.io/example/load-warehouse@sha256:{'5' * 64}"}
    stack = graph(built=built)
    (copy,) = stack.of(COPY)
    source, target = copy.inputs["create"].split()[-2:]
    assert source == f"docker://{built['load-warehouse']}"
    assert target.startswith(f"docker://{ECR}/finelt-dev/load-warehouse:")
    assert copy.retain_on_delete
    task = stack.the(TASK, "-load-warehouse")
    assert container_of(task)["image"] == f"{ECR}/finelt-dev/load-warehouse@sha256:{'5' * 64}"
    assert stack.depends(task, copy)
    assert "finelt-dev-load-warehouse" not in {image.name for image in stack.of(IMAGE)}
    registry.push(target.removeprefix("docker://"))
    assert not list(graph(built=built, images=dict(registry.tags)).of(COPY))


def test_the_file_of_built_images_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "images.json"
    assert read_built_images({}) == {}
    file.write_text(json.dumps({"a": f"ghcr.io/example/a@sha256:{'5' * 64}"}))
    assert list(read_built_images({"FINELT_IMAGES": str(file)})) == ["a"]
    file.write_text(json.dumps({"a": "ghcr.io/example/a:latest; rm -r ."}))
    with pytest.raises(SettingsError, match=r"expected registry/a@sha256:\.\.\."):
        read_built_images({"FINELT_IMAGES": str(file)})


def test_a_program_that_does_not_look_into_ecr_is_refused(registry: Registry) -> None:
    registry.deploy()
    with pytest.raises(HTTPError, match="400"):
        registry.deploy(sees_images=False)


def test_a_build_that_pulumi_forgets_leaves_the_image(dev: Graph) -> None:
    assert all(image.retain_on_delete for image in dev.of(IMAGE))


def test_the_context_has_the_planned_files_at_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulumi sees an absolute path as a change on every other machine."""
    monkeypatch.setattr(job_image, "PROGRAM_FOLDER", tmp_path / "infra")
    monkeypatch.setattr(job_image, "BUILD_FOLDER", tmp_path / ".build")
    plan = Plan("x", "job", None, {"images/job.Dockerfile": b"FROM scratch"}, {}, {})
    assert job_image._write_context(plan) == "../.build/x"
    assert (tmp_path / ".build/x/images/job.Dockerfile").read_bytes() == b"FROM scratch"


def test_a_missing_tag_or_repository_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the preview of a stack that does not exist yet."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("MOTO_ACCOUNT_ID", ACCOUNT)
    ecr._client.cache_clear()
    with mock_aws():
        find = partial(ecr.find_digest, account=ACCOUNT, region=REGION)
        client = boto3.client("ecr", region_name=REGION)
        assert find("finelt-dev/x", "1") is None
        client.create_repository(repositoryName="finelt-dev/x")
        assert find("finelt-dev/x", "1") is None
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "config": {}, "layers": []}
        pushed = client.put_image(repositoryName="finelt-dev/x", imageManifest=json.dumps(manifest), imageTag="1")
        assert find("finelt-dev/x", "1") == pushed["image"]["imageId"]["imageDigest"]
    ecr._client.cache_clear()


def test_a_preview_may_look_images_up(dev: Graph) -> None:
    statements = role_policy(dev, "dev-preview")["Statement"]
    (allowed,) = [statement for statement in statements if "ecr:DescribeImages" in as_list(statement["Action"])]
    assert as_list(allowed["Resource"]) == [f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/finelt-dev/*"]
