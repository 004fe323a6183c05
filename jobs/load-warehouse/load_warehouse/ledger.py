"""The ledger: which commit of which lake partition the warehouse holds.

A ledger row is committed in the same transaction as the rows it records, so a commit is loaded exactly once.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit import migrations
from jobkit.migrations import RAW
from jobkit.postgres import lock_key
from psycopg import errors, sql

from load_warehouse.session import RAW_SCHEMA, STAGE_SCHEMA, hold_lock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from load_warehouse.session import Session

SCHEMAS = (RAW_SCHEMA, STAGE_SCHEMA)
LEDGER, QUARANTINE = "_ledger", "_quarantine"
_ENTRY_COLUMNS = sql.SQL('load_id, "commit", sha256, known_at, leaf, "rows"')


class LedgerEntry(NamedTuple):
    """A ledger row of a partition. `known_at` is in UTC; `leaf` is None until the partition has its first row."""

    load_id: int
    commit: int
    sha256: str
    known_at: datetime
    leaf: str | None
    rows: int


class QuarantinedRow(NamedTuple):
    """A row that broke its contract: its number among the rows read, the row as JSON, and the reasons."""

    row_number: int
    raw_row: str
    reasons: str


class Load(NamedTuple):
    """The ledger row to write for a commit, and the commit's quarantined rows."""

    load_id: int
    dataset: str
    partition: str
    commit: int
    sha256: str
    rows: int
    known_at: datetime
    leaf: str | None
    quarantined: tuple[QuarantinedRow, ...] = ()


def ensure_ledger(session: Session) -> None:
    """Create the schemas, and migrate the ledger and the quarantine to the format of this program.

    Raises NewerFormatError (exit code 78) if a newer version of finelt migrated them.
    """
    exists = sql.SQL("select to_regnamespace('raw') > 0 and to_regnamespace('stage') > 0")
    if session.scalar(exists) and check_ledger(session) == RAW.format:
        return
    with hold_lock(session, lock_key("schema")), session.transaction():
        for schema in SCHEMAS:
            if session.scalar(sql.SQL("select to_regnamespace({}) is null").format(sql.Literal(schema))):
                session.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))  # IF NOT EXISTS would need the right as well
        migrations.migrate(partial(_fetch_tuples, session), RAW, f"the warehouse {session.url}")


def check_ledger(session: Session) -> int:
    """Return the format of the schema raw; 0 before its first migration. Raises NewerFormatError (exit code 78) for a newer one."""
    return migrations.check_schema(partial(_fetch_tuples, session), RAW, f"the warehouse {session.url}")


def _fetch_tuples(session: Session, statement: str) -> Sequence[tuple[Any, ...]]:
    """Run SQL of our own, which has no values in it, and return the rows of a query."""
    session.raise_if_stopping()
    cursor = session.main.execute(statement.encode())
    return cursor.fetchall() if cursor.description else ()


def fetch_latest_entries(session: Session) -> dict[tuple[str, str], LedgerEntry]:
    """Return the latest entry of every (dataset, partition); empty if there is no ledger yet."""
    statement = sql.SQL('select distinct on ("dataset", "partition") "dataset", "partition", {} from {} order by 1, 2, "commit" desc')
    try:
        return {(row[0], row[1]): LedgerEntry(*row[2:]) for row in session.execute(statement.format(_ENTRY_COLUMNS, session.table(LEDGER)))}
    except (errors.UndefinedTable, errors.InvalidSchemaName):
        return {}


def fetch_latest_entry(session: Session, dataset: str, partition: str) -> LedgerEntry | None:
    """Return the latest entry of one partition; None if it was never loaded."""
    statement = sql.SQL('select {} from {} where "dataset" = {} and "partition" = {} order by "commit" desc limit 1')
    row = session.execute(statement.format(_ENTRY_COLUMNS, session.table(LEDGER), sql.Literal(dataset), sql.Literal(partition))).fetchone()
    return LedgerEntry(*row) if row else None


