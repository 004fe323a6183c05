"""Run every command of docs/tutorial.md, in its order, in a copy of this repository, and test `new-job`."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from jobkit import contracts

from finelt import new_job
from images.plan import SERVICES
from tests.conftest import docker_engine_is_missing

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```sh( docker)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DEPLOYED = """
import json
from orchestration.deployments import register as deploy
found = deploy.all_deployments(kind="process", pool="process")
print(json.dumps({one.flow: one.fields["job_variables"]["command"] for one in found if one.flow.startswith("extract-acme")}))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of this repository as it is now, with one commit."""
    folder = tmp_path / "finelt"
    folder.mkdir()
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    existing = "\n".join(name for name in listed.splitlines() if (ROOT / name).is_file())
    packed = subprocess.run(["tar", "-c", "-T", "-"], cwd=ROOT, input=existing.encode(), capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=folder, input=packed, check=True)
    (folder / ".tools").symlink_to(ROOT / ".tools")
    identity = ("-c", "user.name=tutorial", "-c", "user.email=tutorial@example.com")
    for words in (("init", "--quiet"), ("add", "--all"), (*identity, "commit", "--quiet", "--message", "as it is")):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


def shell(checkout: Path, commands: str) -> str:
    """Run commands in bash and return their output; fail with the output if a command fails."""
    environ = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH", "FINELT_REQUIRE_DOCKER")}
    with (checkout.parent / "output").open("w+") as output:  # a pipe would wait for the server that keeps running
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands], cwd=checkout, env=environ, stdout=output, stderr=output, check=False
        )
        output.seek(0)
        text = output.read()
    assert result.returncode == 0, f"{commands}\n{text[-3000:]}"
    return text


def read_receipt(checkout: Path, name: str) -> dict[str, object]:
    document = json.loads((checkout / "acme" / name).read_text())
    assert isinstance(document, dict)
    return document


def test_the_tutorial_works_and_removes_everything_it_made(checkout: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    page = (ROOT / "docs" / "tutorial.md").read_text().replace("8099", port)
    *blocks, removal = BLOCK.findall(page)
    no_docker = docker_engine_is_missing()
    try:
        for docker, commands in blocks:
            if not (docker and no_docker):
                shell(checkout, commands)
        first, again = read_receipt(checkout, "receipt.json"), read_receipt(checkout, "again.json")
        assert (first["status"], first["rows"], first["quarantined"], again["status"]) == ("done", 2, 1, "unchanged")
        changed = set(json.loads((checkout / "acme" / "changed.json").read_text()))
        assert changed - {service.name for service in SERVICES} == {"extract-acme-gold"}
        cronjob = yaml.safe_load((checkout / "acme" / "cronjob.yaml").read_text())["spec"]
        assert (cronjob["schedule"], cronjob["timeZone"]) == ("30 13 * * 1-5", "Europe/London")
        (checkout.parent / "deployed.py").write_text(DEPLOYED)
        deployed = shell(checkout, f"PYTHONPATH=. .venv/bin/python {checkout.parent}/deployed.py")
        assert json.loads(deployed.splitlines()[-1]) == {"extract-acme-gold": f"{checkout}/.venv/bin/extract-acme-gold run"}
    finally:
        if (checkout / "acme" / "pid").exists():
            shell(checkout, removal[1])
    assert shell(checkout, "git status --porcelain") == ""


def test_a_new_job_has_each_file_and_a_contract_that_allows_no_publication() -> None:
    files = new_job.render_files(new_job.build_names("extract-acme-gold", None))
    assert sorted(files) == [
        "extract_acme_gold/__init__.py",
        "extract_acme_gold/__main__.py",
        "extract_acme_gold/acme_gold.odcs.yaml",
        "extract_acme_gold/parser.py",
        "extract_acme_gold/source.py",
        "pyproject.toml",
        "tests/test_acme_parser.py",
    ]
    rules = contracts.read_contract(files["extract_acme_gold/acme_gold.odcs.yaml"])
    assert (rules.classification, rules.licence, rules.redistribution, rules.licence_url) == (
        "internal",
        "ask Acme",
        "internal-use-only",
        "",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["acme"], "extract-VENDOR-THINGS"),
        (["extract-acme"], "extract-VENDOR-THINGS"),
        (["extract-Acme-gold"], "extract-VENDOR-THINGS"),
        (["extract-treasury-yields"], "exists"),
        (["extract-acme-gold", "--host", "https://api.acme.example/v1"], "not a host name"),
    ],
)
def test_an_invalid_name_is_refused_and_no_file_is_written(words: list[str], message: str) -> None:
    before = sorted(new_job.JOBS.iterdir())
    result = CliRunner().invoke(new_job.main, words)
    assert (result.exit_code, sorted(new_job.JOBS.iterdir())) == (2, before)
    assert message in result.output
