"""A store on a local directory, for a file system with hard links and flock.

Names that begin with a dot are the store's own: temporary files, which a killed writer leaves behind, and lock files of conditional
writes. An ETag is the SHA-256 of the content.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from jobkit import failpoints, files
from jobkit.errors import MisconfiguredError, TemporaryError
from jobkit.stores.base import NotFoundError, Stat, check_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class FileStore:
    """Files below a directory. A hard link gives put-if-absent, a lock file the comparison of ETags, fsync durability."""

    def __init__(self, root: Path) -> None:
        self.root, self.url = root, _file_url(root)

    def uri(self, key: str) -> str:
        """Return file:///path."""
        return _file_url(self._path(key))

    def get(self, key: str) -> bytes:
        """Return the file's bytes. Raises NotFoundError."""
        with _translate_errors(self._path(key), key):
            return self._path(key).read_bytes()

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """Return the file's bytes and their SHA-256. Raises NotFoundError."""
        data = self.get(key)
        return data, hashlib.sha256(data).hexdigest()

    def download(self, key: str, path: Path) -> None:
        """Copy the file. Raises NotFoundError."""
        with _translate_errors(self._path(key), key):
            shutil.copyfile(self._path(key), path)

    def exists(self, key: str) -> bool:
        """Whether the key has a file."""
        with _translate_errors(self._path(key)):
            return self._path(key).is_file()

    def put(self, key: str, data: bytes | Path, content_type: str | None = None) -> None:  # noqa: ARG002  files have no type
        """Replace the file."""
        with _translate_errors(self._path(key)):
            files.replace_file(self._writable_path(key), data)

    def copy(self, key: str, to: str) -> None:
        """Replace the file by a hard link to another one, which is never changed in place. Raises NotFoundError."""
        with _translate_errors(self._path(key), key):
            files.replace_with_link(self._writable_path(to), self._path(key))

    def put_if_absent(self, key: str, data: bytes, content_type: str | None = None) -> bool:  # noqa: ARG002
        """Create the file; a hard link fails if the name is taken."""
        if self.exists(key):
            return self.get(key) == data
        with _translate_errors(self._path(key)):
            try:
                files.create_file(self._writable_path(key), data)
            except FileExistsError:
                return self.get(key) == data
            return True

    def put_if_match(self, key: str, data: bytes, etag: str | None, content_type: str | None = None) -> bool:
        """Compare ETags and replace the file while holding a lock file."""
        path = self._path(key)
        with _translate_errors(path), _locked(path):
            if self._etag(key) != etag:
                return False
            self.put(key, data, content_type)
            return True

    def delete_if_match(self, key: str, etag: str) -> bool:
        """Compare ETags and unlink the file while holding the same lock file."""
        path = self._path(key)
        with _translate_errors(path), _locked(path):
            if (current := self._etag(key)) == etag:
                with failpoints.surround("unlink"):
                    path.unlink()
                files.sync_folder(path.parent)
            return current in (etag, None)

    def get_size(self, key: str) -> int:
        """Return the file's size in bytes. Raises NotFoundError."""
        return self.stat(key).bytes

    def stat(self, key: str) -> Stat:
        """Return the file's size and time of change; a file system keeps no digest. Raises NotFoundError."""
        with _translate_errors(self._path(key), key):
            status = self._path(key).stat()
        return Stat(status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def now(self) -> datetime:
        """Return the time (UTC) that the file system gives a new file: the server's time on a network share."""
        with _translate_errors(self.root):
            _make_folder(self.root)
            with tempfile.TemporaryFile(dir=self.root) as file:
                return datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)

    def list_keys(self, prefix: str, after: str = "") -> Iterator[str]:
        """Yield the keys below a folder, without hidden files."""
        yield from self._iter_files(self._folder(prefix), prefix, after, lambda name: not name.startswith("."))

    def list_folders(self, prefix: str) -> Sequence[str]:
        """Return the names of the folders directly below a folder."""
        folder = self._folder(prefix)
        try:
            with _translate_errors(folder):
                return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        except FileNotFoundError:
            return []

    def list_temporary_files(self, prefix: str) -> Sequence[str]:
        """Return the keys of temporary files below a folder. Lock files are none: their owner may still hold them."""
        folder = self._folder(prefix)
        return list(self._iter_files(folder, prefix, "", lambda name: name.startswith(".") and not name.endswith(".lock")))

    def erase(self, prefix: str, matches: Callable[[str], bool]) -> Sequence[str]:
        """Unlink the files, then remove the folders that are empty."""
        keys = [key for key in ([prefix] if self.exists(prefix) else self.list_keys(prefix)) if matches(key)]
        for key in keys:
            with _translate_errors(self._path(key)), failpoints.surround("unlink"):
                self._path(key).unlink(missing_ok=True)
        folders = {folder for key in keys for folder in self._path(key).parents if self.root in folder.parents}
        for folder in sorted(folders, reverse=True):
            with suppress(OSError):  # not empty, or gone already
                folder.rmdir()
        return keys

    def erase_old_versions(self, prefix: str, matches: Callable[[str], bool]) -> None:
        """Do nothing: a directory keeps no earlier versions."""

    def list_old_versions(self, prefix: str) -> Sequence[str]:  # noqa: ARG002
        """Return an empty list: a directory keeps no earlier versions."""
        return []

    def list_deleted(self, prefix: str) -> Sequence[str]:  # noqa: ARG002
        """Return an empty list: a directory keeps nothing that was deleted."""
        return []

    def restore_deleted(self, prefix: str) -> None:
        """Do nothing: a directory keeps nothing that was deleted."""

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _writable_path(self, key: str) -> Path:
        """Create the key's folder and return its path. Raises MisconfiguredError if the path itself is a folder."""
        path = self._path(key)
        if path.is_dir():
            raise MisconfiguredError(f"cannot write {path}: a folder has that name; move it away or choose another place")
        _make_folder(path.parent)
        return path

    def _folder(self, prefix: str) -> Path:
        return self._path(prefix) if prefix else self.root

    def _etag(self, key: str) -> str | None:
        return self.get_with_etag(key)[1] if self.exists(key) else None

    def _iter_files(self, folder: Path | str, prefix: str, after: str, matches: Callable[[str], bool]) -> Iterator[str]:
        """Yield the keys below a folder whose file names match, in the order of the keys: a folder sorts as its name with a slash."""
        with _translate_errors(folder):
            try:
                with os.scandir(folder) as entries:
                    found = sorted(
                        (f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name, entry.path) for entry in entries
                    )
            except _NO_FILE:  # also a folder that somebody removes meanwhile
                return
        for name, path in found:
            key = f"{prefix}{name}"
            if name.endswith("/"):
                if key > after or after.startswith(key):
                    yield from self._iter_files(path, key, after, matches)
            elif key > after and matches(name) and not os.path.isdir(path):  # noqa: PTH112  a path from scandir is text
                yield key


