"""Run every command of docs/tutorial.md, in its order, in a copy of this repository, and test `new-job`."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from jobkit import contracts, declaration

from finelt import new_job
from finelt.contracts import lint
from finelt.contracts.dbt_project import DbtProject
from finelt.proposal import propose_contract
from images.plan import SERVICES
from jobs.catalogue import catalogue
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
    for derived in ("jobs/publish-marts/web/node_modules", "jobs/publish-marts/web/build", "dbt/target"):  # as scripts/setup left them here
        if (ROOT / derived).is_dir():
            shutil.copytree(ROOT / derived, folder / derived, copy_function=os.link, symlinks=True)
    copy_environment(folder / ".venv")
    identity = ("-c", "user.name=tutorial", "-c", "user.email=tutorial@example.com")
    for words in (("init", "--quiet"), ("add", "--all"), (*identity, "commit", "--quiet", "--message", "as it is")):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


def copy_environment(copied: Path) -> None:
    """Copy this checkout's .venv with its bytecode, half of the tutorial's time. scripts/setup then installs the jobs of the copy in it."""
    own = ROOT / ".venv"
    shutil.copytree(own / "lib", copied / "lib", copy_function=os.link, symlinks=True)
    shutil.copytree(own / "bin", copied / "bin", symlinks=True)
    shutil.copy(own / "pyvenv.cfg", copied)
    for script in (copied / "bin").iterdir():
        if script.is_file() and not script.is_symlink() and (content := script.read_bytes()).startswith(f"#!{own}/".encode()):
            script.write_bytes(content.replace(f"#!{own}/".encode(), f"#!{copied}/".encode(), 1))


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
        prices = (checkout / "acme" / "prices.csv").read_text().splitlines()
        assert prices == ["price_date,price_usd", "2024-01-02,2064.400000", "2024-01-03,2041.100000"]
        assert list((checkout / "acme" / ".finelt" / "site" / "latest").rglob("fct_gold_price.parquet"))
        changed = set(json.loads((checkout / "acme" / "changed.json").read_text()))
        assert changed - {service.name for service in SERVICES} == {"extract-acme-gold", "transform-warehouse"}
        cronjob = yaml.safe_load((checkout / "acme" / "cronjob.yaml").read_text())["spec"]
        assert (cronjob["schedule"], cronjob["timeZone"]) == ("30 13 * * 1-5", "Europe/London")
        shell(
            checkout, ".venv/bin/ruff check --quiet jobs/extract-acme-gold && .venv/bin/ruff format --check --quiet jobs/extract-acme-gold"
        )
        assert "30 13 * * 1-5" in (checkout / "docs" / "jobs" / "extract-acme-gold.md").read_text()
        (checkout.parent / "deployed.py").write_text(DEPLOYED)
        deployed = shell(checkout, f"PYTHONPATH=. .venv/bin/python {checkout.parent}/deployed.py")
        assert json.loads(deployed.splitlines()[-1]) == {"extract-acme-gold": f"{checkout}/.venv/bin/extract-acme-gold run"}
    finally:
        if (checkout / "acme" / "pid").exists():
            shell(checkout, removal[1])
    assert shell(checkout, "git status --porcelain") == ""


def write_job(folder: Path, kind: str) -> list[Path]:
    """Write a new job below a folder as it would be in the repository, and return the paths of its files there."""
    names = new_job.build_names(f"extract-acme-{kind}", "api.acme.example")
    files = {folder / path.relative_to(ROOT): text for path, text in new_job.render_files(names, kind).items()}
    shutil.copy(ROOT / "pyproject.toml", folder)  # the settings of ruff, mypy and pytest
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list(files)


@pytest.mark.parametrize("kind", new_job.KINDS)
def test_a_new_job_of_each_template_leaves_the_lints_of_contracts_and_style_green(kind: str, tmp_path: Path) -> None:
    """Its contract agrees with its dbt source, and allows no publication."""
    files = write_job(tmp_path, kind)
    (contract,) = [path for path in files if path.name.endswith(lint.SUFFIX)]
    assert lint.find_problems([contract], DbtProject(tmp_path / "dbt"), {f"acme_{kind}"}) == []
    rules = contracts.load(contract)
    assert (rules.classification, rules.licence, rules.redistribution) == ("internal", "ask Acme", "internal-use-only")
    python = [str(path) for path in files if path.suffix == ".py"]
    for words in (("check",), ("format", "--check")):
        subprocess.run([sys.executable, "-m", "ruff", *words, *python], cwd=tmp_path, check=True)
    if kind == new_job.DROP:
        pyproject = (new_job.DROPPED_FILES / "pyproject.toml").read_text()
        declared = declaration.parse(tomllib.loads(new_job.declare_dataset(pyproject, "acme_drop"))).writes
        assert declared == (*declaration.parse(tomllib.loads(pyproject)).writes, "raw/acme_drop")
    else:
        (spec,) = catalogue(tmp_path / "jobs")
        assert (spec.name, spec.hosts, spec.writes) == (f"extract-acme-{kind}", ("api.acme.example",), (f"raw/acme_{kind}",))
        assert spec.secrets == new_job.KINDS[kind].secrets


def test_the_types_and_own_tests_of_new_jobs_are_green(tmp_path: Path) -> None:
    """The tests of the template for dropped files run in a copy of the job that it extends."""
    shutil.copytree(new_job.DROPPED_FILES, tmp_path / "jobs" / "extract-dropped-files")
    for kind in new_job.KINDS:
        write_job(tmp_path, kind)
    folders = sorted((tmp_path / "jobs").iterdir())
    packages = [str(folder / folder.name.replace("-", "_")) for folder in folders if "acme" in folder.name]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)), "MYPYPATH": os.pathsep.join(map(str, folders))}
    mypy = [sys.executable, "-m", "mypy", *packages]
    subprocess.run(mypy, env=environ, cwd=tmp_path, check=True)
    tests = [path for folder in folders for path in sorted(folder.glob("tests/test_acme_*.py"))]
    assert len(tests) == len(new_job.KINDS)
    pytest_command = [sys.executable, "-m", "pytest", "-q", *map(str, tests)]
    subprocess.run(pytest_command, env=environ, cwd=tmp_path, check=True)


def test_a_contract_that_somebody_proposed_becomes_that_of_the_job() -> None:
    text, _ = propose_contract(b"day,close price\n2024-01-02,1.5\n", "acme.csv", "acme_gold")
    files = {path.name: body for path, body in new_job.render_files(new_job.build_names("extract-acme-gold", None), "csv", text).items()}
    assert files["acme_gold.odcs.yaml"] == text
    assert 'source."close price" as close_price,' in files["stg_acme__gold.sql"]
    with pytest.raises(new_job.NewJobError, match="the contract is of 'acme_gold', the job writes 'acme_silver'"):
        new_job.render_files(new_job.build_names("extract-acme-silver", None), "csv", text)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["acme"], "extract-VENDOR-THINGS"),
        (["extract-acme"], "extract-VENDOR-THINGS"),
        (["extract-Acme-gold"], "extract-VENDOR-THINGS"),
        (["extract-treasury-yields"], "exists"),
        (["extract-custodian-lots", "--template", "drop"], "exists"),
        (["extract-acme-gold", "--template", "soap"], "is not one of"),
        (["extract-acme-gold", "--contract", __file__], "is not a contract"),
        (["extract-acme-gold", "--host", "https://api.acme.example/v1"], "not a host name"),
    ],
)
def test_an_invalid_name_is_refused_and_no_file_is_written(words: list[str], message: str) -> None:
    before = sorted(new_job.JOBS.iterdir())
    result = CliRunner().invoke(new_job.main, words)
    assert (result.exit_code, sorted(new_job.JOBS.iterdir())) == (2, before)
    assert message in result.output
