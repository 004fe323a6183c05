"""One lake partition into the warehouse: every commit that is not there yet, oldest first, each in a transaction of its own.

Locks, always in this order: the lake partition (exclusive: one loader at a time), then the leaf (shared to change rows inside it,
exclusive to attach or replace it). They belong to the session, so a loader that dies gives them back.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from jobkit.errors import BadDataError, DamagedError, MisconfiguredError, TemporaryError
from psycopg import sql

from load_warehouse import clocks, copy, file_diff, ledger, parquet, partitioning, restatement, tables
from load_warehouse.copy import Parquet
from load_warehouse.ledger import Bad, Load
from load_warehouse.restatement import FORMER, FRESH, Change, Rows
from load_warehouse.session import lock_key, locked, told, tried
from load_warehouse.types import ROW_NUMBER

if TYPE_CHECKING:
    from datetime import datetime

    from jobkit.lake import Commit, History, Lake

    from load_warehouse.file_diff import Left
    from load_warehouse.ledger import Entry
    from load_warehouse.partitioning import Leaf, Scheme
    from load_warehouse.session import Session
    from load_warehouse.tables import Columns


class Result(NamedTuple):
    """What became of a lake partition: the commit it has now, and how many rows were added and closed to get there.

    `gaps` say which commits were passed over and why, `corrected` how many were recorded at another moment than they say. With an
    `error` the newest commit could not be loaded, and `head` is the last that was; None where there is none.
    """

    head: Commit | None
    changed: bool = False
    added: int = 0
    closed: int = 0
    gaps: tuple[str, ...] = ()
    corrected: int = 0
    error: BadDataError | None = None


class Target(NamedTuple):
    """Where a commit's rows go."""

    columns: Columns
    leaf: Leaf
    load: Load
    key: tuple[str, ...]

    @property
    def stage(self) -> str:
        """The table beside."""
        return tables.stage_name(self.load.dataset, self.load.partition)

    @property
    def fence(self) -> int:
        """The leaf's lock."""
        return lock_key("leaf", self.load.dataset, self.leaf.name)


def bring_up(session: Session, lake: Lake, dataset: str, partition: str, newest: int, known: Entry | None, now: datetime) -> Result:
    """Load what the warehouse lacks of a partition. Raises jobkit.errors.

    `newest` is its commit's number, `known` its ledger entry and `now` the server's time, all of a moment ago. A commit that is
    damaged or refused is passed over where a newer one loads.
    """
    if known and known.commit == newest and not clocks.is_ahead(known.known_at, now):
        head = lake.read_commit(dataset, partition, newest)
        if known.sha256 == head.data.sha256:
            return Result(head)
    where = f"{dataset}/{partition}"
    with told(where, session), locked(session, lock_key("partition", dataset, partition)):
        tables.drop_stage(session, tables.stage_name(dataset, partition))
        corrected = clocks.correct(session, lake, dataset, partition, now)
        entry = ledger.newest(session, dataset, partition)
        history = lake.examine(dataset, partition, since=entry.commit if entry else 1)
        if entry:
            _check_lake(where, lake, history, entry)
        result = _load_all(session, lake, history, entry, now)
    return result._replace(changed=result.changed or corrected > 0, corrected=result.corrected + corrected)


def _check_lake(where: str, lake: Lake, history: History, entry: Entry) -> None:
    """Raise MisconfiguredError when the warehouse was loaded from another lake. A commit that is damaged or missing since says nothing."""
    same = history.commits.get(entry.commit)
    newest = max((*history.commits, *history.damaged), default=0)
    if newest < entry.commit or (same and same.data.sha256 != entry.sha256):
        dataset, _, partition = where.partition("/")
        raise MisconfiguredError(
            f"{where}: the warehouse holds commit {entry.commit} with sha256 {entry.sha256[:12]}, which this lake "
            f"does not have (its newest is {lake.latest_number(dataset, partition)}); was this warehouse loaded from --lake?"
        )


