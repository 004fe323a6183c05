"""The database roles of the warehouse: one for each job, with the grants that the catalogue implies, and `reader` for people and BI.

    role                  owns schemas                                                      reads schemas
    load-warehouse        raw, stage
    transform-warehouse   staging, intermediate, marts, as_of, as_of_internal, ops          raw
    publish-marts                                                                           marts, ops, raw
    reader                                                                                  marts, as_of

`finelt dbt` adds a role for each developer on a laptop, which owns the schema of its name and reads
what dbt reads.

The roles are the same on a laptop (orchestration/local), in containers (orchestration/compose) and in AWS
(orchestration/ecs/register_stack.py). `prepare` needs the admin of a database: a superuser, or a role that may create roles and owns
the database, as the master user on RDS does. Running it again changes nothing. Objects that the single role of an earlier version owned
are transferred to the jobs' roles. The role of a job that was removed loses its password and its login; what it owns stays.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple

import click
import psycopg
import stamina
from jobkit import files
from jobkit import secrets as references
from jobkit.errors import JobError
from jobkit.version import version_option
from psycopg import sql

from jobs.catalogue import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jobs.catalogue import JobSpec

PREFIX = "warehouse/"  # of the names that the catalogue uses for parts of the warehouse
RAW, MARTS = "warehouse/raw", "warehouse/marts"
SCHEMAS = {RAW: ("raw", "stage"), MARTS: ("staging", "intermediate", "marts", "as_of", "as_of_internal", "ops")}
OPEN_TO_JOBS = {RAW: ("raw",), MARTS: ("marts", "ops")}
READER, OPEN_TO_READER = "reader", ("marts", "as_of")
OPEN_TO_DEVELOPERS = ("raw", "staging", "intermediate", "marts", "ops")
ANALYST = "analyst"
RDS_IAM = "rds_iam"  # RDS has it in every database; who is a member logs in with a token
LOCK_TIMEOUT_MS = 10_000  # a table whose owner changes may be in use
MAX_ATTEMPTS = 20  # of the transaction
_LOCK = "select pg_advisory_xact_lock(hashtextextended('finelt roles', 0))"
# An as-of view has hundreds of expressions: to compile them takes half a minute, to compute them for a ticker a tenth of a second.
_HAS_JIT_OFF = """
select count(*) > 0 from pg_db_role_setting
where setdatabase = (select oid from pg_database where datname = current_database()) and setrole = 0 and 'jit=off' = any(setconfig)
"""
# Sequences that belong to a column, and indexes, go with their table.
_FOREIGN_RELATIONS = """
select c.relname::text, c.relkind::text
from pg_class c
where c.relnamespace = to_regnamespace(%(schema)s) and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and c.relowner <> %(role)s::regrole
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i')
        and c.relkind = 'S')
order by c.relispartition
"""
_FOREIGN_ROUTINES = """
select proname::text from pg_proc where pronamespace = to_regnamespace(%(schema)s) and proowner <> %(role)s::regrole
"""
# Readers need no grant on a leaf: they read it through its table.
_UNREADABLE = """
select c.relname::text
from pg_class c
where c.relnamespace = to_regnamespace(%(schema)s) and c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
    and not has_table_privilege(%(role)s::regrole::oid, c.oid, 'select')
"""
_DEFAULT_PRIVILEGES = """
select distinct coalesce(n.nspname::text, ''), true
from pg_default_acl d
left join pg_namespace n on n.oid = d.defaclnamespace
cross join aclexplode(d.defaclacl) a
where d.defaclrole = %(owner)s::regrole and a.grantee = %(role)s::regrole and (n.oid is null or d.defaclobjtype = 'r')
"""
COMMENT = "a job of finelt"  # on each role that we made, so that no role of anybody else is ever changed
DEVELOPER_COMMENT = "a developer of finelt"
_REMOVED_ROLES = """
select rolname::text from pg_roles r
where shobj_description(r.oid, 'pg_authid') = %(comment)s and rolcanlogin and rolname <> all(%(kept)s)
    and exists (select from pg_database d, aclexplode(d.datacl) a where d.datname = current_database() and a.grantee = r.oid)
