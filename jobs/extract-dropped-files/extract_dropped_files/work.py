"""From the drop to the lake, file by file: read, judged by the contract, committed or refused, then put aside."""

from __future__ import annotations

import mimetypes
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from jobkit import contracts, partition_writer
from jobkit.contracts import compile_pattern
from jobkit.errors import BadDataError, MisconfiguredError, UsageError
from jobkit.lake import Lake, SourceMetadata
from jobkit.names import ROW_NUMBER

from extract_dropped_files import delivery, parser
from extract_dropped_files.source import ASIDE, Drop, UnsettledError

if TYPE_CHECKING:
    from jobkit.command import Job
    from jobkit.contracts import Columns, Contract, ValidationResult
    from jobkit.lake import Commit, PartitionState, Source

PACKAGE = "extract_dropped_files"
CONTRACT = ".odcs.yaml"
MAX_ROWS_CHECKED = 100_000  # for those to tell: reasons take more memory than rows
MAX_ROWS_REPORTED = 100  # of those that a file was refused for
Parts = tuple[tuple[str, "ValidationResult"], ...]  # the rows of a file by the lake partition that they fill


class RefusedFileError(BadDataError):
    """The file breaks its contract; `reasons` are for the eyes of whoever dropped it: what is wrong where, with values."""

    def __init__(self, message: str, reasons: list[str]) -> None:
        super().__init__(message)
        self.reasons = reasons


class ShrunkenFileError(BadDataError):
    """The file leaves out rows that the lake has in the partitions that it fills."""


class Judged(NamedTuple):
    """A file that keeps its contract: the contract, and its rows by the lake partition that they fill."""

    rules: Contract
    parts: Parts


def folders() -> list[str]:
    """Where files may be dropped: the contracts beside this module, by name."""
    names = (file.name for file in resources.files(PACKAGE).iterdir())
    return sorted(name.removesuffix(CONTRACT) for name in names if name.endswith(CONTRACT))


def run(job: Job, lake: str, drop: str, key: str | None, *, allow_shrinking: bool = False) -> None:
    """Take one file, or all that wait. The first refusal is raised when all are done."""
    store, place = Lake(lake), Drop(drop)
    keys = _keys(place, key)
    refused: list[str] = []
    unsettled: list[str] = []
    for done, name in enumerate(keys, start=1):
        try:
            _take(job, store, place, name, allow_shrinking=allow_shrinking)
        except (BadDataError, UnsettledError) as error:
            (refused if isinstance(error, BadDataError) else unsettled).append(f"{contracts.escape_text(name)}: {error}")
            job.record_partition(name.partition("/")[0], contracts.escape_text(name), "failed", reason=str(error))
        job.progress(done, len(keys), name)
    for failed, kind in ((refused, BadDataError), (unsettled, UnsettledError)):
        if failed:
            raise kind(failed[0] + (f" (and {len(failed) - 1:,} more files, see the receipt)" if failed[1:] else ""))


def plan(lake: str, drop: str, key: str | None) -> list[dict[str, Any]]:
    """The files that run would take, with the newest commit of each partition they fill (None: it would be the first).

    A file that would be refused has no partition, and the reason.
    """
    store, place, planned = Lake(lake), Drop(drop), list[dict[str, Any]]()
    for name in _keys(place, key):
        try:
            file = place.read(name, parser.LARGEST_BYTES)
            judged = judge(name, file.data) if file else None
        except (BadDataError, UnsettledError) as error:
            told = {"dataset": name.partition("/")[0], "partition": None, "asks": name, "commit": None, "reason": str(error)}
            planned.append(told)
            continue
        for partition, _ in judged.parts if judged else ():
            dataset = judged.rules.dataset if judged else ""
            planned.append(
                {"dataset": dataset, "partition": partition, "asks": name, "commit": store.read_state(dataset, partition).intact_number}
            )
    return planned


def check(lake: str, drop: str) -> None:
    """Nothing, when the contracts can be read, and the drop and the lake listed."""
    for name in folders():
        _rules(name)
    Drop(drop).waiting()
    Lake(lake).datasets()


