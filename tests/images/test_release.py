"""A release: what images say about themselves, semantic tags next to digests, and the section of the changelog."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from images import __main__ as command
from images import docker_cli, labels, plan, release
from jobs.catalogue import REPOSITORY, JobSpec
from tests.images.registry import run_registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.images.registry import Contents

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
NAMES = ("source", "revision", "licenses", "created")
ABOUT = {"org.opencontainers.image.version": "1.2.3", "org.opencontainers.image.revision": "abc"}


def git(folder: Path, *words: str, moment: str = "2026-11-29T10:00:00+01:00") -> str:
    identity = {
        f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "a"), ("EMAIL", "a@b"), ("DATE", moment))
    }
    done = subprocess.run(["git", "-C", folder, *words], env={**os.environ, **identity}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_an_image_names_source_revision_version_licence_and_time(tmp_path: Path) -> None:
    """The URL of the clone is not the source: it may have a password. A change that no commit has is marked."""
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\nlicense = "Apache-2.0"\n')
    prefix = labels.PREFIX
    known = {prefix + "licenses": "Apache-2.0", prefix + "version": "1.2.3"}
    assert labels.read_annotations({}, tmp_path) == known
    git(tmp_path, "init", "-q")
    git(tmp_path, "remote", "add", "origin", "https://user:canary@git.example/finelt")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "all")
    revision, time = git(tmp_path, "rev-parse", "HEAD"), "2026-11-29T10:00:00+01:00"
    assert labels.read_annotations({}, tmp_path) == {**known, prefix + "created": time, prefix + "revision": revision}
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.4"\nlicense = "Apache-2.0"\n')
    github = {"GITHUB_SERVER_URL": "https://github.example", "GITHUB_REPOSITORY": "us/finelt"}
    found = labels.read_annotations(github, tmp_path)
    assert (found[prefix + "revision"], found[prefix + "source"]) == (f"{revision}-dirty", "https://github.example/us/finelt")


@pytest.mark.parametrize("kind", [JobSpec, plan.Service])
def test_every_build_gets_the_annotations_as_labels(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    """Also one by Pulumi, which gets the same arguments. They are not in the tag."""
    spec = next(spec for spec in command.list_specs() if isinstance(spec, kind))
    environment = docker_cli.BuildEnvironment()
    before = docker_cli.plan_image(spec, environment)
    monkeypatch.setattr(labels, "read_checkout", lambda: {f"{labels.PREFIX}{name}": f"the {name}" for name in NAMES})
    arguments = plan.build_arguments(spec, before)
    assert {name: arguments[name.upper()] for name in NAMES} == {name: f"the {name}" for name in NAMES}
    assert docker_cli.plan_image(spec, environment).tag == before.tag
    recipe = (REPOSITORY / plan.RECIPE).read_text(encoding="utf-8")
    for name in NAMES:
        assert recipe.count(f'{labels.PREFIX}{name}="${{{name.upper()}}}"') == 2  # jobs and services


@pytest.fixture
def registry() -> Iterator[tuple[str, Contents]]:
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed: apt-get install skopeo")
    with run_registry() as (address, contents):
        yield address, contents


def push_manifest(contents: Contents, repository: str, config: str) -> str:
    """Put a manifest into a registry; return its digest."""
    document = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": {"digest": config}, "layers": []}
    data = json.dumps(document).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    contents.manifests[digest], contents.media_types[digest] = data, MANIFEST_TYPE
    contents.tags[f"{repository}:{config}"] = digest
    return digest


def test_a_release_tags_both_platforms_by_digest_and_never_moves(registry: tuple[str, Contents]) -> None:
    address, contents = registry
    repository = f"{address}/finelt/extract-ecb-fx-rates"
    digests = {platform: push_manifest(contents, "finelt/extract-ecb-fx-rates", platform[-5:]) for platform in release.PLATFORMS}
    images = {platform: f"{repository}@{digest}" for platform, digest in digests.items()}
    reference = release.publish_index(repository, "1.2.3", images, ABOUT)
    assert reference == f"{repository}@{contents.tags['finelt/extract-ecb-fx-rates:1.2.3']}"
    index = json.loads(contents.manifests[reference.partition("@")[2]])
    assert (index["mediaType"], index["annotations"]) == ("application/vnd.oci.image.index.v1+json", ABOUT)
    found = {f"{entry['platform']['os']}/{entry['platform']['architecture']}": entry["digest"] for entry in index["manifests"]}
    assert found == digests
    assert all(entry["size"] == len(contents.manifests[entry["digest"]]) for entry in index["manifests"])
    assert release.publish_index(repository, "1.2.3", images, ABOUT) == reference
    images["linux/arm64"] = f"{repository}@{push_manifest(contents, 'finelt/extract-ecb-fx-rates', 'another')}"
    with pytest.raises(docker_cli.EngineError, match=r"1\.2\.3 is sha256:\w+ already, .* a release never changes, so raise the version"):
        release.publish_index(repository, "1.2.3", images, ABOUT)


CHANGES = "# Changelog\n\n## Unreleased\n\n- later\n\n## 1.2.3 - 2026-11-29\n\n### Added\n\n- this\n\n## 1.2.2\n\n- before\n\n## 1.2\n\n"


def test_the_notes_are_the_section_of_the_version() -> None:
    assert release.read_changes(CHANGES, "1.2.3") == "### Added\n\n- this\n"
    assert release.read_changes(CHANGES, "1.2.2") == "- before\n"
    for version in ("1.2.4", "1.2", "1"):
        with pytest.raises(docker_cli.EngineError, match=f"no section {version}; rename Unreleased"):
            release.read_changes(CHANGES, version)


def test_the_tag_must_be_the_version_of_the_checkout() -> None:
    refused = CliRunner().invoke(command.images, ["notes", "v9.9.9"])
    assert "the tag is v9.9.9 and the version in pyproject.toml" in str(refused.exception)
    assert (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8").startswith("# Changelog\n")


def test_the_changelog_can_be_released_once_unreleased_has_the_version_and_a_date() -> None:
    """GitHub refuses a release whose text has more than 125,000 characters."""
    version = labels.read_checkout()[f"{labels.PREFIX}version"]
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    if f"## {version} " not in changelog:
        changelog = changelog.replace("\n## Unreleased\n", f"\n## Unreleased\n\n## {version} - 2026-11-29\n")
    assert 0 < len(release.read_changes(changelog, version)) < 125_000


def test_a_release_needs_the_images_of_both_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_cli, "find_digest", lambda _image: None)
    refused = CliRunner().invoke(command.images, ["release", "registry.example/finelt", "extract-ecb-fx-rates"])
    assert "does not have extract-ecb-fx-rates for linux/amd64, linux/arm64; CI on main pushes it" in str(refused.exception)
