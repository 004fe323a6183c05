"""The job's own connection: who may transform now, what the last transform was made of, and a clean end."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg2  # type: ignore[import-untyped]
from jobkit import steps
from jobkit.errors import JobError, MisconfiguredError, RefusedError, TemporaryError
from psycopg2 import sql
from psycopg2.extensions import parse_dsn  # type: ignore[import-untyped]

from transform_warehouse.aside import aside
from transform_warehouse.lineage import Relation

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from datetime import datetime

T = TypeVar("T")

APPLICATION = "finelt transform"  # dbt's sessions; ours has another name
PATIENCE_S = 60.0
NOT_ALLOWED = "42501"  # SQLSTATE
LOCK = "hashtextextended('finelt transform', 0)"
OPS = """
create table if not exists ops.transforms (
    transform_id bigint generated always as identity primary key,
    run_id text not null,
    fingerprint text not null,
    as_of timestamptz,
    started_at timestamptz not null default clock_timestamp(),
    ended_at timestamptz
);
alter table ops.transforms add column if not exists shape text;
alter table ops.transforms add column if not exists lineage jsonb;
comment on column ops.transforms.lineage is 'Which datasets are behind each mart, and their terms; publish-marts goes by it.';
comment on table ops.transforms is 'One row per build of the marts; ended_at is null where it did not end well.';
create table if not exists ops.transformed_loads (load_id bigint primary key);
comment on table ops.transformed_loads is 'The loads that the marts are made of.';
create table if not exists ops.new_loads (load_id bigint primary key, dataset text not null, known_at timestamptz);
comment on table ops.new_loads is 'The loads that the newest build of the marts was about.';
"""
# A schema that is not there has to be made; one that is there is written to, and what is in it is replaced.
_MISSING_RIGHTS = """
with wanted as (select name, to_regnamespace(quote_ident(name)) as schema from unnest(%s::text[]) as name),
raw as (select oid from pg_namespace where nspname = 'raw')
select 'CREATE on the database ' || current_database() as missing from wanted
where schema is null and not has_database_privilege(current_database(), 'create')
union all
select 'CREATE on the schema ' || name from wanted
where schema is not null and not (has_schema_privilege(schema, 'create') and has_schema_privilege(schema, 'usage'))
union all
select 'the role that owns ' || name || '.' || relname from wanted
join pg_class on relnamespace = schema and relkind in ('r', 'v') and not pg_has_role(relowner, 'usage')
union all
select 'USAGE on the schema raw' from raw where not has_schema_privilege(oid, 'usage')
union all
select 'SELECT on raw.' || relname from raw
join pg_class on relnamespace = raw.oid and relkind in ('r', 'p') and not relispartition and not has_table_privilege(pg_class.oid, 'select')
limit 1
"""


class Books:
    """An open connection to the warehouse, for bookkeeping. Statements commit by themselves."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401  psycopg2 has no types
        self._connection = connection

    def rows(self, statement: str | sql.Composable, *values: object) -> list[dict[str, Any]]:
        """What a statement returns, as dicts; empty for one that returns nothing."""

        def call() -> list[dict[str, Any]]:
            with self._connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                names = [column.name for column in cursor.description or ()]
                return [dict(zip(names, row, strict=True)) for row in cursor] if names else []

        return aside(call)

    def in_transaction(self, work: Callable[[Any], T]) -> T:
        """What `work` gives, called with a cursor: all that it does or nothing."""

        def call() -> T:
            with self._connection, self._connection.cursor() as cursor:
                return work(cursor)

        return aside(call)

    def wait_for_turn(self, log: logging.Logger) -> None:
        """Nothing, once no other transform runs on this database. Raises TemporaryError when one takes too long."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.rows(f"select pg_try_advisory_lock({LOCK}) as taken")[0]["taken"]:
            if time.monotonic() > deadline:
                raise TemporaryError(f"another transform has held this warehouse for {PATIENCE_S:.0f} s; run again when it has ended")
            if deadline - time.monotonic() > PATIENCE_S - 1:
                log.info("waiting for another transform")
            time.sleep(1)

    def fingerprint(self, project: str, as_of: datetime | None) -> str:
        """A hash of all that the marts are made of: what was loaded, the project, the moment asked for."""
        loaded: list[dict[str, Any]] = []
        if self.rows("select to_regclass('raw._ledger') is not null as there")[0]["there"]:
            loaded = self.rows(
                "select count(*)::text as loads, max(load_id)::text as newest,"
                " sum(hashtextextended(concat_ws('/', load_id, dataset, partition, commit, sha256), 0))::text as all_of_them"
                " from raw._ledger"
            )
        whole = json.dumps([loaded, project, as_of.isoformat() if as_of else None])
        return hashlib.sha256(whole.encode()).hexdigest()

    def shape(self, project: str, as_of: datetime | None) -> str:
        """A hash of what decides how the marts are made but for the rows: the project, the moment asked for, the raw tables' columns."""
        columns = self.rows(
            "select table_name, column_name, data_type from information_schema.columns where table_schema = 'raw'"
            " and table_name in (select relname from pg_class where relnamespace = to_regnamespace('raw') and not relispartition)"
            " order by 1, ordinal_position"
        )
        return hashlib.sha256(json.dumps([project, as_of.isoformat() if as_of else None, columns]).encode()).hexdigest()

    def is_current(self, fingerprint: str, marts: Sequence[str]) -> bool:
        """Whether the last transform ended well, was made of the same, and its marts are all there."""
        if not self.rows("select to_regclass('ops.transforms') is not null as there")[0]["there"]:
            return False
        last = self.rows(
            "select fingerprint, ended_at, to_jsonb(transforms) ->> 'lineage' is not null as has_lineage"
            " from ops.transforms order by transform_id desc limit 1"
        )
        if not last or last[0]["fingerprint"] != fingerprint or last[0]["ended_at"] is None or not last[0]["has_lineage"]:
            return False
        return self.has(marts)

    def tables(self) -> list[Relation]:
        """The tables and views that are there, Postgres' own and those of bookkeeping left out."""
        found = self.rows(
            "select nspname::text as schema, relname::text as name from pg_class join pg_namespace on pg_namespace.oid = relnamespace"
            " where nspname not in ('pg_catalog', 'pg_toast', 'information_schema', 'ops') and relkind in ('r', 'p', 'v', 'm', 'f')"
        )
        return [Relation(**row) for row in found]

    def new_datasets(self) -> set[str]:
        """The datasets of the loads that the build under way is about."""
        return {row["dataset"] for row in self.rows("select distinct dataset from ops.new_loads")}

    def last_lineage(self) -> dict[str, Any]:
        """What the newest build that ended well noted."""
        [last] = self.rows("select lineage from ops.transforms where ended_at is not null order by transform_id desc limit 1")
        return dict(last["lineage"])

    def record_lineage(self, run_id: str, lineage: Mapping[str, Any]) -> None:
        """Note what the marts of the build under way are made of."""
        self.rows("update ops.transforms set lineage = %s where run_id = %s and ended_at is null", json.dumps(lineage), run_id)

    def missing_right(self, schemas: Sequence[str]) -> str | None:
        """A right that the job's user lacks on the schemas that it writes or on raw tables, as GRANT names it; None where it has all."""
        found = self.rows(_MISSING_RIGHTS, list(schemas))
        return str(found[0]["missing"]) if found else None

    def has(self, marts: Sequence[str]) -> bool:
        """Whether the marts are all there, as tables or views."""
        there = self.rows("select relname from pg_class where relnamespace = to_regnamespace('marts') and relkind in ('r', 'v')")
        return set(marts) <= {row["relname"] for row in there}

    @contextmanager
    def transform(self, run_id: str, fingerprint: str, as_of: datetime | None, shape: str, models: Collection[Relation]) -> Iterator[bool]:
        """Notes that a transform began and, when the block ends well, that it did. No session of dbt's outlives the block.

        Gives whether it is enough to build what the loads in ops.new_loads touch: the models are there and were made the same way.
        """
        if self.rows("select to_regnamespace('ops') is null as missing")[0]["missing"]:
            self.rows("create schema ops")  # where it is, no right to make one is needed
        self.rows(OPS)
        self._end_sessions()  # what a killed run left behind
        changes_only = set(models) <= set(self.tables()) and self._made_the_same_way(shape)
        if not changes_only:
            self.rows("truncate ops.transformed_loads")
        self.rows("truncate ops.new_loads")
        if self.rows("select to_regclass('raw._ledger') is not null as there")[0]["there"]:
            self.rows(
                "insert into ops.new_loads select load_id, dataset, known_at from raw._ledger"
                " where load_id not in (select load_id from ops.transformed_loads)"
            )
        [begun] = self.rows(
            "insert into ops.transforms (run_id, fingerprint, as_of, shape) values (%s, %s, %s, %s) returning transform_id",
            run_id, fingerprint, as_of, shape,
        )  # fmt: skip
        try:
            yield changes_only
        except BaseException:
            self._end_sessions()
            raise
        with steps.around("end"):
            self.rows(
                "with done as (insert into ops.transformed_loads select load_id from ops.new_loads)"
                " update ops.transforms set ended_at = clock_timestamp() where transform_id = %s",
                begun["transform_id"],
            )

    def _made_the_same_way(self, shape: str) -> bool:
        """Whether some transform ended well and noted its lineage, and every one from that on had this shape, failed ones included."""
        found = self.rows(
            "select shape, ended_at, lineage is not null as has_lineage from ops.transforms order by transform_id desc limit 100"
        )
        ended = next((index for index, row in enumerate(found) if row["ended_at"]), None)
        return ended is not None and found[ended]["has_lineage"] and all(row["shape"] == shape for row in found[: ended + 1])

    def _end_sessions(self) -> None:
        self.rows(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = %s and datname = current_database() and usename = current_user",
            APPLICATION,
        )


