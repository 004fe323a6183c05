"""The file .env of the stack in containers: its ports, passwords and images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobkit import files
from jobkit.errors import MisconfiguredError

from jobs.catalogue import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

ENV_FILE = REPOSITORY / ".env"
WAREHOUSE = "finelt"  # the database in the stack's Postgres
HEADER = "# Written by scripts/compose: passwords once, image names each time. You may change ports, project name and FINELT_NOTIFICATIONS."

Settings = dict[str, str]


def read_settings(path: Path) -> Settings:
    """Return the settings in a file, none if there is no file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def read_stack(path: Path) -> Settings:
    """Return the settings in a file. Raises MisconfiguredError if there is no stack yet."""
    if not (settings := read_settings(path)):
        raise MisconfiguredError("there is no stack yet; start it with ./scripts/compose up --detach")
    return settings


def write_settings(path: Path, values: Settings) -> None:
    """Write the settings to a file that only we can read."""
    lines = [HEADER, *(f"{name}={value}" for name, value in values.items()), ""]
    files.replace_file(path, "\n".join(lines).encode(), mode=0o600)
