"""Commits that say they were made in the future: a clock was set forward where they were made.

Recorded as they are, they would hide their partition from every question as of a moment before, and push every later commit behind them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from jobkit.store import NotFoundError
from psycopg import sql

from load_warehouse import ledger, tables
from load_warehouse.session import lock_key, locked

if TYPE_CHECKING:
    from jobkit.lake import Commit, History, Lake

    from load_warehouse.ledger import Entry
    from load_warehouse.session import Session

TOLERANCE = timedelta(minutes=5)  # how far a writer's clock may be ahead of the server's
TICK = timedelta(microseconds=1)


def is_ahead(moment: datetime, now: datetime) -> bool:
    """Whether a moment is in the future, more than clocks may differ."""
    return moment > now + TOLERANCE


def known_at(lake: Lake, commit: Commit, history: History, entry: Entry | None, now: datetime) -> datetime:
    """When a commit's rows became known: as it says, but not in the future, and later than the commit before, whose entry is `entry`.

    In place of a moment in the future stands the time at which the store took the commit, or just before the next commit, or now.
    """
    moment = commit.known
    if is_ahead(moment, now):
        later = (other.known for number, other in history.commits.items() if number > commit.number and not is_ahead(other.known, now))
        moment = min(now, _stored_at(lake, commit) or now, *(known - TICK for known in later))
    return max(moment, entry.known_at + TICK) if entry else moment


def _stored_at(lake: Lake, commit: Commit) -> datetime | None:
    try:
        return lake.store.stat(lake.commit_key(commit.dataset, commit.partition, commit.number)).modified
    except NotFoundError:
        return None


def correct(session: Session, lake: Lake, dataset: str, partition: str, now: datetime) -> int:
    """Correct the loads of a partition that an earlier version recorded in the future; gives how many. Needs the partition's lock.

    A corrected load gets a new number, so that marts are made anew of its rows.
    """
    recorded = ledger.entries(session, dataset, partition)
    right = [entry for entry in recorded if not is_ahead(entry.known_at, now)]
    if len(right) == len(recorded):
        return 0
    history = lake.examine(dataset, partition, since=recorded[len(right)].commit)  # each is later than the one before: the rest is wrong
    before = right[-1] if right else None
    leaf = next((entry.leaf for entry in reversed(recorded) if entry.leaf), None)
    with locked(session, lock_key("leaf", dataset, leaf or ""), shared=True), session.transaction():
        for entry in recorded[len(right) :]:
            commit = history.commits.get(entry.commit)
            moment = known_at(lake, commit, history, before, now) if commit else max(now, before.known_at + TICK if before else now)
            before = entry._replace(load_id=ledger.next_id(session), known_at=moment)
            _move(session, dataset, partition, leaf, entry, before)
    return len(recorded) - len(right)


def _move(session: Session, dataset: str, partition: str, leaf: str | None, old: Entry, new: Entry) -> None:
    """Give a load's rows, those that it closed and its ledger row another moment and number, in the open transaction."""
    ids = sql.Literal(ledger.load_ids(session, dataset, partition))
    terms = {
        "mine": sql.SQL('"dataset" = {} and "partition" = {}').format(sql.Literal(dataset), sql.Literal(partition)),
        "old": sql.Literal(old.known_at.isoformat()),
        "new": sql.Literal(new.known_at.isoformat()),
        "old_id": sql.Literal(old.load_id),
        "new_id": sql.Literal(new.load_id),
        "ids": ids,
    }
    statements = [
        "update raw._quarantine set known_from = {new}, _load_id = {new_id} where {mine} and _load_id = {old_id}",
        "update raw._quarantine set known_to = {new} where {mine} and known_to = {old}",
        "update raw._ledger set load_id = {new_id}, known_at = {new} where load_id = {old_id}",
    ]
    if leaf:
        terms["leaf"] = tables.raw(leaf)
        statements += [
            "update {leaf} set known_from = {new}, _load_id = {new_id} where _load_id = {old_id}",
            "update {leaf} set known_to = {new} where known_to = {old} and (_load_id = any({ids}) or _load_id = {new_id})",
        ]
    for statement in statements:
        session.execute(sql.SQL(statement).format(**terms))
