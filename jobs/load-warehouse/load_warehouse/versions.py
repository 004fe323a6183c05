"""A later commit of a partition that is loaded already: which rows it closes, which it adds, and how they get into the leaf.

Rows that did not change are neither rewritten nor copied again and keep their known_from. A row that changed is closed (known_to) and
added anew; a row that vanished is closed. Rows are compared over every vendor column, nulls equal to nulls, NaN to NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jobkit.errors import BadDataError
from psycopg import sql

from load_warehouse import copy, ledger, tables
from load_warehouse.types import META, ROW_NUMBER

if TYPE_CHECKING:
    from load_warehouse.copy import Parquet
    from load_warehouse.leaves import Leaf
    from load_warehouse.ledger import Load
    from load_warehouse.session import Session
    from load_warehouse.tables import Columns

SWAP_ROWS = 20_000  # from about here building the leaf anew beats changing it in place
FRESH = sql.Identifier("pg_temp", "fresh")


class Change(NamedTuple):
    """How many rows a commit added and closed."""

    added: int
    closed: int


def stage_fresh(session: Session, columns: Columns, file: Parquet, rows: int, key: tuple[str, ...]) -> None:
    """Copy a commit's rows to a temporary table with all columns of the raw table; what the file lacks is null.

    Raises BadDataError when two rows have one key: only one of them may be new, so the unique index would not see it.
    """
    session.execute(sql.SQL("drop table if exists pg_temp.fresh"))
    session.execute(sql.SQL("create temporary table fresh ({})").format(tables.definitions(columns)))
    with session.transaction():
        copy.copy(session, FRESH, file, freeze=False, rows=rows)
    twice = sql.SQL("select {key} from pg_temp.fresh group by {key} having count(*) > 1 limit 1").format(key=tables.names(key))
    if found := session.execute(twice).fetchone():
        raise BadDataError(f"{file.where}: two rows have the same key {', '.join(map(str, found))}; the contract's key must be unique")


def compare(session: Session, columns: Columns, leaf: Leaf, load: Load) -> Change:
    """Find the rows to close and to add, in temporary tables of the open transaction."""
    for setting in ("set local enable_nestloop = off", "set local work_mem = '64MB'"):  # both sides are whole partitions: hash them
        session.execute(sql.SQL(setting))
    ids = ledger.load_ids(session, load.dataset, load.partition)
    terms = {
        "leaf": tables.raw(leaf.name),
        "fresh": FRESH,
        "current": sql.SQL("o._load_id = any({}) and o.known_to = 'infinity'").format(sql.Literal(ids)),
        "same": _same([name for name in columns if name != ROW_NUMBER]),
    }
    closed = sql.SQL(
        "create temporary table closed on commit drop as select o.ctid as place from {leaf} o "
        "where {current} and not exists (select from {fresh} f where {same})"
    )
    added = sql.SQL(
        "create temporary table added on commit drop as select f.* from {fresh} f "
        "where not exists (select from {leaf} o where {current} and {same})"
    )
    gone, new = (session.execute(statement.format(**terms)).rowcount for statement in (closed, added))
    return Change(new, gone)


def _same(names: list[str]) -> sql.Composed:
    """Two rows are equal: by hash, so that millions can be joined, then value by value."""
    statement = sql.SQL(
        "hash_record_extended(row({left}), 0) = hash_record_extended(row({right}), 0) and row({left}) is not distinct from row({right})"
    )
    return statement.format(left=tables.names(names, "f"), right=tables.names(names, "o"))


def change_in_place(session: Session, columns: Columns, leaf: Leaf, load: Load) -> None:
    """Close and add inside the leaf, in the open transaction, after `compare`."""
    target, known_at = tables.raw(leaf.name), sql.Literal(load.known_at.isoformat())
    close = sql.SQL("update {} o set known_to = {} from pg_temp.closed c where o.ctid = c.place")
    session.execute(close.format(target, known_at))
    add = sql.SQL("insert into {} ({}) select {} from pg_temp.added")
    session.execute(add.format(target, tables.names(columns), tables.names(columns)))
    ledger.write(session, load)


def build_beside(session: Session, columns: Columns, leaf: Leaf, stage: str, load: Load, key: tuple[str, ...]) -> None:
    """Build the leaf as it will be in a table beside, keyed afterwards, on the second connection; after `compare`.

    FREEZE, which only COPY can, lets a reader whose snapshot is older than the swap see the rows: otherwise it would find a hole.
    """
    every = [*columns, *META]
    old = sql.SQL(
        "select {old_names}, o._load_id, o.known_from, case when c.place is null then o.known_to else {known_at}::timestamptz end "
        "from {leaf} o left join pg_temp.closed c on o.ctid = c.place "
        "union all select {new_names}, {load_id}, {known_at}::timestamptz, 'infinity' from pg_temp.added n"
    ).format(
        old_names=tables.names(columns, "o"),
        new_names=tables.names(columns, "n"),
        leaf=tables.raw(leaf.name),
        known_at=sql.Literal(load.known_at.isoformat()),
        load_id=sql.Literal(load.load_id),
    )
    source = sql.SQL("copy ({}) to stdout (format binary)").format(old)
    target = sql.SQL("copy {} ({}) from stdin (format binary, freeze)").format(sql.Identifier("stage", stage), tables.names(every))
    with session.second.transaction():
        session.second.execute(tables.create_stage(columns, leaf, stage, load))
        copy.pour(session, source, session.second, target)
        for statement in tables.index_stage(leaf, stage, key):
            session.second.execute(statement)
