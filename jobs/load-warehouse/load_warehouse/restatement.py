"""The restatement of a partition that has rows: find the rows that a commit closes and adds, and write them into the leaf.

Unchanged rows are not rewritten and keep their known_from. A changed row is closed (known_to) and added again; a removed row is
closed. Rows are compared over every vendor column; null equals null and NaN equals NaN.

It uses these temporary tables:

    staged_current    rows of the commit's file: all of them, or those that differ from the previous file
    staged_previous   rows of the previous commit's file that differ from the current one; only if the files were diffed
    stored            rows current in the leaf that have the key of a staged row; only if the files were diffed
    changed           pairs of row addresses (stored, staged_current) that differ; one side is null for an added or removed row
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jobkit.errors import BadDataError
from jobkit.names import ROW_NUMBER
from psycopg import sql

from load_warehouse import copy, ledger, tables
from load_warehouse.types import META_COLUMNS

if TYPE_CHECKING:
    from load_warehouse.copy import ParquetFile
    from load_warehouse.ledger import Load
    from load_warehouse.partitioning import Leaf
    from load_warehouse.session import Session
    from load_warehouse.tables import Columns

CURRENT, PREVIOUS = "staged_current", "staged_previous"
_ADDRESS = sql.Identifier("known_from")  # the alias of a stored row's ctid: a name that no vendor column can have
_ADDED = sql.SQL("pg_temp.staged_current c join pg_temp.changed d on c.ctid = d.staged")


class Change(NamedTuple):
    """The number of rows that a commit added and closed."""

    added: int
    closed: int


class StagedRows(NamedTuple):
    """The number of staged rows. `previous` is None if the whole commit was staged, to be compared with every stored row."""

    current: int
    previous: int | None


class PreviousRowsMissingError(Exception):
    """The rows in the warehouse are not those of the previous file; the caller stages the whole commit instead."""


def stage_rows(session: Session, columns: Columns, name: str, file: ParquetFile, rows: int) -> None:
    """Copy a file to a temporary table with all columns of the raw table. Columns that the file lacks are null."""
    table = sql.Identifier("pg_temp", name)
    session.execute(sql.SQL("drop table if exists {}").format(table))
    session.execute(sql.SQL("create temporary table {} ({})").format(sql.Identifier(name), tables.column_definitions(columns)))
    with session.transaction():
        copy.copy_file(session, table, file, freeze=False, rows=rows)


def check_key_unique(session: Session, key: tuple[str, ...], where: str) -> None:
    """Raise BadDataError if two staged rows have the same key. The leaf's unique index does not catch this if only one row is new."""
    duplicate = sql.SQL("select {key} from pg_temp.staged_current group by {key} having count(*) > 1 limit 1")
    if session.execute(duplicate.format(key=tables.column_list(key))).fetchone():  # the message omits the key: it may be confidential
        raise BadDataError(f"{where}: two rows have the same key ({', '.join(key)}); the contract's key must be unique")


def compare_rows(
    session: Session, columns: Columns, leaf: Leaf, load: Load, key_columns: tuple[str, ...], rows: StagedRows, *, has_null_keys: bool
) -> Change | None:
    """Pair stored and staged rows by `key_columns`, and write the pairs that differ to the temporary table `changed`.

    `has_null_keys` says whether key columns may be null. Return None if a row has two partners, because the columns are not a key of one
    side, or if the stored rows are not exactly those of the previous file.
    """
    for setting in ("enable_nestloop = off", "enable_mergejoin = off", "work_mem = '64MB'"):  # both sides are whole partitions: hash them
        session.execute(sql.SQL("set local {}").format(sql.SQL(setting)))
    compared = [name for name in columns if name != ROW_NUMBER]
    new, old = tables.column_list(compared, "c"), tables.column_list(compared, "s")
    match = _match_condition(key_columns, "c", has_nulls=has_null_keys)
    load_ids = sql.Literal(ledger.fetch_load_ids(session, load.dataset, load.partition))
    open_rows = sql.SQL("{} s where s._load_id = any({}) and s.known_to = 'infinity'").format(session.table(leaf.name), load_ids)
    query = sql.SQL("select s.ctid as {}, {} from {}").format(_ADDRESS, old, open_rows)
    stored: sql.Composable = sql.SQL("pg_temp.stored")
    stored_rows = rows.previous
    if stored_rows is None:
        stored = sql.SQL("({})").format(query)
        stored_rows = session.scalar(sql.SQL("select count(*) from {}").format(open_rows))
    elif not _select_stored(session, query, key_columns, has_null_keys=has_null_keys):
        return None
    pair = sql.SQL(
        "create temporary table changed on commit drop as select s.{address} as stored, c.ctid as staged "
        "from pg_temp.staged_current c full join {stored} s on {match} "
        "where row({new}) is distinct from row({old}) or s.{address} is null or c.ctid is null"
    )
    session.execute(pair.format(address=_ADDRESS, stored=stored, match=match, new=new, old=old))
    added, closed = session.execute(sql.SQL("select count(staged), count(stored) from pg_temp.changed")).fetchone() or (0, 0)
    return Change(added, closed) if rows.current - added == stored_rows - closed else None  # unchanged rows, counted on either side


