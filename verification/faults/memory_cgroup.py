"""Limit a job to its declared memory with a cgroup, as a container does, if this machine permits it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
PROCESSES = "cgroup.procs"
ENTER_SCRIPT = 'echo $$ > "$0" && exec "$@"'


class Confinement(NamedTuple):
    """How a process is limited: the prefix of its command and the method. Without a prefix, check its peak afterwards."""

    prefix: tuple[str, ...]
    method: str


@contextmanager
def limit_memory(mib: int) -> Iterator[Confinement]:
    """Create a cgroup (version 2 or 1) with this much memory and no swap. It needs root or a delegated cgroup."""
    for parent, limits in (
        (_find_own_cgroup(), ("memory.max", "memory.swap.max")),
        (V1, ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")),
    ):
        group = parent / f"finelt-{os.getpid()}-{time.monotonic_ns()}"
        if not (parent / PROCESSES).exists() or not _create(group):
            continue
        prefix = ("sh", "-c", ENTER_SCRIPT, str(group / PROCESSES))
        try:
            if _is_enforced(group, limits, prefix):
                _set_limit(group, limits, mib)
                yield Confinement(prefix, "a cgroup")
                return
        finally:
            _remove(group)
    yield Confinement((), "comparison with the peak in the receipt, because no cgroup can be created here")


def _create(group: Path) -> bool:
    try:
        group.mkdir()
    except OSError:
        return False
    return True


def _is_enforced(group: Path, limits: tuple[str, str], prefix: tuple[str, ...]) -> bool:
    """Tell whether the kernel enforces the limit. Some have the files of a cgroup but no memory accounting."""
    try:
        _set_limit(group, limits, 64)
    except OSError:
        return False
    command = [*prefix, sys.executable, "-c", "bytearray(b'1') * (128 << 20)"]
    return subprocess.run(command, check=False, capture_output=True).returncode != 0  # noqa: S603  our own


def _set_limit(group: Path, limits: tuple[str, str], mib: int) -> None:
    memory, swap = (group / limit for limit in limits)
    with_swap = "0" if swap.name == "memory.swap.max" else str(mib << 20)  # version 1 counts memory and swap together
    with suppress(OSError):  # raise it before the memory limit and lower it afterwards; some kernels do not count swap
        swap.write_text(with_swap)
    memory.write_text(str(mib << 20))
    with suppress(OSError):
        swap.write_text(with_swap)


def _find_own_cgroup() -> Path:
    """Find this process's cgroup (version 2)."""
    lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    return V2 / next((line.partition("::/")[2] for line in lines if line.startswith("0::/")), "none")


def _remove(group: Path) -> None:
    for _ in range(100):
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.05)  # wait for its last process to exit
        else:
            return
