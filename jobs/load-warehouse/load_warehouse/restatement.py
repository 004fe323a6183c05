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
    from load_warehouse.ledger import Load
    from load_warehouse.partitioning import Leaf
    from load_warehouse.session import Session
    from load_warehouse.tables import Columns

SWAP_ROWS, SWAP_PART = 20_000, 0.5  # from so many changes, and so many a row, building the leaf anew beats changing it in place
FRESH, FORMER = "fresh", "former"  # temporary tables: what a commit has, and what the one before had
_PLACE = sql.Identifier("known_from")  # where a row lies, in a column beside the vendor's: none of these has this name
_ADDED = sql.SQL("pg_temp.fresh f join pg_temp.changed n on f.ctid = n.fresh")


class Change(NamedTuple):
    """How many rows a commit added and closed."""

    added: int
    closed: int


def stage(session: Session, columns: Columns, name: str, file: Parquet, rows: int) -> None:
    """Copy rows to a temporary table with all columns of the raw table; what the file lacks is null."""
    table = sql.Identifier("pg_temp", name)
    session.execute(sql.SQL("drop table if exists {}").format(table))
    session.execute(sql.SQL("create temporary table {} ({})").format(sql.Identifier(name), tables.definitions(columns)))
    with session.transaction():
        copy.copy(session, table, file, freeze=False, rows=rows)


class Rows(NamedTuple):
    """How many rows were staged: fresh ones, and former ones where not all that are held are to be compared."""

    fresh: int
    former: int | None


class NotHeldError(Exception):
    """The warehouse does not hold the former rows as they are in the lake: then all that it holds must be compared."""


def refuse_twice(session: Session, key: tuple[str, ...], where: str) -> None:
    """Raise BadDataError when two fresh rows have one key: where only one of them is new, the unique index would not see it."""
    twice = sql.SQL("select {key} from pg_temp.fresh group by {key} having count(*) > 1 limit 1").format(key=tables.names(key))
    if session.execute(twice).fetchone():  # which may not be shown: the row may be confidential
        raise BadDataError(f"{where}: two rows have the same key ({', '.join(key)}); the contract's key must be unique")


def compare(session: Session, columns: Columns, leaf: Leaf, load: Load, by: tuple[str, ...], rows: Rows, *, nulls: bool) -> Change | None:
    """Pair the rows held with the fresh ones that have the same values `by`; the pairs that differ are in a temporary table.

    A row that is new or gone is half a pair. `nulls`: whether values of `by` may be null. None when a row of one side has two
    partners, as `by` is no key of the other then, or when not all former rows are held.
    """
    for setting in ("enable_nestloop = off", "enable_mergejoin = off", "work_mem = '64MB'"):  # both sides are whole partitions: hash them
        session.execute(sql.SQL("set local {}").format(sql.SQL(setting)))
    compared = [name for name in columns if name != ROW_NUMBER]
    new, old, same = tables.names(compared, "f"), tables.names(compared, "o"), _same(by, "f", nulls=nulls)
    ids = sql.Literal(ledger.load_ids(session, load.dataset, load.partition))
    current = sql.SQL("{} o where o._load_id = any({}) and o.known_to = 'infinity'").format(tables.raw(leaf.name), ids)
    listed = sql.SQL("select o.ctid as {}, {} from {}").format(_PLACE, old, current)
    held: sql.Composable = sql.SQL("pg_temp.held")
    before = rows.former
    if before is None:
        held = sql.SQL("({})").format(listed)
        before = session.scalar(sql.SQL("select count(*) from {}").format(current))
    elif not _hold(session, listed, by, nulls=nulls):
        return None
    pair = sql.SQL(
        "create temporary table changed on commit drop as select o.{place} as held, f.ctid as fresh "
        "from pg_temp.fresh f full join {held} o on {same} "
        "where row({new}) is distinct from row({old}) or o.{place} is null or f.ctid is null"
    )
    session.execute(pair.format(place=_PLACE, held=held, same=same, new=new, old=old))
    added, closed = session.execute(sql.SQL("select count(fresh), count(held) from pg_temp.changed")).fetchone() or (0, 0)
    return Change(added, closed) if rows.fresh - added == before - closed else None  # those that are the same on both sides


