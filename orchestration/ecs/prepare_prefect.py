"""Prepare the database of Prefect's server in AWS: create the server's role, then migrate the schema. Runs before each start of the server.

    FINELT_MASTER_USER, FINELT_MASTER_PASSWORD   RDS's master user, whom the server itself never sees
    PREFECT_SERVER_DATABASE_*, SSL_CERT_FILE     the server's own access: its role, and the certificates that it trusts

The server's role has no password: it logs in with IAM tokens (PREFECT_INTEGRATIONS_AWS_RDS_IAM_ENABLED), so no rotation concerns it. Of
several servers that start at the same time, one migrates and the others wait. A database that a newer version of Prefect has migrated
stays as it is, so that the previous version can start again after a rollback.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from orchestration.ecs.master_user import read_access
from orchestration.warehouse_roles import RDS_IAM

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = "public"
TRY_LOCK = "select pg_try_advisory_lock(hashtextextended('finelt prefect', 0))"
LOCK_POLL_S = 1.0
MIGRATE = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
NEWER_DATABASE = "Can't locate revision"
# What an earlier version of this stack created as the master user. Objects of an extension belong to it.
FOREIGN_OBJECTS = """
with objects(kind, oid, name, owner) as (
    select case relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence' else 'table' end,
        oid, oid::regclass::text, relowner
    from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'S')
    union all
    select 'type', oid, oid::regtype::text, typowner
    from pg_type where typnamespace = 'public'::regnamespace and typtype in ('e', 'd')
    union all
    select 'routine', oid, oid::regprocedure::text, proowner from pg_proc where pronamespace = 'public'::regnamespace
)
select kind, name from objects o
where owner <> %(role)s::regrole and not exists (select from pg_depend d where d.objid = o.oid and d.deptype in ('e', 'a', 'i'))
"""


def main(environ: Mapping[str, str]) -> None:
    """Prepare the database that the environment describes."""
    role = environ["PREFECT_SERVER_DATABASE_USER"]
    access = read_access(environ, host=environ["PREFECT_SERVER_DATABASE_HOST"], port=environ["PREFECT_SERVER_DATABASE_PORT"])
    with psycopg.connect(**access, dbname=environ["PREFECT_SERVER_DATABASE_NAME"], autocommit=True) as connection:
        wait_for_lock(connection)
        with connection.transaction():
            create_role(connection, role)
        migrate({name: value for name, value in environ.items() if not name.startswith("FINELT_MASTER_")})


def wait_for_lock(connection: psycopg.Connection[Any]) -> None:
    """Wait until no other server prepares the database. The lock is held until the connection is closed.

    It is polled: CREATE INDEX CONCURRENTLY in a migration waits for every statement that began before it, so also for one that waits for
    the lock, and neither would ever end.
    """
    while not connection.execute(TRY_LOCK).fetchall()[0][0]:
        time.sleep(LOCK_POLL_S)


def create_role(connection: psycopg.Connection[Any], role: str) -> None:
    """Create the role of the server, let it log in with tokens only, and make it the owner of everything in the schema."""
    name, database = sql.Identifier(role), sql.Identifier(connection.info.dbname)
    if not connection.execute("select from pg_roles where rolname = %s", [role]).fetchall():
        connection.execute(sql.SQL("create role {}").format(name))
    connection.execute(sql.SQL("alter role {} login password null").format(name))
    connection.execute(sql.SQL("grant {} to {}").format(sql.Identifier(RDS_IAM), name))
    connection.execute(sql.SQL("grant {} to current_user").format(name))  # only a member may give it the ownership of something
    connection.execute(sql.SQL("grant connect, create, temporary on database {} to {}").format(database, name))
    connection.execute(sql.SQL("grant usage, create on schema {} to {}").format(sql.Identifier(SCHEMA), name))
    for kind, object_name in connection.execute(FOREIGN_OBJECTS, {"role": role}).fetchall():
        # The name comes quoted from Postgres, and the kind from our own query.
        connection.execute(sql.SQL("alter {} {} owner to {}").format(sql.SQL(kind), sql.SQL(object_name), name))


def migrate(environ: Mapping[str, str]) -> None:
    """Migrate the schema as the server's role. Exits with Prefect's exit code if this fails."""
    done = subprocess.run(MIGRATE, env=dict(environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)  # noqa: S603
    print(done.stdout, flush=True)  # noqa: T201  the log of the task
    if done.returncode and NEWER_DATABASE in done.stdout:
        print("a newer version of Prefect has migrated this database; it stays as it is", flush=True)  # noqa: T201
    elif done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main(os.environ)
