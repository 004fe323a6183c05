"""The warehouse's roles: one for each job, called as the job, that may do what the catalogue says of it; and `reader`, for people and BI.

    role                  owns schemas                                                      reads schemas
    load-warehouse        raw, stage
    transform-warehouse   staging, intermediate, marts, as_of, as_of_internal, ops          raw
    publish-marts                                                                           marts, ops, raw
    reader                                                                                  marts, as_of

The roles are the same on a laptop (orchestration/local), in containers (orchestration/compose) and in AWS
(orchestration/ecs/register_stack.py). `prepare` is for the admin of a database: a superuser, or one that may make roles and owns the
database, as the master user on RDS. Run again, it changes nothing; what an earlier version's one role owned is handed over to the
jobs' roles.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple

import click
import psycopg
import stamina
from jobkit import secrets as references
from jobkit.errors import JobError
from psycopg import sql

from jobs.catalogue import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jobs.catalogue import JobSpec

PART = "warehouse/"  # what the catalogue says jobs read and write of it is called warehouse/...
RAW, MARTS = "warehouse/raw", "warehouse/marts"
SCHEMAS = {RAW: ("raw", "stage"), MARTS: ("staging", "intermediate", "marts", "as_of", "as_of_internal", "ops")}
OPEN_TO_JOBS = {RAW: ("raw",), MARTS: ("marts", "ops")}
READER, OPEN_TO_READER = "reader", ("marts", "as_of")
LOCK_TIMEOUT_MS = 10_000  # tables that are handed over may be in use
TRIES = 20  # of one transaction
_ONLY_ONE = "select pg_advisory_xact_lock(hashtextextended('finelt roles', 0))"
# Sequences that belong to a column, and indexes, go with their table.
_OF_OTHERS = """
select c.relname::text, c.relkind::text
from pg_class c
where c.relnamespace = to_regnamespace(%(schema)s) and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and c.relowner <> %(role)s::regrole
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i')
        and c.relkind = 'S')
order by c.relispartition
"""
_ROUTINES_OF_OTHERS = """
select proname::text from pg_proc where pronamespace = to_regnamespace(%(schema)s) and proowner <> %(role)s::regrole
"""
# A leaf is read through its table.
_UNREADABLE = """
select c.relname::text
from pg_class c
where c.relnamespace = to_regnamespace(%(schema)s) and c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
    and not has_table_privilege(%(role)s::regrole::oid, c.oid, 'select')
"""
_GIVEN_AHEAD = """
select distinct coalesce(n.nspname::text, ''), true
from pg_default_acl d
left join pg_namespace n on n.oid = d.defaclnamespace
cross join aclexplode(d.defaclacl) a
where d.defaclrole = %(owner)s::regrole and a.grantee = %(role)s::regrole and (n.oid is null or d.defaclobjtype = 'r')
"""
_KINDS = {"v": sql.SQL("view"), "m": sql.SQL("materialized view"), "S": sql.SQL("sequence"), "f": sql.SQL("foreign table")}


class Role(NamedTuple):
    """A role: the schemas that it owns, and those of other roles that it reads, each with its owner."""

    name: str
    owns: tuple[str, ...]
    reads: tuple[tuple[str, str], ...]


def roles(specs: Iterable[JobSpec]) -> tuple[Role, ...]:
    """The roles of the jobs that work on the warehouse, and that of its readers."""
    jobs = [spec for spec in specs if any(part.startswith(PART) for part in (*spec.reads, *spec.writes))]
    owners = {part: spec.name for spec in jobs for part in spec.writes if part.startswith(PART)}
    found = []
    for spec in jobs:
        owns = tuple(schema for part in spec.writes if part.startswith(PART) for schema in SCHEMAS.get(part, (_named(part),)))
        reads = [(owners[part], schema) for part in spec.reads if part in owners for schema in OPEN_TO_JOBS.get(part, (_named(part),))]
        found.append(Role(spec.name, owns, tuple(reads)))
    to_people = tuple((owners[MARTS], schema) for schema in OPEN_TO_READER) if MARTS in owners else ()
    return (*found, Role(READER, (), to_people))


def _named(part: str) -> str:
    """The schema of a part that is none of ours: a job of one's own that writes warehouse/reports owns the schema reports."""
    return part.removeprefix(PART)


