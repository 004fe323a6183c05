"""The lake: partitions of datasets, each a numbered history of immutable commits.

    <lake>/raw/<dataset>/_bytes/<sha256>.zst                     what the vendor sent; one answer may fill many partitions
    <lake>/raw/<dataset>/<partition>/<sha256>.parquet            its typed rows
    <lake>/raw/<dataset>/<partition>/<sha256>.quarantine.parquet the rows that broke the contract, with reasons
    <lake>/raw/<dataset>/<partition>/_commits/000001.json        what makes them visible

The highest commit is the partition. Files are named by their content and written before the commit that names them, the commit is
put if absent, so a reader that follows commits sees whole partitions only, and a writer that dies leaves nothing but unnamed files.
Hand-written: Delta and Iceberg cost 5 to 20 times as much per small commit and bring 140 to 280 MB (docs/decisions).
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit.errors import BadDataError, TemporaryError, UsageError
from jobkit.store import NotFoundError, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable

RACE_TRIES = 20
DROPPED = "dropped_sha256"  # in a commit's writer: the quarantine that was dropped by hand
_DATASET = re.compile(r"[a-z][a-z0-9_]{0,47}")
_PARTITION = re.compile(r"[a-z_]+=[A-Za-z0-9._\-]+(/[a-z_]+=[A-Za-z0-9._\-]+)*")
_NUMBER = re.compile(r"(\d{6,})\.json")


@dataclass(frozen=True)
class File:
    """An immutable file: key relative to the lake, digest and size of its bytes, rows in it."""

    path: str
    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True)
class Source:
    """The vendor's bytes behind a commit: digest and size before compression, and what the vendor said of them."""

    path: str
    sha256: str
    bytes: int
    url: str
    media_type: str
    etag: str | None
    last_modified: str | None


@dataclass(frozen=True)
class Commit:
    """One version of a partition. `known_at` is ISO 8601 in UTC; `key` and `leaf` tell a loader how the table is keyed and split."""

    dataset: str
    partition: str
    number: int
    known_at: str
    data: File
    quarantine: File | None
    rows_read: int
    source: tuple[Source, ...]
    key: tuple[str, ...]
    leaf: str
    writer: dict[str, str]


class About(NamedTuple):
    """What the vendor says of bytes it sends."""

    url: str
    media_type: str
    etag: str | None
    last_modified: str | None


class Draft(NamedTuple):
    """What a commit would hold: encoded files, and what it says of itself. `source` keeps the vendor's bytes; called only to commit.

    `rows`, `quarantined` and `dropped` add up to the rows read.
    """

    data: bytes
    rows: int
    quarantine: bytes | None
    quarantined: int
    source: Callable[[], tuple[Source, ...]]
    key: tuple[str, ...]
    leaf: str
    writer: dict[str, str]
    dropped: int = 0


