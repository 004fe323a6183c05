"""A build context has what the image needs, and nothing else."""

from __future__ import annotations

import stat
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from images import plan
from tests.images.trees import CHECKOUT, SPECS

if TYPE_CHECKING:
    from pathlib import Path

    from jobs.catalogue import JobSpec

every_job = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
every_service = pytest.mark.parametrize("service", [*plan.SERVICES, plan.FALLBACK], ids=lambda service: service.name)


def test_a_build_context_has_no_tests_hidden_files_or_generated_files(tmp_path: Path) -> None:
    """Neither does it see a secret somebody keeps final the code."""
    derived = ("jobs/a/web/node_modules/x.js", "jobs/a/web/build/x.js")
    for name in (
        *derived,
        "jobs/a/tests/test_a.py",
        "jobs/a/.env",
        "jobs/a/a/__pycache__/x.pyc",
        "dbt/target/m.json",
        "dbt/logs/dbt.log",
        ".env",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    for name in ("jobs/a/a/x.py", "dbt/tests/t.sql", "pyproject.toml", "uv.lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert sorted(plan.read_checkout(tmp_path)) == ["dbt/tests/t.sql", "jobs/a/a/x.py", "pyproject.toml", "uv.lock"]


@every_job
def test_a_build_context_has_the_job_jobkit_and_the_recipe(spec: JobSpec, tmp_path: Path) -> None:
    image_plan = plan.plan_image(spec, CHECKOUT)
    image_plan.write_context(tmp_path)
    folders = {"/".join(path.split("/")[:2]) for path in image_plan.files if path.startswith("jobs/")}
    assert folders == {"jobs/jobkit", f"jobs/{spec.name}"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()} == {0o644}
    assert (tmp_path / "dbt").exists() == (image_plan.target == "dbt")
    assert (tmp_path / "jobs" / spec.name / "web" / "package-lock.json").exists() == (image_plan.target == "site")


@every_service
def test_a_service_consists_of_its_source_its_group_and_the_recipe(service: plan.Service, tmp_path: Path) -> None:
    image_plan = plan.plan_image(service, CHECKOUT)
    image_plan.write_context(tmp_path)
    source = [path for path in image_plan.files if path.startswith("source/")]
    assert source
    assert set(image_plan.files) == {*source, *plan.RECIPE_FILES, *plan.TOP_FILES}
    assert not [path for path in source if "/tests/" in path]
    groups = tomllib.loads(image_plan.files["pyproject.toml"].decode())["dependency-groups"]
    assert list(groups) == [service.group]
    assert all(isinstance(requirement, str) for requirement in groups[service.group])


def test_the_recipe_pulls_no_syntax_and_pins_its_base_by_digest() -> None:
    recipe = CHECKOUT[plan.RECIPE].decode()
    assert "syntax=" not in recipe
    name, _, digest = plan.read_default_base(CHECKOUT).partition("@sha256:")
    assert name.startswith("python:3.13")
    assert len(digest) == 64


def test_a_job_that_is_not_in_the_lock_is_an_error() -> None:
    with pytest.raises(plan.PlanError, match=r"no package 'made-up'.*uv lock"):
        plan.plan_image(replace(SPECS[0], name="made-up"), {**CHECKOUT, "jobs/made-up/pyproject.toml": b""})
