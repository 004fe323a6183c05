"""The drop: where files wait, and where they are moved after they were read.

    <drop>/<contract>/<name>                              waits
    <drop>/accepted/<contract>/<name>                     is in the lake
    <drop>/rejected/<contract>/<name>                     is not in the lake
    <drop>/rejected/<contract>/<name>.reasons.json        says why
    <drop>/taken/<digest>.json                            was taken from an SFTP server (`inbox`), which keeps the file

A file is moved by writing the copy first and then deleting the original, if that is unchanged. A run that is killed in between leaves the
file waiting, and the next run ends as this one would have. In a directory, only ordinary files inside it are read: no link, pipe, socket
or device. Names that begin with a dot, or end as those of unfinished uploads do, are ignored: write a file under such a name, then
rename it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit.contracts import escape_text
from jobkit.errors import BadDataError, MisconfiguredError, TemporaryError
from jobkit.stores import FileStore, NotFoundError, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from jobkit.stores import Store

ACCEPTED, REJECTED, TAKEN, REASONS = "accepted/", "rejected/", "taken/", ".reasons.json"
ARCHIVES = (ACCEPTED, REJECTED, TAKEN)
UNFINISHED = (".filepart", ".part", ".tmp")  # endings under which SFTP clients such as WinSCP write a file before they rename it
MAX_NAME_BYTES = 200  # the name of the reasons is longer; the limit of file systems is 255
SETTLE_S, SETTLE_ATTEMPTS = 1.0, 10  # a file that changed less than SETTLE_S ago may still be written
KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class DroppedFile(NamedTuple):
    """A file that waits: its key, its content, and its URL.

    release: ends its waiting; called last.
    is_repeated: it was taken before with this content, from a server that keeps it.
    """

    key: str
    data: bytes
    url: str
    release: Callable[[], object]
    is_repeated: bool = False


class UnreadableError(BadDataError):
    """An entry of the drop is not an ordinary file, or too large. It stays where it is."""


class UnsettledError(TemporaryError):
    """The file is still being written."""


class Drop:
    """The files under one URL. A file's key is <contract>/<name>; the methods raise the errors of jobkit.stores, too."""

    def __init__(self, url: str) -> None:
        self.store: Store = open_store(url)

    def list_waiting(self) -> list[str]:
        """Return the keys of all entries that wait, sorted, readable or not. Empty objects that stand for folders are left out."""
        keys = _walk(self.store.root) if isinstance(self.store, FileStore) else self.store.list_keys("")
        return sorted(key for key in keys if not key.startswith(ARCHIVES) and all(key.split("/")) and not is_unfinished(key))

    def read(self, key: str, max_bytes: int) -> DroppedFile | None:
        """Return the file, None if there is none. Raises UnreadableError if it is larger or not an ordinary file, UnsettledError."""
        reason = find_key_problem(key)
        if reason:
            raise UnreadableError(f"{reason}; it stays where it is")
        try:
            if isinstance(self.store, FileStore):
                data = _read_file(self.store.root, key, max_bytes)
                etag = hashlib.sha256(data).hexdigest()
            elif self.store.get_size(key) > max_bytes:
                raise UnreadableError(describe_excess(max_bytes))
            else:
                data, etag = self.store.get_with_etag(key)
        except NotFoundError:
            return None
        return DroppedFile(key, data, self.store.uri(key), partial(self.store.delete_if_match, key, etag))

    def accept(self, file: DroppedFile) -> None:
        """Move the file to the accepted ones, and remove an earlier one of its name from the rejected ones."""
        self._check_folders(ACCEPTED + file.key)
        self.store.put(ACCEPTED + file.key, file.data)
        for key in (REJECTED + file.key, REJECTED + file.key + REASONS):
            if self.store.exists(key):
                self.store.delete_if_match(key, self.store.get_with_etag(key)[1])
        file.release()

    def reject(self, file: DroppedFile, message: str, reasons: Sequence[str]) -> None:
        """Move the file to the rejected ones, with the reasons. `message` has no confidential value; the receipt repeats it."""
        self._check_folders(REJECTED + file.key)
        document = {"file": file.key, "message": escape_text(message), "reasons": list(map(escape_text, reasons))}
        self.store.put(REJECTED + file.key + REASONS, json.dumps(document, indent=1, ensure_ascii=False).encode(), "application/json")
        self.store.put(REJECTED + file.key, file.data)
        file.release()

    def read_accepted(self, key: str) -> bytes | None:
        """Return the file of this key that was accepted last, None if none was."""
        try:
            return self.store.get(ACCEPTED + key)
        except NotFoundError:
            return None

    def read_rejection(self, key: str) -> str | None:
        """Return why the last file of this key was rejected, None if it was not."""
        try:
            document: dict[str, Any] = json.loads(self.store.get(REJECTED + key + REASONS))
        except NotFoundError:
            return None
        return str(document.get("message", document["reasons"][0]))

    def _check_folders(self, key: str) -> None:
        """Raise MisconfiguredError if a folder of the key is a link: the job would write outside the drop."""
        if isinstance(self.store, FileStore):
            folder = self.store.root
            for part in key.split("/")[:-1]:
                folder /= part
                if folder.is_symlink():
                    raise MisconfiguredError(f"{folder} is a symbolic link, so that the job would write outside the drop; make it a folder")