class Lake:
    """Partitions under one URL."""

    def __init__(self, url: str) -> None:
        self.store: Store = open_store(url)

    def datasets(self) -> list[str]:
        """Names of the datasets that have anything."""
        return [name for name in self.store.folders("raw/") if _DATASET.fullmatch(name)]

    def partitions(self, dataset: str) -> list[str]:
        """Committed partitions of a dataset, sorted."""
        return sorted(self.heads(dataset))

    def heads(self, dataset: str) -> dict[str, int]:
        """The newest commit's number of each partition of a dataset, by one listing."""
        prefix = f"raw/{_named(dataset)}/"
        numbers: dict[str, int] = {}
        for key in self.store.list(prefix):
            partition, _, name = key.removeprefix(prefix).partition("/_commits/")
            if match := _NUMBER.fullmatch(name):
                numbers[partition] = max(int(match[1]), numbers.get(partition, 0))
        return numbers

    def newest(self, dataset: str, partition: str) -> int | None:
        """The newest commit's number, or None where there is none."""
        return max(self._numbers(dataset, partition), default=None)

    def head(self, dataset: str, partition: str) -> Commit | None:
        """The newest commit, or None where there is none."""
        number = self.newest(dataset, partition)
        return self.read_commit(dataset, partition, number) if number else None

    def history(self, dataset: str, partition: str) -> list[Commit]:
        """All commits, oldest first."""
        return [self.read_commit(dataset, partition, number) for number in self._numbers(dataset, partition)]

    def read(self, file: File | Source) -> bytes:
        """The file's bytes; a source's as the vendor sent them. Raises BadDataError when they are not what was committed."""
        try:
            data = self.store.get(file.path)
        except NotFoundError:
            raise BadDataError(f"{self.store.uri(file.path)} is named by a commit and gone; restore it from a backup") from None
        data = decompressed(data) if isinstance(file, Source) else data
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise BadDataError(f"{self.store.uri(file.path)} is not what was committed: its sha256 differs; restore it from a backup")
        return data

    def keep(self, dataset: str, body: bytes, about: About) -> Source:
        """Store what the vendor sent, once per content."""
        digest = _digest(body)
        path = f"raw/{_named(dataset)}/_bytes/{digest}.zst"
        if not self.store.exists(path):
            self.store.put(path, compressed(body), "application/zstd")
        return Source(path, digest, len(body), *about)

    def commit(self, dataset: str, partition: str, draft: Draft) -> tuple[Commit, bool]:
        """The partition's newest commit, and whether this call made it: False when it holds these very bytes already.

        Another writer may take the next number first; then theirs is compared as any earlier one. Raises TemporaryError when others
        win time and again.
        """
        data_sha, bad_sha = _digest(draft.data), _digest(draft.quarantine) if draft.quarantine else None
        for _ in range(RACE_TRIES):
            head = self.head(dataset, partition)
            if head and head.data.sha256 == data_sha and bad_sha in _quarantines(head):
                return head, False
            commit = self._next(dataset, partition, head, draft)
            body = json.dumps(asdict(commit), indent=1, sort_keys=True).encode()
            if self.store.put_new(self._commit_key(dataset, partition, commit.number), body, "application/json"):
                return commit, True
        raise TemporaryError(f"{dataset}/{partition} is being committed by others all the time; try again later")

    def _next(self, dataset: str, partition: str, head: Commit | None, draft: Draft) -> Commit:
        return Commit(
            dataset=dataset,
            partition=partition,
            number=head.number + 1 if head else 1,
            known_at=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            data=self._put(dataset, partition, draft.data, draft.rows, "parquet"),
            quarantine=self._put(dataset, partition, draft.quarantine, draft.quarantined, "quarantine.parquet")
            if draft.quarantine
            else None,
            rows_read=draft.rows + draft.quarantined + draft.dropped,
            source=draft.source(),
            key=draft.key,
            leaf=draft.leaf,
            writer=draft.writer,
        )

    def _put(self, dataset: str, partition: str, data: bytes, rows: int, ending: str) -> File:
        digest = _digest(data)
        path = f"raw/{_named(dataset)}/{_part(partition)}/{digest}.{ending}"
        if not self.store.exists(path):
            self.store.put(path, data, "application/vnd.apache.parquet")
        return File(path, digest, len(data), rows)

    def _commit_key(self, dataset: str, partition: str, number: int) -> str:
        return f"raw/{_named(dataset)}/{_part(partition)}/_commits/{number:06}.json"

    def _numbers(self, dataset: str, partition: str) -> list[int]:
        keys = self.store.list(f"raw/{_named(dataset)}/{_part(partition)}/_commits/")
        return sorted(int(match[1]) for key in keys if (match := _NUMBER.fullmatch(key.rsplit("/", 1)[-1])))

    def read_commit(self, dataset: str, partition: str, number: int) -> Commit:
        """One commit. Raises BadDataError where it is gone or cannot be read."""
        key = self._commit_key(dataset, partition, number)
        try:
            return _parse(json.loads(self.store.get(key)))
        except NotFoundError:
            raise BadDataError(f"{self.store.uri(key)} was listed and is gone; restore it from a backup") from None
        except (ValueError, KeyError, TypeError) as error:
            raise BadDataError(f"{self.store.uri(key)} is not a commit this version can read: {error}") from None


def _quarantines(head: Commit) -> tuple[str | None, ...]:
    """The digest of what a commit has in quarantine, and of what somebody who looked at it dropped: the same again is nothing new."""
    held = head.quarantine.sha256 if head.quarantine else None
    return (held, head.writer[DROPPED]) if DROPPED in head.writer else (held,)


def _parse(document: dict[str, Any]) -> Commit:
    document["data"] = File(**document["data"])
    document["quarantine"] = File(**document["quarantine"]) if document["quarantine"] else None
    document["source"] = tuple(Source(**source) for source in document["source"])
    document["key"] = tuple(document["key"])
    return Commit(**document)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _named(dataset: str) -> str:
    if not _DATASET.fullmatch(dataset):
        raise UsageError(f"{dataset!r} is not a dataset's name; expected lower-case letters, digits and underscores")
    return dataset


def _part(partition: str) -> str:
    if not _PARTITION.fullmatch(partition) or ".." in partition:
        raise UsageError(f"{partition!r} is not a partition; expected key=value, joined by slashes")
    return partition


def compressed(data: bytes) -> bytes:
    """The bytes as one zstd frame; the same bytes always give the same frame."""
    return bytes(_zstd().compress(data, 6))


def decompressed(data: bytes) -> bytes:
    """The bytes inside a zstd frame."""
    return bytes(_zstd().decompress(data))


def _zstd() -> Any:  # noqa: ANN401  the module, whichever Python has it
    try:
        return importlib.import_module("compression.zstd")  # Python 3.14 and later
    except ImportError:
        return importlib.import_module("backports.zstd")