def _load_all(session: Session, lake: Lake, history: History, entry: Entry | None, now: datetime) -> Result:
    """Load what follows the commit of `entry`, one after the other."""
    found: dict[int, Commit | DamagedError] = {**history.commits, **history.damaged}
    head = history.commits.get(entry.commit) if entry else None
    error: BadDataError | None = None if head or not entry else history.damaged.get(entry.commit)
    gaps = [f"commit {first} is missing" if first == last else f"commits {first} to {last} are missing" for first, last in history.missing]
    changes, corrected = [], 0
    for number in sorted(number for number in found if entry is None or number > entry.commit):
        commit = found[number]
        try:
            if isinstance(commit, DamagedError):
                raise commit
            known_at = clocks.known_at(lake, commit, history, entry, now)
            with told(f"{commit.dataset}/{commit.partition} commit {number}", session):
                changes.append(_load(session, lake, commit, head, entry, known_at))
        except BadDataError as refused:
            error = refused
            gaps.append(f"commit {number}: {refused}")
        else:
            head, error = commit, None
            corrected += clocks.is_ahead(commit.known, now)
            entry = ledger.newest(session, commit.dataset, commit.partition)
    added, closed = (sum(counts) for counts in zip(*changes, strict=True)) if changes else (0, 0)
    return Result(head, bool(changes), added, closed, tuple(gaps), corrected, error)


def _load(session: Session, lake: Lake, commit: Commit, before: Commit | None, entry: Entry | None, known_at: datetime) -> Change:
    """Load one commit, which follows the one `before`, whose ledger entry is `entry`."""
    load = Load(
        load_id=ledger.next_id(session),
        dataset=commit.dataset,
        partition=commit.partition,
        commit=commit.number,
        sha256=commit.data.sha256,
        rows=commit.data.rows,
        known_at=known_at,
        leaf=entry.leaf if entry else None,
        bad=quarantined(lake, commit),
    )
    if entry and entry.sha256 == commit.data.sha256:  # the rows are the same, only what was quarantined differs
        return _note(session, load)
    where = f"{commit.dataset}/{commit.partition} commit {commit.number}"
    file = Parquet(lake.read(commit.data), where)
    way = partitioning.scheme(commit.leaf, file.columns, where)
    if missing := set(commit.key) - set(file.columns) or not commit.key:
        raise BadDataError(f"{where}: the file has no key column {missing or ''}; the commit says the key is {commit.key}")
    columns = tables.ensure(session, commit.dataset, file.columns, way, where)
    leaf = _leaf(session, file, way, load)
    if leaf is None:
        return _note(session, load)
    target = Target(columns, leaf, load._replace(leaf=leaf.name), commit.key)
    if not load.leaf:
        return _first(session, file, target)
    try:
        return _later(session, file, target, _left(lake, before, file, target))
    except restatement.NotHeldError:
        return _later(session, file, target, None)


def quarantined(lake: Lake, commit: Commit) -> tuple[Bad, ...]:
    """The rows that a commit has in quarantine, as its file has them."""
    if commit.quarantine is None:
        return ()
    _, batches = parquet.read(lake.read(commit.quarantine), copy.BATCH_ROWS)
    return tuple(Bad(*row) for batch in batches for row in parquet.rows(batch, (ROW_NUMBER, "raw_row", "reasons")))


def _note(session: Session, load: Load) -> Change:
    ledger.write(session, load)
    return Change(0, 0)


def _leaf(session: Session, file: Parquet, way: Scheme, load: Load) -> Leaf | None:
    """The leaf of a file's rows: of the rows before where there are none now, None where there never were any."""
    if not load.rows:
        return partitioning.Leaf(load.leaf, sql.SQL(""), sql.SQL("")) if load.leaf else None
    value = file.first_value(way.column)
    if value is None:
        raise BadDataError(f"{file.where}: column {way.column!r} is null in the first row; it says which leaf the rows belong to")
    leaf = tables.leaf_of(session, load.dataset, way, file.columns[way.column], value)
    if load.leaf not in (None, leaf.name):
        raise BadDataError(f"{file.where}: its rows belong to leaf {leaf.name}, those before to {load.leaf}; expected all in one")
    return leaf


def _first(session: Session, file: Parquet, target: Target) -> Change:
    """Rows of a partition that has none yet: a new leaf is built beside and attached, one that is there gets them copied in."""
    if not tables.exists(session, target.leaf.name):
        with locked(session, target.fence):
            if not tables.exists(session, target.leaf.name):
                if _new_leaf(session, file, target):
                    return Change(target.load.rows, 0)
                _empty_leaf(session, file.where, target)
    with locked(session, target.fence, shared=True), tables.transaction(session, target.load):
        copy.copy(session, tables.raw(target.leaf.name), file, freeze=False, rows=target.load.rows)
        ledger.write(session, target.load)
    return Change(target.load.rows, 0)


