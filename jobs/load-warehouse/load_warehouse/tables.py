"""Raw tables, their leaves and staging tables: create and extend them, compare them with a file, attach staging tables as leaves.

A staging table holds a leaf's rows before they become visible. It is in the schema `stage`, one for each lake partition.
"""

from __future__ import annotations

import random
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, cast

from jobkit.errors import MisconfiguredError, TemporaryError
from jobkit.names import ROW_NUMBER
from jobkit.postgres import lock_key
from psycopg import errors, sql

from load_warehouse.partitioning import Leaf, Scheme, make_hash_leaf, make_range_leaf
from load_warehouse.session import STAGE_SCHEMA, hold_lock
from load_warehouse.types import META_COLUMNS, TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import date

    from load_warehouse.ledger import Load
    from load_warehouse.session import Session

Columns = dict[str, str]
REPLACED = "~old~"  # in the name of a table that a reload replaced; no dataset has a tilde
# First in each row, because every index and every as-of query reads them: columns behind wide vendor columns are slow to read.
_META_DDL = sql.SQL("_load_id bigint not null, known_from timestamptz not null, known_to timestamptz not null")
# A leaf's own defaults: rows copied into it take their load from settings of the transaction, not from the wire.
_LEAF_DEFAULTS = sql.SQL(
    "alter _load_id set default current_setting('finelt.load_id')::bigint, "
    "alter known_from set default current_setting('finelt.known_at')::timestamptz, alter known_to set default 'infinity'"
)


def staging_table(name: str) -> sql.Identifier:
    """Return a table of the schema stage as SQL."""
    return sql.Identifier(STAGE_SCHEMA, name)


def column_list(columns: Iterable[str], table: str | None = None) -> sql.Composed:
    """Return quoted column names joined by commas, qualified by a table's alias if there is one."""
    return sql.SQL(", ").join(sql.Identifier(table, name) if table else sql.Identifier(name) for name in columns)


def ensure_table(session: Session, dataset: str, existing: Columns | None, columns: Columns, scheme: Scheme, where: str) -> Columns:
    """Create a raw table or add its missing columns; return all its vendor columns. `existing` is what `read_columns` returned before.

    Raises MisconfiguredError (78) if another program created the table or it is partitioned differently, TemporaryError (75) if the table
    stays locked so that columns cannot be added.
    """
    if existing is not None and set(columns) <= set(existing):
        return existing
    with hold_lock(session, lock_key("table", dataset)):
        existing = read_columns(session, dataset, where) or _create_table(session, dataset, columns, scheme)
        _add_columns(session, dataset, {name: kind for name, kind in columns.items() if name not in existing}, where)
    if (leaf := read_leaf(session, dataset)) != scheme.text:
        raise MisconfiguredError(f"{where}: raw.{dataset} was made meanwhile and is partitioned by {leaf}, not {scheme.text}; run it again")
    return read_columns(session, dataset, where) or {}


def read_columns(session: Session, dataset: str, where: str) -> Columns | None:
    """Return a raw table's vendor columns with their types as in a column definition; None if there is no table.

    Raises MisconfiguredError if another program created the table.
    """
    kind = session.scalar(sql.SQL("select relkind from pg_class where oid = to_regclass({})").format(_regclass(session, dataset)))
    if kind is None:
        return None
    columns = _fetch_columns(session, session.table(dataset))
    if kind != "p" or not {ROW_NUMBER, *META_COLUMNS} <= set(columns):
        raise MisconfiguredError(f"{where}: raw.{dataset} exists, but load-warehouse did not create it; rename or drop it")
    return {name: column_type for name, column_type in columns.items() if name not in META_COLUMNS}


def _fetch_columns(session: Session, table: sql.Identifier) -> Columns:
    statement = sql.SQL(
        "select attname, format_type(atttypid, atttypmod) || case when attcollation = {}::regcollation then {} else '' end "
        "from pg_attribute where attrelid = {}::regclass and attnum > 0 and not attisdropped order by attnum"
    )
    by_bytes = sql.Literal('"C"'), sql.Literal(TEXT.removeprefix("text"))
    return dict(session.execute(statement.format(*by_bytes, sql.Literal(table.as_string(session.main)))).fetchall())


def _regclass(session: Session, name: str) -> sql.Literal:
    return sql.Literal(session.table(name).as_string(session.main))


def _create_table(session: Session, dataset: str, columns: Columns, scheme: Scheme) -> Columns:
    statement = sql.SQL("create table {} ({}, {}) {}").format(session.table(dataset), _META_DDL, column_definitions(columns), scheme.clause)
    comment = sql.SQL("comment on table {} is {}").format(session.table(dataset), sql.Literal(scheme.text))
    with session.transaction():
        session.execute(statement)
        session.execute(comment)
    return columns


