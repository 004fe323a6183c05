"""Erase a value from the warehouse: from the raw table with its history, the quarantine and staging tables; then find it in what dbt made.

The ledger gets the digests and counts of the rewritten commits, so that the warehouse and a rebuild from the lake stay equal. Nothing else
of the loads changes: other rows keep their versions and their times. Marts are not edited: the next build makes all of them again.

A loader of the same partition and a build of the marts are waited for, by the locks that they take themselves.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
from jobkit import postgres
from jobkit.errors import TemporaryError
from jobkit.lake import ERASED
from jobkit.migrations import OPS, RAW, check_schema
from jobkit.postgres import TRANSFORM_LOCK, lock_key, staging_name
from psycopg import sql

from finelt import job_roles

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from jobkit.lake import Commit
    from jobkit.migrations import Schema

    from finelt.erasure.subject import Subject

LOCK_TIMEOUT = "60s"
LEDGER = "raw._ledger"  # has no values of rows
BUILT = ("staging", "intermediate", "marts", "as_of", "as_of_internal")  # made by transform-warehouse
# Tables with columns of text or JSON, and what they are; leaves are read through their table.
_TABLES = """
select n.nspname::text, c.relname::text, array_agg(a.attname::text order by a.attnum)
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type as t on t.oid = a.atttypid
where c.relkind in ('r', 'p', 'm') and not c.relispartition and n.nspname not in ('raw', 'ops', 'information_schema')
    and n.nspname not like 'pg\\_%%' and (t.typcategory = 'S' or t.typname in ('json', 'jsonb', '_text', '_varchar'))
    and has_table_privilege(c.oid, 'select') and has_schema_privilege(n.oid, 'usage')
group by 1, 2 order by 1, 2
"""
_UPDATE_LEDGER = """
update raw._ledger set sha256 = %s, "rows" = %s where dataset = %s and partition = %s and "commit" = %s and sha256 = any(%s)
"""
# As a load of the rewritten commits would have left it: no leaf before the first row.
_CLEAR_LEAVES = """
update raw._ledger as entry set leaf = null where dataset = %s and partition = %s and leaf is not null and not exists (
    select from raw._ledger as e
    where e.dataset = entry.dataset and e.partition = entry.partition and e."commit" <= entry."commit" and e."rows" > 0)
