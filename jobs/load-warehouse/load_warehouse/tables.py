"""Raw tables and their leaves: made, widened, held against the file before any byte is copied, swapped in."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from jobkit.errors import BadDataError, MisconfiguredError, TemporaryError
from psycopg import errors, sql

from load_warehouse.partitioning import Leaf, Scheme, hash_leaf, range_leaf
from load_warehouse.session import LOCK_TIMEOUT_MS, lock_key, locked
from load_warehouse.types import META, ROW_NUMBER, TEXT, without_collation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import date

    from load_warehouse.ledger import Load
    from load_warehouse.session import Session

Columns = dict[str, str]
ATTACH_TRIES, SWAP_TRIES = 300, 12  # about four minutes, and eight seconds
# First in each row, where no vendor's column before them makes them slow to read: every index and question as of a moment needs them.
_META_DDL = sql.SQL("_load_id bigint not null, known_from timestamptz not null, known_to timestamptz not null")
# A leaf's own defaults: rows copied into it say their load by these settings of the transaction, not on the wire.
_LEAF_DEFAULTS = sql.SQL(
    "alter _load_id set default current_setting('finelt.load_id')::bigint, "
    "alter known_from set default current_setting('finelt.known_at')::timestamptz, alter known_to set default 'infinity'"
)


def raw(name: str) -> sql.Identifier:
    """A table in the schema raw."""
    return sql.Identifier("raw", name)


def names(columns: Iterable[str], of: str | None = None) -> sql.Composed:
    """Quoted names, joined by commas, of one table of several where that is given."""
    return sql.SQL(", ").join(sql.Identifier(of, name) if of else sql.Identifier(name) for name in columns)


def ensure(session: Session, dataset: str, columns: Columns, way: Scheme, where: str) -> Columns:
    """The table's vendor columns, after making it or adding what it lacks.

    Raises BadDataError where a column's type differs, MisconfiguredError where another kind of table has the name.
    """
    found = read(session, dataset, where)
    if found is None or set(columns) - set(found):
        with locked(session, lock_key("table", dataset)):
            found = read(session, dataset, where) or _create(session, dataset, columns, way)
            _widen(session, dataset, {name: kind for name, kind in columns.items() if name not in found}, where)
            found = read(session, dataset, where) or {}
    _check_scheme(session, dataset, way, where)
    for name, kind in columns.items():
        in_file, in_table = without_collation(kind), without_collation(found[name])
        if in_file != in_table:
            raise BadDataError(
                f"{where}: column {name!r} is {in_file} in the file and {in_table} in raw.{dataset}; nothing was copied. "
                "If the contract's type was changed on purpose, drop the table and its ledger rows and load again"
            )
    return found


def read(session: Session, dataset: str, where: str) -> Columns | None:
    """The table's columns but our own, types as a column definition has them; None where there is no table."""
    kind = session.scalar(sql.SQL("select relkind from pg_class where oid = to_regclass({})").format(_regclass(session, dataset)))
    if kind is None:
        return None
    found = _attributes(session, raw(dataset))
    if kind != "p" or not {ROW_NUMBER, *META} <= set(found):
        raise MisconfiguredError(f"{where}: raw.{dataset} is there and not made by load-warehouse; rename or drop it")
    return {name: kind for name, kind in found.items() if name not in META}


def _attributes(session: Session, table: sql.Identifier) -> Columns:
    statement = sql.SQL(
        "select attname, format_type(atttypid, atttypmod) || case when attcollation = {}::regcollation then {} else '' end "
        "from pg_attribute where attrelid = {}::regclass and attnum > 0 and not attisdropped order by attnum"
    )
    by_bytes = sql.Literal('"C"'), sql.Literal(TEXT.removeprefix("text"))
    return dict(session.execute(statement.format(*by_bytes, sql.Literal(table.as_string(session.main)))).fetchall())


def _regclass(session: Session, name: str) -> sql.Literal:
    return sql.Literal(raw(name).as_string(session.main))