@contextmanager
def opened(warehouse: str, password: str) -> Iterator[Books]:
    """The books of a warehouse. Raises RefusedError, MisconfiguredError or TemporaryError when it cannot be reached."""
    connection = None
    try:
        given = {"password": password, "connect_timeout": 10, "application_name": f"{APPLICATION}: books"}
        connection = aside(lambda: psycopg2.connect(warehouse, **given))
        connection.autocommit = True
        yield Books(connection)
    except psycopg2.Error as error:
        if (error.pgcode or "").startswith("42") and error.pgcode != NOT_ALLOWED:
            raise  # a statement of ours that is wrong: no other try mends it
        raise told(str(error).strip(), warehouse) from None
    finally:
        if connection is not None:
            connection.close()


def told(said: str, warehouse: str) -> JobError:
    """What Postgres said about a connection or a right, as the error it is."""
    where = where_is(warehouse)
    if "authentication failed" in said or "no pg_hba.conf entry" in said or "no password supplied" in said:
        return RefusedError(f"{where} refused the user name or password; look at --warehouse and at what --warehouse-password refers to")
    if 'database "' in said and "does not exist" in said:
        return MisconfiguredError(f"{where} has no such database; create it or correct --warehouse")
    if "permission denied" in said:
        return MisconfiguredError(f"{where}: {said.splitlines()[0]}; grant it to the job's user")
    return TemporaryError(f"{where} cannot be reached or broke off: {said.splitlines()[-1].strip()}; run again when it is up")


def where_is(warehouse: str) -> str:
    """The warehouse as messages name it: host, port and database, without the user."""
    found = parts(warehouse)
    return f"the warehouse {found['host']}:{found['port']}/{found['dbname']}"


def parts(warehouse: str) -> dict[str, str]:
    """What the URL says, by libpq's names: host, port, user, dbname, sslmode and whatever else it has."""
    return {"port": "5432", "sslmode": "prefer", **parse_dsn(warehouse)}
