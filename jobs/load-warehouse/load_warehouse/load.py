"""The load of one lake partition: every commit that is not in the ledger, oldest first, each in its own transaction.

Locks are taken in this order: the dataset (shared; a reload takes it to put another table in the place of the old one), the lake partition
(exclusive: one loader at a time), then the leaf (shared to change rows inside it,
exclusive to attach or replace it). They belong to the database session, so a loader that dies releases them.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from jobkit import expired_commits
from jobkit.errors import BadDataError, DamagedError, MisconfiguredError, TemporaryError
from jobkit.lake import ERASED
from jobkit.names import ROW_NUMBER
from jobkit.postgres import lock_key, staging_name
from psycopg import errors, sql

from load_warehouse import clocks, copy, file_diff, ledger, parquet, partitioning, restatement, shape, tables
from load_warehouse.copy import ParquetFile
from load_warehouse.ledger import Load, QuarantinedRow
from load_warehouse.restatement import CURRENT, PREVIOUS, Change, StagedRows
from load_warehouse.session import hold_lock, translate_errors, try_lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from jobkit.lake import Commit, History, Lake

    from load_warehouse.file_diff import FileDiff
    from load_warehouse.ledger import LedgerEntry
    from load_warehouse.partitioning import Leaf, Scheme
    from load_warehouse.session import Session
    from load_warehouse.tables import Columns


class PartitionResult(NamedTuple):
    """The outcome of one lake partition.

    `head` is the commit that the warehouse holds now, None if there is none; `added` and `closed` count the rows written to get there.
    `gaps` names the commits that were skipped and why. `corrected` counts the commits recorded at another time than they say. `error`
    is set if the latest commit could not be loaded.
    """

    head: Commit | None
    changed: bool = False
    added: int = 0
    closed: int = 0
    gaps: tuple[str, ...] = ()
    corrected: int = 0
    error: BadDataError | None = None


class Target(NamedTuple):
    """Where a commit's rows are written. `find_index_key` returns the key of a leaf that is created."""

    columns: Columns
    leaf: Leaf
    load: Load
    key: tuple[str, ...]
    find_index_key: Callable[[], tuple[str, ...]]

    @property
    def staging(self) -> str:
        """The name of the partition's staging table."""
        return staging_name(self.load.dataset, self.load.partition)

    @property
    def leaf_lock_key(self) -> int:
        """The key of the leaf's advisory lock."""
        return lock_key("leaf", self.load.dataset, self.leaf.name)


def sync_partition(
    session: Session, lake: Lake, dataset: str, partition: str, latest: int, entry: LedgerEntry | None, now: datetime
) -> PartitionResult:
    """Load the commits of a partition that are not in the ledger.

    `latest` is the number of the partition's latest commit, `entry` its ledger entry and `now` the server's time, all read before the
    call. A damaged or refused commit is skipped if a later one can be loaded. Raises MisconfiguredError (78) if the warehouse was loaded
    from another lake or a table was not made by the loader, TemporaryError (75) for locks and lost connections, StoppedError (143).
    """
    if entry and entry.commit == latest and not clocks.is_in_future(entry.known_at, now):
        head = lake.read_commit(dataset, partition, latest)
        if entry.sha256 == head.data.sha256:
            return PartitionResult(head)
    where = f"{dataset}/{partition}"
    with (
        translate_errors(where, session),
        hold_lock(session, lock_key("dataset", dataset), shared=True),
        hold_lock(session, lock_key("partition", dataset, partition)),
    ):
        tables.drop_staging_table(session, staging_name(dataset, partition))
        corrected = clocks.correct_future_loads(session, lake, dataset, partition, now)
        entry = ledger.fetch_latest_entry(session, dataset, partition)
        history = lake.examine(dataset, partition, since=entry.commit if entry else 1)
        if entry:
            _check_same_lake(where, lake, history, entry)
        result = _load_commits(session, lake, history, entry, now)
    return result._replace(changed=result.changed or corrected > 0, corrected=result.corrected + corrected)


