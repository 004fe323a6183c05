"""Take each dropped file to the lake: read, validate, compare with the lake, commit or reject, then move it out of the way.

Every step can be repeated: a run that was killed leaves the file waiting, and the next run commits the same bytes or reports them as
unchanged. Of a file that fills several partitions none is committed if one of them would shrink.
"""

from __future__ import annotations

import mimetypes
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from jobkit import contracts, partition_writer
from jobkit.errors import AuthError, BadDataError, MisconfiguredError, TemporaryError, UsageError
from jobkit.lake import ERASED_URL, Lake, SourceMetadata

from extract_dropped_files import parser, validation
from extract_dropped_files.source import ARCHIVES, Drop, UnsettledError, is_unfinished
from extract_dropped_files.validation import RefusedFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobkit.command import Job
    from jobkit.contracts import Contract
    from jobkit.lake import Commit, PartitionState, Source

    from extract_dropped_files.delivery import Part
    from extract_dropped_files.inbox import Inbox
    from extract_dropped_files.sftp import Server
    from extract_dropped_files.source import DroppedFile

    Failures = dict[type[BadDataError | UnsettledError], list[str]]


class ShrunkenFileError(BadDataError):
    """A file lacks rows that the lake has in the partitions that it fills."""


def run(job: Job, lake_url: str, drop_url: str, key: str | None, server: Server | None = None, *, allow_shrinking: bool = False) -> None:
    """Take one file, or all that wait in the drop and then on a server; a refused file does not stop the others.

    Raises BadDataError (65) at the end if files were refused, else UnsettledError (75) if files are still being written.
    """
    lake, drop = Lake(lake_url), Drop(drop_url)
    failures: Failures = {BadDataError: [], UnsettledError: []}
    _take_files(job, lake, drop, drop, _select_keys(drop, key), failures, allow_shrinking=allow_shrinking)
    if server and key is None:
        try:
            with _open_inbox(server, drop) as inbox:
                _take_files(job, lake, drop, inbox, inbox.list_waiting(), failures, allow_shrinking=allow_shrinking)
        except (AuthError, MisconfiguredError, TemporaryError) as error:
            if not failures[BadDataError]:
                raise
            job.log.error("the SFTP server failed, too", extra={"error": str(error)})  # noqa: TRY400  no traceback: it is one sentence
    for kind, messages in failures.items():
        if messages:
            raise kind(messages[0] + (f" (and {len(messages) - 1:,} more files, see the receipt)" if messages[1:] else ""))


@contextmanager
def _open_inbox(server: Server, drop: Drop) -> Iterator[Inbox]:
    from extract_dropped_files import sftp  # noqa: PLC0415  slow to import, and most runs need none of it
    from extract_dropped_files.inbox import Inbox  # noqa: PLC0415

    with sftp.connect(server) as session:
        yield Inbox(drop.store, session, validation.list_folders())


def _take_files(
    job: Job, lake: Lake, drop: Drop, waiting: Drop | Inbox, keys: list[str], failures: Failures, *, allow_shrinking: bool
) -> None:
    for done, name in enumerate(keys, start=1):
        try:
            file = waiting.read(name, parser.MAX_BYTES)
            if file is not None:
                _take_file(job, lake, drop, file, allow_shrinking=allow_shrinking)
            elif waiting is drop:
                _report_earlier_outcome(job, lake, drop, name)
        except (BadDataError, UnsettledError) as error:
            kind = BadDataError if isinstance(error, BadDataError) else UnsettledError
            failures[kind].append(f"{contracts.escape_text(name)}: {error}")
            job.record_partition(name.partition("/")[0], contracts.escape_text(name), "failed", reason=str(error))
        job.progress(done, len(keys), name)


def plan(lake_url: str, drop_url: str, key: str | None, server: Server | None = None) -> list[dict[str, Any]]:
    """List the files that `run` would take, one entry for each partition that they fill, with the number of its latest commit.

    The number is None if there is no intact commit. A file that would be refused has one entry without a partition, with the reason.
    """
    lake, drop = Lake(lake_url), Drop(drop_url)
    entries = list(_plan_files(lake, drop, _select_keys(drop, key)))
    if server and key is None:
        with _open_inbox(server, drop) as inbox:
            entries += _plan_files(lake, inbox, inbox.list_waiting())
    return entries


def _plan_files(lake: Lake, waiting: Drop | Inbox, keys: list[str]) -> Iterator[dict[str, Any]]:
    for name in keys:
        try:
            file = waiting.read(name, parser.MAX_BYTES)
            parts = validation.validate_file(name, file.data, lake) if file and not file.is_repeated else ()
        except (BadDataError, UnsettledError) as error:
            folder = name.partition("/")[0]
            yield {"dataset": folder, "partition": None, "asks": name, "commit": None, "reason": str(error)}
            continue
        yield from _plan_file(lake, name, parts)


def check(lake_url: str, drop_url: str, server: Server | None = None) -> None:
    """Load all contracts, list the drop, the server and the lake. Raises JobError if one of them fails."""
    for folder in validation.list_folders():
        validation.load_contract(folder)
    drop = Drop(drop_url)
    drop.list_waiting()
    Lake(lake_url).datasets()
    if server:
        with _open_inbox(server, drop):
            pass