def _keys(drop: Drop, key: str | None) -> list[str]:
    """What is to be taken: corrections of one file after it, in the order of their numbers."""
    if key is None:
        return sorted(drop.waiting(), key=_order)
    if key.startswith(ASIDE):
        raise UsageError(f"--key {key} was put aside by an earlier run; move it to CONTRACT/NAME to drop it again")
    return [key]


def _order(key: str) -> tuple[str, str, int, str]:
    try:
        folder, name = _place(key)
        return (folder, *_revision(contracts.load_packaged(PACKAGE, folder), name), name)
    except BadDataError:
        return (key, "", 0, "")


def _take(job: Job, lake: Lake, drop: Drop, key: str, *, allow_shrinking: bool) -> None:
    """Commit a file and put it aside. Raises BadDataError when it is refused, by this run or the one before."""
    file = drop.read(key, parser.LARGEST_BYTES)
    if file is None:
        _tell_taken(job, lake, drop, key)
        return
    try:
        rules, parts = judge(key, file.data)
        states = [lake.read_state(rules.dataset, partition) for partition, _ in parts]
        _check_revisions(job, rules, parts, states, key)
        if len(parts) > 1 and not allow_shrinking:  # before any is committed
            _check_missing(lake, rules, parts, states)
    except BadDataError as error:
        drop.reject(file, str(error), error.reasons if isinstance(error, RefusedFileError) else [str(error)])
        raise
    about = SourceMetadata(drop.store.uri(key), mimetypes.guess_type(key)[0] or "application/octet-stream", None, None)

    def keep() -> tuple[Source, ...]:
        return (lake.store_source(rules.dataset, file.data, about),)

    try:
        for (partition, good), state in zip(parts, states, strict=True):
            outcome = partition_writer.commit(
                job, lake, rules, partition, good, keep,
                shrunken=_shrunken_file, allow_shrinking=allow_shrinking, state=state,
            )  # fmt: skip
            partition_writer.record(job, outcome)
    except ShrunkenFileError as error:
        drop.reject(file, str(error), [str(error)])
        raise
    drop.accept(file)


def _shrunken_file(told: str) -> ShrunkenFileError:
    return ShrunkenFileError(
        f"{told}; drop a file that has all rows, or drop this one again and run once with --allow-shrinking if they are to go"
    )


def _check_missing(lake: Lake, rules: Contract, parts: Parts, states: list[PartitionState]) -> None:
    """Nothing, where no part of the file leaves out more rows than its contract allows. Raises ShrunkenFileError."""
    for (_, good), state in zip(parts, states, strict=True):
        if state.head:
            partition_writer.measure_change(lake, rules, good, state.head, shrunken=_shrunken_file, allow_shrinking=False)


def judge(key: str, data: bytes) -> Judged:
    """The contract of a file, and its rows by partition. Raises BadDataError when it is to be refused."""
    folder, name = _place(key)
    rules = _rules(folder)
    try:
        return Judged(rules, _parts(rules, data, name))
    except BadDataError as error:
        message = str(error)  # the error itself holds the rows in memory
    raise RefusedFileError(message, _reasons(rules, data, name))


def _rules(folder: str) -> Contract:
    """The contract of a folder. Raises MisconfiguredError where it does not fit the dataset that its files fill."""
    rules = contracts.load_packaged(PACKAGE, folder)
    if folder != rules.dataset:
        differing = contracts.list_conflicts(contracts.load_packaged(PACKAGE, rules.dataset), rules)
        if differing:
            raise MisconfiguredError(
                f"the contract {folder} differs from {rules.dataset}, which its files fill, in: {'; '.join(differing)}"
            )
    return rules


def _parts(rules: Contract, data: bytes, name: str) -> Parts:
    read = delivery.read(rules, parser.parse(data, name, rules.layout))
    good = contracts.validate(rules, read.columns, read.origin)
    return tuple(delivery.parts(rules, read, good, _revision(rules, name)[0]))