def _is_concurrent_update(error: Exception) -> bool:
    """Whether another session changed the same row of a shared catalog; Postgres has no SQLSTATE of its own for it."""
    return isinstance(error, psycopg.errors.InternalError_) and "tuple concurrently updated" in str(error)


def prepare(connection: psycopg.Connection[Any], wanted: Sequence[Role], passwords: Mapping[str, str]) -> None:
    """Make the roles of a database what they should be, all or nothing. A role without a password can be a group that others are in.

    Roles are the server's, an advisory lock is the database's: what meets another database's preparation is tried again.

    What is so already is left alone: a needless GRANT on a table that a loader changes at the moment would fail one of both.
    Raises psycopg.Error, as where a table that has to be handed over is in use for long.
    """
    tries = stamina.retry_context(on=_is_concurrent_update, attempts=TRIES, timeout=None, wait_initial=0.05, wait_max=1.0)
    for attempt in tries:  # no decorator: stamina would log its arguments, and passwords are among them
        with attempt:
            _prepare(connection, wanted, passwords)


def _prepare(connection: psycopg.Connection[Any], wanted: Sequence[Role], passwords: Mapping[str, str]) -> None:
    schemas = [schema for role in wanted for schema in role.owns]
    with connection.transaction():
        connection.execute(sql.SQL("set local lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT_MS)))
        connection.execute(_ONLY_ONE)
        if _is(connection, "select has_database_privilege('public', current_database(), 'connect, create, temporary')"):
            _run(connection, "revoke all on database {} from public", connection.info.dbname)
        for role in wanted:
            _make_role(connection, role, passwords.get(role.name))
        for role in wanted:
            for schema in role.owns:
                _hand_over(connection, schema, role.name)
        for role in wanted:
            readable = {schema for _, schema in role.reads}
            for schema in schemas:
                may = _is(connection, "select has_schema_privilege(%s, %s, 'usage')", role.name, schema)
                if may and schema not in readable and schema not in role.owns:
                    _run(connection, "revoke all on schema {} from {}", schema, role.name)
            for owner, schema in role.reads:
                _let_read(connection, owner, schema, role.name)


def _is(connection: psycopg.Connection[Any], question: LiteralString, *values: str) -> bool:
    """Whether a query gives true."""
    return bool(connection.execute(question, values).fetchall()[0][0])


def _run(connection: psycopg.Connection[Any], statement: LiteralString, *names: str) -> None:
    """Run a statement of ours with these names in it."""
    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _make_role(connection: psycopg.Connection[Any], role: Role, password: str | None) -> None:
    """The role is there, with this password, and may connect; it makes no schema of its own."""
    database = connection.info.dbname
    if not _is(connection, "select count(*) > 0 from pg_roles where rolname = %s", role.name):
        _run(connection, "create role {} nologin", role.name)
    if password is not None:
        hashed = connection.pgconn.encrypt_password(password.encode(), role.name.encode())  # so that no log of the server has it
        login = sql.SQL("alter role {} login password {}")
        connection.execute(login.format(sql.Identifier(role.name), sql.Literal(hashed.decode())))
    if not _is(connection, "select pg_has_role(%s, 'usage')", role.name):
        _run(connection, "grant {} to current_user", role.name)  # only who is in it may say who reads what it makes
    if _is(connection, "select has_database_privilege(%s, %s, 'create')", role.name, database):
        _run(connection, "revoke create on database {} from {}", database, role.name)
    for right in ("connect",) if role.name == READER else ("connect", "temporary"):
        if not _is(connection, "select has_database_privilege(%s, %s, %s)", role.name, database, right):
            connection.execute(
                sql.SQL("grant {} on database {} to {}").format(sql.SQL(right), sql.Identifier(database), sql.Identifier(role.name))
            )


def _hand_over(connection: psycopg.Connection[Any], schema: str, role: str) -> None:
    """The schema and all in it belong to the role."""
    if not _is(connection, "select to_regnamespace(%s) is not null", _quoted(schema)):
        _run(connection, "create schema {} authorization {}", schema, role)
    elif _is(connection, "select nspowner <> %s::regrole from pg_namespace where nspname = %s", _quoted(role), schema):
        _run(connection, "alter schema {} owner to {}", schema, role)
    names = {"schema": _quoted(schema), "role": _quoted(role)}
    for relation, kind in connection.execute(_OF_OTHERS, names).fetchall():
        statement = sql.SQL("alter {} {} owner to {}")
        what = _KINDS.get(kind, sql.SQL("table"))
        connection.execute(statement.format(what, sql.Identifier(schema, relation), sql.Identifier(role)))
    for (routine,) in connection.execute(_ROUTINES_OF_OTHERS, names).fetchall():
        connection.execute(sql.SQL("alter routine {} owner to {}").format(sql.Identifier(schema, routine), sql.Identifier(role)))


def _let_read(connection: psycopg.Connection[Any], owner: str, schema: str, role: str) -> None:
    """What is in the schema the role may read, and what its owner will make there."""
    names = {"owner": _quoted(owner), "schema": _quoted(schema), "role": _quoted(role)}
    if not _is(connection, "select has_schema_privilege(%s, %s, 'usage')", role, schema):
        _run(connection, "grant usage on schema {} to {}", schema, role)
    for (relation,) in connection.execute(_UNREADABLE, names).fetchall():
        connection.execute(sql.SQL("grant select on {} to {}").format(sql.Identifier(schema, relation), sql.Identifier(role)))
    given = dict(connection.execute(_GIVEN_AHEAD, names).fetchall())
    if schema not in given:
        _run(connection, "alter default privileges for role {} in schema {} grant select on tables to {}", owner, schema, role)
    if "" in given:  # an earlier version let the role read whatever schema the owner would make
        _run(connection, "alter default privileges for role {} revoke select on tables from {}", owner, role)
        _run(connection, "alter default privileges for role {} revoke usage on schemas from {}", owner, role)


def _quoted(name: str) -> str:
    """A name as the server reads it from a text."""
    return sql.Identifier(name).as_string()


def kept_password(folder: Path, role: str) -> str:
    """The role's password, from a file of its name that only we can read; made where there is none."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / role
    if not path.is_file():
        made = folder / f".{role}.new"
        made.unlink(missing_ok=True)
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24))
        made.rename(path)
    return path.read_text(encoding="utf-8")


@click.command(context_settings={"max_content_width": 110})
@click.option("--warehouse", metavar="URL", required=True, help="The database, as its admin: postgresql://admin@host:port/database.")
@click.option("--password", metavar="REF", default="env://WAREHOUSE_PASSWORD", show_default=True, help="Where the admin's password is.")
@click.option(
    "--passwords",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="A folder with a file for each role's password; those that are missing are made.",
)
def main(warehouse: str, password: str, passwords: Path) -> None:
    """Give each job a role of its own in a Postgres database, and people the role `reader`."""
    wanted = roles(catalogue())
    try:
        kept = {role.name: kept_password(passwords, role.name) for role in wanted}
        with psycopg.connect(warehouse, password=references.resolve(password), autocommit=True, connect_timeout=10) as connection:
            prepare(connection, wanted, kept)
    except JobError as error:
        raise click.ClickException(str(error)) from None
    except (psycopg.Error, OSError) as error:
        raise click.ClickException(f"the roles of {warehouse} are as they were: {str(error).strip().splitlines()[-1]}") from None
    for role in wanted:
        does = [f"owns {', '.join(role.owns)}"] if role.owns else []
        does += [f"reads {', '.join(schema for _, schema in role.reads)}"] if role.reads else []
        click.echo(f"{role.name:22}{'; '.join(does)}")


if __name__ == "__main__":
    main(prog_name="scripts/roles")
