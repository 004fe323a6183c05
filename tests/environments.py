"""Environments of their own for tools whose pins clash with the lock: made once below .tools/, from pinned requirements."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / ".tools"


@cache
def _made(name: str, requirements: tuple[str, ...]) -> tuple[Path, str | None]:
    folder, wanted = TOOLS / name, "\n".join(requirements)
    note = folder / "requirements.txt"
    if note.is_file() and note.read_text() == wanted:
        return folder, None
    steps = (
        [TOOLS / "bin" / "uv", "venv", "--quiet", "--clear", "--python", sys.executable, folder],
        [TOOLS / "bin" / "uv", "pip", "install", "--no-config", "--quiet", "--python", folder, *requirements],
    )
    for step in steps:
        done = subprocess.run([str(word) for word in step], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return folder, f"{name} cannot be installed here: {done.stderr.strip()[-300:]}"
    note.write_text(wanted)
    return folder, None


def python(name: str, *requirements: str) -> str:
    """The interpreter of an environment with these requirements; the test is skipped, with the reason, where they cannot be installed."""
    folder, reason = _made(name, requirements)
    if reason:
        pytest.skip(reason)
    return str(folder / "bin" / "python")


def run(command: list[str], **environ: str) -> str:
    """What a program in an environment prints; it has to end well. What it is told stands in its environment alone."""
    done = subprocess.run(
        command, env={"PATH": "/usr/bin:/bin", "HOME": str(TOOLS), **environ}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