def _place(key: str) -> tuple[str, str]:
    """The contract and the name of a file. Raises BadDataError where there is none for it."""
    folder, _, name = key.partition("/")
    if not name or folder not in folders():
        raise BadDataError(f"{contracts.escape_text(key)} lies in no contract's folder; expected one of {', '.join(folders())}")
    parser.stem(name)
    return folder, name


def _revision(rules: Contract, name: str) -> tuple[str, int]:
    """What the file's name says without its endings and the number of its correction, and that number; 1 where it has none."""
    stem = parser.stem(name)
    match = compile_pattern(rules.layout.revision).search(stem) if rules.layout.revision else None
    return (stem[: match.start()] + stem[match.end() :], int(match[1])) if match else (stem, 1)


def _check_revisions(job: Job, rules: Contract, parts: Parts, states: list[PartitionState], key: str) -> None:
    """Nothing, where the file is no older than what the lake has in its place. Raises BadDataError."""
    name = key.rpartition("/")[2]
    for (partition, _), state in zip(parts, states, strict=True):
        held = _held_name(state.head)
        if held is None or held == name:
            continue
        number, held_number = _revision(rules, name)[1], _revision(rules, held)[1]
        if number < held_number:
            raise BadDataError(
                f"it is number {number} of what the lake has in number {held_number}, from {held}; "
                "drop it under a name with a higher number if it is the newer one"
            )
        job.log.warning("replaces another file", extra={"dataset": rules.dataset, "partition": partition, "file": name, "replaced": held})


def _held_name(head: Commit | None) -> str | None:
    """The name of the file that a partition was last filled from, where it has one that files have."""
    name = unquote(head.source[-1].url.rpartition("/")[2]) if head and head.source else ""
    try:
        parser.stem(name)
    except BadDataError:
        return None
    return name


def _reasons(rules: Contract, data: bytes, name: str) -> list[str]:
    """What is wrong with a file, values included, then what with which rows."""
    shown = replace(rules, classification="internal")
    try:
        _parts(shown, data, name)
    except BadDataError as error:
        message = str(error)
    else:
        return []
    return [message, *_bad_rows(shown, data, name)]


def _bad_rows(rules: Contract, data: bytes, name: str) -> list[str]:
    """What is wrong with which of the first rows, however many they are; none where it is the file as a whole that is wrong."""
    soft = replace(
        rules,
        max_bad_rows=1.0,
        repeated_key="quarantine",
        fields=tuple(replace(field, policy="quarantine") for field in rules.fields),
        rules=tuple(rule._replace(policy="quarantine") for rule in rules.rules),
        products=tuple(product._replace(policy="quarantine") for product in rules.products),
    )
    try:
        read = delivery.read(soft, parser.parse(data, name, rules.layout))
        origin = read.origin._replace(cells=_first_rows(read.origin.cells))
        bad = contracts.validate(soft, _first_rows(read.columns), origin).quarantine
    except BadDataError:
        return []
    if bad is None:
        return []
    numbers, reasons = (bad.column(column).to_pylist()[:MAX_ROWS_REPORTED] for column in (ROW_NUMBER, "reasons"))
    more = [f"and {bad.num_rows - MAX_ROWS_REPORTED:,} more rows"] if bad.num_rows > MAX_ROWS_REPORTED else []
    return [f"{read.origin.place(number)}: {told}" for number, told in zip(numbers, reasons, strict=True)] + more


def _first_rows(columns: Columns) -> Columns:
    return {name: values[:MAX_ROWS_CHECKED] for name, values in columns.items()}


def _tell_taken(job: Job, lake: Lake, drop: Drop, key: str) -> None:
    """What became of a file that no longer waits: an event comes twice, and a run may die when all is done."""
    if refusal := drop.refusal(key):
        raise BadDataError(refusal)
    data = drop.accepted(key)
    if data is None:
        raise UsageError(f"no file waits at {drop.store.uri(key)} and none was taken from there; look at --drop and --key")
    rules, parts = judge(key, data)
    for partition, _ in parts:
        partition_writer.record_unchanged(job, lake.head(rules.dataset, partition))
