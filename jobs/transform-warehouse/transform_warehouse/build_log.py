"""The build log: who may transform now, what the marts were built from, and how each build ended. It is in the schema ops."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg2  # type: ignore[import-untyped]
from jobkit import failpoints, migrations, postgres
from jobkit.errors import TemporaryError
from jobkit.interruption import call_interruptibly
from jobkit.migrations import OPS, RAW
from jobkit.postgres import TRANSFORM_LOCK
from psycopg2 import sql
from psycopg2.extensions import parse_dsn  # type: ignore[import-untyped]

from transform_warehouse.lineage import Relation

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from jobkit.migrations import Schema

T = TypeVar("T")

DBT_APPLICATION_NAME = "finelt transform"  # of dbt's database sessions; the build log's own has another
LOCK_TIMEOUT_S = 60.0
INSUFFICIENT_PRIVILEGE = "42501"  # SQLSTATE
# A missing schema has to be created; an existing one is written to and its relations are replaced.
_MISSING_RIGHTS = """
with required as (select name, to_regnamespace(quote_ident(name)) as schema from unnest(%s::text[]) as name),
raw as (select oid from pg_namespace where nspname = 'raw')
select 'CREATE on the database ' || current_database() as missing from required
where schema is null and not has_database_privilege(current_database(), 'create')
union all
select 'CREATE on the schema ' || name from required
where schema is not null and not (has_schema_privilege(schema, 'create') and has_schema_privilege(schema, 'usage'))
union all
select 'the role that owns ' || name || '.' || relname from required
join pg_class on relnamespace = schema and relkind in ('r', 'v') and not pg_has_role(relowner, 'usage')
union all
select 'USAGE on the schema raw' from raw where not has_schema_privilege(oid, 'usage')
union all
select 'SELECT on raw.' || relname from raw
join pg_class on relnamespace = raw.oid and relkind in ('r', 'p') and not relispartition and not has_table_privilege(pg_class.oid, 'select')
limit 1
"""


class BuildLog:
    """A connection to the warehouse for the build log. Every statement commits at once unless it runs in `run_in_transaction`."""

    def __init__(self, connection: Any, where: str) -> None:  # noqa: ANN401  psycopg2 has no types
        self._connection, self.where = connection, where

    def execute(self, statement: str | sql.Composable, *values: object) -> list[dict[str, Any]]:
        """Run a statement and return its rows as dicts; empty if it returns none."""

        def call() -> list[dict[str, Any]]:
            with self._connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                names = [column.name for column in cursor.description or ()]
                return [dict(zip(names, row, strict=True)) for row in cursor] if names else []

        return call_interruptibly(call)

    def run_in_transaction(self, work: Callable[[Any], T]) -> T:
        """Call `work` with a cursor in one transaction and return its result."""

        def call() -> T:
            with self._connection, self._connection.cursor() as cursor:
                return work(cursor)

        return call_interruptibly(call)

    def check_formats(self) -> None:
        """Raise NewerFormatError (exit code 78) if a newer version of finelt loaded this warehouse or built its marts."""
        for schema in (RAW, OPS):
            self.run_in_transaction(partial(_check_schema, schema, self.where))

    def acquire_lock(self, log: logging.Logger) -> None:
        """Wait until no other transform runs on this database. Raises TemporaryError if one takes too long."""
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while not self.execute(f"select pg_try_advisory_lock({TRANSFORM_LOCK}) as acquired")[0]["acquired"]:
            if time.monotonic() > deadline:
                raise TemporaryError(f"another transform has locked this warehouse for {LOCK_TIMEOUT_S:.0f} s; run again when it has ended")
            if deadline - time.monotonic() > LOCK_TIMEOUT_S - 1:
                log.info("waiting for another transform")
            time.sleep(1)

    def compute_fingerprint(self, project: str, as_of: datetime | None) -> str:
        """Hash everything the marts are made of: the loads, the project's fingerprint, the as-of moment."""
        loads: list[dict[str, Any]] = []
        if self._has_ledger():
            loads = self.execute(
                "select count(*)::text as loads, max(load_id)::text as newest,"
                " sum(hashtextextended(concat_ws('/', load_id, dataset, partition, commit, sha256), 0))::text as all_of_them"
                " from raw._ledger"
            )
        inputs = json.dumps([loads, project, as_of.isoformat() if as_of else None])
        return hashlib.sha256(inputs.encode()).hexdigest()

    def compute_signature(self, project: str, as_of: datetime | None) -> str:
        """Hash what decides how the marts are made, without the rows: the project's fingerprint, the moment, the raw tables' columns."""
        columns = self.execute(
            "select table_name, column_name, data_type from information_schema.columns where table_schema = 'raw'"
            " and table_name in (select relname from pg_class where relnamespace = to_regnamespace('raw') and not relispartition)"
            " order by 1, ordinal_position"
        )
        return hashlib.sha256(json.dumps([project, as_of.isoformat() if as_of else None, columns]).encode()).hexdigest()

    def is_current(self, fingerprint: str, marts: Sequence[str]) -> bool:
        """Whether the last transform succeeded with the same fingerprint and all its marts exist."""
        if not self.execute("select to_regclass('ops.transforms') is not null as has_log")[0]["has_log"]:
            return False
        last = self.execute(
            "select fingerprint, ended_at, to_jsonb(transforms) ->> 'lineage' is not null as has_lineage"
            " from ops.transforms order by transform_id desc limit 1"
        )
        if not last or last[0]["fingerprint"] != fingerprint or last[0]["ended_at"] is None or not last[0]["has_lineage"]:
            return False
        return self.has_marts(marts)

    def fetch_relations(self) -> list[Relation]:
        """Return the tables and views of the warehouse, without the system's and those of the build log."""
        rows = self.execute(
            "select nspname::text as schema, relname::text as name from pg_class join pg_namespace on pg_namespace.oid = relnamespace"
            " where nspname not in ('pg_catalog', 'pg_toast', 'information_schema', 'ops') and relkind in ('r', 'p', 'v', 'm', 'f')"
        )
        return [Relation(**row) for row in rows]

    def fetch_columns(self) -> dict[Relation, list[str]]:
        """Return the columns of the same tables and views, in their order."""
        rows = self.execute(
            "select nspname::text as schema, relname::text as name, array_agg(attname::text order by attnum) as columns from pg_attribute"
            " join pg_class on pg_class.oid = attrelid join pg_namespace on pg_namespace.oid = relnamespace"
            " where nspname not in ('pg_catalog', 'pg_toast', 'information_schema', 'ops') and relkind in ('r', 'p', 'v', 'm', 'f')"
            " and attnum > 0 and not attisdropped and not relispartition group by nspname, relname"
        )
        return {Relation(row["schema"], row["name"]): row["columns"] for row in rows}

    def fetch_new_datasets(self) -> set[str]:
        """Return the datasets of the loads in ops.new_loads."""
        return {row["dataset"] for row in self.execute("select distinct dataset from ops.new_loads")}

    def fetch_last_lineage(self) -> dict[str, Any]:
        """Return the lineage that the last successful transform recorded."""
        [last] = self.execute("select lineage from ops.transforms where ended_at is not null order by transform_id desc limit 1")
        return dict(last["lineage"])

    def record_lineage(self, run_id: str, lineage: Mapping[str, Any]) -> None:
        """Record the lineage of the marts that this run is building."""
        self.execute("update ops.transforms set lineage = %s where run_id = %s and ended_at is null", json.dumps(lineage), run_id)

    def record_results(self, run_id: str, results: Mapping[str, Any]) -> None:
        """Record the models and tests of the build that this run is making."""
        self.execute("update ops.transforms set results = %s where run_id = %s and ended_at is null", json.dumps(results), run_id)

    def find_missing_right(self, schemas: Sequence[str]) -> str | None:
        """Return a right that the job's user lacks on its schemas or on raw tables, as GRANT names it; None if it has all."""
        missing = self.execute(_MISSING_RIGHTS, list(schemas))
        return str(missing[0]["missing"]) if missing else None

    def has_marts(self, marts: Sequence[str]) -> bool:
        """Whether all these marts exist."""
        rows = self.execute("select relname from pg_class where relnamespace = to_regnamespace('marts') and relkind in ('r', 'v')")
        return set(marts) <= {row["relname"] for row in rows}

    @contextmanager
    def record_transform(
        self, run_id: str, fingerprint: str, as_of: datetime | None, signature: str, models: Collection[Relation]
    ) -> Iterator[bool]:
        """Record the start of a transform and, if the block succeeds, its end. No database session of dbt outlives the block.

        Yield whether it is enough to build what the loads in ops.new_loads changed: the models exist and were made the same way.
        """
        if self.execute("select to_regnamespace('ops') is null as is_missing")[0]["is_missing"]:
            self.execute("create schema ops")  # IF NOT EXISTS would need the right to create schemas as well
        self.run_in_transaction(lambda cursor: migrations.migrate(partial(_fetch_tuples, cursor), OPS, self.where))
        self._terminate_dbt_sessions()  # of a killed run
        changes_only = set(models) <= set(self.fetch_relations()) and self._has_same_signature(signature) and not self._has_lost_loads()
        if not changes_only:
            self.execute("truncate ops.transformed_loads")
        self.execute("truncate ops.new_loads")
        if self._has_ledger():
            self.execute(
                "insert into ops.new_loads select load_id, dataset, known_at from raw._ledger"
                " where load_id not in (select load_id from ops.transformed_loads)"
            )
        [transform] = self.execute(
            "insert into ops.transforms (run_id, fingerprint, as_of, shape) values (%s, %s, %s, %s) returning transform_id",
            run_id, fingerprint, as_of, signature,
        )  # fmt: skip
        try:
            yield changes_only
        except BaseException:
            self._terminate_dbt_sessions()
            raise
        with failpoints.surround("end"):
            self.execute(
                "with done as (insert into ops.transformed_loads select load_id from ops.new_loads)"
                " update ops.transforms set ended_at = clock_timestamp() where transform_id = %s",
                transform["transform_id"],
            )

    def _has_ledger(self) -> bool:
        return bool(self.execute("select to_regclass('raw._ledger') is not null as has_ledger")[0]["has_ledger"])

    def _has_lost_loads(self) -> bool:
        """Whether the marts are made of loads that are gone, as after a reload: rows of theirs may be gone, too."""
        if not self._has_ledger():
            return False
        [row] = self.execute(
            "select exists (select from ops.transformed_loads where load_id not in (select load_id from raw._ledger)) as has_lost"
        )
        return bool(row["has_lost"])

    def _has_same_signature(self, signature: str) -> bool:
        """Whether the last successful transform recorded its lineage, and it and every failed one after it had this signature.

        Then all rows were made the same way.
        """
        rows = self.execute(
            "select shape, ended_at, lineage is not null as has_lineage from ops.transforms order by transform_id desc limit 100"
        )
        last = next((index for index, row in enumerate(rows) if row["ended_at"]), None)
        return last is not None and rows[last]["has_lineage"] and all(row["shape"] == signature for row in rows[: last + 1])

    def _terminate_dbt_sessions(self) -> None:
        self.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = %s and datname = current_database() and usename = current_user",
            DBT_APPLICATION_NAME,
        )


