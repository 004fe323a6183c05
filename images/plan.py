"""Plans images: the files and arguments of each build, and a tag that is their hash. Works without Docker.

A job's files are its own, those of jobkit and of the recipe, and the part of uv.lock that it needs. A service is an image that is not a
job, such as Prefect's worker.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from jobkit.errors import MisconfiguredError

from images import labels, lock
from images.assemble import EPOCH
from jobs.catalogue import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jobs.catalogue import JobSpec

RECIPE = "images/job.Dockerfile"
RECIPE_HELPERS = ("assemble.py", "build-requirements.txt", "harden.py", "lock.py", "node-requirements.txt", "rds-ca.pem")
RECIPE_FILES = (RECIPE, f"{RECIPE}.dockerignore", *(f"images/{name}" for name in RECIPE_HELPERS))
TOP_FILES = ("pyproject.toml", "uv.lock")
SOURCE_FOLDERS = ("images", "jobs", "dbt", "orchestration", "verification")
EXCLUDED = re.compile(
    r"(^|/)(\.[^/]*|__pycache__)(/|$)|^jobs/[^/]+/(tests|web/node_modules|web/build)/|^dbt/(target|logs)/|(^|/)README\.md$"
)
DEFAULT_BASE = re.compile(r"^ARG PYTHON_IMAGE=(\S+)$", re.MULTILINE)

Tree = dict[str, bytes]  # content by path


class PlanError(MisconfiguredError):
    """An image cannot be planned; the message says why and what to do."""


@dataclass(frozen=True)
class Service:
    """An image that is not a job: the libraries of one dependency group of pyproject.toml, and the files whose paths match `source`."""

    name: str
    description: str
    group: str
    source: re.Pattern[str]


SERVICES = (
    Service(
        "orchestration",
        "Prefect's server and worker, the registration of deployments, and where flows run.",
        "orchestration",
        re.compile(r"(orchestration|images)/.*|jobs/catalogue\.py|jobs/[^/]+/(pyproject\.toml|[a-z_]+/.*)"),  # the jobs describe themselves
    ),
    Service(
        "start-dropped-files",
        "A Lambda function: an object dropped into the lake's bucket starts a run of extract-dropped-files.",
        "events",
        re.compile(r"orchestration/(__init__|events/[a-z_]+)\.py|jobs/jobkit/jobkit/([a-z_]+/)?[a-z_]+\.py"),
    ),
    Service(
        "sample-vendors",
        "Emulates the vendors, with real figures of 2009 to 2013.",
        "samples",
        re.compile(r"verification/sample_vendors/.*"),
    ),
)
FALLBACK = Service(
    "fallback",
    "Postgres and an S3 server, for machines that cannot pull their images.",
    "fallback",
    re.compile(r"verification/fallback_postgres\.py"),
)


@dataclass(frozen=True)
class Plan:
    """One image. `files` is the build context, `target` the stage of the recipe; `labels` are build arguments that only label it."""

    name: str
    target: str
    platform: str | None
    files: Mapping[str, bytes] = field(repr=False)
    args: Mapping[str, str]
    labels: Mapping[str, str] = field(repr=False)

    @property
    def tag(self) -> str:
        """16 hex digits of a hash over everything that can change the image."""
        contents = {path: hashlib.sha256(content).hexdigest() for path, content in self.files.items()}
        content = json.dumps([self.target, self.platform, dict(self.args), contents], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def image(self) -> str:
        """The image's name on this machine."""
        return f"finelt/{self.name}:{self.tag}"

    def write_context(self, folder: Path) -> Path:
        """Write the build context into the folder and return the folder."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o644)
        return folder


def plan_image(spec: JobSpec | Service, tree: Tree, *, python_image: str | None = None, platform: str | None = None) -> Plan:
    """Plan an image from the files of a checkout or commit. The default base is the recipe's. Raises PlanError."""
    missing = [path for path in (*RECIPE_FILES, *TOP_FILES) if path not in tree]
    if missing:
        raise PlanError(f"{spec.name}: {missing[0]} does not exist, but the image needs it; restore it")
    base = {"PYTHON_IMAGE": python_image or read_default_base(tree), "SOURCE_DATE_EPOCH": str(EPOCH)}
    return _plan_service(spec, tree, base, platform) if isinstance(spec, Service) else _plan_job(spec, tree, base, platform)


def _plan_job(spec: JobSpec, tree: Tree, base: Mapping[str, str], platform: str | None) -> Plan:
    own = f"jobs/{spec.name}/pyproject.toml"
    if own not in tree:
        raise PlanError(f"{spec.name}: {own} does not exist, but the image needs it; restore it")
    try:
        locked = lock.prune_lock(tree["uv.lock"].decode(), spec.name)
    except lock.LockError as error:
        raise PlanError(f"{spec.name}: {error}") from None
    runs_dbt = '\nname = "dbt-core"\n' in locked
    folders = ("jobs/jobkit/", f"jobs/{spec.name}/", *(("dbt/",) if runs_dbt else ()))
    files = {path: content for path, content in tree.items() if path in RECIPE_FILES or path.startswith(folders)}
    files["uv.lock"], files["pyproject.toml"] = locked.encode(), _render_workspace(tree["pyproject.toml"]).encode()
    declared = tomllib.loads(tree[own].decode())["project"]
    return Plan(
        name=spec.name,
        target="dbt" if runs_dbt else "site" if f"jobs/{spec.name}/web/package.json" in tree else "job",
        files=dict(sorted(files.items())),
        args={"JOB": spec.name, "EXTRAS": _list_jobkit_extras(declared), **base},
        platform=platform,
        labels={"VERSION": declared["version"], "DESCRIPTION": declared["description"]},
    )


