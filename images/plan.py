"""What goes into an image: the files the build sees and the arguments it gets. The tag is their hash: one tag, one image.

For a job the files are its own, those of jobkit and of the recipe, and of uv.lock the packages it needs. A service is an image that is no
job: what starts jobs, and what the local stack works with. Nothing here needs Docker.
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
from typing import TYPE_CHECKING, Any

from images import lock
from images.assemble import EPOCH
from jobs.catalogue import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jobs.catalogue import JobSpec

RECIPE = "images/job.Dockerfile"
HELPERS = ("assemble.py", "build-requirements.txt", "harden.py", "lock.py")
RECIPE_FILES = (RECIPE, f"{RECIPE}.dockerignore", *(f"images/{name}" for name in HELPERS))
TOP_FILES = ("pyproject.toml", "uv.lock")
FOLDERS = ("images", "jobs", "dbt", "orchestration", "verification")
LEFT_OUT = re.compile(r"(^|/)(\.[^/]*|__pycache__)(/|$)|^jobs/[^/]+/tests/|^dbt/(target|logs)/")
DEFAULT_IMAGE = re.compile(r"^ARG PYTHON_IMAGE=(\S+)$", re.MULTILINE)

Tree = dict[str, bytes]  # content by path


class PlanError(Exception):
    """An image cannot be planned; the message says why and what to do."""


@dataclass(frozen=True)
class Service:
    """An image that is no job: the libraries of one dependency group of pyproject.toml, and the files whose paths match `source`."""

    name: str
    description: str
    group: str
    source: re.Pattern[str]


SERVICES = (
    Service(
        "orchestration",
        "Prefect's server and worker, the registration of deployments, and where flows run.",
        "orchestration",
        re.compile(r"(orchestration|images)/.*|jobs/catalogue\.py|jobs/[^/]+/(pyproject\.toml|[a-z_]+/.*)"),  # to describe themselves
    ),
    Service(
        "start-dropped-files",
        "A Lambda function: an object dropped into the lake's bucket starts a run of extract-dropped-files.",
        "events",
        re.compile(r"orchestration/(__init__|events/[a-z_]+)\.py|jobs/jobkit/jobkit/([a-z_]+/)?[a-z_]+\.py"),
    ),
    Service(
        "sample-vendors",
        "Answers as the real vendors do, with real figures of 2009 to 2013.",
        "samples",
        re.compile(r"verification/sample_vendors/.*"),
    ),
)
STAND_INS = Service(
    "stand-ins",
    "Postgres and an S3 server, for where their own images cannot be pulled.",
    "stand-ins",
    re.compile(r"verification/stand_ins/.*"),
)


@dataclass(frozen=True)
class Plan:
    """One image: `files` is the build context, `target` the stage of the recipe; `labels` are arguments that follow from the files."""

    name: str
    target: str
    platform: str | None
    files: Mapping[str, bytes] = field(repr=False)
    args: Mapping[str, str]
    labels: Mapping[str, str] = field(repr=False)

    @property
    def tag(self) -> str:
        """16 hex digits that change when, and only when, the image may."""
        contents = {path: hashlib.sha256(content).hexdigest() for path, content in self.files.items()}
        whole = json.dumps([self.target, self.platform, dict(self.args), contents], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()[:16]

    @property
    def image(self) -> str:
        """The image's name on this machine."""
        return f"finelt/{self.name}:{self.tag}"

    def stage(self, folder: Path) -> Path:
        """The folder, with the build context written into it."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o644)
        return folder


def plan(spec: JobSpec | Service, tree: Tree, *, python_image: str | None = None, platform: str | None = None) -> Plan:
    """An image, from the files of a checkout or a revision, on the recipe's own base unless told. Raises PlanError."""
    missing = [path for path in (*RECIPE_FILES, *TOP_FILES) if path not in tree]
    if missing:
        raise PlanError(f"{spec.name}: there is no {missing[0]}; an image needs it")
    base = {"PYTHON_IMAGE": python_image or default_image(tree), "SOURCE_DATE_EPOCH": str(EPOCH)}
    return _service(spec, tree, base, platform) if isinstance(spec, Service) else _job(spec, tree, base, platform)


def _job(spec: JobSpec, tree: Tree, base: Mapping[str, str], platform: str | None) -> Plan:
    own = f"jobs/{spec.name}/pyproject.toml"
    if own not in tree:
        raise PlanError(f"{spec.name}: there is no {own}; an image needs it")
    try:
        locked = lock.pruned(tree["uv.lock"].decode(), spec.name)
    except lock.LockError as error:
        raise PlanError(f"{spec.name}: {error}") from None
    runs_dbt = '\nname = "dbt-core"\n' in locked
    folders = ("jobs/jobkit/", f"jobs/{spec.name}/", *(("dbt/",) if runs_dbt else ()))
    files = {path: content for path, content in tree.items() if path in RECIPE_FILES or path.startswith(folders)}
    files["uv.lock"], files["pyproject.toml"] = locked.encode(), _workspace(tree["pyproject.toml"]).encode()
    declared = tomllib.loads(tree[own].decode())["project"]
    return Plan(
        name=spec.name,
        target="dbt" if runs_dbt else "job",
        files=dict(sorted(files.items())),
        args={"JOB": spec.name, "EXTRAS": _extras(declared), **base},
        platform=platform,
        labels={"VERSION": declared["version"], "DESCRIPTION": declared["description"]},
    )


