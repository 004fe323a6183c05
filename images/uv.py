"""Where uv is on this machine."""

from __future__ import annotations

import shutil

from jobs.catalogue import REPOSITORY


def find_uv() -> str:
    """Return uv's path: the one on PATH, else the one that scripts/setup installs."""
    return shutil.which("uv") or str(REPOSITORY / ".tools" / "bin" / "uv")