def fetch_server_time(session: Session) -> datetime:
    """Return the time of the server's clock, with a time zone."""
    now: datetime = session.scalar(sql.SQL("select clock_timestamp()"))
    return now


def fetch_entries(session: Session, dataset: str, partition: str) -> list[LedgerEntry]:
    """Return all entries of one partition, oldest commit first."""
    statement = sql.SQL('select {} from {} where "dataset" = {} and "partition" = {} order by "commit"')
    rows = session.execute(statement.format(_ENTRY_COLUMNS, session.table(LEDGER), sql.Literal(dataset), sql.Literal(partition)))
    return [LedgerEntry(*row) for row in rows]


def fetch_load_ids(session: Session, dataset: str, partition: str) -> list[int]:
    """Return the load_ids of one partition, in no order. They identify its rows in a leaf that it shares with others."""
    statement = sql.SQL('select load_id from {} where "dataset" = {} and "partition" = {}')
    return [row[0] for row in session.execute(statement.format(session.table(LEDGER), sql.Literal(dataset), sql.Literal(partition)))]


def is_only_partition(session: Session, dataset: str, partition: str, leaf: str) -> bool:
    """Return whether no other lake partition has rows in a leaf."""
    statement = sql.SQL('select from {} where "dataset" = {} and leaf = {} and "partition" <> {} limit 1')
    return not session.execute(
        statement.format(session.table(LEDGER), sql.Literal(dataset), sql.Literal(leaf), sql.Literal(partition))
    ).fetchall()


def allocate_load_id(session: Session) -> int:
    """Return a new load_id from the ledger's sequence, which a copy of the ledger shares."""
    return int(session.scalar(sql.SQL("select nextval(pg_get_serial_sequence('raw._ledger', 'load_id'))")))


def write_entry(session: Session, load: Load) -> None:
    """Write the ledger row and update the quarantine, in the transaction that makes the load's rows visible."""
    names = sql.SQL('load_id, "dataset", "partition", "commit", sha256, "rows", known_at, leaf')
    values = sql.SQL(", ").join(map(sql.Literal, load[:-1]))
    session.execute(sql.SQL("insert into {} ({}) values ({})").format(session.table(LEDGER), names, values))
    _update_quarantine(session, load)


def _update_quarantine(session: Session, load: Load) -> None:
    """Close the quarantined rows that this commit no longer has and add its new ones. Unchanged rows are not rewritten."""
    columns = [sql.Literal(list(column)) for column in zip(*load.quarantined, strict=True)] or [sql.Literal([])] * 3
    terms = {
        "quarantine": session.table(QUARANTINE),
        "in_partition": sql.SQL('"dataset" = {} and "partition" = {}').format(sql.Literal(load.dataset), sql.Literal(load.partition)),
        "current": sql.SQL("unnest({}::int[], {}::text[], {}::text[]) as current (row_number, raw_row, reasons)").format(*columns),
        "same": sql.SQL(
            "current.row_number = stored.row_number and current.raw_row = stored.raw_row::text and current.reasons = stored.reasons "
            "and stored.known_to = 'infinity'"
        ),
        "known_at": sql.Literal(load.known_at.isoformat()),
        "values": sql.SQL(", ").join(map(sql.Literal, (load.dataset, load.partition, load.commit))),
        "load_id": sql.Literal(load.load_id),
    }
    close = sql.SQL(
        "update {quarantine} stored set known_to = {known_at} "
        "where {in_partition} and known_to = 'infinity' and not exists (select from {current} where {same})"
    )
    session.execute(close.format(**terms))
    if load.quarantined:
        add = sql.SQL(
            "insert into {quarantine} "
            "select {values}, current.row_number, current.raw_row::json, current.reasons, {load_id}, {known_at}::timestamptz, 'infinity' "
            "from {current} where not exists (select from {quarantine} stored where {in_partition} and {same})"
        )
        session.execute(add.format(**terms))