def is_unfinished(key: str) -> bool:
    """Return whether the name says that the file is still being written."""
    name = key.rpartition("/")[2]
    return name.startswith(".") or name.lower().endswith(UNFINISHED)


def _walk(root: Path) -> Iterator[str]:
    """Yield the keys of all entries below a folder but folders, without accepted and rejected files."""
    for folder, folders, names in os.walk(root, onerror=_refuse_folder):
        below = os.path.relpath(folder, root)
        prefix = "" if below == "." else f"{below}/"
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]  # noqa: PTH114, PTH118  names may be no Unicode
        folders[:] = [name for name in folders if not name.startswith(".") and f"{prefix}{name}/" not in ARCHIVES and name not in links]
        yield from (f"{prefix}{name}" for name in [*names, *links] if not name.startswith("."))


def _refuse_folder(error: OSError) -> None:
    raise MisconfiguredError(f"cannot list {error.filename}: {error.strerror}; check that the drop exists and may be read")


def find_key_problem(key: str) -> str | None:
    """Return why the file of a key is never read; None if it may be."""
    parts = key.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        return "its name leads elsewhere"
    if len(parts[-1].encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        return f"its name is longer than {MAX_NAME_BYTES} bytes; shorten it"
    if any("\ud800" <= character <= "\udfff" for character in key):
        return "its name is not Unicode; rename it with letters, digits, dots, dashes and underscores"
    return None


def _read_file(root: Path, key: str, max_bytes: int) -> bytes:
    """Read an ordinary file, reached through no link, once nobody writes to it.

    Raises NotFoundError, UnreadableError, and UnsettledError if it is written for longer than SETTLE_ATTEMPTS seconds.
    """
    *folders, name = key.split("/")
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(_open(root, os.O_DIRECTORY))
            for part in folders:
                folder = stack.enter_context(_open(part, os.O_DIRECTORY | os.O_NOFOLLOW, folder))
            for _ in range(SETTLE_ATTEMPTS):
                with _open(name, os.O_NOFOLLOW | os.O_NONBLOCK, folder) as file:
                    state = os.fstat(file)
                    if not stat.S_ISREG(state.st_mode) or state.st_nlink > 1:
                        break
                    if state.st_size > max_bytes:
                        raise UnreadableError(describe_excess(max_bytes))
                    if 0 <= time.time() - state.st_mtime < SETTLE_S:
                        time.sleep(SETTLE_S)
                    with os.fdopen(os.dup(file), "rb") as stream:
                        data = stream.read(max_bytes + 1)
                    if _is_unchanged(state, os.stat(name, dir_fd=folder, follow_symlinks=False)) and len(data) == state.st_size:
                        return data
            else:
                raise UnsettledError(f"{key} is still being written; try again when it is whole, or write it as .{name} and rename it")
    except OSError as error:
        if problem := _find_problem(error, key):
            raise problem from None
    raise UnreadableError(_describe_entry(root, key))


def _find_problem(error: OSError, key: str) -> Exception | None:
    """Return why a file cannot be opened or read; None if it is no ordinary file."""
    if error.errno == errno.ENOENT:
        return NotFoundError(key)
    if error.errno in (errno.EACCES, errno.EPERM):
        return UnreadableError("the job may not read it; give it the right to do so. It stays where it is")
    if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
        return MisconfiguredError(f"cannot read {key} in the drop: {error.strerror}; check the disk of the drop")
    return None


@contextmanager
def _open(name: Path | str, flags: int, folder: int | None = None) -> Iterator[int]:
    handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC | flags, dir_fd=folder)
    try:
        yield handle
    finally:
        os.close(handle)


def _is_unchanged(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns)


def describe_excess(max_bytes: int) -> str:
    """Return why a file that is too large is not read."""
    return f"it has more than {max_bytes >> 20} MiB and stays where it is; split it into several files"


def _describe_entry(root: Path, key: str) -> str:
    """Return what the drop has in place of a file. Raises NotFoundError if it has nothing any more."""
    path = root
    for part in key.split("/"):
        path /= part
        try:
            state = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(key) from None
        if stat.S_ISLNK(state.st_mode):
            break
    kind = KINDS.get(stat.S_IFMT(state.st_mode), "a hard link to a file that has another name, too,")
    return f"{path.relative_to(root)} is {kind} and is not read; it stays where it is. Drop a copy of the file itself"
