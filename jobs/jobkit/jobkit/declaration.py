"""What a job declares in its own pyproject.toml, read by the job itself and by the catalogue of a repository.

The same file is next to the code in a checkout and inside a wheel. Fargate's sizes of cpu and memory:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
"""

from __future__ import annotations

import sys
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

MEMORY_PER_BODY = 64  # memory that a job needs for a response, as a multiple of its size; measured by scripts/faults memory
SPOOL_BYTES = 16 << 20  # a larger body is kept in a temporary file
_OF_PROJECT = ("name", "version", "description")
_REQUIRED = {
    "cpu": "Fargate's smallest is cpu = 256, memory = 512",
    "memory": "Fargate's smallest is cpu = 256, memory = 512",
    "deadline_s": "write after how many seconds a run gives up, such as 900",
}
_LISTS = ("hosts", "secrets", "reads", "writes")


class DeclarationError(ValueError):
    """A declaration lacks something or has a key that does not exist; the message says what to write."""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """One job's [project] and [tool.finelt] tables.

    cpu: Fargate units; 1024 are one vCPU.
    memory: MiB.
    deadline_s: seconds after which a run gives up. A scheduler's own limit must be longer by jobkit.interruption.MARGIN_S.
    schedule: cron, in `timezone`; None for a job that others start.
    timezone: where the vendor's business days begin and end (IANA name).
    hosts: the hosts that the job may call; a base URL given by hand adds its own.
    secrets: the options that take references to secrets.
    reads, writes: datasets, such as raw/tiingo_prices or warehouse/marts.
    concurrency: how many runs of all jobs of the vendor may call it at once; None for any number.
    max_body_mib: the largest response that the job takes; None where that follows from the memory.
    tmp_mib: the size of /tmp, where alone the job may write. It counts as memory, and no more than half of it.
    """

    name: str
    version: str
    description: str
    cpu: int
    memory: int
    deadline_s: int
    schedule: str | None = None
    timezone: str = "UTC"
    hosts: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    concurrency: int | None = None
    max_body_mib: int | None = None
    tmp_mib: int = 64

    @property
    def package(self) -> str:
        """The Python package of the job."""
        return self.name.replace("-", "_")

    @property
    def vendor(self) -> str:
        """The vendor whose data the job extracts: the second word of its name."""
        return self.name.partition("-")[2].partition("-")[0]

    @property
    def max_body_bytes(self) -> int:
        """The largest response or dropped file, in bytes once unpacked, that can be processed within the memory."""
        return (self.max_body_mib or self.memory // MEMORY_PER_BODY) << 20


def read_package(package: str) -> Declaration:
    """Read the declaration of an imported job package: inside it in a wheel, above it in a checkout. Raises DeclarationError."""
    folder = Path(str(sys.modules[package].__file__)).parent
    inside = folder / "pyproject.toml"
    return read_file(inside if inside.exists() else folder.parent / "pyproject.toml")


def read_file(path: Path) -> Declaration:
    """Read the declaration in a pyproject.toml. Raises DeclarationError."""
    return parse(tomllib.loads(path.read_text(encoding="utf-8")))


def parse(document: dict[str, Any]) -> Declaration:
    """Read the declaration in a parsed pyproject.toml. Raises DeclarationError for missing and unknown keys and for what is no list.

    Whether a value makes sense (a size that Fargate has, a cron schedule) is for the reader to check.
    """
    project: dict[str, Any] = document.get("project", {})
    table: dict[str, Any] | None = document.get("tool", {}).get("finelt")
    if missing := next((key for key in _OF_PROJECT if not project.get(key)), None):
        raise DeclarationError(f"project.{missing} is missing or empty; write it into the pyproject.toml")
    if table is None:
        raise DeclarationError("its pyproject.toml has no table [tool.finelt]; add one with at least cpu, memory and deadline_s")
    supported = sorted({field.name for field in fields(Declaration)} - set(_OF_PROJECT))
    if unknown := sorted(set(table) - set(supported)):
        raise DeclarationError(f"[tool.finelt] has no key {unknown[0]!r}; it takes {', '.join(supported)}")
    if missing := next((key for key in _REQUIRED if key not in table), None):
        raise DeclarationError(f"[tool.finelt] lacks {missing!r}; {_REQUIRED[missing]}")
    if wrong := next((key for key in _LISTS if not isinstance(table.get(key, []), list)), None):
        raise DeclarationError(f"{wrong} = {table[wrong]!r} is no list; write {wrong} = [...]")
    values: dict[str, Any] = {key: tuple(value) if key in _LISTS else value for key, value in table.items()}
    return Declaration(**{key: project[key] for key in _OF_PROJECT}, **values)