def _hold(session: Session, listed: sql.Composed, by: tuple[str, ...], *, nulls: bool) -> bool:
    """Put the rows held that have the key of a staged row into a temporary table; whether they are the former ones, each once."""
    key = tables.names(by)
    hold = sql.SQL(
        "create temporary table held on commit drop as "
        "{listed} and exists (select from (select {key} from pg_temp.former union select {key} from pg_temp.fresh) b where {same})"
    )
    session.execute(hold.format(listed=listed, key=key, same=_same(by, "b", nulls=nulls)))
    odd = sql.SQL("select exists (select from pg_temp.former b full join pg_temp.held o on {same} where b.ctid is null or o.ctid is null)")
    return not session.scalar(odd.format(same=_same(by, "b", nulls=nulls)))


def _same(names: tuple[str, ...], of: str, *, nulls: bool) -> sql.Composable:
    """Rows of a table and of `o` are equal in these columns. Null equals null by hash, so that millions can be joined, then by value."""
    if not nulls:
        pairs = (sql.SQL("{} = {}").format(sql.Identifier(of, name), sql.Identifier("o", name)) for name in names)
        return sql.SQL(" and ").join(pairs)
    statement = sql.SQL(
        "hash_record_extended(row({left}), 0) = hash_record_extended(row({right}), 0) and row({left}) is not distinct from row({right})"
    )
    return statement.format(left=tables.names(names, of), right=tables.names(names, "o"))


def change_in_place(session: Session, columns: Columns, leaf: Leaf, load: Load) -> None:
    """Close and add inside the leaf, in the open transaction, after `compare`."""
    target, known_at = tables.raw(leaf.name), sql.Literal(load.known_at.isoformat())
    session.execute(sql.SQL("analyze pg_temp.changed"))
    for setting in ("enable_nestloop = on", "random_page_cost = 1.1"):  # few rows are fetched by their place, many are hashed
        session.execute(sql.SQL("set local {}").format(sql.SQL(setting)))
    close = sql.SQL("update {} o set known_to = {} from pg_temp.changed c where o.ctid = c.held")
    session.execute(close.format(target, known_at))
    add = sql.SQL("insert into {} ({}) select {} from {}")
    session.execute(add.format(target, tables.names(columns), tables.names(columns, "f"), _ADDED))
    ledger.write(session, load)


def build_beside(
    session: Session, columns: Columns, leaf: Leaf, stage: str, load: Load, key: tuple[str, ...], *, whole: Parquet | None
) -> None:
    """Build the leaf as it will be in a table beside, keyed afterwards, on the second connection; after `compare`.

    `whole` is the commit's file where all of its rows are new: then none has to be looked for. FREEZE, which only COPY can, lets a
    reader whose snapshot is older than the swap see the rows: otherwise it would find a hole.
    """
    every, beside = [*columns, *META], sql.Identifier("stage", stage)
    parts = [_OLD] if whole else [_OLD, _NEW]
    rows = sql.SQL(" union all ".join(parts)).format(
        old_names=tables.names(columns, "o"),
        new_names=tables.names(columns, "f"),
        leaf=tables.raw(leaf.name),
        known_at=sql.Literal(load.known_at.isoformat()),
        load_id=sql.Literal(load.load_id),
        added=_ADDED,
    )
    source = sql.SQL("copy ({}) to stdout (format binary)").format(rows)
    target = sql.SQL("copy {} ({}) from stdin (format binary, freeze)").format(beside, tables.names(every))
    with session.second.transaction():
        session.second.execute(tables.create_stage(columns, leaf, stage, load))
        copy.pour(session, source, session.second, target)
        if whole:
            copy.copy(session, beside, whole, freeze=True, rows=load.rows, into=session.second)
        for statement in tables.index_stage(leaf, stage, key):
            session.second.execute(statement)


_OLD = (
    "select {old_names}, o._load_id, o.known_from, case when c.held is null then o.known_to else {known_at}::timestamptz end "
    "from {leaf} o left join pg_temp.changed c on o.ctid = c.held"
)
_NEW = "select {new_names}, {load_id}, {known_at}::timestamptz, 'infinity' from {added}"
