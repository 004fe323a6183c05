"""What a job says of itself in its own pyproject.toml; the same file lies beside the code in a checkout and in a wheel."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEMORY_PER_BODY = 64  # what a job needs for an answer, in answers of that size; measured by scripts/faults memory


@dataclass(frozen=True)
class Declaration:
    """One job's [project] and [tool.finelt] tables: Fargate cpu units, memory in MiB, deadline in seconds, cron schedule in `timezone`.

    `max_body_mib` is the largest answer that it takes; what is not declared follows from the memory.
    """

    name: str
    version: str
    description: str
    cpu: int
    memory: int
    deadline_s: int
    schedule: str | None
    timezone: str
    hosts: tuple[str, ...]
    secrets: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    concurrency: int | None
    max_body_mib: int | None = None

    @property
    def max_body_bytes(self) -> int:
        """The most bytes that an answer (or a dropped file) may have once unpacked, so that all that is made of it fits the memory."""
        return (self.max_body_mib or self.memory // MEMORY_PER_BODY) << 20


def of_package(package: str) -> Declaration:
    """The declaration of an imported job package."""
    folder = Path(str(sys.modules[package].__file__)).parent
    inside = folder / "pyproject.toml"
    return of_file(inside if inside.exists() else folder.parent / "pyproject.toml")


def of_file(path: Path) -> Declaration:
    """The declaration in a pyproject.toml. Raises KeyError or TypeError on one that is incomplete or says too much."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    project: dict[str, Any] = document["project"]
    own: dict[str, Any] = document["tool"]["finelt"]
    return Declaration(
        name=project["name"],
        version=project["version"],
        description=project["description"],
        schedule=own.pop("schedule", None),
        timezone=own.pop("timezone", "UTC"),
        hosts=tuple(own.pop("hosts", ())),
        secrets=tuple(own.pop("secrets", ())),
        reads=tuple(own.pop("reads", ())),
        writes=tuple(own.pop("writes", ())),
        concurrency=own.pop("concurrency", None),
        **own,
    )