def _create(session: Session, dataset: str, columns: Columns, way: Scheme) -> Columns:
    statement = sql.SQL("create table {} ({}, {}) {}").format(raw(dataset), _META_DDL, definitions(columns), way.clause)
    comment = sql.SQL("comment on table {} is {}").format(raw(dataset), sql.Literal(way.text))
    with session.transaction():
        session.execute(statement)
        session.execute(comment)
    return columns


def definitions(columns: Mapping[str, str]) -> sql.Composed:
    """Columns with their types, as CREATE TABLE takes them."""
    return sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(name), _type(kind)) for name, kind in columns.items())


def _type(kind: str) -> sql.Composable:
    """A type's name as SQL. It comes from our own map or from the catalogue, never from a file."""
    return sql.SQL(kind)


def _widen(session: Session, dataset: str, missing: Columns, where: str) -> None:
    """Add columns; rows that are there have null in them."""
    if not missing:
        return
    additions = sql.SQL(", ").join(
        sql.SQL("add column if not exists {} {}").format(sql.Identifier(name), _type(kind)) for name, kind in missing.items()
    )
    if not _patiently(session, lambda: session.execute(sql.SQL("alter table {} {}").format(raw(dataset), additions)), ATTACH_TRIES):
        raise TemporaryError(f"{where}: raw.{dataset} is in use all the time, so {', '.join(missing)} cannot be added; try again later")


def _check_scheme(session: Session, dataset: str, way: Scheme, where: str) -> None:
    comment = session.scalar(sql.SQL("select obj_description(to_regclass({}), 'pg_class')").format(_regclass(session, dataset)))
    if comment != way.text:
        raise MisconfiguredError(
            f"{where}: raw.{dataset} is split by {comment} and the commit asks for {way.text}; drop the table and its ledger rows "
            "and load again, the lake has everything"
        )


def leaf_of(session: Session, dataset: str, way: Scheme, kind: str, value: object) -> Leaf:
    """The leaf that a value of the column `way` names, of Postgres type `kind`, falls in."""
    if way.kind != "hash":
        return range_leaf(dataset, way, cast("date", value))
    oid = session.scalar(sql.SQL("select to_regclass({})::oid::bigint").format(_regclass(session, dataset)))
    statement = sql.SQL(
        "select remainder from generate_series(0, {modulus} - 1) remainder "
        "where satisfies_hash_partition({oid}::oid, {modulus}, remainder, {value}::{kind})"
    )
    typed = {"modulus": sql.Literal(way.modulus), "oid": sql.Literal(oid), "value": sql.Literal(value), "kind": _type(kind)}
    return hash_leaf(dataset, way, session.scalar(statement.format(**typed)), oid)


def exists(session: Session, leaf: str) -> bool:
    """Whether a leaf is there."""
    return session.scalar(sql.SQL("select to_regclass({})").format(_regclass(session, leaf))) is not None


def stage_name(dataset: str, partition: str) -> str:
    """The table beside, one per lake partition, so that only who holds the partition's lock may touch it."""
    return f"{dataset}~{lock_key(dataset, partition) & 0xFFFFFFFFFFFF:012x}"


def drop_stage(session: Session, stage: str) -> None:
    """Drop what a killed loader left."""
    if session.scalar(sql.SQL("select to_regclass({})").format(sql.Literal(sql.Identifier("stage", stage).as_string(session.main)))):
        session.execute(sql.SQL("drop table {}").format(sql.Identifier("stage", stage)))


def create_stage(columns: Columns, leaf: Leaf, stage: str, load: Load) -> sql.Composed:
    """CREATE TABLE for a table beside that can become the leaf: our columns are its defaults, the leaf's bounds its CHECK.

    Its transaction does not wait for the disk: it is nothing to anybody before the swap, whose commit brings all before it to the disk.
    """
    statement = sql.SQL(
        "set local synchronous_commit = off; "
        "create table {stage} (_load_id bigint not null default {load_id}, known_from timestamptz not null default {known_at}, "
        "known_to timestamptz not null default 'infinity', {columns}, constraint fits check ({condition}))"
    )
    return statement.format(
        stage=sql.Identifier("stage", stage),
        columns=definitions(columns),
        load_id=sql.Literal(load.load_id),
        known_at=sql.Literal(load.known_at.isoformat()),
        condition=leaf.condition,
    )


