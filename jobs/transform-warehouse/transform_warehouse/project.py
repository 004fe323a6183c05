"""The dbt project: where it is, which marts it has, and a fingerprint of its files."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from jobkit.errors import MisconfiguredError

if TYPE_CHECKING:
    from collections.abc import Iterator

DERIVED_FOLDERS = ("target", "logs", "dbt_packages")
README = "README.md"  # in the project's folder, where dbt does not read it
AS_OF_VIEWS = Path(__file__).with_name("as_of.py")
CHECKOUT_PROJECT = Path(__file__).parents[3] / "dbt"


def find_project(path: str | None) -> Path:
    """Return the project's folder: the given one, or the checkout's. Raises MisconfiguredError if there is no project."""
    project = Path(path) if path else CHECKOUT_PROJECT
    if not (project / "dbt_project.yml").is_file():
        raise MisconfiguredError(f"no dbt project at {project}: expected dbt_project.yml there; name the folder with --project")
    return project.resolve()


def list_marts(project: Path) -> list[str]:
    """Return the names of the marts, sorted."""
    return sorted(path.stem for path in (project / "models" / "marts").glob("*.sql"))


def compute_fingerprint(project: Path) -> str:
    """Hash everything the marts depend on except the data: the project's files, dbt's versions, the code that makes as-of views."""
    digest = hashlib.sha256(f"{version('dbt-core')} {version('dbt-postgres')}".encode())
    digest.update(AS_OF_VIEWS.read_bytes())
    for path in _iter_files(project):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"\n{path.relative_to(project)} {content}".encode())
    return digest.hexdigest()[:32]


def _iter_files(project: Path) -> Iterator[Path]:
    """Yield the project's files in order, without derived and hidden ones and the README."""
    for path in sorted(project.rglob("*")):
        parts = path.relative_to(project).parts
        if path.is_file() and parts[0] not in (*DERIVED_FOLDERS, README) and not parts[-1].startswith("."):
            yield path