"""
_LINEAGE = "select lineage from ops.transforms where ended_at is not null and lineage is not null order by transform_id desc limit 1"


@dataclass
class WarehouseScan:
    """Where the warehouse has the value: rows of the raw table, of the quarantine, and of other tables by `schema.table`."""

    rows: int = 0
    quarantined: int = 0
    tables: dict[str, int] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """The counts by place, for people."""
        tables = {f"rows in the warehouse's {name}": count for name, count in self.tables.items()}
        return {"row versions in the warehouse": self.rows, "quarantined row versions in the warehouse": self.quarantined, **tables}

    @property
    def is_built(self) -> bool:
        """Whether a table that transform-warehouse makes has the value."""
        return any(name.partition(".")[0] in BUILT for name in self.tables)


@contextmanager
def connect(url: str, password: str, job: str) -> Iterator[psycopg.Connection[Any]]:
    """Connect as a job; its name replaces {job} in the URL and the reference. Errors of Postgres in the block become those of jobkit."""
    try:
        with job_roles.connect(url, password, job, autocommit=True) as connection:
            connection.execute(sql.SQL("set lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT)))
            yield connection
    except psycopg.errors.LockNotAvailable:
        raise TemporaryError(f"another job has locked the warehouse for {LOCK_TIMEOUT}; run this again when it has ended") from None
    except psycopg.Error as error:
        raise postgres.translate_error(f"the warehouse {url.replace('{job}', job)}", str(error), error.sqlstate) or error from None


def scan(loader: psycopg.Connection[Any], transformer: psycopg.Connection[Any], subject: Subject) -> WarehouseScan:
    """Find the value in the raw table, the quarantine, and every table that may be made of them.

    Raises NewerFormatError (78) if a newer version of finelt migrated the warehouse.
    """
    for connection, schema in ((loader, RAW), (transformer, OPS)):
        _check_schema(connection, schema)
    found = WarehouseScan()
    if _has_column(loader, subject):
        statement = sql.SQL("select count(*) from {} where {}").format(sql.Identifier("raw", subject.dataset), _condition(subject))
        found.rows = _count(loader, statement)
    found.quarantined = len(_find_quarantined(loader, subject))
    lineage = _fetch_lineage(transformer)
    for connection, is_ours in ((loader, False), (transformer, True)):
        for schema, table, columns in connection.execute(_TABLES).fetchall():
            is_staging = schema == "stage" and table.partition("~")[0] in (subject.dataset, "_quarantine")
            is_made_of = schema != "stage" and is_ours and _may_be_made_of(subject.dataset, table, lineage)
            if not (is_staging and not is_ours) and not is_made_of:
                continue
            mentions = sql.SQL(" or ").join(_mentions(column, subject) for column in columns)
            if count := _count(connection, sql.SQL("select count(*) from {} where {}").format(sql.Identifier(schema, table), mentions)):
                found.tables[f"{schema}.{table}"] = count
    return found


def _check_schema(connection: psycopg.Connection[Any], schema: Schema) -> None:
    def execute(statement: str) -> Sequence[tuple[Any, ...]]:
        return connection.execute(statement.encode()).fetchall()

    info = connection.info
    check_schema(execute, schema, f"the warehouse {info.host}:{info.port}/{info.dbname}")


def _count(connection: psycopg.Connection[Any], statement: sql.Composed) -> int:
    row = connection.execute(statement).fetchone()
    return int(row[0]) if row else 0


def _exists(connection: psycopg.Connection[Any], schema: str, table: str) -> bool:
    name = sql.Identifier(schema, table).as_string(connection)
    return connection.execute("select to_regclass(%s) is not null", [name]).fetchone() == (True,)


def _has_column(connection: psycopg.Connection[Any], subject: Subject) -> bool:
    statement = "select 1 from information_schema.columns where table_schema = 'raw' and table_name = %s and column_name = %s"
    return connection.execute(statement, [subject.dataset, subject.column]).fetchone() is not None


def _condition(subject: Subject) -> sql.Composed:
    return sql.SQL("{}::text = {}").format(sql.Identifier(subject.column), sql.Literal(subject.value))


def _mentions(column: str, subject: Subject) -> sql.Composed:
    """Return the condition that a column has the value as a whole word, as in keys that were put together or in JSON."""
    word = rf"(^|[^0-9A-Za-z]){re.escape(subject.value)}([^0-9A-Za-z]|$)"
    statement = sql.SQL("(strpos({column}::text, {value}) > 0 and {column}::text ~ {word})")
    return statement.format(column=sql.Identifier(column), value=sql.Literal(subject.value), word=sql.Literal(word))


def _find_quarantined(connection: psycopg.Connection[Any], subject: Subject, partition: str | None = None) -> list[str]:
    """Return the addresses of the quarantined rows that have the value, of all partitions or one."""
    if not _exists(connection, "raw", "_quarantine"):
        return []
    statement = "select ctid::text, raw_row, reasons from raw._quarantine where dataset = %s and (%s::text is null or partition = %s)"
    rows = connection.execute(statement, [subject.dataset, partition, partition])
    return [address for address, raw_row, reasons in rows if subject.is_in_quarantined_row(raw_row, reasons)]


def _fetch_lineage(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """Return the lineage that transform-warehouse recorded last; empty if there is none."""
    if not _exists(connection, "ops", "transforms"):
        return {}
    row = connection.execute(_LINEAGE).fetchone()
    return dict(row[0]) if row else {}


def _may_be_made_of(dataset: str, table: str, lineage: dict[str, Any]) -> bool:
    """Whether a table may have values of a dataset. It may not if the lineage knows all that it is made of."""
    parents, datasets = lineage.get("parents", {}), lineage.get("datasets", {})
    origins, waiting = set[str](), [table]
    while waiting:
        name = waiting.pop()
        origins.add(name)
        waiting += [parent for parent in parents.get(name, ()) if parent not in origins]
    unknown = {name for name in origins - parents.keys() if datasets.get(name, {}).get("kind") not in ("dataset", "seed")}
    return dataset in origins or bool(unknown - {LEDGER})


def erase(
    loader: psycopg.Connection[Any],
    transformer: psycopg.Connection[Any],
    subject: Subject,
    commits: Collection[Commit],
    partitions: Iterable[str],
) -> None:
    """Erase the value from the raw table, the quarantine and staging tables, and have the next build make all marts again.

    `commits` are those of the lake from which something was erased, `partitions` all of the dataset in the lake. Raises TemporaryError
    (75) if a loader or a build takes too long.
    """
    if not _exists(loader, "raw", "_ledger"):
        return
    _erase_reloaded(loader, subject)
    transformer.execute(f"select pg_advisory_lock({TRANSFORM_LOCK})".encode())
    for partition in sorted({*partitions, *_list_partitions(loader, subject)}):
        rewritten = [commit for commit in commits if commit.partition == partition]
        if rewritten or _has_rows(loader, subject, partition):
            _erase_partition(loader, subject, partition, rewritten)
    if _exists(transformer, "ops", "transforms"):
        transformer.execute("update ops.transforms set shape = null where shape is not null")
    transformer.execute(f"select pg_advisory_unlock({TRANSFORM_LOCK})".encode())
    for table in (subject.dataset, "_quarantine"):
        if _exists(loader, "raw", table):
            loader.execute(sql.SQL("vacuum {}").format(sql.Identifier("raw", table)))


def _erase_reloaded(connection: psycopg.Connection[Any], subject: Subject) -> None:
    """Erase the value from tables that a reload replaced and that views still read, and drop the copies of reloads that did not end."""
    connection.execute("select pg_advisory_lock(%s)", [lock_key("reload")])
    for name in (subject.dataset, "_ledger", "_quarantine"):
        connection.execute(sql.SQL("drop table if exists {}").format(sql.Identifier("stage", name)))
    replaced = """
        select table_name from information_schema.columns
        where table_schema = 'stage' and column_name = %s and starts_with(table_name, %s)
    """
    for (name,) in connection.execute(replaced, [subject.column, f"{subject.dataset}~old~"]).fetchall():
        table = sql.Identifier("stage", name)
        connection.execute(sql.SQL("delete from {} where {}").format(table, _condition(subject)))
        connection.execute(sql.SQL("vacuum {}").format(table))
    connection.execute("select pg_advisory_unlock_all()")


def _list_partitions(connection: psycopg.Connection[Any], subject: Subject) -> list[str]:
    rows = connection.execute("select distinct partition from raw._ledger where dataset = %s", [subject.dataset])
    return [row[0] for row in rows]


def _has_rows(connection: psycopg.Connection[Any], subject: Subject, partition: str) -> bool:
    """Whether a partition has rows with the value, in the raw table, the quarantine or a staging table that a killed loader left."""
    if _exists(connection, "stage", staging_name(subject.dataset, partition)) or _find_quarantined(connection, subject, partition):
        return True
    if not _has_column(connection, subject):
        return False
    statement = sql.SQL("select count(*) from {} where {} and _load_id = any({})")
    ids = sql.Literal(_fetch_load_ids(connection, subject.dataset, partition))
    return _count(connection, statement.format(sql.Identifier("raw", subject.dataset), _condition(subject), ids)) > 0


def _fetch_load_ids(connection: psycopg.Connection[Any], dataset: str, partition: str) -> list[int]:
    statement = "select load_id from raw._ledger where dataset = %s and partition = %s"
    return [row[0] for row in connection.execute(statement, [dataset, partition])]


def _erase_partition(connection: psycopg.Connection[Any], subject: Subject, partition: str, rewritten: Sequence[Commit]) -> None:
    """Erase the value from one partition in one transaction, while no loader works on it."""
    dataset = subject.dataset
    with _hold_locks(connection, dataset, partition), connection.transaction():
        stage = sql.Identifier("stage", staging_name(dataset, partition))
        connection.execute(sql.SQL("drop table if exists {}").format(stage))
        if _has_column(connection, subject):
            statement = sql.SQL("delete from {} where {} and _load_id = any({})")
            ids = sql.Literal(_fetch_load_ids(connection, dataset, partition))
            connection.execute(statement.format(sql.Identifier("raw", dataset), _condition(subject), ids))
        for address in _find_quarantined(connection, subject, partition):
            connection.execute("delete from raw._quarantine where ctid = %s::tid", [address])
        for commit in rewritten:
            connection.execute(
                _UPDATE_LEDGER,
                [commit.data.sha256, commit.data.rows, dataset, partition, commit.number, commit.writer[ERASED].split()],
            )
        connection.execute(_CLEAR_LEAVES, [dataset, partition])


@contextmanager
def _hold_locks(connection: psycopg.Connection[Any], dataset: str, partition: str) -> Iterator[None]:
    """Hold the loader's locks: that of the partition, and those of its leaves, so that none is being replaced."""
    connection.execute("select pg_advisory_lock(%s)", [lock_key("partition", dataset, partition)])
    statement = "select distinct leaf from raw._ledger where dataset = %s and partition = %s and leaf is not null"
    leaves = [row[0] for row in connection.execute(statement, [dataset, partition])]
    for leaf in leaves:
        connection.execute("select pg_advisory_lock_shared(%s)", [lock_key("leaf", dataset, leaf)])
    yield
    connection.execute("select pg_advisory_unlock_all()")
