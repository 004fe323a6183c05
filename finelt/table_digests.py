"""Digests of warehouse tables, so that two warehouses can be compared without copying rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

_TABLES = """
select table_schema, table_name, coalesce(array_agg(column_name::text) filter (
    where data_type = 'timestamp with time zone' or column_name in ('_load_id', 'load_id', 'transform_id', 'run_id', 'fingerprint')), '{}')
from information_schema.columns join information_schema.tables using (table_schema, table_name)
where table_schema in ('raw', 'stage', 'marts') and table_type = 'BASE TABLE'
    and table_name not in ('_migrations', '_positions') -- how a warehouse got here, not what it has
    and (table_schema, table_name) not in (
        select n.nspname, c.relname from pg_class as c join pg_namespace as n on n.oid = c.relnamespace where c.relispartition)
group by 1, 2 order by 1, 2
"""
_DIGEST = """
select count(*),
    coalesce(sum(hashtextextended((to_jsonb(whole_row) - {excluded}::text[])::text, 0)), 0)::text{current} from {table} as whole_row
"""
_CURRENT_ROWS = ", count(*) filter (where known_to = 'infinity')"


def digest_tables(
    connection: psycopg.Connection[Any], schemas: Sequence[str] = ("raw", "stage", "marts"), unlike: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return, by `schema.table`, the row count and a hash of all rows; for tables with `known_to`, also the number of current rows.

    `unlike` names the columns to leave out of the hash. By default these are all timestamps and all load and run numbers, which differ
    between two runs that did the same. Raises psycopg.Error.
    """
    digests: dict[str, Any] = {}
    for schema, table, volatile_columns in connection.execute(_TABLES.encode()).fetchall():
        if schema not in schemas:
            continue
        query = sql.SQL(_DIGEST).format(
            excluded=sql.Literal(volatile_columns if unlike is None else list(unlike)),
            current=sql.SQL(_CURRENT_ROWS if "known_to" in volatile_columns else ""),
            table=sql.Identifier(schema, table),
        )
        digests[f"{schema}.{table}"] = connection.execute(query).fetchone()
    return digests