def column_definitions(columns: Mapping[str, str]) -> sql.Composed:
    """Return columns with their types as SQL, in the form of CREATE TABLE."""
    return sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(name), _type_sql(kind)) for name, kind in columns.items())


def _type_sql(column_type: str) -> sql.Composable:
    """Return a type as SQL. It comes from `types` or from pg_catalog, never from a file."""
    return sql.SQL(column_type)


def _add_columns(session: Session, dataset: str, missing: Columns, where: str) -> None:
    """Add columns to a raw table; its existing rows have null in them."""
    if not missing:
        return
    additions = sql.SQL(", ").join(
        sql.SQL("add column if not exists {} {}").format(sql.Identifier(name), _type_sql(kind)) for name, kind in missing.items()
    )
    statement = sql.SQL("alter table {} {}").format(session.table(dataset), additions)
    if not retry_on_lock_timeout(session, lambda: session.execute(statement), session.policy.attach_tries):
        raise TemporaryError(f"{where}: raw.{dataset} stays locked, so {', '.join(missing)} cannot be added; try again later")


def read_leaf(session: Session, dataset: str) -> str:
    """Return how a raw table is partitioned, as commits write it."""
    return str(session.scalar(sql.SQL("select obj_description(to_regclass({}), 'pg_class')").format(_regclass(session, dataset))))


def read_keys(session: Session, dataset: str) -> list[tuple[str, ...]]:
    """Return the keys of a raw table's leaves, each once: one, unless the key changed between the first commits of two leaves."""
    statement = sql.SQL(
        "select distinct array(select attname::text from unnest(indkey) with ordinality as k (number, place) "
        "join pg_attribute on attrelid = indrelid and attnum = number where attname <> 'known_from' order by place) "
        "from pg_index join pg_inherits on inhrelid = indrelid where inhparent = to_regclass({}) and indisunique order by 1"
    )
    return [tuple(row[0]) for row in session.execute(statement.format(_regclass(session, dataset)))]


def find_leaf(session: Session, dataset: str, scheme: Scheme, column_type: str, value: object) -> Leaf:
    """Return the leaf for a value of the partitioning column, which has this Postgres type. The leaf may not exist yet."""
    if scheme.kind != "hash":
        return make_range_leaf(dataset, scheme, cast("date", value))
    oid = session.scalar(sql.SQL("select to_regclass({})::oid::bigint").format(_regclass(session, dataset)))
    statement = sql.SQL(
        "select remainder from generate_series(0, {modulus} - 1) remainder "
        "where satisfies_hash_partition({oid}::oid, {modulus}, remainder, {value}::{type})"
    )
    terms = {"modulus": sql.Literal(scheme.modulus), "oid": sql.Literal(oid), "value": sql.Literal(value), "type": _type_sql(column_type)}
    return make_hash_leaf(dataset, scheme, session.scalar(statement.format(**terms)), oid)


def leaf_exists(session: Session, leaf: str) -> bool:
    """Return whether a leaf exists."""
    return session.scalar(sql.SQL("select to_regclass({})").format(_regclass(session, leaf))) is not None


def drop_staging_table(session: Session, staging: str) -> None:
    """Drop a staging table if it exists, such as one that a killed loader left."""
    if session.scalar(sql.SQL("select to_regclass({})").format(sql.Literal(staging_table(staging).as_string(session.main)))):
        session.execute(sql.SQL("drop table {}").format(staging_table(staging)))


def staging_table_ddl(columns: Columns, leaf: Leaf, staging: str, load: Load) -> sql.Composed:
    """Return CREATE TABLE for a staging table that can become the leaf: the load is its default, the leaf's bounds its CHECK.

    Asynchronous commit is safe: nobody sees this table before the swap, and the swap's synchronous commit flushes it.
    """
    statement = sql.SQL(
        "set local synchronous_commit = off; "
        "create table {staging} (_load_id bigint not null default {load_id}, known_from timestamptz not null default {known_at}, "
        "known_to timestamptz not null default 'infinity', {columns}, constraint fits check ({condition}))"
    )
    return statement.format(
        staging=staging_table(staging),
        columns=column_definitions(columns),
        load_id=sql.Literal(load.load_id),
        known_at=sql.Literal(load.known_at.isoformat()),
        condition=leaf.condition,
    )


def staging_index_ddl(staging: str, key: tuple[str, ...]) -> Iterator[sql.Composed]:
    """Yield CREATE INDEX for the key, unique together with known_from, and for a small index that finds the rows of a load.

    They get their names when the staging table becomes a leaf: those of another leaf may be in the same schema until then.
    """
    unique = sql.SQL("create unique index {} on {} ({}) nulls not distinct")
    yield unique.format(sql.Identifier(f"{staging}k"), staging_table(staging), column_list((*key, "known_from")))
    brin = sql.SQL("create index {} on {} using brin (_load_id) with (pages_per_range = 32, autosummarize = on)")
    yield brin.format(sql.Identifier(f"{staging}l"), staging_table(staging))