def _new_leaf(session: Session, file: Parquet, target: Target) -> bool:
    """Whether the rows could be attached: not where somebody reads the table for as long as we would wait."""
    columns, leaf, load, key = target
    with session.transaction():
        session.execute(tables.create_stage(columns, leaf, target.stage, load))
        copy.copy(session, sql.Identifier("stage", target.stage), file, freeze=True, rows=load.rows)
        for statement in tables.index_stage(leaf, target.stage, key):
            session.execute(statement)
    return tables.attach(session, load.dataset, leaf, target.stage, lambda: ledger.write(session, load))


def _empty_leaf(session: Session, where: str, target: Target) -> None:
    """The table beside without its rows as a leaf: nobody who reads the table has to be waited for."""
    session.execute(sql.SQL("truncate {}").format(sql.Identifier("stage", target.stage)))
    if not tables.attach_empty(session, target.load.dataset, target.leaf, target.stage):
        raise TemporaryError(
            f"{where}: raw.{target.load.dataset} is being changed by others all the time; nothing was changed, try again later"
        )


def _left(lake: Lake, before: Commit | None, file: Parquet, target: Target) -> Left | None:
    """What of a commit differs from the one before; None where that cannot be told, or takes longer than to compare it all."""
    if before is None or before.key != target.key or min(before.data.rows, target.load.rows) < file_diff.FEWEST:
        return None
    try:
        former = Parquet(lake.read(before.data), file.where)
    except BadDataError:  # gone or damaged: it is a short cut, no more
        return None
    return file_diff.left(former, file, target.key) if former.columns == file.columns else None


def _later(session: Session, file: Parquet, target: Target, left: Left | None) -> Change:
    """Rows of a partition that has some: a large change of a leaf's only partition is swapped in, all others happen inside the leaf.

    `left` is what differs from what is held, where that is known. Raises versions.NotHeldError where it is not so.
    """
    columns, leaf, load, key = target
    if left:
        restatement.stage(session, columns, FORMER, left.former, left.former_rows)
        restatement.stage(session, columns, FRESH, left.fresh, left.fresh_rows)
        rows = Rows(left.fresh_rows, left.former_rows)
    else:
        restatement.stage(session, columns, FRESH, file, load.rows)
        rows = Rows(load.rows, None)
    with ExitStack() as held:
        held.enter_context(locked(session, target.fence, shared=True))
        with tables.transaction(session, load):
            change = _compared(session, file, target, rows)
            swap = _worth_swapping(session, load, change) and held.enter_context(tried(session, target.fence))
            if swap:
                whole = file if change.added == load.rows else None
                restatement.build_beside(session, columns, leaf, target.stage, load, key, whole=whole)
            else:
                restatement.change_in_place(session, columns, leaf, load)
        if swap and not tables.attach(session, load.dataset, leaf, target.stage, lambda: ledger.write(session, load)):
            tables.drop_stage(session, target.stage)
            with tables.transaction(session, load):
                _compared(session, file, target, rows)
                restatement.change_in_place(session, columns, leaf, load)
    return change


def _compared(session: Session, file: Parquet, target: Target, rows: Rows) -> Change:
    """What changes, in the open transaction. Raises BadDataError when two rows have one key."""
    columns, leaf, load, key = target
    change = restatement.compare(session, columns, leaf, load, key, rows, nulls=not file.with_nulls.isdisjoint(key))
    if change is not None:
        return change
    restatement.refuse_twice(session, key, file.where)
    if rows.former is not None:
        raise restatement.NotHeldError
    everything = tuple(name for name in columns if name != ROW_NUMBER)  # the rows held were keyed otherwise: no two are alike in all
    session.execute(sql.SQL("drop table pg_temp.changed"))
    return restatement.compare(session, columns, leaf, load, everything, rows, nulls=True) or Change(0, 0)


def _worth_swapping(session: Session, load: Load, change: Change) -> bool:
    changes = change.added + change.closed
    large = load.rows > 0 and changes >= max(restatement.SWAP_ROWS, load.rows * restatement.SWAP_PART)
    return large and ledger.is_alone(session, load.dataset, load.partition, load.leaf or "")
