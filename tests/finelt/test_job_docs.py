"""The page of a job agrees with the job, its contracts and its roles, and the committed pages are current."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from jobkit.errors import ExitCode

from finelt import job_docs
from jobs.catalogue import JobSpec, catalogue
from orchestration.deployments import descriptions

if TYPE_CHECKING:
    from pathlib import Path

every_job = pytest.mark.parametrize("spec", catalogue(), ids=lambda spec: spec.name)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("pages")
    result = CliRunner().invoke(job_docs.main, ["--to", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


@every_job
def test_a_page_lists_options_secrets_hosts_licence_and_exit_codes(spec: JobSpec, pages: Path) -> None:
    text = (pages / f"{spec.name}.md").read_text()
    options = descriptions.describe_jobs(descriptions.installed_commands([spec]))[spec.name]["options"]
    for name in options["properties"]:
        assert f"`--{name.replace('_', '-')}`" in text
    for name in options["required"]:
        assert f"`--{name.replace('_', '-')}` (required)" in text
    assert all(f"| {code} | {code.meaning} | {code.next_step} |" in text for code in ExitCode)
    assert all(host in text for host in spec.hosts)
    assert all(f"the secret behind `--{name.replace('_', '-')}`" in text for name in spec.secrets)
    datasets = sum(dataset.startswith("raw/") for dataset in spec.writes)
    assert [text.count(words) for words in ("Licence: ", "Classification: ", "Redistribution: ", "Marts made from it are ")] == [
        datasets
    ] * 4
    assert ("Marts made from it are not published" in text) == ("raw/custodian_positions" in spec.writes)
    assert ("internal audience only" in text) == (spec.vendor in ("tiingo", "massive", "fred"))


@every_job
def test_the_permissions_on_a_page_are_those_of_the_roles(spec: JobSpec) -> None:
    permissions = pytest.importorskip("infra.job_permissions", reason="what infra/ needs is not installed; scripts/setup infra")
    told = [line for line in job_docs.list_permissions(spec) if "<lake>" in line]
    for prefix, actions in permissions.lake_prefixes(spec).items():
        if prefix.startswith("lake/"):
            (line,) = (line for line in told if f"<{prefix.replace('lake/', 'lake>/', 1)}*`" in line)
            assert ("s3:PutObject" in line) == ("s3:PutObject" in actions)
            told.remove(line)
    assert told == []


@pytest.mark.parametrize("spec", [spec for spec in catalogue() if spec.hosts], ids=lambda spec: spec.name)
def test_a_page_lists_the_vendors_responses_and_their_size_limit(spec: JobSpec, pages: Path) -> None:
    text = (pages / f"{spec.name}.md").read_text()
    described = descriptions.describe_jobs(descriptions.installed_commands([spec]))[spec.name]
    for meaning in described["answers"]:
        assert f"{meaning['source']}, as of {meaning['seen']}" in text
        assert re.fullmatch(r"\d{4}-\d{2}(-\d{2})?", meaning["seen"])
    assert "| 401 or 403 otherwise |" in text
    assert f"{described['resources']['max_body_bytes']:,} bytes" in text


def test_the_committed_pages_are_current(pages: Path) -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in job_docs.PAGES.glob("*.md")}
    written = {path.name: path.read_text(encoding="utf-8") for path in pages.glob("*.md")}
    assert committed == written, "docs/jobs is not current; run ./scripts/docs and commit it"


def test_the_page_of_a_removed_job_is_removed(tmp_path: Path) -> None:
    (tmp_path / "extract-gone-things.md").write_text("# extract-gone-things\n")
    job_docs.write_pages(tmp_path)
    assert {path.stem for path in tmp_path.glob("*.md")} == {"README", *(spec.name for spec in catalogue())}
