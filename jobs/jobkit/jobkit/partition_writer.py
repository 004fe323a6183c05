"""Commit the validated rows of a partition to the lake, and record the outcome in the receipt.

Extractors use it through `jobkit.extraction`; extract-dropped-files, whose files come without a request, uses it directly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit import changes, contracts
from jobkit.contracts import EncodedRows
from jobkit.errors import TemporaryError, UsageError
from jobkit.lake import STATE, Commit, CommitDraft, Lake, PartitionState, Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobkit.command import Job
    from jobkit.contracts import Contract, ValidationResult
    from jobkit.errors import JobError

MAX_LOGGED_WARNINGS = 5


class Outcome(NamedTuple):
    """The outcome of a partition: its newest commit, whether this run made it, and further keys of the receipt's entry."""

    commit: Commit
    is_new: bool
    details: dict[str, Any]


def commit(
    job: Job,
    lake: Lake,
    contract: Contract,
    partition: str,
    result: ValidationResult | EncodedRows,
    store_source: Callable[[], tuple[Source, ...]],
    *,
    shrunken: Callable[[str], JobError],
    allow_shrinking: bool,
    state: PartitionState | None = None,
    is_merged: bool = False,
    connector_state: str | None = None,
) -> Outcome:
    """Commit the valid rows of a partition and quarantine the others.

    `store_source` stores the bytes that the rows come from; it is called only if there is something new. `state` is what the lake had a
    moment ago. If more rows of the newest commit are missing than the contract allows, nothing is committed and the error that `shrunken`
    makes is raised, unless shrinking is allowed. `is_merged`: the rows contain those of `state`. `connector_state`: where a connector goes
    on after these rows. Raises TemporaryError (exit code 75) if other writers win time and again, for merged rows if another writer wins.
    """
    for warning in result.warnings[:MAX_LOGGED_WARNINGS]:
        job.log.warning("contract", extra={"dataset": contract.dataset, "partition": partition, "breach": warning})
    writer = {"job": job.name, "version": job.version, **({} if connector_state is None else {STATE: connector_state})}
    draft = build_draft(result, store_source, key=contract.key, leaf=contract.leaf, writer=writer)
    change = changes.Change(draft.rows, 0, 0)
    state, repaired = state or lake.read_state(contract.dataset, partition), len(lake.repaired)

    def review(head: Commit) -> None:
        nonlocal change
        if is_merged and (state.head is None or head.number != state.head.number):
            raise TemporaryError(f"{head.dataset}/{head.partition} was committed by another run meanwhile; run it again")
        valid = result.decode() if isinstance(result, EncodedRows) else result
        change = measure_change(lake, contract, valid, head, shrunken=shrunken, allow_shrinking=allow_shrinking)

    newest, is_new = lake.commit(contract.dataset, partition, draft, state=state, review=review)
    counts = {"dropped": draft.dropped, "warnings": len(result.warnings)}
    details: dict[str, Any] = {name: count for name, count in counts.items() if count}
    if is_new:
        details |= {"rows_added": change.added, "rows_closed": change.closed}
        if not is_merged:  # there, missing rows were deleted by name
            _warn_missing(job, newest, change)
    if lake.repaired[repaired:]:
        details["repaired"] = lake.repaired[repaired:]
    if is_new and state.problem:
        details["healed"] = state.problem
    return Outcome(newest, is_new, details)


def build_draft(
    result: ValidationResult | EncodedRows,
    store_source: Callable[[], tuple[Source, ...]],
    *,
    key: tuple[str, ...],
    leaf: str,
    writer: dict[str, str],
) -> CommitDraft:
    """Encode the valid and the quarantined rows as the Parquet files of a commit."""
    if isinstance(result, EncodedRows):
        return CommitDraft(result.parquet, result.rows, None, 0, store_source, key, leaf, writer)
    bad = result.quarantine
    return CommitDraft(
        data=contracts.to_parquet(result.table),
        rows=result.table.num_rows,
        quarantine=contracts.to_parquet(bad) if bad else None,
        quarantined=bad.num_rows if bad else 0,
        source=store_source,
        key=key,
        leaf=leaf,
        writer=writer,
        dropped=result.dropped,
    )


def measure_change(
    lake: Lake, contract: Contract, result: ValidationResult, head: Commit, *, shrunken: Callable[[str], JobError], allow_shrinking: bool
) -> changes.Change:
    """Compare the valid rows with those of a commit. Raises the error that `shrunken` makes if too many are missing, as `commit` does."""
    change = changes.measure(lake, head, result, contract.key)
    if change.missing > contract.max_missing_rows * head.data.rows and not allow_shrinking:
        raise shrunken(
            f"{head.dataset}/{head.partition}: {change.missing:,} of the {head.data.rows:,} rows of commit {head.number} are missing from "
            f"what came, which has {result.table.num_rows:,}; nothing was committed and they stay"
        )
    return change


def _warn_missing(job: Job, commit: Commit, change: changes.Change) -> None:
    """Log the number of rows that the commit closes because they were not sent again."""
    if change.missing:
        fields = {"dataset": commit.dataset, "partition": commit.partition, "commit": commit.number, "rows": change.missing}
        job.log.warning("rows closed that were not sent again", extra=fields)


def record(job: Job, outcome: Outcome) -> None:
    """Record the outcome of a partition in the receipt."""
    commit = outcome.commit
    job.record_partition(
        commit.dataset,
        commit.partition,
        "committed" if outcome.is_new else "unchanged",
        rows=commit.data.rows,
        bytes=commit.data.bytes,
        sha256=commit.data.sha256,
        quarantined=commit.quarantine.rows if commit.quarantine else 0,
        commit=commit.number,
        **outcome.details,
    )


def record_unchanged(job: Job, head: Commit | None) -> None:
    """Record in the receipt that a partition is as its newest commit. Raises UsageError if the lake has no commit of it."""
    if head is None:
        raise UsageError("the vendor says nothing changed, but the lake has no commit of the partition; run again")
    record(job, Outcome(head, is_new=False, details={}))
