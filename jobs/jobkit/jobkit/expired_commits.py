"""The record of the commits that were deleted from a partition by the retention of its dataset, so that nobody takes them for lost.

    <lake>/raw/<dataset>/<partition>/_commits/expired.json

It is written before the commits are deleted. It keeps the number and the time of each, and until they are deleted too, the files that
only these commits named. Readers ask for it only if a number is missing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from jobkit.errors import DamagedError, TemporaryError
from jobkit.formats import EXPIRED, check_format
from jobkit.stores import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jobkit.stores import Store

NAME = "expired.json"


class ExpiredCommit(Struct, frozen=True, forbid_unknown_fields=True):
    """A commit that is deleted or about to be: its number, its `known_at`, and the files that are still to be deleted."""

    number: int
    known_at: str
    files: tuple[str, ...] = ()

    @property
    def known(self) -> datetime:
        """`known_at` as a moment in UTC."""
        return datetime.fromisoformat(self.known_at).astimezone(UTC)


class Record(Struct, forbid_unknown_fields=True):
    """The content of the file."""

    format: int
    commits: tuple[ExpiredCommit, ...]


# As in jobkit.commits: built while the import lock keeps other threads out.
DECODER = msgspec.json.Decoder(Record)


def read(store: Store, dataset: str, partition: str) -> tuple[dict[int, ExpiredCommit], str | None]:
    """Return the expired commits of a partition by number, and the ETag of their record; none without a record.

    Raises DamagedError (exit code 65) for a record that cannot be read, NewerFormatError (78) for one of a newer version.
    """
    key = _key(dataset, partition)
    try:
        data, etag = store.get_with_etag(key)
        check_format(store.uri(key), msgspec.json.decode(data)["format"], EXPIRED)
        return {commit.number: commit for commit in DECODER.decode(data).commits}, etag
    except NotFoundError:
        return {}, None
    except (msgspec.DecodeError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(
            f"{store.uri(key)} is damaged: {error}; restore it from a backup, or expect its commits to count as lost"
        ) from None


def has_expired(store: Store, dataset: str, partition: str, number: int) -> bool:
    """Whether a commit has expired since it was read, so that its files may be gone. Raises as `read` does."""
    return number in read(store, dataset, partition)[0]


def write(store: Store, dataset: str, partition: str, commits: Iterable[ExpiredCommit], etag: str | None) -> None:
    """Replace the record that has this ETag, None for none. Raises TemporaryError (75) if another program changed it."""
    key, record = _key(dataset, partition), Record(EXPIRED, tuple(sorted(commits, key=lambda commit: commit.number)))
    if not store.put_if_match(key, msgspec.json.format(msgspec.json.encode(record), indent=1), etag, "application/json"):
        raise TemporaryError(f"{store.uri(key)} was changed by another program at the same time; run this again")


def _key(dataset: str, partition: str) -> str:
    return f"raw/{dataset}/{partition}/_commits/{NAME}"