def attach_leaf(session: Session, dataset: str, leaf: Leaf, staging: str, write_ledger: Callable[[], None]) -> bool:
    """Attach a staging table as the leaf in one short transaction, in place of the existing leaf if there is one.

    `write_ledger` writes the ledger row in that transaction. If the locks are not free in time, change nothing and return False. ATTACH
    does not scan the rows, because the CHECK constraint implies the bounds.

    The transaction excludes readers. Postgres plans a statement with the leaves of one moment and reads with a later snapshot, so a
    concurrent statement would see the ledger row without the rows.
    """

    def swap() -> None:
        write_ledger()
        parent, target = session.table(dataset), session.table(leaf.name)
        session.execute(sql.SQL("lock table only {} in access exclusive mode").format(parent))
        if leaf_exists(session, leaf.name):
            session.execute(sql.SQL("alter table {} detach partition {}").format(parent, target))
            session.execute(sql.SQL("drop table {}").format(target))
        _attach_staging_table(session, dataset, leaf, staging)

    return retry_on_lock_timeout(session, swap, session.policy.swap_tries)


def attach_empty_leaf(session: Session, dataset: str, leaf: Leaf, staging: str) -> bool:
    """Attach an empty staging table as a new leaf, which excludes no reader. Return False if the lock is not free in time."""

    def attach() -> None:
        session.execute(sql.SQL("lock table only {} in share update exclusive mode").format(session.table(dataset)))
        _attach_staging_table(session, dataset, leaf, staging)

    return retry_on_lock_timeout(session, attach, session.policy.attach_tries)


def _attach_staging_table(session: Session, dataset: str, leaf: Leaf, staging: str) -> None:
    """Move a staging table next to the raw table, attach it, and give it a leaf's defaults. Runs in the open transaction."""
    parent, target = session.table(dataset), session.table(leaf.name)
    _add_missing_columns(session, dataset, staging)
    session.execute(sql.SQL("alter table {} set schema {}").format(staging_table(staging), sql.Identifier(session.schema)))
    session.execute(sql.SQL("alter table {} rename to {}").format(session.table(staging), sql.Identifier(leaf.name)))
    for short, name in (("k", "key"), ("l", "load")):
        rename = sql.SQL("alter index {} rename to {}")
        session.execute(rename.format(session.table(f"{staging}{short}"), sql.Identifier(f"{leaf.name}-{name}")))
    session.execute(sql.SQL("alter table {} attach partition {} {}").format(parent, target, leaf.bounds))
    session.execute(sql.SQL("alter table {} drop constraint fits, {}").format(target, _LEAF_DEFAULTS))


def _add_missing_columns(session: Session, dataset: str, staging: str) -> None:
    """Add the columns that another loader added to the raw table after the staging table was created."""
    existing = _fetch_columns(session, staging_table(staging))
    for name, column_type in _fetch_columns(session, session.table(dataset)).items():
        if name not in existing:
            addition = sql.SQL("alter table {} add column {} {}")
            session.execute(addition.format(staging_table(staging), sql.Identifier(name), _type_sql(column_type)))


def retry_on_lock_timeout(session: Session, change: Callable[[], object], tries: int) -> bool:
    """Run a change in a transaction that waits for locks only briefly, so that no reader queues behind it. Retry it up to `tries` times.

    Return whether it succeeded.
    """
    for attempt in range(tries):
        try:
            with session.transaction():
                session.execute(sql.SQL("set local lock_timeout = {}").format(sql.Literal(session.policy.lock_timeout_ms)))
                change()
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            session.stopping.wait(min(0.05 * 2**attempt, 1.0) * random.uniform(0.5, 1.0))  # noqa: S311  a pause, not a secret
        else:
            return True
    return False


def drop_unread_tables(session: Session) -> None:
    """Drop the tables that reloads replaced and that no view reads any more. One that is in use stays until the next load."""
    statement = sql.SQL(
        "select relname from pg_class where relnamespace = to_regnamespace({}) and relkind = 'p' and strpos(relname, {}) > 0"
        " and not relispartition"
    )
    for (name,) in session.execute(statement.format(sql.Literal(STAGE_SCHEMA), sql.Literal(REPLACED))).fetchall():
        drop = sql.SQL("drop table if exists {}").format(staging_table(name))
        with suppress(errors.DependentObjectsStillExist):
            retry_on_lock_timeout(session, partial(session.execute, drop), tries=1)


@contextmanager
def load_transaction(session: Session, load: Load) -> Iterator[None]:
    """Run the block in a transaction in which rows inserted into a leaf belong to the load."""
    with session.transaction():
        setting = sql.SQL("select set_config('finelt.load_id', {}, true), set_config('finelt.known_at', {}, true)")
        session.execute(setting.format(sql.Literal(str(load.load_id)), sql.Literal(load.known_at.isoformat())))
        yield