def _file_url(path: Path) -> str:
    """Return the path as a URL that `open_store` reads back. Characters that a URL may contain stay: `year=2016` reads as `year=2016`."""
    return f"file://{quote(str(path), safe='/=:,@+~!$()*')}"


@contextmanager
def _translate_errors(path: Path | str, key: str | None = None) -> Iterator[None]:
    """Raise file system errors as JobError with the right exit code; a missing file as NotFoundError if the key is given."""
    try:
        yield
    except _NO_FILE:
        if key is None:
            raise
        raise NotFoundError(key) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TemporaryError(f"no space left for {path}; free some and run again, nothing half written is visible") from None
        raise MisconfiguredError(f"cannot use {path}: {error.strerror}; check that the place exists and may be written") from None


def _make_folder(folder: Path) -> None:
    """Create a folder and its missing parents. Raises MisconfiguredError if a file is in the way."""
    try:
        files.make_folder(folder)
    except (FileNotFoundError, NotADirectoryError, FileExistsError) as error:
        raise MisconfiguredError(f"cannot make the folder {error.filename}: {error.strerror}") from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Exclude other conditional writers of this file. The lock file is removed afterwards."""
    _make_folder(path.parent)
    name = path.parent / f".{path.name}.lock"
    lock = _lock(name)
    try:
        yield
    finally:
        name.unlink(missing_ok=True)  # before the lock is released: a waiting writer then sees that the file is gone
        os.close(lock)


def _lock(name: Path) -> int:
    """Lock the lock file and return its handle. Repeat if its previous owner removed the file in the meantime."""
    while True:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(lock), name.lstat()):
                return lock
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
