"""What an image says about itself: source, revision, version, licences and time, under the names of the OCI image specification.

Source: https://github.com/opencontainers/image-spec/blob/main/annotations.md. An image has them as labels, the index of a release as
annotations. They are not in the tag, which is a hash of the content.
"""

from __future__ import annotations

import os
import subprocess
import tomllib
from functools import cache
from typing import TYPE_CHECKING

from jobs.catalogue import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PREFIX = "org.opencontainers.image."


def read_annotations(environ: Mapping[str, str], root: Path = REPOSITORY) -> dict[str, str]:
    """Return the annotations of what this checkout builds. What is not known is left out, such as the revision without git.

    The source is known in GitHub's workflows only: the URL of a clone may have credentials in it. A revision with changes that were not
    committed ends with -dirty. The time is that of the revision, so that building it again changes nothing.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {"version": project["version"], "licenses": project["license"]}
    if {"GITHUB_SERVER_URL", "GITHUB_REPOSITORY"} <= environ.keys():
        found["source"] = f"{environ['GITHUB_SERVER_URL']}/{environ['GITHUB_REPOSITORY']}"
    if revision := _git(root, "rev-parse", "HEAD"):
        is_dirty = _git(root, "status", "--porcelain")
        found |= {
            "revision": f"{revision}-dirty" if is_dirty else revision,
            "created": _git(root, "show", "--no-patch", "--format=%cI", "HEAD"),
        }
    return {PREFIX + name: value for name, value in sorted(found.items())}


@cache
def read_checkout() -> Mapping[str, str]:
    """Return the annotations of this checkout. Read once: each image has the same, and git takes longer than the rest of a plan."""
    return read_annotations(os.environ)


def _git(root: Path, *arguments: str) -> str:
    """Return the output of a git command, empty if it fails."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
