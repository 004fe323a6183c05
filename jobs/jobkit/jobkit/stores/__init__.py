"""Object stores: bytes by key on a local directory or in S3, with the conditional writes that commits need.

Hand-written because no library gives both stores a durable put-if-absent with one meaning: fsspec has none on local files,
object-store bindings do not fsync, and boto3 reports a lost response to a write that S3 did store as a refusal.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from jobkit import urls
from jobkit.stores.base import NotFoundError, Stat, Store
from jobkit.stores.file import FileStore
from jobkit.stores.s3 import S3Store

__all__ = ["FileStore", "NotFoundError", "S3Store", "Stat", "Store", "open_store"]


def open_store(url: str) -> Store:
    """Return the store at a path, file:///path or s3://bucket/prefix, without accessing it.

    Raises UsageError (exit code 2) for any other URL, and does not repeat it in the message: it may hold a secret.
    """
    parts = urlsplit(urls.check_place(url))
    if parts.scheme == "s3":
        return S3Store(parts.netloc, parts.path.strip("/"))
    return FileStore(Path(unquote(parts.path)) if parts.scheme else Path(url).absolute())
