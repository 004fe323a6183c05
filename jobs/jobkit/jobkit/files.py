"""Atomic, durable writes of local files.

A file is written to a temporary sibling, a hidden file in the same folder, and reaches the disk before it gets its name. Readers see the
previous file, the new one, or none. A killed writer leaves a temporary sibling at most.
Hand-written: the libraries for atomic writes (atomicwrites, unmaintained since 2022) do not fsync new folders.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from jobkit import failpoints

if TYPE_CHECKING:
    from collections.abc import Iterator


def replace_file(path: Path, data: bytes | Path, *, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Write a file, replacing an existing one (rename). Missing folders are created.

    `data` is the content, or a file to copy, which is never in memory as a whole. `owner` is a user id and a group id. Raises OSError.
    """
    with _temporary_sibling(path, data, mode, owner) as temporary:
        with failpoints.surround("rename"):
            temporary.replace(path)
        sync_folder(path.parent)


def create_file(path: Path, data: bytes | Path, *, mode: int = 0o644) -> None:
    """Write a file that must not exist yet (hard link). Missing folders are created. Raises FileExistsError, OSError."""
    with _temporary_sibling(path, data, mode) as temporary:
        with failpoints.surround("link"):
            os.link(temporary, path)
        sync_folder(path.parent)


def replace_with_link(path: Path, target: Path) -> None:
    """Make a path a hard link to a file, replacing an existing file (rename). Missing folders are created. Raises OSError."""
    make_folder(path.parent)
    link = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        os.link(target, link)
        with failpoints.surround("rename"):
            link.replace(path)
    finally:
        link.unlink(missing_ok=True)
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, each durable before anything is written inside. Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _temporary_sibling(path: Path, data: bytes | Path, mode: int, owner: tuple[int, int] | None = None) -> Iterator[Path]:
    """Write the data to a hidden file in the folder of `path`, flush it to the disk, and remove it afterwards if it is still there."""
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            failpoints.hit("before write")
            _write(data, file)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if owner:
                os.fchown(file.fileno(), *owner)
            with failpoints.surround("fsync"):
                os.fsync(file.fileno())
        yield Path(name)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _write(data: bytes | Path, file: IO[bytes]) -> None:
    if isinstance(data, bytes):
        file.write(data)
    else:
        with data.open("rb") as source:
            shutil.copyfileobj(source, file)