def _select_stored(session: Session, query: sql.Composed, key_columns: tuple[str, ...], *, has_null_keys: bool) -> bool:
    """Write the stored rows with the key of a staged row to the temporary table `stored`.

    Return whether they are exactly the rows of the previous file, each once.
    """
    select = sql.SQL(
        "create temporary table stored on commit drop as {query} and exists "
        "(select from (select {key} from pg_temp.staged_previous union select {key} from pg_temp.staged_current) k where {match})"
    )
    key = tables.column_list(key_columns)
    session.execute(select.format(query=query, key=key, match=_match_condition(key_columns, "k", has_nulls=has_null_keys)))
    unpaired = sql.SQL(
        "select exists (select from pg_temp.staged_previous p full join pg_temp.stored s on {match} where p.ctid is null or s.ctid is null)"
    )
    return not session.scalar(unpaired.format(match=_match_condition(key_columns, "p", has_nulls=has_null_keys)))


def _match_condition(columns: tuple[str, ...], table: str, *, has_nulls: bool) -> sql.Composable:
    """Return the condition that rows of `table` and of `s` are equal in these columns.

    With nulls, rows are first compared by hash, so that Postgres can hash-join millions of them, then by value.
    """
    if not has_nulls:
        pairs = (sql.SQL("{} = {}").format(sql.Identifier(table, name), sql.Identifier("s", name)) for name in columns)
        return sql.SQL(" and ").join(pairs)
    statement = sql.SQL(
        "hash_record_extended(row({left}), 0) = hash_record_extended(row({right}), 0) and row({left}) is not distinct from row({right})"
    )
    return statement.format(left=tables.column_list(columns, table), right=tables.column_list(columns, "s"))


def apply_in_place(session: Session, columns: Columns, leaf: Leaf, load: Load) -> None:
    """Close and add the changed rows inside the leaf, and write the ledger row. Runs in the open transaction, after `compare_rows`."""
    target, known_at = session.table(leaf.name), sql.Literal(load.known_at.isoformat())
    session.execute(sql.SQL("analyze pg_temp.changed"))
    for setting in ("enable_nestloop = on", "random_page_cost = 1.1"):  # fetch few rows by their address, hash many
        session.execute(sql.SQL("set local {}").format(sql.SQL(setting)))
    close = sql.SQL("update {} s set known_to = {} from pg_temp.changed d where s.ctid = d.stored")
    session.execute(close.format(target, known_at))
    add = sql.SQL("insert into {} ({}) select {} from {}")
    session.execute(add.format(target, tables.column_list(columns), tables.column_list(columns, "c"), _ADDED))
    ledger.write_entry(session, load)


def build_replacement(
    session: Session, columns: Columns, leaf: Leaf, staging: str, load: Load, key: tuple[str, ...], *, whole: ParquetFile | None
) -> None:
    """Build the changed leaf as a staging table on the second connection, indexes last. Runs after `compare_rows`.

    `whole` is the commit's file if all its rows are new; it is then copied unchanged. Rows are copied with FREEZE, which only COPY offers.
    Without it, a reader whose snapshot is older than the swap would find no rows.
    """
    names, staging_table = [*columns, *META_COLUMNS], tables.staging_table(staging)
    parts = [_STORED_ROWS] if whole else [_STORED_ROWS, _ADDED_ROWS]
    rows = sql.SQL(" union all ".join(parts)).format(
        old_names=tables.column_list(columns, "s"),
        new_names=tables.column_list(columns, "c"),
        leaf=session.table(leaf.name),
        known_at=sql.Literal(load.known_at.isoformat()),
        load_id=sql.Literal(load.load_id),
        added=_ADDED,
    )
    source = sql.SQL("copy ({}) to stdout (format binary)").format(rows)
    target = sql.SQL("copy {} ({}) from stdin (format binary, freeze)").format(staging_table, tables.column_list(names))
    with session.second.transaction():
        session.second.execute(tables.staging_table_ddl(columns, leaf, staging, load))
        copy.copy_between_connections(session, source, session.second, target)
        if whole:
            copy.copy_file(session, staging_table, whole, freeze=True, rows=load.rows, into=session.second)
        for statement in tables.staging_index_ddl(staging, key):
            session.second.execute(statement)


_STORED_ROWS = (
    "select {old_names}, s._load_id, s.known_from, case when d.stored is null then s.known_to else {known_at}::timestamptz end "
    "from {leaf} s left join pg_temp.changed d on s.ctid = d.stored"
)
_ADDED_ROWS = "select {new_names}, {load_id}, {known_at}::timestamptz, 'infinity' from {added}"