def _plan_service(spec: Service, tree: Tree, base: Mapping[str, str], platform: str | None) -> Plan:
    source = {f"source/{path}": content for path, content in tree.items() if spec.source.fullmatch(path)}
    if not source:
        raise PlanError(
            f"{spec.name}: no file matches {spec.source.pattern}, but the image needs one; correct the pattern in images/plan.py"
        )
    files = {path: content for path, content in tree.items() if path in RECIPE_FILES} | source
    files["uv.lock"], files["pyproject.toml"] = tree["uv.lock"], _render_workspace(tree["pyproject.toml"], spec.group).encode()
    return Plan(
        name=spec.name,
        target="service",
        files=dict(sorted(files.items())),
        args={"JOB": spec.name, "GROUP": spec.group, **base},
        platform=platform,
        labels={"VERSION": tomllib.loads(tree["pyproject.toml"].decode())["project"]["version"], "DESCRIPTION": spec.description},
    )


def read_default_base(tree: Tree) -> str:
    """Return the base image that the recipe names. Raises PlanError if it names none."""
    match = DEFAULT_BASE.search(tree[RECIPE].decode())
    if match is None:
        raise PlanError(f"{RECIPE} has no line ARG PYTHON_IMAGE=...; add one with the default base image")
    return match[1]


def _list_jobkit_extras(declared: Mapping[str, Any]) -> str:
    """Return the extras of jobkit that a job declares, separated by spaces."""
    requirements = (lock.parse_requirement(text) for text in declared["dependencies"])
    return " ".join(extra for name, extras in requirements if name == "jobkit" for extra in extras)


def _render_workspace(pyproject: bytes, group: str | None = None) -> str:
    """Return the part of the workspace's pyproject.toml that an installation needs, with one dependency group or none."""
    document = tomllib.loads(pyproject.decode())
    project = document["project"]
    lines = [f"{key} = {json.dumps(project[key])}" for key in ("name", "version", "requires-python")]
    groups = ["[dependency-groups]", f"{group} = {json.dumps(_list_requirements(document, group))}", ""] if group else []
    tail = ["[tool.uv]", "package = false", "default-groups = []", "", "[tool.uv.workspace]", 'members = ["jobs/*"]', ""]
    return "\n".join(["[project]", *lines, "", *groups, *tail])


def _list_requirements(document: Mapping[str, Any], name: str) -> list[str]:
    """Return the requirements of a dependency group and of the groups that it includes."""
    entries = document["dependency-groups"][name]
    return [
        text for entry in entries for text in (_list_requirements(document, entry["include-group"]) if isinstance(entry, dict) else [entry])
    ]


def read_checkout(root: Path = REPOSITORY) -> Tree:
    """Read the files that can go into an image from the working tree, by path."""
    paths = (path for folder in SOURCE_FOLDERS for path in sorted((root / folder).rglob("*")) if path.is_file())
    by_name = {path.relative_to(root).as_posix(): path for path in (*(root / name for name in TOP_FILES), *paths)}
    return {name: path.read_bytes() for name, path in by_name.items() if not EXCLUDED.search(name)}


def read_revision(rev: str, root: Path = REPOSITORY) -> Tree:
    """Read the same files from a commit; folders that did not exist are empty. Raises PlanError for an unknown revision."""
    existing = _run_git(root, "ls-tree", "--name-only", rev, *TOP_FILES, *SOURCE_FOLDERS).decode().split()
    if not existing:
        return {}
    with tarfile.open(fileobj=io.BytesIO(_run_git(root, "archive", "--format=tar", rev, *existing))) as archive:
        members = ((member, archive.extractfile(member)) for member in archive.getmembers() if member.isfile())
        return {member.name: content.read() for member, content in members if content is not None and not EXCLUDED.search(member.name)}


def list_changed(specs: Sequence[JobSpec | Service], before: Tree, now: Tree) -> list[str]:
    """Return the names of the images that may differ between two trees."""
    return [spec.name for spec in specs if _compute_tag(spec, before) != _compute_tag(spec, now)]


def _compute_tag(spec: JobSpec | Service, tree: Tree) -> str | None:
    try:
        return plan_image(spec, tree).tag
    except PlanError:
        return None


@cache
def describe_job(spec: JobSpec) -> str:
    """Return the output of the job's `describe`, one line of JSON. The job has to be installed here. Raises PlanError."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FINELT_")}
    done = subprocess.run([sys.executable, "-m", spec.package, "describe"], env=environ, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise PlanError(f"{spec.name} describe failed ({done.stderr.strip()[-200:]}); run scripts/setup, which installs the jobs")
    return done.stdout.strip()


def build_arguments(spec: JobSpec | Service, plan: Plan) -> dict[str, str]:
    """Return all build arguments: those that change the image's files, and those that only label it."""
    described = {} if isinstance(spec, Service) else {"DESCRIBE": describe_job(spec)}
    about = {name.removeprefix(labels.PREFIX).upper(): value for name, value in labels.read_checkout().items()}
    return {**plan.args, **about, **plan.labels, **described}


def _run_git(root: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=False)  # noqa: S603, S607
    if done.returncode != 0:
        raise PlanError(f"git {arguments[0]}: {done.stderr.decode().strip()}; name a commit of this clone")
    return done.stdout