def _check_schema(schema: Schema, where: str, cursor: Any) -> int:  # noqa: ANN401  psycopg2 has no types
    return migrations.check_schema(partial(_fetch_tuples, cursor), schema, where)


def _fetch_tuples(cursor: Any, statement: str) -> Sequence[Sequence[Any]]:  # noqa: ANN401
    """Run SQL of our own, which has no values in it, and return the rows of a query."""
    cursor.execute(statement)
    rows: Sequence[Sequence[Any]] = cursor.fetchall() if cursor.description else ()
    return rows


@contextmanager
def open_build_log(warehouse: str, password: str) -> Iterator[BuildLog]:
    """Connect to a warehouse's build log for the block. Raises AuthError, MisconfiguredError or TemporaryError if that fails."""
    connection = None
    try:
        options = {"password": password, "connect_timeout": 10, "application_name": f"{DBT_APPLICATION_NAME}: build log"}
        connection = call_interruptibly(lambda: psycopg2.connect(warehouse, **options))
        connection.autocommit = True
        yield BuildLog(connection, describe_warehouse(warehouse))
    except psycopg2.Error as error:
        raise postgres.translate_error(describe_warehouse(warehouse), str(error), error.pgcode) or error from None
    finally:
        if connection is not None:
            connection.close()


def describe_warehouse(warehouse: str) -> str:
    """Return the warehouse as messages name it: host, port and database, without the user."""
    parts = parse_warehouse_url(warehouse)
    return f"the warehouse {parts['host']}:{parts['port']}/{parts['dbname']}"


def parse_warehouse_url(warehouse: str) -> dict[str, str]:
    """Parse the URL into libpq's parameters: host, port, user, dbname, sslmode and whatever else it has."""
    return {"port": "5432", "sslmode": "prefer", **parse_dsn(warehouse)}
