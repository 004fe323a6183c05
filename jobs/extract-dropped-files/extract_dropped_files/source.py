"""The drop: where files wait, and where they go once they were looked at.

    <drop>/<contract>/<name>                              waits
    <drop>/accepted/<contract>/<name>                     is in the lake
    <drop>/rejected/<contract>/<name>                     is not
    <drop>/rejected/<contract>/<name>.reasons.json        and why

What is put aside is put there before it is taken from where it waits, and taken only if it is still the same: whoever dies in between
leaves it waiting, and the next run ends as this one would have. On a directory only ordinary files inside it are read: no link, pipe,
socket or device, and nothing that a link leads to. A name that begins with a dot is not looked at: write under one, then rename.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit.contract import escape_text
from jobkit.errors import BadDataError, MisconfiguredError, TemporaryError
from jobkit.stores import FileStore, NotFoundError, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from jobkit.stores import Store

ACCEPTED, REJECTED, REASONS = "accepted/", "rejected/", ".reasons.json"
ASIDE = (ACCEPTED, REJECTED)
LONGEST_NAME_BYTES = 200  # the reasons have a name that is longer, and no file system has more than 255
SETTLE_S, SETTLE_TRIES = 1.0, 10  # a file that changed within that second is looked at again
KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class Dropped(NamedTuple):
    """A file that waits: where, what is in it, and a tag that changes when it does."""

    key: str
    data: bytes
    tag: str


class UnreadableError(BadDataError):
    """What lies in the drop is no file that is read; it stays where it is."""


class UnsettledError(TemporaryError):
    """Somebody still writes the file."""


class Drop:
    """The files under one URL. A file's key is <contract>/<name>."""

    def __init__(self, url: str) -> None:
        self.store: Store = open_store(url)

    def waiting(self) -> list[str]:
        """The keys of all that waits, sorted, whether or not it can be read. Folders that a console makes are none."""
        keys = _found(self.store.root) if isinstance(self.store, FileStore) else self.store.list_keys("")
        return sorted(key for key in keys if not key.startswith(ASIDE) and all(key.split("/")))

    def read(self, key: str, largest: int) -> Dropped | None:
        """The file, None where there is none. Raises UnreadableError on what is none that is read here, or is larger."""
        reason = _unreadable_key(key)
        if reason:
            raise UnreadableError(f"{reason}; it stays where it is")
        try:
            if isinstance(self.store, FileStore):
                data = _read_file(self.store.root, key, largest)
                return Dropped(key, data, hashlib.sha256(data).hexdigest())
            if self.store.get_size(key) > largest:
                raise UnreadableError(_too_large(largest))
            return Dropped(key, *self.store.get_with_etag(key))
        except NotFoundError:
            return None

    def accept(self, file: Dropped) -> None:
        """Put the file among the accepted; an earlier one of its name is no longer among the rejected."""
        self._check_aside(ACCEPTED + file.key)
        self.store.put(ACCEPTED + file.key, file.data)
        for key in (REJECTED + file.key, REJECTED + file.key + REASONS):
            if self.store.exists(key):
                self.store.delete_if_match(key, self.store.get_with_etag(key)[1])
        self.store.delete_if_match(file.key, file.tag)

    def reject(self, file: Dropped, message: str, reasons: Sequence[str]) -> None:
        """Put the file among the rejected, its reasons beside it; `message` is what may be repeated elsewhere."""
        self._check_aside(REJECTED + file.key)
        told = {"file": file.key, "message": escape_text(message), "reasons": list(map(escape_text, reasons))}
        self.store.put(REJECTED + file.key + REASONS, json.dumps(told, indent=1, ensure_ascii=False).encode(), "application/json")
        self.store.put(REJECTED + file.key, file.data)
        self.store.delete_if_match(file.key, file.tag)

    def accepted(self, key: str) -> bytes | None:
        """The file of this key that was accepted last, None where none ever was."""
        try:
            return self.store.get(ACCEPTED + key)
        except NotFoundError:
            return None

    def refusal(self, key: str) -> str | None:
        """Why the last file of this key was rejected, None where it was not."""
        try:
            told: dict[str, Any] = json.loads(self.store.get(REJECTED + key + REASONS))
        except NotFoundError:
            return None
        return str(told.get("message", told["reasons"][0]))

    def _check_aside(self, key: str) -> None:
        """Nothing, where putting a file aside writes inside the drop. Raises MisconfiguredError."""
        if isinstance(self.store, FileStore):
            folder = self.store.root
            for part in key.split("/")[:-1]:
                folder /= part
                if folder.is_symlink():
                    raise MisconfiguredError(f"{folder} is a symbolic link, so that the job would write outside the drop; make it a folder")


