"""The lake: partitions of datasets, each a numbered history of immutable commits.

    <lake>/raw/<dataset>/_bytes/<sha256>.zst                     what the vendor sent; one response may fill many partitions
    <lake>/raw/<dataset>/<partition>/_versions/<sha256>.parquet  the typed rows of a version of it, not only of the newest
    <lake>/raw/<dataset>/<partition>/_quarantine/<sha256>.parquet the rows that broke the contract, with reasons
    <lake>/raw/<dataset>/<partition>/_commits/000001.json        what makes them visible
    <lake>/raw/<dataset>/<partition>/_commits/expired.json       what was deleted by the dataset's retention (jobkit.expired_commits)
    <lake>/raw/<dataset>/_log/0000000001.json                    announces a commit (jobkit.commit_log)
    <lake>/raw/<dataset>/_erasures/<id>.json                     what was erased, when and for whom (finelt.erasure)

The highest commit is the partition. Files are named by their content and written before the commit that names them, and the commit is put
if absent. So a reader that follows commits sees complete partitions only, and a writer that dies leaves nothing but files that no commit
names. A file is trusted for its digest, never for its existence: each commit rewrites what is missing or damaged.

Hand-written: Delta and Iceberg cost 5 to 20 times as much per small commit and add 140 to 280 MB (docs/decisions/0001-lake-commits.md).
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import re
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit import commits, expired_commits
from jobkit.commit_log import CommitLog
from jobkit.commits import Commit, File, Source
from jobkit.errors import DamagedError, NewerFormatError, TemporaryError, UsageError
from jobkit.stores import NotFoundError, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Commit", "CommitDraft", "File", "Lake", "Source", "SourceMetadata"]
RACE_TRIES = 20
CLOCK_TOLERANCE = timedelta(seconds=10)  # how far our clock may be ahead of the store's, which dates its responses to the second
GONE = "is gone"
REMEDY = "run its extractor again, or see `scripts/lake repair`"
DROPPED = "dropped_sha256"  # in a commit's writer: the quarantine that was dropped by hand
# In the writer of a commit from which a person was erased: the digests of its earlier data files, and the URL of its last vendor bytes.
ERASED, ERASED_URL = "erased_sha256", "erased_url"
STATE = "connector_state"  # in the writer of a commit by a connector that resumes: from where; the rows and the state are one commit
_DATASET = re.compile(r"[a-z][a-z0-9_]{0,47}")
_PARTITION = re.compile(r"[a-z_]+=[A-Za-z0-9._\-]+(/[a-z_]+=[A-Za-z0-9._\-]+)*")
_NUMBER = re.compile(r"(\d{6,10})\.json")
LEVEL = 3  # of zstd: takes a quarter of the CPU time of level 6 for a third more bytes
PARQUET, _ZSTD = "application/vnd.apache.parquet", "application/zstd"
PARQUET_MAGIC, MIN_PARQUET_BYTES = b"PAR1", 12


class SourceMetadata(NamedTuple):
    """What the vendor's response says about its bytes: URL without secrets, media type, and the validators of RFC 9110 as sent."""

    url: str
    media_type: str
    etag: str | None
    last_modified: str | None


class CommitDraft(NamedTuple):
    """The content of a commit that may be made.

    data, quarantine: encoded Parquet files; no quarantine without bad rows.
    rows, quarantined, dropped: numbers of rows, which add up to the rows read.
    source: stores the vendor's bytes; called only if the commit is made or repaired.
    key, leaf: the key of the dataset's table, and how the table is partitioned (jobkit.column_types.LEAF).
    writer: the job and version; with STATE, a commit with another state is another commit, even if its rows are the same.
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


class PackedSource(NamedTuple):
    """The bytes of a response, compressed, and what a commit says of them."""

    source: Source
    content: bytes


class PartitionState(NamedTuple):
    """A partition's commits at one moment.

    latest_number: that of the newest commit, intact or not; 0 without any.
    head: the newest intact commit; None without any.
    problem: what is wrong with the newest commit; None if it is intact, or if there is none.
    """

    latest_number: int
    head: Commit | None
    problem: str | None = None

    @property
    def intact_number(self) -> int | None:
        """The newest commit's number if it is intact, else None."""
        return self.latest_number if self.head and not self.problem else None


