"""A pruned lock has the packages that one job needs."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from images import lock
from tests.images.trees import CHECKOUT, SPECS

if TYPE_CHECKING:
    from jobs.catalogue import JobSpec

every_job = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


@every_job
def test_every_package_that_a_job_needs_has_a_wheel(spec: JobSpec) -> None:
    """There is no compiler where images are built."""
    packages = tomllib.loads(lock.prune_lock(CHECKOUT["uv.lock"].decode(), spec.name))["package"]
    bare = {package["name"] for package in packages if "registry" in package["source"] and not package.get("wheels")}
    needed = {
        entry["name"]
        for package in packages
        for entry in package.get("dependencies", [])
        if entry.get("marker") != "sys_platform == 'never'"  # pyproject.toml says which of them are never installed, and why
    }
    assert bare & needed == set()


@every_job
def test_the_lock_has_what_the_job_declares(spec: JobSpec) -> None:
    """Otherwise its image lacks what its code imports; run `uv lock`."""
    packages = tomllib.loads(CHECKOUT["uv.lock"].decode())["package"]
    (locked,) = (package["metadata"]["requires-dist"] for package in packages if package["name"] == spec.name)
    declared = tomllib.loads(CHECKOUT[f"jobs/{spec.name}/pyproject.toml"].decode())["project"]["dependencies"]
    assert sorted((entry["name"], tuple(sorted(entry.get("extras", [])))) for entry in locked) == sorted(
        map(lock.parse_requirement, declared)
    )


def test_a_pruned_lock_has_an_extra_only_if_it_is_requested() -> None:
    whole = CHECKOUT["uv.lock"].decode()
    bare, lake = (tomllib.loads(lock.prune_lock(whole, wanted)) for wanted in ("jobkit", "jobkit[lake]"))
    assert {package["name"] for package in bare["package"]} >= {"click", "jobkit", "finelt"}
    assert "boto3" not in {package["name"] for package in bare["package"]}
    assert "boto3" in {package["name"] for package in lake["package"]}
    assert "httpx2" not in {package["name"] for package in lake["package"]}
    assert lake["manifest"]["members"] == ["finelt", "jobkit"]


def test_pruning_a_pruned_lock_changes_nothing() -> None:
    once = lock.prune_lock(CHECKOUT["uv.lock"].decode(), "load-warehouse")
    assert lock.prune_lock(once, "jobkit[lake]") == lock.prune_lock(CHECKOUT["uv.lock"].decode(), "jobkit[lake]")


def test_an_unknown_package_is_an_error() -> None:
    with pytest.raises(lock.LockError, match="no package 'made-up'"):
        lock.prune_lock(CHECKOUT["uv.lock"].decode(), "made-up")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("jobkit", ("jobkit", ())),
        ("jobkit[]", ("jobkit", ())),
        ("jobkit[s3 , lake]>=1; python_version < '3.14'", ("jobkit", ("lake", "s3"))),
        ("Job_Kit>=1,<2", ("job-kit", ())),
    ],
)
def test_a_requirement_has_a_name_and_extras(text: str, result: tuple[str, tuple[str, ...]]) -> None:
    assert lock.parse_requirement(text) == result
