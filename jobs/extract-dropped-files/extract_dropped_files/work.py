"""From the drop to the lake, file by file: read, judged by the contract, committed or refused, then put aside."""

from __future__ import annotations

import mimetypes
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any

from jobkit import contract as contracts
from jobkit import extract, fill
from jobkit.errors import BadDataError, UsageError
from jobkit.lake import About, Lake

from extract_dropped_files import shape
from extract_dropped_files.source import ASIDE, Drop

if TYPE_CHECKING:
    from jobkit.command import Job
    from jobkit.contract import Columns, Contract, Good
    from jobkit.lake import Source

    from extract_dropped_files.source import Dropped

PACKAGE = "extract_dropped_files"
CONTRACT = ".odcs.yaml"
ROWS_LOOKED_AT = 100_000  # for those to tell: reasons take more memory than rows
ROWS_TOLD = 100  # of those that a file was refused for


class RefusedFileError(BadDataError):
    """The file breaks its contract; `rows` says which rows do, and how."""

    def __init__(self, message: str, rows: list[str]) -> None:
        super().__init__(message)
        self.rows = rows


class ShrunkenFileError(BadDataError):
    """The file leaves out rows of an earlier file with its name."""


def datasets() -> list[str]:
    """What may be dropped: the datasets with a contract beside this module."""
    names = (file.name for file in resources.files(PACKAGE).iterdir())
    return sorted(name.removesuffix(CONTRACT) for name in names if name.endswith(CONTRACT))


def run(job: Job, lake: str, drop: str, key: str | None, *, allow_shrinking: bool = False) -> None:
    """Take one file, or all that wait. The first refusal is raised when all are done."""
    store, place = Lake(lake), Drop(drop)
    keys = _keys(place, key)
    refused: list[str] = []
    for done, name in enumerate(keys, start=1):
        try:
            _take(job, store, place, name, allow_shrinking=allow_shrinking)
        except BadDataError as error:
            refused.append(f"{name}: {error}")
            job.outcome(name.partition("/")[0], name, "failed", reason=str(error))
        job.progress(done, len(keys), name)
    if refused:
        raise BadDataError(refused[0] + (f" (and {len(refused) - 1:,} more files, see the receipt)" if refused[1:] else ""))


def plan(lake: str, drop: str, key: str | None) -> list[dict[str, Any]]:
    """The files that run would take, with the newest commit of the partition each fills (None: it would be the first)."""
    store, planned = Lake(lake), []
    for name in _keys(Drop(drop), key):
        dataset, partition = _place(name)
        held = store.look(dataset, partition).held
        planned.append({"dataset": dataset, "partition": partition, "asks": name, "commit": held})
    return planned


def check(lake: str, drop: str) -> None:
    """Nothing, when the contracts can be read, and the drop and the lake listed."""
    for dataset in datasets():
        extract.contract(PACKAGE, dataset)
    Drop(drop).waiting()
    Lake(lake).datasets()


def _keys(drop: Drop, key: str | None) -> list[str]:
    if key is None:
        return drop.waiting()
    if key.startswith(ASIDE):
        raise UsageError(f"--key {key} was put aside by an earlier run; move it to DATASET/NAME to drop it again")
    return [key]


def _take(job: Job, lake: Lake, drop: Drop, key: str, *, allow_shrinking: bool) -> None:
    """Commit a file and put it aside. Raises BadDataError when it is refused, by this run or the one before."""
    if drop.size(key) > shape.LARGEST_BYTES:
        raise BadDataError(f"it has more than {shape.LARGEST_BYTES >> 20} MiB and stays where it is; split it into several files")
    file = drop.read(key)
    if file is None:
        _tell_taken(job, lake, drop, key)
        return
    try:
        rules, partition, good = judged(file)
    except BadDataError as error:
        drop.reject(file, [str(error), *(error.rows if isinstance(error, RefusedFileError) else [])])
        raise
    about = About(drop.store.uri(key), mimetypes.guess_type(key)[0] or "application/octet-stream", None, None)

    def keep() -> tuple[Source, ...]:
        return (lake.keep(rules.dataset, file.data, about),)

    try:
        fill.commit(job, lake, rules, partition, good, keep, refuse=_refuse_shrunken, allow_shrinking=allow_shrinking)
    except ShrunkenFileError as error:
        drop.reject(file, [str(error)])
        raise
    drop.accept(file)


def _refuse_shrunken(told: str) -> ShrunkenFileError:
    return ShrunkenFileError(f"{told}; drop the whole file, or run once with --allow-shrinking if they are to go")


def judged(file: Dropped) -> tuple[Contract, str, Good]:
    """The contract of a file, the partition it fills, and its rows. Raises BadDataError when it is to be refused."""
    dataset, partition = _place(file.key)
    rules, columns = extract.contract(PACKAGE, dataset), shape.shape(file.data, file.key.rpartition("/")[2])
    try:
        return rules, partition, contracts.enforce(rules, columns)
    except BadDataError as error:
        raise RefusedFileError(str(error), _bad_rows(rules, columns)) from None


def _place(key: str) -> tuple[str, str]:
    """The dataset and the partition of a file. Raises BadDataError where it has none."""
    dataset, _, name = key.partition("/")
    if not name or dataset not in datasets():
        raise BadDataError(f"{key} lies in no dataset's folder; expected one of {', '.join(datasets())}")
    return dataset, shape.partition(name)


def _bad_rows(rules: Contract, columns: Columns) -> list[str]:
    """What is wrong with which of the first rows, however many they are; none where it is the columns that are wrong."""
    first = {name: values[:ROWS_LOOKED_AT] for name, values in columns.items()}
    try:
        bad = contracts.enforce(replace(rules, max_bad_rows=1.0), first).quarantine
    except BadDataError:
        return []
    if bad is None:
        return []
    numbers, reasons = (bad.column(name).to_pylist()[:ROWS_TOLD] for name in (contracts.ROW_NUMBER, "reasons"))
    return [f"row {number}: {told.removeprefix(contracts.WITHHELD)}" for number, told in zip(numbers, reasons, strict=True)]


def _tell_taken(job: Job, lake: Lake, drop: Drop, key: str) -> None:
    """What became of a file that no longer waits: an event comes twice, and a run may die when all is done."""
    if reasons := drop.reasons(key):
        raise BadDataError(reasons[0])
    if not drop.accepted(key):
        raise UsageError(f"no file waits at {drop.store.uri(key)} and none was taken from there; look at --drop and --key")
    fill.tell(job, lake.head(*_place(key)), committed=False)
