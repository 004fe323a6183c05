"""The moment at which a commit became known, also if the clock of the machine that made the commit was ahead.

If a commit were recorded with a time in the future, as-of queries before that time would not see it, and every later commit would have to
be dated even later.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from jobkit.postgres import lock_key
from jobkit.stores import NotFoundError
from psycopg import sql

from load_warehouse import ledger
from load_warehouse.session import hold_lock

if TYPE_CHECKING:
    from jobkit.lake import Commit, History, Lake

    from load_warehouse.ledger import LedgerEntry
    from load_warehouse.session import Session

CLOCK_TOLERANCE = timedelta(minutes=5)  # a writer's clock may be this far ahead of the server's
TICK = timedelta(microseconds=1)


def is_in_future(moment: datetime, now: datetime) -> bool:
    """Return whether a moment is later than `now` by more than CLOCK_TOLERANCE."""
    return moment > now + CLOCK_TOLERANCE


def resolve_known_at(lake: Lake, commit: Commit, history: History, previous: LedgerEntry | None, now: datetime) -> datetime:
    """Return when a commit's rows became known (UTC): the commit's own time, but never in the future and always after the previous load.

    A time in the future is replaced by the earliest of three: the time at which the store received the commit, the time of the next commit
    with a correct time (minus TICK), and now. `previous` is the ledger entry of the preceding commit, None for the first.
    """
    moment = commit.known
    if is_in_future(moment, now):
        later = (other.known for number, other in history.commits.items() if number > commit.number and not is_in_future(other.known, now))
        moment = min(now, _read_store_time(lake, commit) or now, *(known - TICK for known in later))
    return max(moment, previous.known_at + TICK) if previous else moment


def _read_store_time(lake: Lake, commit: Commit) -> datetime | None:
    """Return when the store received the commit; None if its file is gone."""
    try:
        return lake.store.stat(lake.commit_key(commit.dataset, commit.partition, commit.number)).modified
    except NotFoundError:
        return None


def correct_future_loads(session: Session, lake: Lake, dataset: str, partition: str, now: datetime) -> int:
    """Correct the loads of a partition that an older version of finelt recorded in the future; return their number.

    The caller holds the partition's lock. A corrected load gets a new load_id, so that the marts are rebuilt from its rows.
    """
    entries = ledger.fetch_entries(session, dataset, partition)
    correct = [entry for entry in entries if not is_in_future(entry.known_at, now)]
    wrong = entries[len(correct) :]  # times grow with the commit number, so the wrong ones are the last
    if not wrong:
        return 0
    history = lake.examine(dataset, partition, since=wrong[0].commit)
    previous = correct[-1] if correct else None
    leaf = next((entry.leaf for entry in reversed(entries) if entry.leaf), None)
    with hold_lock(session, lock_key("leaf", dataset, leaf or ""), shared=True), session.transaction():
        for entry in wrong:
            commit = history.commits.get(entry.commit)
            if commit:
                moment = resolve_known_at(lake, commit, history, previous, now)
            else:
                moment = max(now, previous.known_at + TICK) if previous else now
            previous = entry._replace(load_id=ledger.allocate_load_id(session), known_at=moment)
            _rewrite_load(session, dataset, partition, leaf, entry, previous)
    return len(wrong)


def _rewrite_load(session: Session, dataset: str, partition: str, leaf: str | None, old: LedgerEntry, new: LedgerEntry) -> None:
    """Change a load's time and load_id in its rows, in the rows that it closed and in its ledger row. Runs in the open transaction."""
    terms = {
        "ledger": session.table(ledger.LEDGER),
        "quarantine": session.table(ledger.QUARANTINE),
        "in_partition": sql.SQL('"dataset" = {} and "partition" = {}').format(sql.Literal(dataset), sql.Literal(partition)),
        "old": sql.Literal(old.known_at.isoformat()),
        "new": sql.Literal(new.known_at.isoformat()),
        "old_id": sql.Literal(old.load_id),
        "new_id": sql.Literal(new.load_id),
        "ids": sql.Literal(ledger.fetch_load_ids(session, dataset, partition)),
    }
    statements = [
        "update {quarantine} set known_from = {new}, _load_id = {new_id} where {in_partition} and _load_id = {old_id}",
        "update {quarantine} set known_to = {new} where {in_partition} and known_to = {old}",
        "update {ledger} set load_id = {new_id}, known_at = {new} where load_id = {old_id}",
    ]
    if leaf:
        terms["leaf"] = session.table(leaf)
        statements += [
            "update {leaf} set known_from = {new}, _load_id = {new_id} where _load_id = {old_id}",
            "update {leaf} set known_to = {new} where known_to = {old} and (_load_id = any({ids}) or _load_id = {new_id})",
        ]
    for statement in statements:
        session.execute(sql.SQL(statement).format(**terms))