def _service(spec: Service, tree: Tree, base: Mapping[str, str], platform: str | None) -> Plan:
    source = {f"source/{path}": content for path, content in tree.items() if spec.source.fullmatch(path)}
    if not source:
        raise PlanError(f"{spec.name}: nothing here matches {spec.source.pattern}; its image needs it")
    files = {path: content for path, content in tree.items() if path in RECIPE_FILES} | source
    files["uv.lock"], files["pyproject.toml"] = tree["uv.lock"], _workspace(tree["pyproject.toml"], spec.group).encode()
    return Plan(
        name=spec.name,
        target="service",
        files=dict(sorted(files.items())),
        args={"JOB": spec.name, "GROUP": spec.group, **base},
        platform=platform,
        labels={"VERSION": tomllib.loads(tree["pyproject.toml"].decode())["project"]["version"], "DESCRIPTION": spec.description},
    )


def default_image(tree: Tree) -> str:
    """The base image that the recipe names."""
    found = DEFAULT_IMAGE.search(tree[RECIPE].decode())
    if found is None:
        raise PlanError(f"{RECIPE} has no line ARG PYTHON_IMAGE=...; it names the base image where nobody else does")
    return found[1]


def _extras(declared: Mapping[str, Any]) -> str:
    """The extras of jobkit that a job asks for, separated by blanks."""
    wanted = (lock.requirement(text) for text in declared["dependencies"])
    return " ".join(extra for name, extras in wanted if name == "jobkit" for extra in extras)


def _workspace(pyproject: bytes, group: str | None = None) -> str:
    """As much of the workspace's pyproject.toml as an installation needs, with one dependency group or none, and no tools."""
    document = tomllib.loads(pyproject.decode())
    project = document["project"]
    lines = [f"{key} = {json.dumps(project[key])}" for key in ("name", "version", "requires-python")]
    groups = ["[dependency-groups]", f"{group} = {json.dumps(_group(document, group))}", ""] if group else []
    tail = ["[tool.uv]", "package = false", "default-groups = []", "", "[tool.uv.workspace]", 'members = ["jobs/*"]', ""]
    return "\n".join(["[project]", *lines, "", *groups, *tail])


def _group(document: Mapping[str, Any], name: str) -> list[str]:
    """The requirements of a dependency group and of those it includes."""
    entries = document["dependency-groups"][name]
    return [text for entry in entries for text in (_group(document, entry["include-group"]) if isinstance(entry, dict) else [entry])]


def checkout(root: Path = REPOSITORY) -> Tree:
    """The files that can go into an image, as they lie here now, by path."""
    below = (path for folder in FOLDERS for path in sorted((root / folder).rglob("*")) if path.is_file())
    named = {path.relative_to(root).as_posix(): path for path in (*(root / name for name in TOP_FILES), *below)}
    return {name: path.read_bytes() for name, path in named.items() if not LEFT_OUT.search(name)}


def revision(rev: str, root: Path = REPOSITORY) -> Tree:
    """The same at a commit. Folders that were not there yet are empty. Raises PlanError for a revision git does not know."""
    there = _git(root, "ls-tree", "--name-only", rev, *TOP_FILES, *FOLDERS).decode().split()
    if not there:
        return {}
    with tarfile.open(fileobj=io.BytesIO(_git(root, "archive", "--format=tar", rev, *there))) as archive:
        members = ((member, archive.extractfile(member)) for member in archive.getmembers() if member.isfile())
        return {member.name: content.read() for member, content in members if content is not None and not LEFT_OUT.search(member.name)}


def changed(specs: Sequence[JobSpec | Service], before: Tree, now: Tree) -> list[str]:
    """The images that may differ between two trees, by name."""
    return [spec.name for spec in specs if _tag(spec, before) != _tag(spec, now)]


def _tag(spec: JobSpec | Service, tree: Tree) -> str | None:
    try:
        return plan(spec, tree).tag
    except PlanError:
        return None


def describe(spec: JobSpec) -> str:
    """What the job says of itself, as one line of JSON. It has to be installed here."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FINELT_")}
    done = subprocess.run([sys.executable, "-m", spec.package, "describe"], env=environ, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise PlanError(f"{spec.name} describe failed here ({done.stderr.strip()[-200:]}); scripts/setup installs the jobs")
    return done.stdout.strip()


def arguments(spec: JobSpec | Service, planned: Plan) -> dict[str, str]:
    """All build arguments: those that shape the image, and those that only label it."""
    described = {} if isinstance(spec, Service) else {"DESCRIBE": describe(spec)}
    return {**planned.args, **planned.labels, **described}


def _git(root: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=False)  # noqa: S603, S607
    if done.returncode != 0:
        raise PlanError(f"git {arguments[0]}: {done.stderr.decode().strip()}; name a commit that this clone has")
    return done.stdout