def _check_same_lake(where: str, lake: Lake, history: History, entry: LedgerEntry) -> None:
    """Raise MisconfiguredError if the warehouse was loaded from another lake.

    A damaged or missing commit is no evidence of that, nor one from which a person was erased after it was loaded (`finelt erase`).
    """
    loaded = history.commits.get(entry.commit)
    latest = max((*history.commits, *history.damaged), default=0)
    known = (loaded.data.sha256, *loaded.writer.get(ERASED, "").split()) if loaded else (entry.sha256,)
    if latest < entry.commit or entry.sha256 not in known:
        dataset, _, partition = where.partition("/")
        raise MisconfiguredError(
            f"{where}: the warehouse holds commit {entry.commit} with sha256 {entry.sha256[:12]}, which this lake "
            f"does not have (its latest is {lake.latest_number(dataset, partition)}); pass the --lake that this warehouse was loaded from"
        )


def _load_commits(session: Session, lake: Lake, history: History, entry: LedgerEntry | None, now: datetime) -> PartitionResult:
    """Load the commits after the one of `entry`, in order."""
    commits: dict[int, Commit | DamagedError] = {**history.commits, **history.damaged}
    head = history.commits.get(entry.commit) if entry else None
    error: BadDataError | None = None if head or not entry else history.damaged.get(entry.commit)
    gaps = [f"commit {first} is missing" if first == last else f"commits {first} to {last} are missing" for first, last in history.missing]
    changes, corrected = [], 0
    for number in sorted(number for number in commits if entry is None or number > entry.commit):
        commit = commits[number]
        try:
            if isinstance(commit, DamagedError):
                raise commit
            known_at = clocks.resolve_known_at(lake, commit, history, entry, now)
            with translate_errors(f"{commit.dataset}/{commit.partition} commit {number}", session):
                changes.append(_load_commit(session, lake, commit, head, entry, known_at))
        except BadDataError as refused:
            if not isinstance(commit, DamagedError) and expired_commits.has_expired(lake.store, commit.dataset, commit.partition, number):
                continue  # since it was read
            error = refused
            gaps.append(f"commit {number}: {refused}")
        else:
            head, error = commit, None
            corrected += clocks.is_in_future(commit.known, now)
            entry = ledger.fetch_latest_entry(session, commit.dataset, commit.partition)
    added, closed = (sum(counts) for counts in zip(*changes, strict=True)) if changes else (0, 0)
    return PartitionResult(head, bool(changes), added, closed, tuple(gaps), corrected, error)


def _load_commit(
    session: Session, lake: Lake, commit: Commit, previous: Commit | None, entry: LedgerEntry | None, known_at: datetime
) -> Change:
    """Load one commit. `previous` is the commit that the warehouse holds and `entry` its ledger entry, None for the first."""
    load = Load(
        load_id=ledger.allocate_load_id(session),
        dataset=commit.dataset,
        partition=commit.partition,
        commit=commit.number,
        sha256=commit.data.sha256,
        rows=commit.data.rows,
        known_at=known_at,
        leaf=entry.leaf if entry else None,
        quarantined=read_quarantine(lake, commit, session.policy.batch_rows),
    )
    if entry and entry.sha256 == commit.data.sha256:  # the rows are the same, only the quarantine differs
        return _record_without_rows(session, load)
    where = f"{commit.dataset}/{commit.partition} commit {commit.number}"
    file = ParquetFile(lake.read(commit.data), where, session.policy.batch_rows)
    if missing := set(commit.key) - set(file.columns) or not commit.key:
        raise BadDataError(f"{where}: the file has no key column {missing or ''}; the commit says the key is {commit.key}")
    file, columns, scheme = shape.fit_file(session, lake, commit, file)
    leaf = _find_leaf(session, file, scheme, load)
    if leaf is None:
        return _record_without_rows(session, load)
    target = Target(columns, leaf, load._replace(leaf=leaf.name), commit.key, partial(_find_index_key, session, lake, commit, columns))
    try:
        if not load.leaf:
            return _load_initial(session, file, target)
        try:
            return _load_restatement(session, file, target, _diff_with_previous(session, lake, previous, file, target))
        except restatement.PreviousRowsMissingError:
            return _load_restatement(session, file, target, None)
    except errors.UniqueViolation:
        keys = [key for key in tables.read_keys(session, commit.dataset) or [target.find_index_key()] if set(key) != set(commit.key)]
        if not keys:
            raise
        advice = None if session.is_reload else shape.reload_advice(commit.dataset)
        raise BadDataError(shape.describe_repeated_key(where, keys[0], commit.key, advice)) from None


