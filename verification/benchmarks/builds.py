"""Builds of finelt to compare: where the code of each is, and how to run its jobs."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from jobs.catalogue import REPOSITORY
from orchestration.local import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestration.local.postgres import Postgres

BUILDS = REPOSITORY / ".bench" / "builds"
WEB = "jobs/publish-marts/web"  # what the site takes from npm; scripts/setup builds it
DEMOS = (
    ("finelt/__main__.py", "finelt", "demo"),
    ("orchestration/demo.py", "orchestration.demo"),
)  # a file of the demo, and its module with arguments: now, and before 2026-11-25
EXPORTERS = (
    "verification/benchmarks/export_runner.py",
    "scripts/benchmarks/unload.py",
)  # likewise the program that writes one Parquet file


class Build(NamedTuple):
    """A build: how tables name it, its checkout, and the interpreter with its dependencies."""

    name: str
    root: Path
    python: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment in which the interpreter imports this build's packages and no other's."""
        members = sorted(path.parent for path in self.root.glob("jobs/*/pyproject.toml"))
        return {"PYTHONPATH": os.pathsep.join(map(str, [self.root, *members])), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": ""}

    def module(self, name: str, *words: str) -> list[str]:
        """Return the command of a module such as a job's package."""
        return [str(self.python), "-m", name, *words]

    def demo(self, *words: str) -> list[str]:
        """Return the command of the demo."""
        module = next(command for file, *command in DEMOS if (self.root / file).exists())
        return self.module(*module, *words)

    def exporter(self, *words: str) -> list[str]:
        """Return the command of the program that writes a mart's Parquet file, from its benchmarks."""
        return [str(self.python), str(next(self.root / path for path in EXPORTERS if (self.root / path).exists())), *words]

    @contextmanager
    def run_demo_server(self, directory: Path) -> Iterator[Postgres]:
        """Run the demo in a directory, then the server with its warehouse. Raises RuntimeError if the demo fails."""
        command = self.demo("--dir", str(directory))
        environ = {**os.environ, **self.env}
        # In its own checkout: the demo's programs do not inherit PYTHONSAFEPATH, and would import another build from the current directory.
        done = subprocess.run(command, cwd=self.root, env=environ, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise RuntimeError(f"the demo of {self.name} ended with {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
        with postgres.run_server(directory / "postgres") as server:
            yield server


def this_build() -> Build:
    """Return the checkout with its uncommitted changes."""
    return Build("this build", REPOSITORY, Path(sys.executable))


def prepare_build(revision: str) -> Build:
    """Return a build of a commit, in a clone of its own that later runs use again.

    A commit with the same lock files runs with this interpreter and this checkout's scripts of the site; any other gets its own by its own
    scripts/setup.
    Raises click.UsageError for an unknown commit, CalledProcessError if the environment cannot be made.
    """
    try:
        commit = _git(REPOSITORY, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except subprocess.CalledProcessError:
        raise click.UsageError(f"{revision!r} is no commit of this repository; give a hash, a branch or a tag that it has") from None
    root = BUILDS / commit
    if not (root / ".git").exists():
        _git(REPOSITORY, "clone", "--quiet", "--shared", "--no-checkout", str(REPOSITORY), str(root))
    _git(root, "checkout", "--quiet", "--force", "--detach", commit)
    if _read_locks(root) == _read_locks(REPOSITORY):
        if not (scripts := root / WEB / "build").exists():
            scripts.symlink_to(REPOSITORY / WEB / "build")
        return Build(revision, root, Path(sys.executable))
    subprocess.run([str(root / "scripts" / "setup")], check=True)  # noqa: S603
    return Build(revision, root, root / ".venv" / "bin" / "python")


def _read_locks(root: Path) -> list[bytes | None]:
    files = [root / "uv.lock", *sorted((root / WEB).glob("*.js*"))]
    return [file.read_bytes() if file.exists() else None for file in files]


def _git(directory: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(directory), *words], check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603, S607