def _plan_file(lake: Lake, key: str, parts: tuple[Part, ...]) -> list[dict[str, Any]]:
    numbers = [lake.read_state(rules.dataset, partition).intact_number for rules, partition, _ in parts]
    return [
        {"dataset": rules.dataset, "partition": partition, "asks": key, "commit": number}
        for (rules, partition, _), number in zip(parts, numbers, strict=True)
    ]


def _select_keys(drop: Drop, key: str | None) -> list[str]:
    """Return the keys to take, corrections after the file that they correct; none for the event of an unfinished upload.

    Raises UsageError for a file that was taken already.
    """
    if key is None:
        return sorted(drop.list_waiting(), key=_sort_key)
    if key.startswith(ARCHIVES):
        raise UsageError(f"--key {key} was put aside by an earlier run; move it to CONTRACT/NAME to drop it again")
    return [] if is_unfinished(key) else [key]


def _sort_key(key: str) -> tuple[str, str, int, str]:
    try:
        folder, name = validation.split_key(key)
        rules = contracts.load_packaged(validation.PACKAGE, folder)
    except BadDataError:
        return (key, "", 0, "")
    return (folder, *validation.split_revision(rules, name), name)


def _take_file(job: Job, lake: Lake, drop: Drop, file: DroppedFile, *, allow_shrinking: bool) -> None:
    """Commit a file and put it among the accepted ones. Raises BadDataError if it is rejected."""
    if file.is_repeated:
        file.release()
        job.log.info("unchanged on the server", extra={"file": contracts.escape_text(file.key)})
        return
    try:
        parts = validation.validate_file(file.key, file.data, lake)
        states = [lake.read_state(rules.dataset, partition) for rules, partition, _ in parts]
        _check_revisions(job, parts, states, file.key)
        if len(parts) > 1 and not allow_shrinking:  # before any is committed
            _check_shrinking(lake, parts, states)
    except BadDataError as error:
        drop.reject(file, str(error), error.reasons if isinstance(error, RefusedFileError) else [str(error)])
        raise
    try:
        _commit_parts(job, lake, file, parts, states, allow_shrinking=allow_shrinking)
    except ShrunkenFileError as error:
        drop.reject(file, str(error), [str(error)])
        raise
    drop.accept(file)


def _commit_parts(
    job: Job,
    lake: Lake,
    file: DroppedFile,
    parts: tuple[Part, ...],
    states: list[PartitionState],
    *,
    allow_shrinking: bool,
) -> None:
    """Commit and record each partition that a file fills. Raises ShrunkenFileError."""
    media_type = mimetypes.guess_type(file.key)[0] or "application/octet-stream"
    metadata = SourceMetadata(file.url, media_type, None, None)

    def store_source(dataset: str) -> tuple[Source, ...]:
        return (lake.store_source(dataset, file.data, metadata),)

    for (rules, partition, result), state in zip(parts, states, strict=True):
        outcome = partition_writer.commit(
            job, lake, rules, partition, result, partial(store_source, rules.dataset),
            shrunken=_shrunken_file, allow_shrinking=allow_shrinking, state=state,
        )  # fmt: skip
        partition_writer.record(job, outcome)


def _shrunken_file(problem: str) -> ShrunkenFileError:
    return ShrunkenFileError(
        f"{problem}; drop a file that has all rows, or drop this one again and run once with --allow-shrinking if they are to go"
    )


def _check_shrinking(lake: Lake, parts: tuple[Part, ...], states: list[PartitionState]) -> None:
    """Raise ShrunkenFileError if a part of the file lacks more rows of the lake than the contract allows."""
    for (rules, _, result), state in zip(parts, states, strict=True):
        if state.head:
            partition_writer.measure_change(lake, rules, result, state.head, shrunken=_shrunken_file, allow_shrinking=False)


def _check_revisions(job: Job, parts: tuple[Part, ...], states: list[PartitionState], key: str) -> None:
    """Raise BadDataError if the lake has a later correction of the file; log a warning if the file replaces one of another name."""
    name = key.rpartition("/")[2]
    for (rules, partition, _), state in zip(parts, states, strict=True):
        current = _current_name(rules, state.head)
        if current is None or current == name:
            continue
        revision, current_revision = (validation.split_revision(rules, one)[1] for one in (name, current))
        if revision < current_revision:
            raise BadDataError(
                f"it is number {revision} of what the lake has in number {current_revision}, from {current}; "
                "drop it under a name with a higher number if it is the newer one"
            )
        fields = {"dataset": rules.dataset, "partition": partition, "file": name, "replaced": current}
        job.log.warning("replaces another file", extra=fields)


def _current_name(rules: Contract, head: Commit | None) -> str | None:
    """Return the name of the file that a partition was last filled from; None if there is none with a valid name."""
    url = "" if head is None else head.source[-1].url if head.source else head.writer.get(ERASED_URL, "")
    name = unquote(url.rpartition("/")[2])
    try:
        validation.split_revision(rules, name)
    except BadDataError:
        return None
    return name


def _report_earlier_outcome(job: Job, lake: Lake, drop: Drop, key: str) -> None:
    """Report the outcome of a file that no longer waits: events come twice, and a run may die after its last change."""
    if reason := drop.read_rejection(key):
        raise BadDataError(reason)
    data = drop.read_accepted(key)
    if data is None:
        raise UsageError(f"no file waits at {drop.store.uri(key)} and none was taken from there; look at --drop and --key")
    for rules, partition, _ in validation.validate_file(key, data, lake):
        partition_writer.record_unchanged(job, lake.head(rules.dataset, partition))