class History(NamedTuple):
    """A partition's commits by number.

    commits, damaged: those that are intact, and the errors of the others.
    missing: ranges of numbers, first and last inclusive, that no commit has.
    """

    commits: dict[int, Commit]
    damaged: dict[int, DamagedError]
    missing: tuple[tuple[int, int], ...]


class Lake:
    """The partitions under one URL, file:// or s3://. May be used by several threads.

    Methods raise UsageError (exit code 2) for a dataset or partition whose name no lake has, and what the store raises: TemporaryError (75)
    if it cannot be reached, AuthError (77) or MisconfiguredError (78) if it refuses.

    log: announces each commit.
    repaired: the keys of files that were missing or damaged and that this object rewrote.
    received_at: the moment of new commits (UTC), if it is not now. None precedes the newest commit of its partition.
    """

    def __init__(self, url: str, received_at: datetime | None = None) -> None:
        self.store: Store = open_store(url)
        self.log = CommitLog(self.store)
        self.received_at = received_at
        self.repaired: list[str] = []
        self._intact: set[str] = set()  # paths of checked sources: one response may be behind many partitions

    def datasets(self) -> list[str]:
        """List the datasets that have a file, sorted."""
        return [name for name in self.store.list_folders("raw/") if _DATASET.fullmatch(name)]

    def partitions(self, dataset: str) -> list[str]:
        """List the committed partitions of a dataset, sorted."""
        return sorted(self.latest_numbers(dataset))

    def latest_numbers(self, dataset: str) -> dict[str, int]:
        """Return the number of the newest commit of each partition of a dataset, by one listing. Ignores folders with other names."""
        return dict(self.iter_latest_numbers(dataset))

    def iter_latest_numbers(self, dataset: str, below: str | None = None) -> Iterator[tuple[str, int]]:
        """Yield each partition with the number of its newest commit, by one listing, of which only one page is in memory.

        `below` is the beginning of partitions (account=1): only those are listed.
        """
        for partition, group in groupby(self.iter_commit_numbers(dataset, below), itemgetter(0)):
            yield partition, max(number for _, number in group)

    def iter_commit_numbers(self, dataset: str, below: str | None = None) -> Iterator[tuple[str, int]]:
        """Yield the partition and the number of each commit of a dataset, by one listing; those of a partition follow each other."""
        prefix = f"raw/{_check_dataset(dataset)}/"
        for key in self.store.list_keys(f"{prefix}{_check_partition(below)}/" if below else prefix):
            partition, _, name = key.removeprefix(prefix).partition("/_commits/")
            if (number := commit_number(name)) and is_partition(partition):
                yield partition, number

    def latest_number(self, dataset: str, partition: str) -> int | None:
        """Return the number of the newest commit, intact or not; None without any."""
        return max(self.commit_numbers(dataset, partition), default=None)

    def head(self, dataset: str, partition: str) -> Commit | None:
        """Return the newest commit; None without any. Raises DamagedError (exit code 65) if it is not intact."""
        state = self.read_state(dataset, partition)
        if state.problem:
            raise DamagedError(state.problem)
        return state.head

    def read_state(self, dataset: str, partition: str) -> PartitionState:
        """Return the newest intact commit, and what is wrong with the newest one. Never raises DamagedError."""
        numbers, problem = self.commit_numbers(dataset, partition), None
        for number in reversed(numbers):
            try:
                return PartitionState(numbers[-1], self.read_commit(dataset, partition, number), problem)
            except DamagedError as error:
                problem = problem or str(error)
        return PartitionState(numbers[-1] if numbers else 0, None, problem)

    def find_newest_commit(self, dataset: str) -> Commit | None:
        """Return the commit of a dataset that was made last; None if none is intact.

        It is the last one in the log that is there. Its `known_at` may be older: responses may be imported that came long ago.
        """
        for number in reversed(self.log.recent_numbers(dataset)):
            entry = self.log.read(dataset, number)
            try:
                if entry:
                    return self.read_commit(dataset, entry.partition, entry.commit)
            except (DamagedError, UsageError):  # announced and not there yet, or damaged
                continue
        heads = (self.read_state(dataset, partition).head for partition, _ in self.iter_latest_numbers(dataset))
        return max(filter(None, heads), key=lambda head: head.known, default=None)

    def history(self, dataset: str, partition: str) -> list[Commit]:
        """Return all commits that have not expired, oldest first; may be empty. Raises DamagedError if one is not intact."""
        return [self.read_commit(dataset, partition, number) for number in self.commit_numbers(dataset, partition)]

    def examine(self, dataset: str, partition: str, since: int = 1) -> History:
        """Return the commits from number `since` on, each intact or with its problem. Those that have expired are neither.

        Raises DamagedError only if the record of expired commits is damaged.
        """
        numbers = [number for number in self.commit_numbers(dataset, partition) if number >= since]
        commits: dict[int, Commit] = {}
        damaged: dict[int, DamagedError] = {}
        for number in numbers:
            try:
                commits[number] = self.read_commit(dataset, partition, number)
            except DamagedError as error:
                damaged[number] = error
        if damaged or numbers != list(range(since, since + len(numbers))):
            expired, _ = expired_commits.read(self.store, dataset, partition)
            damaged = {number: error for number, error in damaged.items() if number not in expired}
            numbers = sorted({*numbers, *(number for number in expired if number >= since)})
        missing = tuple((before + 1, number - 1) for before, number in pairwise([since - 1, *numbers]) if number > before + 1)
        return History(commits, damaged, missing)

    def read_commit(self, dataset: str, partition: str, number: int) -> Commit:
        """Return one commit.

        Raises DamagedError (exit code 65) if it is gone, cannot be read or belongs elsewhere, and NewerFormatError (exit code 78) if a
        newer version of finelt wrote it.
        """
        key = self.commit_key(dataset, partition, number)
        try:
            return commits.decode(self.store.get(key), dataset, partition, number)
        except NotFoundError:
            raise DamagedError(f"{self.store.uri(key)} was listed and is gone; {REMEDY}") from None
        except DamagedError as error:
            raise DamagedError(f"{self.store.uri(key)} {error}; {REMEDY}") from None
        except NewerFormatError as error:
            raise NewerFormatError(f"{self.store.uri(key)} {error}") from None

    def read(self, file: File | Source) -> bytes:
        """Return a file's bytes, checked by digest; a source's as the vendor sent them, decompressed.

        Raises DamagedError if the file is gone or differs from what was committed.
        """
        uri = self.store.uri(file.path)
        try:
            data = self.store.get(file.path)
        except NotFoundError:
            raise DamagedError(f"{uri} is named by a commit and gone; {REMEDY}") from None
        try:
            data = decompress(data) if isinstance(file, Source) else data
        except ValueError as error:
            raise DamagedError(f"{uri} is not what was committed: {error}; {REMEDY}") from None
        if _digest(data) != file.sha256:
            raise DamagedError(f"{uri} is not what was committed: its sha256 differs; {REMEDY}")
        return data

    def find_problem(self, file: File | Source) -> str | None:
        """Return what is wrong with a stored file; None if it is intact. The file is read only if the store keeps no digest of it."""
        if file.path in self._intact:
            return None
        try:
            stat = self.store.stat(file.path)
        except NotFoundError:
            return GONE
        is_source = isinstance(file, Source)
        if stat.sha256 is None or stat.sha256 != (file.stored_sha256 if isinstance(file, Source) else file.sha256):
            if not is_source and stat.bytes != file.bytes:
                return f"has {stat.bytes:,} bytes in place of {file.bytes:,}"
            try:
                self.read(file)
            except DamagedError:
                return "is not what was committed"
        if is_source:
            self._intact.add(file.path)
        return None

    def check_sources(self, sources: tuple[Source, ...]) -> tuple[Source, ...]:
        """Return the sources, for another commit to name. Raises DamagedError if one differs from what was committed."""
        for source in sources:
            if problem := self.find_problem(source):
                raise DamagedError(f"{self.store.uri(source.path)} {problem}; run the extractor without --replay to ask the vendor again")
        return sources

    def store_source(self, dataset: str, body: bytes, about: SourceMetadata) -> Source:
        """Store the bytes of a response, compressed, once per content. Rewrites a stored file that is damaged."""
        return self.store_packed(pack_source(dataset, body, about))

    def store_packed(self, packed: PackedSource) -> Source:
        """Store what `pack_source` returned, as `store_source` does."""
        self._write(packed.source, packed.content, _ZSTD)
        return packed.source

    def commit(
        self,
        dataset: str,
        partition: str,
        draft: CommitDraft,
        *,
        state: PartitionState | None = None,
        review: Callable[[Commit], None] = lambda _head: None,
    ) -> tuple[Commit, bool]:
        """Make the draft the newest commit of its partition, unless the newest commit has the same bytes.

        Returns the newest commit, and whether this call made it: not if the newest is as new as `received_at`. Rewrites files of the newest
        commit that are missing or damaged. `state` is what `read_state` returned a moment ago. `review` is called with the intact commit
        that a new one would follow, and may raise to prevent it. If another writer takes the next number first, its commit is compared
        like any previous one. Raises TemporaryError (exit code 75) if others win RACE_TRIES times.
        """
        for _ in range(RACE_TRIES):
            newest, head, problem = state or self.read_state(dataset, partition)
            state = None
            if head and not problem and _has_same_content(head, draft) and self._repair(head, draft):
                return head, False
            if head and self.received_at and self.received_at <= head.known:
                return head, False
            if head:
                review(head)
            commit = self._build_commit(dataset, partition, newest + 1, draft)
            self.log.announce(dataset, partition, commit.number)
            if self.store.put_if_absent(self.commit_key(dataset, partition, commit.number), commits.encode(commit), "application/json"):
                self._restore_deleted_files(commit, draft)
                return commit, True
        raise TemporaryError(f"{dataset}/{partition} is being committed by others all the time; try again later")

    def _restore_deleted_files(self, commit: Commit, draft: CommitDraft) -> None:
        """Write again what was deleted just before this commit, because an older commit that also named it has expired."""
        for file in commit.files:
            if self.store.exists(file.path):
                continue
            self._intact.discard(file.path)
            if isinstance(file, Source):
                draft.source()
            else:
                self._write(file, draft.data if file is commit.data else draft.quarantine or b"", PARQUET)

    def _repair(self, head: Commit, draft: CommitDraft) -> bool:
        """Rewrite damaged files of a commit from a draft with the same bytes.

        Returns False if a source of the commit is damaged and the draft has other sources, so that only a new commit helps.
        """
        self._write(head.data, draft.data, PARQUET, is_named=True)
        if head.quarantine and draft.quarantine:
            self._write(head.quarantine, draft.quarantine, PARQUET, is_named=True)
        damaged = {source.path for source in head.source if self.find_problem(source)}
        if not damaged:
            return True
        rewritten = {source.path for source in draft.source()}
        self.repaired += sorted(damaged & rewritten - set(self.repaired))
        return damaged <= rewritten

    def _build_commit(self, dataset: str, partition: str, number: int, draft: CommitDraft) -> Commit:
        return Commit(
            dataset=dataset,
            partition=partition,
            number=number,
            data=self.put_file(dataset, partition, draft.data, draft.rows),
            quarantine=self.put_file(dataset, partition, draft.quarantine, draft.quarantined, is_quarantined=True)
            if draft.quarantine
            else None,
            rows_read=draft.rows + draft.quarantined + draft.dropped,
            source=draft.source(),
            key=draft.key,
            leaf=draft.leaf,
            writer=draft.writer,
            known_at=self._now().isoformat(timespec="microseconds").replace("+00:00", "Z"),
        )

    def _now(self) -> datetime:
        """Return the time for a commit, in UTC: `received_at`, ours, or the store's if our clock is ahead.

        A commit in the future would hide the partition from readers as of now.
        """
        if self.received_at:
            return self.received_at
        ours, stores = datetime.now(UTC), self.store.now()
        if ours - stores <= CLOCK_TOLERANCE:
            return ours
        ahead_s = (ours - stores).total_seconds()
        logging.getLogger("finelt").warning("clock ahead of the store's; its time is used", extra={"ahead_s": round(ahead_s, 1)})
        return stores

    def put_file(self, dataset: str, partition: str, data: bytes, rows: int, *, is_quarantined: bool = False) -> File:
        """Store a Parquet file of a partition, which no commit names yet: its valid rows, or those that broke the contract."""
        digest = _digest(data)
        key = commits.file_key(_check_dataset(dataset), _check_partition(partition), digest, is_quarantined=is_quarantined)
        file = File(key, digest, len(data), rows)
        self._write(file, data, PARQUET)
        return file

    def _write(self, file: File | Source, data: bytes, media_type: str, *, is_named: bool = False) -> None:
        """Store a file unless it is stored and intact. `is_named`: a commit names the file, so its absence is damage."""
        if problem := self.find_problem(file):
            self.store.put(file.path, data, media_type)
            if is_named or problem != GONE:
                self.repaired.append(file.path)

    def commit_key(self, dataset: str, partition: str, number: int) -> str:
        """Return the key of a commit, relative to the lake."""
        return f"raw/{_check_dataset(dataset)}/{_check_partition(partition)}/_commits/{number:06}.json"

    def commit_numbers(self, dataset: str, partition: str) -> list[int]:
        """Return the numbers of a partition's commits, sorted. Ignores files with other names."""
        keys = self.store.list_keys(f"raw/{_check_dataset(dataset)}/{_check_partition(partition)}/_commits/")
        return sorted(number for key in keys if (number := commit_number(key.rpartition("/_commits/")[2])))