def index_stage(leaf: Leaf, stage: str, key: tuple[str, ...]) -> Iterator[sql.Composed]:
    """The key, unique with known_from, and a small index that finds the rows of a load."""
    unique = sql.SQL("create unique index {} on {} ({}) nulls not distinct")
    yield unique.format(sql.Identifier(f"{leaf.name}-key"), sql.Identifier("stage", stage), names((*key, "known_from")))
    brin = sql.SQL("create index {} on {} using brin (_load_id) with (pages_per_range = 32, autosummarize = on)")
    yield brin.format(sql.Identifier(f"{leaf.name}-load"), sql.Identifier("stage", stage))


def attach(session: Session, dataset: str, leaf: Leaf, stage: str, record: Callable[[], None]) -> bool:
    """Make the table beside the leaf in one short transaction, in place of the leaf that is there; `record` writes the ledger row.

    False when the locks could not be had in time; then nothing has changed. ATTACH does not scan: the CHECK says what it would look for.
    No statement runs meanwhile that reads the table: Postgres plans with the leaves of one moment and reads with a snapshot of a later
    one, so a statement in between would see the ledger row and not the rows.
    """

    def swap() -> None:
        record()
        parent, target = raw(dataset), raw(leaf.name)
        session.execute(sql.SQL("lock table only {} in access exclusive mode").format(parent))
        if exists(session, leaf.name):
            session.execute(sql.SQL("alter table {} detach partition {}").format(parent, target))
            session.execute(sql.SQL("drop table {}").format(target))
        _become_leaf(session, dataset, leaf, stage)

    return _patiently(session, swap, SWAP_TRIES)


def attach_empty(session: Session, dataset: str, leaf: Leaf, stage: str) -> bool:
    """Make the table beside, which is empty, a leaf, whoever reads. False when others change the table all the time."""

    def add() -> None:
        session.execute(sql.SQL("lock table only {} in share update exclusive mode").format(raw(dataset)))
        _become_leaf(session, dataset, leaf, stage)

    return _patiently(session, add, ATTACH_TRIES)


def _become_leaf(session: Session, dataset: str, leaf: Leaf, stage: str) -> None:
    parent, target = raw(dataset), raw(leaf.name)
    _add_late_columns(session, dataset, stage)
    session.execute(sql.SQL("alter table {} set schema raw").format(sql.Identifier("stage", stage)))
    session.execute(sql.SQL("alter table {} rename to {}").format(raw(stage), sql.Identifier(leaf.name)))
    session.execute(sql.SQL("alter table {} attach partition {} {}").format(parent, target, leaf.bounds))
    session.execute(sql.SQL("alter table {} drop constraint fits, {}").format(target, _LEAF_DEFAULTS))


def _add_late_columns(session: Session, dataset: str, stage: str) -> None:
    """Columns that another loader gave the table since the table beside was made."""
    beside = sql.Identifier("stage", stage)
    have = _attributes(session, beside)
    for name, kind in _attributes(session, raw(dataset)).items():
        if name not in have:
            session.execute(sql.SQL("alter table {} add column {} {}").format(beside, sql.Identifier(name), _type(kind)))


def _patiently(session: Session, change: Callable[[], object], tries: int) -> bool:
    """Run a change in a transaction that waits for locks only briefly, so that nobody queues behind it; again later if need be."""
    for attempt in range(tries):
        try:
            with session.transaction():
                session.execute(sql.SQL("set local lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT_MS)))
                change()
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            session.stopping.wait(min(0.05 * 2**attempt, 1.0) * random.uniform(0.5, 1.0))  # noqa: S311  a pause, not a secret
        else:
            return True
    return False


@contextmanager
def transaction(session: Session, load: Load) -> Iterator[None]:
    """A transaction in which rows that are put into a leaf belong to a load."""
    with session.transaction():
        setting = sql.SQL("select set_config('finelt.load_id', {}, true), set_config('finelt.known_at', {}, true)")
        session.execute(setting.format(sql.Literal(str(load.load_id)), sql.Literal(load.known_at.isoformat())))
        yield