"""
_KINDS = {"v": sql.SQL("view"), "m": sql.SQL("materialized view"), "S": sql.SQL("sequence"), "f": sql.SQL("foreign table")}


class Role(NamedTuple):
    """A role: the schemas that it owns, and (owner, schema) for each schema of another role that it reads."""

    name: str
    owns: tuple[str, ...]
    reads: tuple[tuple[str, str], ...]


def list_roles(specs: Iterable[JobSpec]) -> tuple[Role, ...]:
    """Return a role for each job that reads or writes the warehouse, and the role of readers."""
    jobs = [spec for spec in specs if any(part.startswith(PREFIX) for part in (*spec.reads, *spec.writes))]
    owners = {part: spec.name for spec in jobs for part in spec.writes if part.startswith(PREFIX)}
    job_roles = []
    for spec in jobs:
        owns = tuple(schema for part in spec.writes if part.startswith(PREFIX) for schema in SCHEMAS.get(part, (_schema_of(part),)))
        reads = [(owners[part], schema) for part in spec.reads if part in owners for schema in OPEN_TO_JOBS.get(part, (_schema_of(part),))]
        job_roles.append(Role(spec.name, owns, tuple(reads)))
    open_schemas = tuple((owners[MARTS], schema) for schema in OPEN_TO_READER) if MARTS in owners else ()
    return (*job_roles, Role(READER, (), open_schemas))


def _schema_of(part: str) -> str:
    """Return the schema of a part that is not built in: a job that writes warehouse/reports owns the schema reports."""
    return part.removeprefix(PREFIX)


def _is_concurrent_update(error: Exception) -> bool:
    """Whether another session changed the same row of a shared catalog; Postgres has no specific SQLSTATE for it."""
    return isinstance(error, psycopg.errors.InternalError_) and "tuple concurrently updated" in str(error)


def prepare(connection: psycopg.Connection[Any], roles: Sequence[Role], passwords: Mapping[str, str]) -> None:
    """Create and update the roles of a database in one transaction. A role without a password cannot log in; use it as a group.

    Roles belong to the server but an advisory lock to the database, so a conflict with the preparation of another database is retried.
    Grants that exist are not repeated: a GRANT on a table that a loader changes at the same time would fail one of the two.
    Raises psycopg.Error, for example if a table whose owner must change stays in use.
    """
    attempts = stamina.retry_context(on=_is_concurrent_update, attempts=MAX_ATTEMPTS, timeout=None, wait_initial=0.05, wait_max=1.0)
    for attempt in attempts:  # not a decorator: stamina would log the arguments, which contain passwords
        with attempt:
            _prepare(connection, roles, passwords)


def _prepare_database(connection: psycopg.Connection[Any]) -> None:
    if _query_bool(connection, "select has_database_privilege('public', current_database(), 'connect, create, temporary')"):
        _run(connection, "revoke all on database {} from public", connection.info.dbname)
    if not _query_bool(connection, _HAS_JIT_OFF):
        _run(connection, "alter database {} set jit = off", connection.info.dbname)


def _prepare(connection: psycopg.Connection[Any], roles: Sequence[Role], passwords: Mapping[str, str]) -> None:
    schemas = [schema for role in roles for schema in role.owns]
    with connection.transaction():
        connection.execute(sql.SQL("set local lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT_MS)))
        connection.execute(_LOCK)
        _prepare_database(connection)
        for role in roles:
            _create_role(connection, role, passwords.get(role.name))
        for name in _list_removed_roles(connection, roles):
            _run(connection, "alter role {} nologin password null", name)
        for role in roles:
            for schema in role.owns:
                _set_owner(connection, schema, role.name)
        for role in roles:
            readable = {schema for _, schema in role.reads}
            for schema in schemas:
                may = _query_bool(connection, "select has_schema_privilege(%s, %s, 'usage')", role.name, schema)
                if may and schema not in readable and schema not in role.owns:
                    _run(connection, "revoke all on schema {} from {}", schema, role.name)
            for owner, schema in role.reads:
                _grant_read(connection, owner, schema, role.name)


def create_analyst(connection: psycopg.Connection[Any]) -> None:
    """Let people log in as `analyst`, a member of `reader`, with a token of IAM instead of a password. Only RDS has the role rds_iam."""
    if not _query_bool(connection, "select count(*) > 0 from pg_roles where rolname = %s", RDS_IAM):
        return
    if not _query_bool(connection, "select count(*) > 0 from pg_roles where rolname = %s", ANALYST):
        _run(connection, "create role {} login", ANALYST)
    for group in (READER, RDS_IAM):
        if not _query_bool(connection, "select pg_has_role(%s, %s, 'member')", ANALYST, group):
            _run(connection, "grant {} to {}", group, ANALYST)


def create_developer(connection: psycopg.Connection[Any], roles: Sequence[Role], name: str, password: str) -> None:
    """Let a developer log in as a role that owns the schema of its name and reads what dbt reads. Running it again changes nothing.

    Raises psycopg.Error.
    """
    with connection.transaction():
        connection.execute(_LOCK)
        _create_role(connection, Role(name, (), ()), password, comment=DEVELOPER_COMMENT)
        _set_owner(connection, name, name)
        for owner, schema in [(role.name, schema) for role in roles for schema in role.owns if schema in OPEN_TO_DEVELOPERS]:
            _grant_read(connection, owner, schema, name)


def _list_removed_roles(connection: psycopg.Connection[Any], roles: Sequence[Role]) -> list[str]:
    """Return the roles that we made for jobs in this database and that no job has any more."""
    names = {"comment": COMMENT, "kept": [role.name for role in roles]}
    return [name for (name,) in connection.execute(_REMOVED_ROLES, names).fetchall()]


def _query_bool(connection: psycopg.Connection[Any], question: LiteralString, *values: str) -> bool:
    """Return the boolean result of a query."""
    return bool(connection.execute(question, values).fetchall()[0][0])


def _run(connection: psycopg.Connection[Any], statement: LiteralString, *names: str) -> None:
    """Run a statement with these identifiers."""
    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _create_role(connection: psycopg.Connection[Any], role: Role, password: str | None, comment: str = COMMENT) -> None:
    """Create the role or update its password, and let it connect but create no schema."""
    database = connection.info.dbname
    if not _query_bool(connection, "select count(*) > 0 from pg_roles where rolname = %s", role.name):
        _run(connection, "create role {} nologin", role.name)
    if not _query_bool(connection, "select coalesce(shobj_description(%s::regrole, 'pg_authid'), '') = %s", _quoted(role.name), comment):
        connection.execute(sql.SQL("comment on role {} is {}").format(sql.Identifier(role.name), sql.Literal(comment)))
    if password is not None:
        hashed = connection.pgconn.encrypt_password(password.encode(), role.name.encode())  # so that the password is in no server log
        login = sql.SQL("alter role {} login password {}")
        connection.execute(login.format(sql.Identifier(role.name), sql.Literal(hashed.decode())))
    if not _query_bool(connection, "select pg_has_role(%s, 'usage')", role.name):
        _run(connection, "grant {} to current_user", role.name)  # only a member may set the role's default privileges
    if _query_bool(connection, "select has_database_privilege(%s, %s, 'create')", role.name, database):
        _run(connection, "revoke create on database {} from {}", database, role.name)
    for right in ("connect",) if role.name == READER else ("connect", "temporary"):
        if not _query_bool(connection, "select has_database_privilege(%s, %s, %s)", role.name, database, right):
            connection.execute(
                sql.SQL("grant {} on database {} to {}").format(sql.SQL(right), sql.Identifier(database), sql.Identifier(role.name))
            )


def _set_owner(connection: psycopg.Connection[Any], schema: str, role: str) -> None:
    """Make the role the owner of the schema and of everything in it."""
    if not _query_bool(connection, "select to_regnamespace(%s) is not null", _quoted(schema)):
        _run(connection, "create schema {} authorization {}", schema, role)
    elif _query_bool(connection, "select nspowner <> %s::regrole from pg_namespace where nspname = %s", _quoted(role), schema):
        _run(connection, "alter schema {} owner to {}", schema, role)
    names = {"schema": _quoted(schema), "role": _quoted(role)}
    for relation, kind in connection.execute(_FOREIGN_RELATIONS, names).fetchall():
        statement = sql.SQL("alter {} {} owner to {}")
        what = _KINDS.get(kind, sql.SQL("table"))
        connection.execute(statement.format(what, sql.Identifier(schema, relation), sql.Identifier(role)))
    for (routine,) in connection.execute(_FOREIGN_ROUTINES, names).fetchall():
        connection.execute(sql.SQL("alter routine {} owner to {}").format(sql.Identifier(schema, routine), sql.Identifier(role)))


def _grant_read(connection: psycopg.Connection[Any], owner: str, schema: str, role: str) -> None:
    """Let the role read everything in the schema, and everything that its owner will create there."""
    names = {"owner": _quoted(owner), "schema": _quoted(schema), "role": _quoted(role)}
    if not _query_bool(connection, "select has_schema_privilege(%s, %s, 'usage')", role, schema):
        _run(connection, "grant usage on schema {} to {}", schema, role)
    for (relation,) in connection.execute(_UNREADABLE, names).fetchall():
        connection.execute(sql.SQL("grant select on {} to {}").format(sql.Identifier(schema, relation), sql.Identifier(role)))
    privileges = dict(connection.execute(_DEFAULT_PRIVILEGES, names).fetchall())
    if schema not in privileges:
        _run(connection, "alter default privileges for role {} in schema {} grant select on tables to {}", owner, schema, role)
    if "" in privileges:  # an earlier version let the role read every future schema of the owner
        _run(connection, "alter default privileges for role {} revoke select on tables from {}", owner, role)
        _run(connection, "alter default privileges for role {} revoke usage on schemas from {}", owner, role)


def _quoted(name: str) -> str:
    """Return a quoted identifier, as the server parses it from a text."""
    return sql.Identifier(name).as_string()


def read_or_create_password(folder: Path, role: str) -> str:
    """Return the role's password from a file with its name that only we can read, created if missing. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / role
    if not path.is_file():
        files.replace_file(path, secrets.token_urlsafe(24).encode(), mode=0o600)
    return path.read_text(encoding="utf-8")