def commit_number(name: str) -> int | None:
    """Return the number in a commit's file name, such as 000001.json; None for any other name, such as that of a copy."""
    match = _NUMBER.fullmatch(name)
    number = int(match[1]) if match else 0
    return number if 0 < number <= commits.LARGEST_NUMBER and name == f"{number:06}.json" else None


def is_partition(text: str) -> bool:
    """Whether a text may name a partition: key=value, joined by slashes, such as date=2012-12-31."""
    return _PARTITION.fullmatch(text) is not None and ".." not in text


def pack_source(dataset: str, body: bytes, about: SourceMetadata) -> PackedSource:
    """Compress the bytes of a response, as they are stored. Threads can do so at the same time."""
    content, digest = compress(body), _digest(body)
    path = commits.source_key(_check_dataset(dataset), digest)
    return PackedSource(Source(path, digest, len(body), *about, stored_sha256=_digest(content), stored_bytes=len(content)), content)


def _has_same_content(head: Commit, draft: CommitDraft) -> bool:
    """Whether a commit has a draft's rows, quarantine and state, or dropped that quarantine by hand (`scripts/quarantine`)."""
    if draft.writer.get(STATE, head.writer.get(STATE)) != head.writer.get(STATE):
        return False
    stored = head.quarantine.sha256 if head.quarantine else None
    drafted = _digest(draft.quarantine) if draft.quarantine else None
    return head.data.sha256 == _digest(draft.data) and drafted in (stored, head.writer.get(DROPPED, stored))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _check_dataset(dataset: str) -> str:
    if not _DATASET.fullmatch(dataset):
        raise UsageError(f"{dataset!r} is not a dataset's name; expected lower-case letters, digits and underscores")
    return dataset