def _found(root: Path) -> Iterator[str]:
    """Keys of all entries below a folder but folders, none of what was put aside."""
    for folder, folders, names in os.walk(root, onerror=_refuse_folder):
        below = os.path.relpath(folder, root)
        prefix = "" if below == "." else f"{below}/"
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]  # noqa: PTH114, PTH118  names may be no Unicode
        folders[:] = [name for name in folders if not name.startswith(".") and f"{prefix}{name}/" not in ASIDE and name not in links]
        yield from (f"{prefix}{name}" for name in [*names, *links] if not name.startswith("."))


def _refuse_folder(error: OSError) -> None:
    raise MisconfiguredError(f"cannot list {error.filename}: {error.strerror}; check that the drop exists and may be read")


def _unreadable_key(key: str) -> str | None:
    """Why a key names no file that is read, None where it does."""
    parts = key.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        return "its name leads elsewhere"
    if len(parts[-1].encode("utf-8", "surrogatepass")) > LONGEST_NAME_BYTES:
        return f"its name is longer than {LONGEST_NAME_BYTES} bytes; shorten it"
    if any("\ud800" <= character <= "\udfff" for character in key):
        return "its name is no Unicode; rename it with letters, digits, dots, dashes and underscores"
    return None


def _read_file(root: Path, key: str, largest: int) -> bytes:
    """An ordinary file once nobody writes to it, reached through no link.

    Raises NotFoundError, UnreadableError, and UnsettledError where the writing goes on.
    """
    *folders, name = key.split("/")
    try:
        with ExitStack() as opened:
            folder = opened.enter_context(_opened(root, os.O_DIRECTORY))
            for part in folders:
                folder = opened.enter_context(_opened(part, os.O_DIRECTORY | os.O_NOFOLLOW, folder))
            for _ in range(SETTLE_TRIES):
                with _opened(name, os.O_NOFOLLOW | os.O_NONBLOCK, folder) as file:
                    state = os.fstat(file)
                    if not stat.S_ISREG(state.st_mode) or state.st_nlink > 1:
                        break
                    if state.st_size > largest:
                        raise UnreadableError(_too_large(largest))
                    if 0 <= time.time() - state.st_mtime < SETTLE_S:
                        time.sleep(SETTLE_S)
                    with os.fdopen(os.dup(file), "rb") as stream:
                        data = stream.read(largest + 1)
                    if _same(state, os.stat(name, dir_fd=folder, follow_symlinks=False)) and len(data) == state.st_size:
                        return data
            else:
                raise UnsettledError(f"{key} is still being written; try again when it is whole, or write it as .{name} and rename it")
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise NotFoundError(key) from None
        if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise MisconfiguredError(f"cannot read {key} in the drop: {error.strerror}; check that the job may read it") from None
    raise UnreadableError(_described(root, key))


@contextmanager
def _opened(name: Path | str, flags: int, folder: int | None = None) -> Iterator[int]:
    handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC | flags, dir_fd=folder)
    try:
        yield handle
    finally:
        os.close(handle)


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_ino, one.st_size, one.st_mtime_ns) == (other.st_ino, other.st_size, other.st_mtime_ns)


def _too_large(largest: int) -> str:
    return f"it has more than {largest >> 20} MiB and stays where it is; split it into several files"


def _described(root: Path, key: str) -> str:
    """What lies in the drop instead of a file. Raises NotFoundError where there is nothing any more."""
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
