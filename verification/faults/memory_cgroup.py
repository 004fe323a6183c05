"""A job in the memory that it declares, as a container would have it: by a cgroup where this machine lets us make one."""

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
INTO = 'echo $$ > "$0" && exec "$@"'


class Confinement(NamedTuple):
    """How a process is kept to its memory: words before its command, and what keeps it. No words: its peak is looked at afterwards."""

    prefix: tuple[str, ...]
    how: str


@contextmanager
def memory(mib: int) -> Iterator[Confinement]:
    """A cgroup (version 2 or 1) of this much memory and no swap, gone with the block; needs root, or a cgroup handed to this user."""
    for parent, limits in ((_own(), ("memory.max", "memory.swap.max")), (V1, ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"))):
        group = parent / f"finelt-{os.getpid()}-{time.monotonic_ns()}"
        if not (parent / PROCESSES).exists() or not _made(group):
            continue
        prefix = ("sh", "-c", INTO, str(group / PROCESSES))
        try:
            if _holds(group, limits, prefix):
                _limit(group, limits, mib)
                yield Confinement(prefix, "a cgroup")
                return
        finally:
            _remove(group)
    yield Confinement((), "no cgroup can be made here, so by the peak in the receipt")


def _made(group: Path) -> bool:
    try:
        group.mkdir()
    except OSError:
        return False
    return True


def _holds(group: Path, limits: tuple[str, str], prefix: tuple[str, ...]) -> bool:
    """Whether what takes more than the limit is ended: a kernel may keep the files of a cgroup and no account of memory."""
    try:
        _limit(group, limits, 64)
    except OSError:
        return False
    greedy = [*prefix, sys.executable, "-c", "bytearray(b'1') * (128 << 20)"]
    return subprocess.run(greedy, check=False, capture_output=True).returncode != 0  # noqa: S603  our own


def _limit(group: Path, limits: tuple[str, str], mib: int) -> None:
    memory, swap = (group / limit for limit in limits)
    with_swap = "0" if swap.name == "memory.swap.max" else str(mib << 20)  # version 1 counts both
    with suppress(OSError):  # it has to be raised before, and lowered after; some kernels have no account of swap
        swap.write_text(with_swap)
    memory.write_text(str(mib << 20))
    with suppress(OSError):
        swap.write_text(with_swap)


def _own() -> Path:
    """The cgroup of version 2 that we are in."""
    lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    return V2 / next((line.partition("::/")[2] for line in lines if line.startswith("0::/")), "none")


def _remove(group: Path) -> None:
    for _ in range(100):
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.05)  # its last process is on its way out
        else:
            return