def _check_partition(partition: str) -> str:
    if not is_partition(partition):
        raise UsageError(f"{partition!r} is not a partition; expected key=value, joined by slashes")
    return partition


def is_parquet(data: bytes) -> bool:
    """Whether the bytes begin and end as a Parquet file does. arro3 0.9.1 ends with a Rust panic at others, which is no Exception.

    Source: https://parquet.apache.org/docs/file-format/
    """
    return len(data) >= MIN_PARQUET_BYTES and data.startswith(PARQUET_MAGIC) and data.endswith(PARQUET_MAGIC)


def compress(data: bytes) -> bytes:
    """Compress bytes to one zstd frame (RFC 8878). The same bytes and library version give the same frame."""
    return bytes(_zstd().compress(data, LEVEL))


def decompress(data: bytes) -> bytes:
    """Decompress one zstd frame. Raises ValueError on anything else."""
    zstd = _zstd()
    try:
        return bytes(zstd.decompress(data))
    except (zstd.ZstdError, EOFError) as error:
        raise ValueError(f"no whole zstd frame ({error})") from None


def _zstd() -> Any:  # noqa: ANN401  the module, whichever Python has it
    try:
        return importlib.import_module("compression.zstd")  # Python 3.14 and later
    except ImportError:
        return importlib.import_module("backports.zstd")