@click.command(context_settings={"max_content_width": 110})
@version_option()
@click.option("--warehouse", metavar="URL", required=True, help="The database, as its admin: postgresql://admin@host:port/database.")
@click.option(
    "--password", metavar="REF", default="env://WAREHOUSE_PASSWORD", show_default=True, help="The reference to the admin's password."
)
@click.option(
    "--passwords",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="A folder with a file for each role's password. Missing files are created.",
)
def main(warehouse: str, password: str, passwords: Path) -> None:
    """Create a role for each job in a Postgres database, and the role `reader` for people."""
    roles = list_roles(catalogue())
    try:
        role_passwords = {role.name: read_or_create_password(passwords, role.name) for role in roles}
        with psycopg.connect(warehouse, password=references.resolve(password), autocommit=True, connect_timeout=10) as connection:
            prepare(connection, roles, role_passwords)
    except JobError as error:
        raise click.ClickException(str(error)) from None
    except (psycopg.Error, OSError) as error:
        raise click.ClickException(f"the roles of {warehouse} were not changed: {str(error).strip().splitlines()[-1]}") from None
    for role in roles:
        grants = [f"owns {', '.join(role.owns)}"] if role.owns else []
        grants += [f"reads {', '.join(schema for _, schema in role.reads)}"] if role.reads else []
        click.echo(f"{role.name:22}{'; '.join(grants)}")
