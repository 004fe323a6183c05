"""What goes into the image of a job: the files the build sees and the arguments it gets. The tag is their hash: one tag, one image.

The files are those of the job, of jobkit and of the recipe, and of uv.lock the packages the job needs. Nothing here needs Docker.
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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from images import lock
from images.assemble import EPOCH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobs.catalogue import JobSpec

ROOT = Path(__file__).resolve().parents[1]
RECIPE = "images/job.Dockerfile"
HELPERS = ("assemble.py", "build-requirements.txt", "harden.py", "lock.py")
RECIPE_FILES = (RECIPE, f"{RECIPE}.dockerignore", *(f"images/{name}" for name in HELPERS))
TOP_FILES = ("pyproject.toml", "uv.lock")
FOLDERS = ("images", "jobs", "dbt")
LEFT_OUT = re.compile(r"(^|/)(\.[^/]*|__pycache__)(/|$)|^jobs/[^/]+/tests/|^dbt/(target|logs)/")
DEFAULT_IMAGE = re.compile(r"^ARG PYTHON_IMAGE=(\S+)$", re.MULTILINE)

Tree = dict[str, bytes]  # content by path


class PlanError(Exception):
    """An image cannot be planned; the message says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """One image: `files` is the build context, `target` the stage of the recipe; `labels` are arguments that follow from the files."""

    job: str
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
    def name(self) -> str:
        """The image's name on this machine."""
        return f"finelt/{self.job}:{self.tag}"

    def stage(self, folder: Path) -> Path:
        """The folder, with the build context written into it."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o644)
        return folder


def plan(spec: JobSpec, tree: Tree, *, python_image: str | None = None, platform: str | None = None) -> Plan:
    """The image of a job, from the files of a checkout or a revision, on the recipe's own base unless told. Raises PlanError."""
    own = f"jobs/{spec.name}/pyproject.toml"
    missing = [path for path in (*RECIPE_FILES, *TOP_FILES, own) if path not in tree]
    if missing:
        raise PlanError(f"{spec.name}: there is no {missing[0]}; an image needs it")
    try:
        locked = lock.pruned(tree["uv.lock"].decode(), spec.name)
    except lock.LockError as error:
        raise PlanError(f"{spec.name}: {error}") from None
    runs_dbt = '\nname = "dbt-core"\n' in locked
    folders = ("jobs/jobkit/", f"jobs/{spec.name}/", *(("dbt/",) if runs_dbt else ()))
    files = {path: content for path, content in tree.items() if path in RECIPE_FILES or path.startswith(folders)}
    files["uv.lock"], files["pyproject.toml"] = locked.encode(), _workspace(tree["pyproject.toml"]).encode()
    declared = tomllib.loads(tree[own].decode())["project"]
    base = python_image or default_image(tree)
    return Plan(
        job=spec.name,
        target="dbt" if runs_dbt else "job",
        files=dict(sorted(files.items())),
        args={"JOB": spec.name, "EXTRAS": _extras(declared), "PYTHON_IMAGE": base, "SOURCE_DATE_EPOCH": str(EPOCH)},
        platform=platform,
        labels={"VERSION": declared["version"], "DESCRIPTION": declared["description"]},
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


def _workspace(pyproject: bytes) -> str:
    """As much of the workspace's pyproject.toml as an installation needs; the rest is tools and tests."""
    project = tomllib.loads(pyproject.decode())["project"]
    lines = [f"{key} = {json.dumps(project[key])}" for key in ("name", "version", "requires-python")]
    return "\n".join(["[project]", *lines, "", "[tool.uv]", "package = false", "", "[tool.uv.workspace]", 'members = ["jobs/*"]', ""])


def checkout(root: Path = ROOT) -> Tree:
    """The files that can go into an image, as they lie here now, by path."""
    below = (path for folder in FOLDERS for path in sorted((root / folder).rglob("*")) if path.is_file())
    named = {path.relative_to(root).as_posix(): path for path in (*(root / name for name in TOP_FILES), *below)}
    return {name: path.read_bytes() for name, path in named.items() if not LEFT_OUT.search(name)}


def revision(rev: str, root: Path = ROOT) -> Tree:
    """The same at a commit. Folders that were not there yet are empty. Raises PlanError for a revision git does not know."""
    there = _git(root, "ls-tree", "--name-only", rev, *TOP_FILES, *FOLDERS).decode().split()
    if not there:
        return {}
    with tarfile.open(fileobj=io.BytesIO(_git(root, "archive", "--format=tar", rev, *there))) as archive:
        members = ((member, archive.extractfile(member)) for member in archive.getmembers() if member.isfile())
        return {member.name: content.read() for member, content in members if content is not None and not LEFT_OUT.search(member.name)}


def changed(specs: tuple[JobSpec, ...], before: Tree, now: Tree) -> list[str]:
    """The jobs whose image may differ between two trees, by name."""
    return [spec.name for spec in specs if _tag(spec, before) != _tag(spec, now)]


def _tag(spec: JobSpec, tree: Tree) -> str | None:
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


def arguments(spec: JobSpec, planned: Plan) -> dict[str, str]:
    """All build arguments: those that shape the image, and those that only label it."""
    return {**planned.args, **planned.labels, "DESCRIBE": describe(spec)}


def _git(root: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=False)  # noqa: S603, S607
    if done.returncode != 0:
        raise PlanError(f"git {arguments[0]}: {done.stderr.decode().strip()}; name a commit that this clone has")
    return done.stdout
