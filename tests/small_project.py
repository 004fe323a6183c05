"""A part of the dbt project: some models and what they are made of. It builds in a third of the time, where a test looks at the job."""

from __future__ import annotations

import re
import shutil
import sys
from typing import TYPE_CHECKING

from transform_warehouse import project as projects

from tests import forks

if TYPE_CHECKING:
    from pathlib import Path

REF = re.compile(r"ref\('(\w+)'\)")


def copy_project(folder: Path) -> Path:
    """Copy the project, without derived files."""
    shutil.copytree(projects.find_project(None), folder, ignore=shutil.ignore_patterns(*projects.DERIVED_FOLDERS))
    return folder


def copy_small_project(folder: Path, *models: str) -> Path:
    """Copy what these models are made of, their tests, and what macros read."""
    copy_project(folder)
    files = {path.stem: path for kind in ("models/**/*.sql", "seeds/*.csv") for path in folder.glob(kind)}
    kept: set[str] = set()
    waiting = {*models, *(name for path in folder.glob("macros/*.sql") for name in REF.findall(path.read_text(encoding="utf-8")))}
    while waiting:
        kept |= waiting
        waiting = {name for model in waiting for name in REF.findall(files[model].read_text(encoding="utf-8"))} - kept
    for name in files.keys() - kept:
        files[name].unlink()
        files[name].with_suffix(".yml").unlink(missing_ok=True)
    for path in folder.glob("tests/*.sql"):
        if not kept.issuperset(REF.findall(path.read_text(encoding="utf-8"))):
            path.unlink()
    return folder


def cache_manifest(project: Path) -> Path:
    """Parse the project as the build of an image does."""
    done = forks.run([sys.executable, "-m", "transform_warehouse.manifest_cache", str(project)])
    assert done.returncode == 0, done.stderr
    return project
