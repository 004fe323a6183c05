"""An image's tag changes if, and only if, something in the image may change."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from images import plan
from tests.images.trees import CHECKOUT, SPECS, edit_file, list_changed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jobs.catalogue import JobSpec

EXTRACTS = [spec.name for spec in SPECS if spec.name.startswith("extract-")]
every_job = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


def bump_version(package: str) -> plan.Tree:
    """A lock in which one package has another version."""
    text = CHECKOUT["uv.lock"].decode()
    assert f'name = "{package}"\nversion = "' in text
    return {**CHECKOUT, "uv.lock": text.replace(f'name = "{package}"\nversion = "', f'name = "{package}"\nversion = "9', 1).encode()}


@every_job
def test_a_tag_is_deterministic_and_unique(spec: JobSpec) -> None:
    tag = plan.plan_image(spec, plan.read_checkout()).tag
    assert tag == plan.plan_image(spec, CHECKOUT).tag
    assert [other.name for other in SPECS if plan.plan_image(other, CHECKOUT).tag == tag] == [spec.name]


def test_without_a_change_no_image_changes() -> None:
    assert list_changed(CHECKOUT) == []


@every_job
def test_a_jobs_own_file_changes_only_its_image(spec: JobSpec) -> None:
    assert list_changed(edit_file(f"jobs/{spec.name}/{spec.package}/__main__.py")) == [spec.name]
    assert list_changed(edit_file(f"jobs/{spec.name}/{spec.package}/new.py")) == [spec.name]


@pytest.mark.parametrize("path", ["jobs/jobkit/jobkit/http.py", *plan.RECIPE_FILES])
def test_jobkit_and_the_recipe_change_every_image(path: str) -> None:
    assert list_changed(edit_file(path)) == [spec.name for spec in SPECS]


def test_a_locked_package_changes_only_the_images_that_contain_it() -> None:
    assert list_changed(bump_version("click")) == [spec.name for spec in SPECS]
    assert list_changed(bump_version("httpx2")) == EXTRACTS
    assert list_changed(bump_version("pandas")) == ["publish-marts"]
    assert list_changed(bump_version("dbt-core")) == ["transform-warehouse"]
    assert list_changed(bump_version("prefect")) == list_changed(bump_version("pytest")) == []


def test_the_dbt_project_changes_only_the_image_that_runs_it() -> None:
    assert list_changed(edit_file("dbt/dbt_project.yml")) == ["transform-warehouse"]


def test_tools_tests_and_a_new_job_change_no_image() -> None:
    assert list_changed(edit_file("pyproject.toml", b"\n[tool.made-up]\nx = 1\n")) == []
    new_member = CHECKOUT["uv.lock"].replace(b"members = [\n", b'members = [\n    "a-new-job",\n')
    assert new_member != CHECKOUT["uv.lock"]
    assert list_changed({**CHECKOUT, "uv.lock": new_member}) == []


def test_the_base_and_the_platform_are_in_the_tag() -> None:
    spec = SPECS[0]
    tags = {
        plan.plan_image(spec, CHECKOUT).tag,
        plan.plan_image(spec, CHECKOUT, python_image="mirror.example/python@sha256:0").tag,
        plan.plan_image(spec, CHECKOUT, platform="linux/arm64").tag,
    }
    assert len(tags) == 3


def test_a_services_source_changes_only_its_image() -> None:
    all_specs = (*SPECS, *plan.SERVICES)
    assert plan.list_changed(all_specs, CHECKOUT, edit_file("orchestration/flows/daily.py")) == ["orchestration"]
    assert plan.list_changed(all_specs, CHECKOUT, edit_file("verification/sample_vendors/ecb.py")) == ["sample-vendors"]
    assert "orchestration" in plan.list_changed(all_specs, CHECKOUT, edit_file("jobs/jobkit/jobkit/launchers/prefect.py"))


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., None]:
    """Runs git in a repository at tmp_path that holds this checkout in one commit."""

    def git(*words: str) -> None:
        identity = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
        subprocess.run(["git", "-C", tmp_path, *words], env={**os.environ, **identity}, capture_output=True, check=True)

    for name, content in CHECKOUT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "jobs/load-warehouse/tests").mkdir()
    (tmp_path / "jobs/load-warehouse/tests/test_it.py").write_text("")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "all")
    return git


def test_changed_compares_the_checkout_with_a_commit(repository: Callable[..., None], tmp_path: Path) -> None:
    before = plan.read_revision("HEAD", tmp_path)
    assert plan.list_changed(SPECS, before, plan.read_checkout(tmp_path)) == []
    (tmp_path / "jobs/load-warehouse/tests/test_it.py").write_text("# a test is in no image")
    (tmp_path / "jobs/load-warehouse/load_warehouse/new.py").write_text("")
    assert plan.list_changed(SPECS, before, plan.read_checkout(tmp_path)) == ["load-warehouse"]
    repository("commit", "-qam", "more")
    assert plan.list_changed(SPECS, plan.read_revision("HEAD~1", tmp_path), plan.read_checkout(tmp_path)) == ["load-warehouse"]


def test_every_image_has_changed_since_a_commit_without_jobs(repository: Callable[..., None], tmp_path: Path) -> None:
    repository("rm", "-rqf", ".")
    (tmp_path / "README.md").write_text("x")
    repository("add", "README.md")
    repository("commit", "-qm", "none")
    assert plan.list_changed(SPECS, plan.read_revision("HEAD", tmp_path), CHECKOUT) == [spec.name for spec in SPECS]


def test_an_unknown_commit_is_an_error() -> None:
    with pytest.raises(plan.PlanError, match="name a commit"):
        plan.read_revision("no-such-commit")
