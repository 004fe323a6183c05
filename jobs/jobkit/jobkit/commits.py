"""The commit record: its fields, how it is stored, and what is checked before it is believed.

A stored commit is JSON with its fields, `format` (the version of this layout) and `digest`: the SHA-256 of the same document without
`digest`, keys sorted and no spaces, non-ASCII escaped. Format 1, before 2026-12, has neither; its commits are read and held to the same
types. Format 3 has the fields of format 2 and is announced in the dataset's log (`jobkit.commit_log`). Format 4 has its Parquet files in
folders of their own. A change of the fields, or of what a writer has to do, is a new format: a newer program reads every older one, an
older program refuses a newer one.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from jobkit.errors import DamagedError
from jobkit.formats import COMMIT, check_format

VERSIONS, QUARANTINE = "_versions", "_quarantine"  # the folders of a partition's files
LARGEST_NUMBER = 2**31 - 1  # the warehouse's ledger has an integer

Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Number = Annotated[int, Meta(ge=1, le=LARGEST_NUMBER)]


class File(Struct, frozen=True, forbid_unknown_fields=True):
    """An immutable file: key relative to the lake, digest and size of its bytes, rows in it."""

    path: str
    sha256: Digest
    bytes: Count
    rows: Count


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """The vendor's bytes behind a commit: digest and size before compression, and what the vendor said of them.

    `stored_sha256` and `stored_bytes` are of the compressed file; None in commits of format 1.
    """

    path: str
    sha256: Digest
    bytes: Count
    url: str
    media_type: str
    etag: str | None
    last_modified: str | None
    stored_sha256: Digest | None = None
    stored_bytes: Count | None = None


class Commit(Struct, frozen=True, forbid_unknown_fields=True):
    """One version of a partition.

    number: counts the versions of the partition, from 1.
    known_at: the moment of the commit, ISO 8601 in UTC, to the microsecond.
    data, quarantine: the valid rows, and those that broke the contract; no quarantine without such rows.
    rows_read: valid, quarantined and dropped rows.
    source: the vendor's responses that the rows come from; empty if the vendor no longer has data for the partition.
    key, leaf: the key of the dataset's table, and how the table is partitioned (jobkit.column_types.LEAF).
    writer: the job and version that wrote the commit.
    """

    dataset: str
    partition: str
    number: Number
    known_at: str
    data: File
    quarantine: File | None
    rows_read: Count
    source: tuple[Source, ...]
    key: tuple[str, ...]
    leaf: str
    writer: dict[str, str]

    @property
    def files(self) -> tuple[File | Source, ...]:
        """Every file that the commit names."""
        return (self.data, *([self.quarantine] if self.quarantine else []), *self.source)

    @property
    def known(self) -> datetime:
        """`known_at` as a moment in UTC."""
        return datetime.fromisoformat(self.known_at).astimezone(UTC)


# msgspec 0.22.0 builds what it knows of a Struct at its first use and lets other threads see it half built, which ends the process with
# signal 11; so it is built here, while the import lock keeps other threads out.
DECODER = msgspec.json.Decoder(Commit)


def encode(commit: Commit) -> bytes:
    """Return the commit as it is stored: JSON with its format and digest. The same commit gives the same bytes."""
    document = {**msgspec.to_builtins(commit), "format": COMMIT}
    return json.dumps({**document, "digest": _digest(document)}, indent=1, sort_keys=True).encode()


def decode(data: bytes, dataset: str, partition: str, number: int) -> Commit:
    """Return the commit stored under this dataset, partition and number.

    Raises DamagedError (exit code 65) saying what is wrong with it, and NewerFormatError (exit code 78) if a newer program wrote it.
    """
    try:
        commit = _commit(data)
        is_aware = datetime.fromisoformat(commit.known_at).tzinfo is not None
        _ = commit.known
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:  # a ValidationError is a DecodeError
        raise DamagedError(f"is damaged: {error}") from None
    if (commit.dataset, commit.partition, commit.number) != (dataset, partition, number):
        raise DamagedError(f"says it is commit {commit.number} of {commit.dataset}/{commit.partition}; was it copied from there?")
    if not is_aware:
        raise DamagedError(f"is damaged: known_at {commit.known_at!r} has no time zone")
    if misplaced := next((file.path for file in commit.files if not _is_in_place(file, commit)), None):
        raise DamagedError(f"is damaged: it names the file {misplaced[:200]!r}, which no writer gives that digest")
    if commit.rows_read < commit.data.rows + (commit.quarantine.rows if commit.quarantine else 0):
        raise DamagedError(f"is damaged: it has more rows than the {commit.rows_read} it says were read")
    return commit


def _commit(data: bytes) -> Commit:
    """Check format and digest, then convert the document into exact types."""
    document = msgspec.json.decode(data)
    if not isinstance(document, dict):
        raise DamagedError("is damaged: it is no JSON object")
    written = check_format("", document.pop("format", 1), COMMIT)
    if written > 1:
        digest = document.pop("digest", None)
        if digest != _digest({**document, "format": written}):
            raise DamagedError("is damaged: it is not what was written, by its own digest")
    return msgspec.convert(document, Commit)


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _is_in_place(file: File | Source, commit: Commit) -> bool:
    """Whether a file lies where every writer puts one with its digest."""
    if isinstance(file, Source):
        return file.path == source_key(commit.dataset, file.sha256)
    where, is_quarantined = (commit.dataset, commit.partition, file.sha256), file is commit.quarantine
    return file.path in (file_key(*where, is_quarantined=is_quarantined), _old_file_key(*where, is_quarantined=is_quarantined))


def file_key(dataset: str, partition: str, sha256: str, *, is_quarantined: bool = False) -> str:
    """Return the key of a Parquet file of a version of a partition, or of quarantined rows, relative to the lake.

    Spark, Hive and Trino ignore folders whose name begins with an underscore: to them the lake has no files without a catalogue.
    """
    return f"raw/{dataset}/{partition}/{QUARANTINE if is_quarantined else VERSIONS}/{sha256}.parquet"


def _old_file_key(dataset: str, partition: str, sha256: str, *, is_quarantined: bool) -> str:
    """Return the key of such a file in commits before format 4."""
    return f"raw/{dataset}/{partition}/{sha256}.{'quarantine.' if is_quarantined else ''}parquet"


def has_quarantined_rows(key: str) -> bool:
    """Whether the file with this key has quarantined rows, in any format."""
    return f"/{QUARANTINE}/" in key or key.endswith(".quarantine.parquet")


def source_key(dataset: str, sha256: str) -> str:
    """Return the key of a vendor's compressed bytes, relative to the lake. `sha256` is that of the bytes before compression."""
    return f"raw/{dataset}/_bytes/{sha256}.zst"