def _find_index_key(session: Session, lake: Lake, commit: Commit, columns: Columns) -> tuple[str, ...]:
    """Return the key of a new leaf's index: that of the dataset's newest commit, unless rows of this commit may repeat it.

    In a reload it is always the newest, so that a commit with rows that repeat it is refused.
    """
    newest = shape.find_newest(session, lake, commit.dataset)
    key = newest.key if newest and set(newest.key) <= set(columns) else commit.key
    return key if session.is_reload or set(key) >= set(commit.key) else commit.key


def read_quarantine(lake: Lake, commit: Commit, batch_rows: int) -> tuple[QuarantinedRow, ...]:
    """Read a commit's quarantined rows, in the order of the file; empty if it has none."""
    if commit.quarantine is None:
        return ()
    _, batches = parquet.read_batches(lake.read(commit.quarantine), batch_rows)
    return tuple(QuarantinedRow(*row) for batch in batches for row in parquet.iter_rows(batch, (ROW_NUMBER, "raw_row", "reasons")))


def _record_without_rows(session: Session, load: Load) -> Change:
    """Write the ledger row of a commit that changes no rows."""
    ledger.write_entry(session, load)
    return Change(0, 0)


def _find_leaf(session: Session, file: ParquetFile, scheme: Scheme, load: Load) -> Leaf | None:
    """Return the leaf of a file's rows. For a file without rows it is the leaf of the previous rows, None if there never were any."""
    if not load.rows:
        return partitioning.Leaf(load.leaf, sql.SQL(""), sql.SQL("")) if load.leaf else None
    value = file.read_first_value(scheme.column)
    if value is None:
        raise BadDataError(f"{file.where}: column {scheme.column!r} is null in the first row; it decides the leaf of the rows")
    leaf = tables.find_leaf(session, load.dataset, scheme, file.columns[scheme.column], value)
    if load.leaf not in (None, leaf.name):
        raise BadDataError(f"{file.where}: rows moved from leaf {load.leaf} to {leaf.name}; a lake partition must stay in one leaf")
    return leaf


def _load_initial(session: Session, file: ParquetFile, target: Target) -> Change:
    """Load a partition that has no rows yet: attach a filled staging table as a new leaf, or copy into the existing leaf."""
    if not tables.leaf_exists(session, target.leaf.name):
        with hold_lock(session, target.leaf_lock_key):
            if not tables.leaf_exists(session, target.leaf.name):
                if _attach_filled_leaf(session, file, target):
                    return Change(target.load.rows, 0)
                _attach_empty_leaf(session, file.where, target)
    with hold_lock(session, target.leaf_lock_key, shared=True), tables.load_transaction(session, target.load):
        copy.copy_file(session, session.table(target.leaf.name), file, freeze=False, rows=target.load.rows)
        ledger.write_entry(session, target.load)
    return Change(target.load.rows, 0)


def _attach_filled_leaf(session: Session, file: ParquetFile, target: Target) -> bool:
    """Fill a staging table and attach it. If readers keep the table locked, return False and leave the staging table."""
    columns, leaf, load, _, find_index_key = target
    key = find_index_key()
    with session.transaction():
        session.execute(tables.staging_table_ddl(columns, leaf, target.staging, load))
        copy.copy_file(session, tables.staging_table(target.staging), file, freeze=True, rows=load.rows)
        for statement in tables.staging_index_ddl(target.staging, key):
            session.execute(statement)
    return tables.attach_leaf(session, load.dataset, leaf, target.staging, lambda: ledger.write_entry(session, load))


def _attach_empty_leaf(session: Session, where: str, target: Target) -> None:
    """Empty the staging table and attach it, which excludes no reader. Raises TemporaryError if other changes keep the table locked."""
    session.execute(sql.SQL("truncate {}").format(tables.staging_table(target.staging)))
    if not tables.attach_empty_leaf(session, target.load.dataset, target.leaf, target.staging):
        raise TemporaryError(f"{where}: other changes keep raw.{target.load.dataset} locked; nothing was loaded, try again later")


