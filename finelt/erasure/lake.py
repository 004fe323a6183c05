"""Erase a value from a dataset of the lake: rewrite the commits that have it, then delete the files that had it, in every version.

A commit keeps its number, its time and its other rows; its writer says which data file it had before, so that a warehouse which was loaded
from that one still knows it. The vendor's documents that have the value are deleted whole: they hold other people's rows as well, but a
document without some of its lines is no longer what the vendor sent, and fails its own totals. The typed rows of the others stay.

Writers, loaders and the expiry may run meanwhile. A commit is replaced only if it is still the one that was read; a file is deleted only
if no commit names it, as the expiry does. What a vendor delivers in the meantime is found by the next pass.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
from jobkit import commits, contracts
from jobkit.errors import DamagedError, TemporaryError, UsageError
from jobkit.lake import ERASED, ERASED_URL, decompress
from jobkit.stores import NotFoundError

from finelt import lake_deletion
from finelt.erasure.subject import read_table, remove_rows
from jobs.catalogue import ICEBERG, LAKE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jobkit.lake import Commit, Lake

    from finelt.erasure.subject import Subject

MAX_PASSES = 5
# Where register-iceberg-tables keeps the metadata of the tables of published marts, and `finelt lake-marts` its tables with their files.
MARTS_TABLES = (f"{ICEBERG}/published/", f"{ICEBERG}/marts/")
ABANDONED_AFTER = timedelta(minutes=10)
DATA, DOCUMENT = ".parquet", ".zst"


@dataclass
class LakeScan:
    """Where a dataset has the value: rows by Parquet file, documents, the commits that name them, and objects with versions of before.

    commits: those to be rewritten. rewritten: those that this or an earlier erasure has rewritten. tables: if the value is found, the
    metadata of the Iceberg tables of the dataset and of marts, which has the least and greatest value of each column in each file, and
        the files of `finelt lake-marts`.
    """

    rows: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)
    documents: list[str] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    rewritten: list[Commit] = field(default_factory=list)
    old_versions: list[str] = field(default_factory=list)
    temporary: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """The counts by place, for people."""
        return {
            "rows in the lake's files": sum(self.rows.values()),
            "quarantined rows in the lake's files": sum(self.quarantined.values()),
            "commits that name such files": len(self.commits),
            "documents of the vendor": len(self.documents),
            "objects of the lake with noncurrent versions": len(self.old_versions),
            "temporary files of killed writers": len(self.temporary),
            "files of Iceberg tables": len(self.tables),
        }


def scan(lake: Lake, subject: Subject, pending: Sequence[str] = ()) -> LakeScan:
    """Find the value in all files of the dataset, also in those that no commit names. `pending` are documents that have it, too.

    Raises UsageError (2) if no file has the column or partitions are named by the value, DamagedError (65) if a file cannot be read.
    """
    found, prefix = LakeScan(), f"raw/{subject.dataset}/"
    has_column, documents = False, {path for path in pending if lake.store.exists(path)}
    for key in lake.store.list_keys(prefix):
        data = _read(lake, key) if key.endswith((DATA, DOCUMENT)) else None
        if data is None:
            continue
        if key.endswith(DOCUMENT):
            documents |= {key} if subject.is_in_document(data) else set()
            continue
        table = read_table(data)
        has_column |= subject.column in table.column_names
        is_quarantined = commits.has_quarantined_rows(key)
        if count := len(subject.find_quarantined_rows(table) if is_quarantined else subject.find_rows(table)):
            (found.quarantined if is_quarantined else found.rows)[key] = count
    if not has_column:
        raise UsageError(f"no file of {subject.dataset} in {lake.store.url} has a column {subject.column}; check COLUMN and --dataset")
    committed = _read_commits(lake, subject)
    found.documents = sorted(documents | _find_documents_of_rows(lake, found, committed))
    _find_commits(subject, found, committed)
    found.old_versions = list(lake.store.list_old_versions(prefix))
    found.temporary = [key for key in lake.store.list_temporary_files(prefix) if _is_abandoned(lake, key)]
    if found.rows or found.quarantined or found.documents or found.commits:
        found.tables = [key for prefix in (_tables_prefix(subject), *MARTS_TABLES) for key in lake.store.list_keys(prefix)]
    return found


def _tables_prefix(subject: Subject) -> str:
    """Return where register-iceberg-tables keeps the metadata of the dataset's table."""
    return f"{ICEBERG}/{LAKE}{subject.dataset}/"


def _read(lake: Lake, key: str) -> bytes | None:
    """Return the content of a file, which has the digest in its name; None if it was deleted since it was listed. Raises DamagedError."""
    digest = key.rpartition("/")[2].partition(".")[0]
    try:
        data = lake.store.get(key)
        data = decompress(data) if key.endswith(DOCUMENT) else data
    except NotFoundError:
        return None
    except ValueError:
        data = b""
    if hashlib.sha256(data).hexdigest() != digest:
        raise DamagedError(f"{lake.store.uri(key)} is damaged, so its content is unknown; run `finelt lake repair`, or delete it, first")
    return data


def _is_abandoned(lake: Lake, key: str) -> bool:
    """Whether a temporary file is left from a writer that was killed."""
    try:
        return lake.store.now() - lake.store.stat(key).modified > ABANDONED_AFTER
    except NotFoundError:
        return False


