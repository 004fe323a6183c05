"""A job in the memory that it declares, as a container would have it: by a cgroup where this machine lets us make one."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
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
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limits[0]).write_text(str(mib << 20))
        except OSError:
            group.rmdir()
            continue
        with suppress(OSError):  # a kernel without an account of swap
            (group / limits[1]).write_text("0" if parent != V1 else str(mib << 20))
        try:
            yield Confinement(("sh", "-c", INTO, str(group / "cgroup.procs")), "a cgroup")
        finally:
            _remove(group)
        return
    yield Confinement((), "no cgroup can be made here, so by the peak in the receipt")


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