def _diff_with_previous(session: Session, lake: Lake, previous: Commit | None, file: ParquetFile, target: Target) -> FileDiff | None:
    """Compare a commit's file with the previous one; return None if that is impossible or slower than sending the whole file."""
    if previous is None or previous.key != target.key:
        return None
    if min(previous.data.rows, target.load.rows) < session.policy.min_diff_rows:
        return None
    try:
        previous_file = ParquetFile(lake.read(previous.data), file.where, session.policy.batch_rows).convert(file.columns)
    except BadDataError:  # missing or damaged: the diff only saves time
        return None
    return file_diff.diff_files(previous_file, file, target.key, session.policy) if previous_file.columns == file.columns else None


def _load_restatement(session: Session, file: ParquetFile, target: Target, diff: FileDiff | None) -> Change:
    """Load a commit of a partition that has rows. A large change swaps in a rebuilt leaf; a small one changes rows in place.

    `diff` is what differs from the previous file; None stages the whole commit. Raises restatement.PreviousRowsMissingError if the
    warehouse does not hold the previous file's rows.
    """
    columns, leaf, load, _, find_index_key = target
    rows = _stage_rows(session, file, target, diff)
    with ExitStack() as locks:
        locks.enter_context(hold_lock(session, target.leaf_lock_key, shared=True))
        with tables.load_transaction(session, load):
            change = _compute_change(session, file, target, rows)
            is_swap = _is_worth_swapping(session, load, change) and locks.enter_context(try_lock(session, target.leaf_lock_key))
            if is_swap:
                whole = file if change.added == load.rows else None
                restatement.build_replacement(session, columns, leaf, target.staging, load, find_index_key(), whole=whole)
            else:
                restatement.apply_in_place(session, columns, leaf, load)
        if is_swap and not tables.attach_leaf(session, load.dataset, leaf, target.staging, lambda: ledger.write_entry(session, load)):
            tables.drop_staging_table(session, target.staging)
            with tables.load_transaction(session, load):
                _compute_change(session, file, target, rows)
                restatement.apply_in_place(session, columns, leaf, load)
    return change


def _stage_rows(session: Session, file: ParquetFile, target: Target, diff: FileDiff | None) -> StagedRows:
    """Copy the rows to compare into temporary tables: those of the diff, or the whole file."""
    if diff is None:
        restatement.stage_rows(session, target.columns, CURRENT, file, target.load.rows)
        return StagedRows(target.load.rows, None)
    restatement.stage_rows(session, target.columns, PREVIOUS, diff.previous, diff.previous_rows)
    restatement.stage_rows(session, target.columns, CURRENT, diff.current, diff.current_rows)
    return StagedRows(diff.current_rows, diff.previous_rows)


def _compute_change(session: Session, file: ParquetFile, target: Target, rows: StagedRows) -> Change:
    """Compare staged and stored rows, in the open transaction. Raises BadDataError if two rows have one key."""
    columns, leaf, load, key, _ = target
    has_null_keys = not file.null_columns.isdisjoint(key)
    change = restatement.compare_rows(session, columns, leaf, load, key, rows, has_null_keys=has_null_keys)
    if change is not None:
        return change
    restatement.check_key_unique(session, key, file.where)
    if rows.previous is not None:
        raise restatement.PreviousRowsMissingError
    all_columns = tuple(name for name in columns if name != ROW_NUMBER)  # the key changed; compare whole rows
    session.execute(sql.SQL("drop table pg_temp.changed"))
    return restatement.compare_rows(session, columns, leaf, load, all_columns, rows, has_null_keys=True) or Change(0, 0)


def _is_worth_swapping(session: Session, load: Load, change: Change) -> bool:
    """Return whether rebuilding the leaf is faster than changing it in place. Only a leaf with a single lake partition can be swapped."""
    policy, changes = session.policy, change.added + change.closed
    is_large = load.rows > 0 and changes >= max(policy.swap_rows, load.rows * policy.swap_fraction)
    return is_large and ledger.is_only_partition(session, load.dataset, load.partition, load.leaf or "")
