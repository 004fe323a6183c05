"""What every store promises: the protocol, its errors, and the check of keys.

Errors of all methods, beyond those in their docstrings:

    UsageError          (2)   a key that could leave the store
    TemporaryError      (75)  no space, no connection, a busy store, a conditional write that others keep disturbing
    AuthError           (77)  S3 denies access
    MisconfiguredError  (78)  a directory that cannot be used, a missing bucket, no AWS credentials
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from jobkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path


class NotFoundError(KeyError):
    """No object has this key."""


class Stat(NamedTuple):
    """An object's metadata: its size in bytes, when it was last changed (UTC), and its SHA-256 in hex if the store keeps one."""

    bytes: int
    modified: datetime
    sha256: str | None = None


class Store(Protocol):
    """Bytes by key. Every write is atomic and durable: a reader sees the previous object, the new one, or none."""

    url: str

    def get(self, key: str) -> bytes:
        """Return the object. Raises NotFoundError."""

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """Return the object and its ETag, a text that changes when the object does. Raises NotFoundError."""

    def download(self, key: str, path: Path) -> None:
        """Write the object to a local file. It is never in memory as a whole. Raises NotFoundError."""

    def exists(self, key: str) -> bool:
        """Whether the key has an object."""

    def put(self, key: str, data: bytes | Path, content_type: str | None = None) -> None:
        """Write an object, replacing an existing one. A path stands for the content of its file, which is never in memory as a whole."""

    def copy(self, key: str, to: str) -> None:
        """Write an object's content and type under another key, replacing an object there; no bytes pass here. Raises NotFoundError."""

    def put_if_absent(self, key: str, data: bytes, content_type: str | None = None) -> bool:
        """Write an object if the key has none. Returns True if the key has these bytes afterwards, False if it has others."""

    def put_if_match(self, key: str, data: bytes, etag: str | None, content_type: str | None = None) -> bool:
        """Write an object if the current one has this ETag; None means if there is no object. Returns False if it has another."""

    def delete_if_match(self, key: str, etag: str) -> bool:
        """Delete the object if it has this ETag. Returns True if the key has no object afterwards, False if it has another."""

    def get_size(self, key: str) -> int:
        """Return the object's size in bytes without reading it. Raises NotFoundError."""

    def stat(self, key: str) -> Stat:
        """Return the object's metadata without reading it. Raises NotFoundError."""

    def now(self) -> datetime:
        """Return the time (UTC) by the store's own clock."""

    def list_keys(self, prefix: str, after: str = "") -> Iterator[str]:
        """Yield the keys that begin with this prefix and are greater than `after`, sorted; the prefix ends in a slash or is empty.

        Few keys are in memory at a time: a page of S3, or the names in one folder and those above it.
        """

    def list_folders(self, prefix: str) -> Sequence[str]:
        """Return the names directly below a prefix that have objects under them, sorted."""

    def list_temporary_files(self, prefix: str) -> Sequence[str]:
        """Return the keys of files that killed writers left below a prefix, sorted. `list_keys` does not include them."""

    def erase(self, prefix: str, matches: Callable[[str], bool]) -> Sequence[str]:
        """Delete the objects below a prefix whose keys match, and all their versions in a versioned bucket. Returns the keys."""

    def erase_old_versions(self, prefix: str, matches: Callable[[str], bool]) -> None:
        """Delete all versions but the current one of the objects below a prefix whose keys match."""

    def list_old_versions(self, prefix: str) -> Sequence[str]:
        """Return the keys below a prefix of which a versioned bucket keeps versions that are not current, sorted."""

    def list_deleted(self, prefix: str) -> Sequence[str]:
        """Return the keys below a prefix that were deleted and whose last version a versioned bucket still has, sorted."""

    def restore_deleted(self, prefix: str) -> None:
        """Bring back what `list_deleted` returns."""

    def uri(self, key: str) -> str:
        """Return the object's URI, for people and other tools."""


def check_key(key: str) -> str:
    """Check a key and return it. Raises UsageError for one that could leave its prefix or confuse a file system."""
    if not key or key.startswith("/") or "\0" in key or any(part in ("", ".", "..") for part in key.rstrip("/").split("/")):
        raise UsageError(f"{key!r} is not a key: expected names joined by single slashes, none of them '.' or '..'")
    return key