def _find_documents_of_rows(lake: Lake, found: LakeScan, committed: Sequence[Commit]) -> set[str]:
    """Return the documents that rows with the value came from, however these documents spell it."""
    affected = {*found.rows, *found.quarantined}
    return {
        source.path
        for commit in committed
        if affected.intersection(file.path for file in commit.files)
        for source in commit.source
        if lake.store.exists(source.path)
    }


def _read_commits(lake: Lake, subject: Subject) -> list[Commit]:
    """Return all commits of the dataset. Raises UsageError if a partition is named by the value, DamagedError."""
    committed: list[Commit] = []
    for partition in lake.partitions(subject.dataset):
        if any(part.partition("=")[2] == subject.value for part in partition.split("/")):
            raise UsageError(
                f"partitions of {subject.dataset} are named by this value of {subject.column}, so the lake's folders have its name; "
                "delete these folders and their rows in the warehouse by hand: erase works on rows inside partitions"
            )
        history = lake.examine(subject.dataset, partition)
        if history.damaged:
            raise next(iter(history.damaged.values()))
        committed += history.commits.values()
    return committed


def _find_commits(subject: Subject, found: LakeScan, committed: Sequence[Commit]) -> None:
    """Add the commits that name files with the value, and those that were rewritten before."""
    affected = {*found.rows, *found.quarantined, *found.documents}
    for commit in committed:
        if affected.intersection(file.path for file in commit.files) or any(subject.is_in_text(source.url) for source in commit.source):
            found.commits.append(commit)
        elif ERASED in commit.writer:
            found.rewritten.append(commit)


def erase(lake: Lake, subject: Subject, remember: Callable[[Sequence[str]], Sequence[str]]) -> LakeScan:
    """Erase the value and return the last scan, which has found nothing but rewritten commits.

    `remember` records the documents that are to be deleted, and returns all that it was told in this erasure.

    Raises what `scan` raises, and TemporaryError (75) if writers keep delivering the value.
    """
    prefix, pending = f"raw/{subject.dataset}/", remember(())
    for _ in range(MAX_PASSES):
        before = lake_deletion.read_log_state(lake, subject.dataset)
        found = scan(lake, subject, pending)
        for key in found.temporary:
            lake.store.erase(key, lambda name, key=key: name == key)  # type: ignore[misc]
        if not (found.rows or found.quarantined or found.documents or found.commits):
            lake.store.erase_old_versions(prefix, lambda _: True)
            for tables in (_tables_prefix(subject), *MARTS_TABLES):  # the next run of what wrote them makes them again
                lake.store.erase(tables, lambda _: True)
            found.old_versions, found.temporary = list(lake.store.list_old_versions(prefix)), []
            return found
        pending = remember(found.documents)
        for commit in found.commits:
            _rewrite(lake, subject, commit, found)
        for path in (*found.rows, *found.quarantined, *found.documents):
            lake_deletion.delete_file(lake, subject.dataset, path, before)
    raise TemporaryError(f"the value is delivered to {subject.dataset} again and again; stop its extractor and run this again")


def _rewrite(lake: Lake, subject: Subject, commit: Commit, found: LakeScan) -> None:
    """Replace a commit by one without the value, unless somebody deletes or replaces it at the same time: the next pass looks again."""
    key = lake.commit_key(commit.dataset, commit.partition, commit.number)
    try:
        stored, etag = lake.store.get_with_etag(key)
    except NotFoundError:
        return
    if commits.decode(stored, commit.dataset, commit.partition, commit.number) != commit:
        return
    data, quarantine = commit.data, commit.quarantine
    try:
        if data.path in found.rows:
            table = read_table(lake.read(data))
            kept = remove_rows(table, subject.find_rows(table))
            rows = data.rows - found.rows[data.path]
            data = lake.put_file(commit.dataset, commit.partition, contracts.to_parquet(kept), rows)
        if quarantine and quarantine.path in found.quarantined:
            table = read_table(lake.read(quarantine))
            rows = quarantine.rows - found.quarantined[quarantine.path]
            kept = remove_rows(table, subject.find_quarantined_rows(table))
            where = (commit.dataset, commit.partition)
            quarantine = lake.put_file(*where, contracts.to_parquet(kept), rows, is_quarantined=True) if rows else None
    except DamagedError:
        return
    gone = (commit.data.rows - data.rows) + ((commit.quarantine.rows if commit.quarantine else 0) - (quarantine.rows if quarantine else 0))
    source = tuple(source for source in commit.source if source.path not in found.documents and not subject.is_in_text(source.url))
    writer = {**commit.writer, ERASED: " ".join(filter(None, (commit.writer.get(ERASED), commit.data.sha256)))}
    if commit.source and not source and not subject.is_in_text(commit.source[-1].url):
        writer[ERASED_URL] = commit.source[-1].url
    changed = msgspec.structs.replace(
        commit, data=data, quarantine=quarantine, rows_read=commit.rows_read - gone, source=source, writer=writer
    )
    try:
        lake.store.put_if_match(key, commits.encode(changed), etag, "application/json")
    except NotFoundError:
        return  # the expiry deleted it
