"""Each job has a database role with the rights for its work alone; readers see marts and nothing behind them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from jobkit.errors import ExitCode, UsageError
from jobkit.lake import Lake
from load_warehouse import ledger
from psycopg import errors, sql
from transform_warehouse import __main__ as transform
from transform_warehouse import as_of, manifest_cache, project

from finelt import dbt
from jobs.catalogue import catalogue
from orchestration import warehouse_roles
from tests import environments, recorded_lake
from tests.test_incremental import answers_until
from tests.warehouse import role_database as databases
from tests.warehouse.role_database import LOAD, PUBLISH, READER, TRANSFORM

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestration.local.postgres import Postgres
    from tests.fixtures_postgres import Warehouse
    from tests.warehouse.role_database import RoleDatabase

LAST = "2012-12-31"
FACTS_KNOWN = "select count(*) from {}.fct_fundamental where known_from <= '2012-03-15' and known_to > '2012-03-15'"


@pytest.fixture(scope="module")
def database(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoleDatabase]:
    """The sample, loaded, transformed and published by the jobs' own roles."""
    folder = tmp_path_factory.mktemp("roles")
    with databases.role_database(postgres_server, "roles") as database:
        databases.load_and_transform(database, Lake(str(folder / "lake")), answers_until(LAST, ("AAPL",)))
        database.run_job(PUBLISH, "--site", str(folder / "site"))
        yield database


@pytest.fixture
def empty(postgres_server: Postgres) -> Iterator[RoleDatabase]:
    """A database with roles and without tables."""
    with databases.role_database(postgres_server, "roles_empty") as database:
        yield database


def test_there_is_one_role_for_each_job_and_one_for_readers() -> None:
    assert [role.name for role in warehouse_roles.list_roles(catalogue())] == [LOAD, PUBLISH, TRANSFORM, READER]
    own = next(spec for spec in catalogue() if spec.name == TRANSFORM)
    mine = own.__class__(**{**vars(own), "name": "report-desk", "reads": ("warehouse/marts",), "writes": ("warehouse/desk",)})
    (role,) = [role for role in warehouse_roles.list_roles([*catalogue(), mine]) if role.name == "report-desk"]
    assert role.owns == ("desk",)
    assert role.reads == ((TRANSFORM, "marts"), (TRANSFORM, "ops"))


def test_no_query_is_compiled(empty: RoleDatabase) -> None:
    """As-of views have so many expressions that JIT takes longer than the query."""
    with empty.connect(READER) as connection:
        assert connection.execute("show jit").fetchone() == ("off",)


def test_a_concurrent_change_of_a_role_is_retried_and_no_password_is_logged(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_role = warehouse_roles._create_role
    failures = iter([errors.InternalError_("tuple concurrently updated")])

    def fail_first(connection: psycopg.Connection[Any], role: warehouse_roles.Role, password: str | None) -> None:
        for error in failures:
            raise error
        make_role(connection, role, password)

    monkeypatch.setattr(warehouse_roles, "_create_role", fail_first)
    caplog.set_level("DEBUG")
    roles = [warehouse_roles.Role("finelt-test-retried", (), ())]
    with warehouse.connect() as admin:
        warehouse_roles.prepare(admin, roles, {"finelt-test-retried": "canary-9d1f"})
        assert admin.execute("select rolcanlogin from pg_roles where rolname = 'finelt-test-retried'").fetchall() == [(True,)]
        assert "canary" not in caplog.text
        failures = iter([errors.InternalError_("something else")])
        with pytest.raises(errors.InternalError_, match="something else"):
            warehouse_roles.prepare(admin, roles, {})
        admin.execute('drop owned by "finelt-test-retried"; drop role "finelt-test-retried"')


def test_people_log_in_as_analyst_with_a_token_only_where_rds_offers_it(database: RoleDatabase) -> None:
    groups = "select g.rolname::text from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = to_regrole('analyst')"
    with database.connect_as_admin() as admin:
        warehouse_roles.create_analyst(admin)
        assert admin.execute("select to_regrole('analyst')").fetchall() == [(None,)]
        admin.execute("create role rds_iam")
        try:
            for _ in range(2):
                warehouse_roles.create_analyst(admin)
            assert {group for (group,) in admin.execute(groups).fetchall()} == {"reader", "rds_iam"}
            assert admin.execute("select rolcanlogin, rolsuper from pg_roles where rolname = 'analyst'").fetchall() == [(True, False)]
        finally:
            admin.execute("drop role if exists analyst; drop role rds_iam")


def test_dbt_of_a_developer_writes_to_his_schema_alone_and_reads_the_rest_from_the_demo(database: RoleDatabase, tmp_path: Path) -> None:
    """fct_curve_spread reads fct_yield, which he does not build: dbt defers it to the marts. A misspelt model is refused."""
    name, yields = "dbt_anna", "select count(*), md5(string_agg(t::text, '' order by t::text)) from {}.fct_curve_spread t"
    environment = dbt.prepare_schema(database.server, name, database.name)
    assert dbt.prepare_schema(database.server, name, database.name) == environment
    built = database.rows(READER, yields.format("marts"))
    try:
        assert dbt.run_dbt("build", ["--select", "fct_curve_spread"], tmp_path, {**os.environ, **environment}) == 0
        assert dbt.run_dbt("run", ["--select", "fct_curve_sprede"], tmp_path, {**os.environ, **environment}) == ExitCode.USAGE
        tables = (
            "select relname::text from pg_class join pg_namespace n on n.oid = relnamespace where relkind = 'r' and nspname = 'dbt_anna'"
        )
        assert database.rows(name, tables) == [("fct_curve_spread",)]
        assert database.rows(name, yields.format(name)) == database.rows(READER, yields.format("marts")) == built
        for statement in ("delete from marts.fct_curve_spread", "drop table marts.fct_curve_spread", "create table marts.mine (x int)"):
            with pytest.raises(errors.InsufficientPrivilege):
                database.rows(name, statement)
        with database.connect(TRANSFORM) as transform_job:  # as a later build does
            transform_job.execute("create table marts.built_later (x int)")
        assert database.rows(name, "select count(*) from marts.built_later") == [(0,)]
        with pytest.raises(errors.InsufficientPrivilege):
            database.rows(READER, f"select * from {name}.fct_curve_spread")
    finally:
        with database.connect_as_admin() as admin:
            admin.execute("drop table if exists marts.built_later; drop owned by dbt_anna cascade; drop role dbt_anna")


@pytest.mark.parametrize("name", ["marts", "dbt_", "dbt_Anna", "dbt_a;drop", "dbt_" + "a" * 60])
def test_a_schema_that_may_be_anothers_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not a developer's schema; expected dbt_"):
        dbt.choose_schema(name, "anna")
    assert dbt.choose_schema(None, "Anna.O'Hara") == "dbt_anna_o_hara"


def test_the_role_of_a_removed_job_loses_its_login_and_a_role_of_somebody_else_does_not(warehouse: Warehouse) -> None:
    """What it owns stays, and putting the job back restores its login."""
    kept, removed = warehouse_roles.Role("finelt-test-kept", (), ()), warehouse_roles.Role("finelt-test-removed", ("test_desk",), ())
    passwords = {kept.name: "kept", removed.name: "removed"}

    def logins(admin: psycopg.Connection[Any]) -> dict[str, bool]:
        found = admin.execute("select rolname::text, rolcanlogin from pg_roles where rolname like 'finelt-test-%'").fetchall()
        return {name.removeprefix("finelt-test-"): can_login for name, can_login in found}

    with warehouse.connect() as admin:
        admin.execute("create role \"finelt-test-person\" login password 'p'")
        admin.execute(sql.SQL('grant connect on database {} to "finelt-test-person"').format(sql.Identifier(admin.info.dbname)))
        try:
            warehouse_roles.prepare(admin, [kept, removed], passwords)
            assert logins(admin) == {"kept": True, "removed": True, "person": True}
            warehouse_roles.prepare(admin, [kept], passwords)
            assert logins(admin) == {"kept": True, "removed": False, "person": True}
            assert admin.execute("select nspowner::regrole::text from pg_namespace where nspname = 'test_desk'").fetchall() == [
                ('"finelt-test-removed"',)
            ]
            warehouse_roles.prepare(admin, [kept, removed], passwords)
            assert logins(admin) == {"kept": True, "removed": True, "person": True}
        finally:
            for name in ("kept", "removed", "person"):
                admin.execute(f'drop owned by "finelt-test-{name}" cascade; drop role "finelt-test-{name}"')


def test_the_roles_own_the_schemas_that_the_jobs_and_dbt_write() -> None:
    made = warehouse_roles.SCHEMAS
    assert made["warehouse/raw"] == ledger.SCHEMAS
    assert made["warehouse/marts"] == transform.SCHEMAS
    manifest = manifest_cache.load_manifest(project.find_project(None), database="any")
    assert {node.schema for node in manifest.nodes.values() if node.resource_type in ("model", "seed")} <= set(made["warehouse/marts"])
    assert set(as_of.SCHEMAS) <= set(made["warehouse/marts"])


def test_no_job_is_a_superuser_or_owns_tables_of_another(database: RoleDatabase) -> None:
    names = [role.name for role in warehouse_roles.list_roles(catalogue())]
    privileged = """
        select rolname from pg_roles
        where rolname = any(%s) and (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls)
    """
    owners = """
        select distinct n.nspname::text, pg_get_userbyid(c.relowner)::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname !~ '^pg_|information_schema'
    """
    with database.connect_as_admin() as admin:
        assert admin.execute(privileged.encode(), [names]).fetchall() == []
        assert dict(admin.execute(owners.encode()).fetchall()) == {
            "raw": LOAD,
            **dict.fromkeys(("staging", "intermediate", "marts", "as_of", "as_of_internal", "ops"), TRANSFORM),
        }


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        (LOAD, "select from marts.fct_price_daily"),
        (LOAD, "create schema other"),
        (LOAD, "copy raw._ledger to program 'true'"),
        (TRANSFORM, "update raw.tiingo_prices set volume = 0"),
        (TRANSFORM, "insert into raw._ledger default values"),
        (TRANSFORM, "drop table raw.tiingo_prices"),
        (TRANSFORM, "create table raw.other (i int)"),
        (TRANSFORM, "create schema other"),
        (TRANSFORM, "select pg_read_file('/etc/hostname')"),
        (PUBLISH, "delete from marts.fct_price_daily"),
        (PUBLISH, "drop view as_of.fct_price_daily"),
        (PUBLISH, "update ops.transforms set fingerprint = ''"),
        (PUBLISH, "select from staging.stg_tiingo__prices"),
        (READER, "select from raw.tiingo_prices"),
        (READER, 'select from raw."tiingo_prices-2012"'),
        (READER, "select from staging.stg_tiingo__prices"),
        (READER, "select from as_of_internal.tiingo_prices"),
        (READER, "select from ops.transforms"),
        (READER, "delete from marts.fct_price_daily"),
        (READER, "create table marts.mine (i int)"),
        (READER, "create table public.mine (i int)"),
        (READER, "create temporary table mine (i int)"),
    ],
)
def test_a_role_may_not_do_the_work_of_another(database: RoleDatabase, role: str, statement: str) -> None:
    with database.connect(role) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement.encode())


def test_readers_query_marts_now_and_as_of_a_moment(database: RoleDatabase) -> None:
    assert database.rows(READER, "select count(*) > 100 from marts.fct_price_daily") == [(True,)]
    assert database.rows(READER, "select count(*) from marts.fct_freshness")[0][0] > 3  # a view on tables that people do not read
    with database.connect(READER) as connection:
        now = connection.execute("select count(*) from as_of.fct_price_daily").fetchone()
        connection.execute("set finelt.as_of = '2000-01-01 00:00Z'")
        assert connection.execute("select count(*) from as_of.fct_price_daily").fetchone() == (0,)
        assert now == connection.execute("select count(*) from marts.fct_price_daily").fetchone()


def test_tables_created_later_can_be_read(database: RoleDatabase) -> None:
    with database.connect(LOAD) as loader, database.connect(TRANSFORM) as transformer:
        loader.execute("create table raw.later as select 1 as i")
        transformer.execute("create table marts.later as select i from raw.later")
    try:
        assert database.rows(READER, "select i from marts.later") == [(1,)]
        assert database.rows(PUBLISH, "select i from marts.later") == [(1,)]
    finally:
        with database.connect_as_admin() as admin:
            admin.execute("drop table raw.later, marts.later")


def test_the_check_of_each_job_succeeds(database: RoleDatabase, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    recorded_lake.commit(lake, answers_until(LAST, ("AAPL",))[0])
    argv = {LOAD: ("--lake", str(tmp_path / "lake")), TRANSFORM: (), PUBLISH: ("--site", str(tmp_path / "site"))}
    for job, more in argv.items():
        checked = database.try_job(job, "check", *more)
        assert checked["exit_code"] == 0, checked["error"]


@pytest.mark.parametrize(
    ("job", "statement", "message"),
    [
        (LOAD, "alter schema stage owner to {ADMIN}", "grant it CREATE"),
        (LOAD, "alter table raw._ledger owner to {ADMIN}", "raw._ledger belongs to another role"),
        (TRANSFORM, "revoke usage on schema raw from {TRANSFORM}", "USAGE on the schema raw"),
        (TRANSFORM, "revoke select on raw._ledger from {TRANSFORM}", "SELECT on raw._ledger"),
        (TRANSFORM, "alter schema marts owner to {ADMIN}", "CREATE on the schema marts"),
        (PUBLISH, "revoke usage on schema marts from {PUBLISH}", "permission denied for schema marts; grant it"),
    ],
)
def test_the_check_of_a_job_names_the_missing_right(database: RoleDatabase, tmp_path: Path, job: str, statement: str, message: str) -> None:
    recorded_lake.commit(Lake(str(tmp_path / "lake")), answers_until(LAST, ("AAPL",))[0])
    names = {name: sql.Identifier(role) for name, role in (("LOAD", LOAD), ("TRANSFORM", TRANSFORM), ("PUBLISH", PUBLISH))}
    with database.connect_as_admin() as admin:
        admin.execute(sql.SQL(statement).format(**names, ADMIN=sql.Identifier(database.server.user)))
    argv = {LOAD: ("--lake", str(tmp_path / "lake")), TRANSFORM: (), PUBLISH: ("--site", str(tmp_path / "site"))}
    checked = database.try_job(job, "check", *argv[job])
    database.server.prepare_roles(database.name)
    assert checked["exit_code"] == 78
    assert message in checked["error"]
    fixed = database.try_job(job, "check", *argv[job])
    assert fixed["exit_code"] == 0, fixed["error"]


OWNED_BY_ONE = """
select format('alter %s %I.%I owner to current_user', case relkind when 'v' then 'view' else 'table' end, nspname, relname)
from pg_class join pg_namespace n on n.oid = relnamespace
where nspname !~ '^pg_|information' and relkind in ('r', 'p', 'v')
"""


def test_tables_of_an_older_version_change_owners_and_the_jobs_still_work(empty: RoleDatabase, tmp_path: Path) -> None:
    """As an older version left it: one role owned everything, as_of had every view, and default privileges covered whole schemas."""
    lake = Lake(str(tmp_path / "lake"))
    databases.load_and_transform(empty, lake, answers_until("2012-06-29", ("AAPL",)))
    with empty.connect_as_admin() as admin:
        for (statement,) in admin.execute(OWNED_BY_ONE).fetchall():
            admin.execute(statement.encode())
        for schema in ("raw", "stage", "marts", "as_of"):
            admin.execute(sql.SQL("alter schema {} owner to {}").format(sql.Identifier(schema), sql.Identifier(empty.server.user)))
        admin.execute("create view as_of.tiingo_prices as select * from raw.tiingo_prices")
        admin.execute("drop schema as_of_internal cascade")
        admin.execute('alter default privileges for role "load-warehouse" grant usage on schemas to "publish-marts"')
        admin.execute('alter default privileges for role "load-warehouse" grant select on tables to "publish-marts"')
        admin.execute('grant create on database roles_empty to "load-warehouse"')
    empty.server.prepare_roles(empty.name)
    for answer in answers_until(LAST, ("AAPL",)):
        recorded_lake.commit(lake, answer)
    assert empty.run_job(LOAD, "--lake", str(recorded_lake.lake_path(lake)))["status"] == "done"
    with empty.connect_as_admin() as admin:
        admin.execute("truncate ops.transforms")  # as after an upgrade, which rebuilds everything
    empty.run_job(TRANSFORM)
    assert empty.rows(READER, "select max(trade_date)::text from as_of.fct_price_daily") == [(LAST,)]
    assert empty.rows(READER, "select to_regclass('as_of.tiingo_prices') is null") == [(True,)]
    assert empty.rows(LOAD, "select has_database_privilege(current_user, current_database(), 'create')") == [(False,)]


def test_preparing_roles_again_changes_nothing_and_waits_for_no_loader(database: RoleDatabase) -> None:
    """A GRANT on a table that is being altered would fail one of the two."""
    written = "select sum(xmin::text::bigint) from pg_class where relnamespace::regnamespace::text in ('raw', 'marts', 'as_of')"
    before = database.rows(READER, written)
    with database.connect(LOAD, autocommit=False) as loader:
        loader.execute("alter table raw.tiingo_prices add column late text")
        database.server.prepare_roles(database.name)
        loader.rollback()
    assert database.rows(READER, written) == before


def test_no_password_of_a_role_is_in_the_servers_log(postgres_server: Postgres) -> None:
    with psycopg.connect(postgres_server.url, password=postgres_server.password, autocommit=True) as admin:
        admin.execute("alter system set log_statement = 'all'")
        admin.execute("select pg_reload_conf()")
        postgres_server.prepare_roles()
        admin.execute("alter system reset log_statement")
        admin.execute("select pg_reload_conf()")
    folder = postgres_server.password_file.parent
    log = (folder / "log").read_text()
    assert "alter role" in log
    for role in (LOAD, TRANSFORM, PUBLISH, READER):
        assert (folder / "roles" / role).read_text() not in log


ENDS = """
select table_schema, table_name, column_name from information_schema.columns
where table_schema in ('marts', 'as_of') and data_type in ('date', 'timestamp with time zone', 'timestamp without time zone')
"""


def test_no_date_of_a_mart_is_infinite(database: RoleDatabase) -> None:
    columns = database.rows(READER, ENDS)
    assert {("marts", "fct_fundamental", "known_to"), ("as_of", "dim_security", "valid_to")} <= set(columns)
    with database.connect(READER) as connection:
        for schema, table, column in columns:
            infinite = sql.SQL("select count(*) from {} where not isfinite({})").format(
                sql.Identifier(schema, table), sql.Identifier(column)
            )
            assert connection.execute(infinite).fetchone() == (0,), (schema, table, column)


CLIENTS = {
    "psycopg": ("psycopg[binary]==3.3.9",),
    "adbc": ("adbc-driver-postgresql==1.13.0", "pyarrow==26.0.1"),
    "polars": ("polars==2.1.0", "adbc-driver-postgresql==1.13.0", "pyarrow==26.0.1"),
    "duckdb": ("duckdb==1.5.5", "duckdb-extensions==1.5.5", "duckdb-extension-postgres-scanner==1.5.5"),
    "pandas": ("pandas==3.1.1", "adbc-driver-postgresql==1.13.0", "pyarrow==26.0.1"),
}
ASK = """
import datetime, os, sys
client, url, day = sys.argv[1], os.environ["READER_URL"], datetime.date(2012, 3, 15)
for table in ("marts.fct_fundamental", "as_of.fct_fundamental"):
    query = f"select concept, unit, period_start, period_end, known_from, known_to from {table}"
    if client == "psycopg":
        import psycopg
        rows = psycopg.connect(url).execute(query).fetchall()
    elif client == "adbc":
        from adbc_driver_postgresql import dbapi
        with dbapi.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            rows = [tuple(row.values()) for row in cursor.fetch_arrow_table().to_pylist()]
    elif client == "polars":
        import polars
        rows = polars.read_database_uri(query, url, engine="adbc").rows()
    elif client == "pandas":
        import pandas
        from adbc_driver_postgresql import dbapi
        with dbapi.connect(url) as connection:
            frame = pandas.read_sql(query, connection, dtype_backend="pyarrow")
        rows = frame.astype(object).values.tolist()
    else:
        import duckdb
        connection = duckdb.connect()
        __import__("duckdb_extensions").import_extension("postgres_scanner")
        connection.execute(f"attach '{url}' as warehouse (type postgres, read_only)")
        rows = connection.execute(query.replace(table, f"warehouse.{table}")).fetchall()
    known = [row for row in rows if row[4] <= day < row[5]]
    for row in sorted((row[0], row[1], str(row[3]), str(row[4]), str(row[5])) for row in known):
        print(table.partition(".")[2], *row)
"""


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_reads_the_same_rows_as_of_a_day(database: RoleDatabase, client: str) -> None:
    """A client that filters known_from <= d and known_to > d gets the rows that Postgres gets."""
    python = environments.python(f"reader-{client}", *CLIENTS[client])
    password = (database.server.password_file.parent / "roles" / READER).read_text()
    url = database.server.url_of(READER, database.name).replace("@", f":{password}@")
    done = environments.run([python, "-c", ASK, client], READER_URL=url)
    lines = done.splitlines()
    half = len(lines) // 2
    assert lines[:half] == lines[half:]
    assert [(half,)] == database.rows(READER, FACTS_KNOWN.format("marts"))
    assert half > 10
    assert any(line.endswith("9999-12-31") for line in lines)


def query_as_of(database: RoleDatabase, setting: str) -> int:
    """Count the yields as of the setting finelt.as_of."""
    with database.connect(READER) as connection:
        connection.execute("select set_config('finelt.as_of', %s, false)", [setting])
        found = connection.execute("select count(*) from as_of.fct_yield").fetchone()
        return int(found[0]) if found else -1


@pytest.mark.parametrize(
    "setting",
    [
        *("infinity", "-infinity", "now", "today", "epoch", "allballs", "yesterday", " ", "   ", "x", "2013", "2013-01-15", "1e9", "\t"),
        *("2013-01-15 12:00", "2013-01-15T12:00:00", "2013-01-15 12:00 Europe/Berlin", "2013-01-15 12:00 EST", "2013-01-15 12:00:00 UTC"),
        *("2013-02-30T12:00:00Z", "2013-02-29T00:00:00Z", "2013-13-01T00:00:00Z", "2013-00-10T00:00:00Z", "2013-01-15T24:00:00Z"),
        *("2013-01-15T12:60:00Z", "0000-01-01T00:00:00Z", "2013-01-15T12:00:00+16:00", "2013-01-15T12:00:00+1", "15/01/2013 12:00Z"),
        *(
            " 2013-01-15T12:00:00Z",
            "2013-01-15T12:00:00Z ",
            "2013-01-15T12:00:00Z\n",
            "2013-01-15T12:00:00Z; select 1",
            "'2013-01-15T12:00:00Z'",
        ),
        *(
            "9999-12-31T00:00:00Z",
            pytest.param(f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}", id="tomorrow"),
            "99999-01-01T00:00:00Z",
            "\u0662013-01-15T12:00:00Z",
        ),
    ],
)
def test_an_invalid_moment_is_refused_in_one_sentence(database: RoleDatabase, setting: str) -> None:
    with pytest.raises(
        errors.InvalidParameterValue, match="expected a moment that has passed, with its time zone, such as 2013-01-15T12:00:00Z"
    ):
        query_as_of(database, setting)


@pytest.mark.parametrize("style", ["ISO, MDY", "German", "SQL, DMY"])
@pytest.mark.parametrize(
    ("setting", "moment"),
    [
        ("2013-01-15T12:00:00Z", datetime(2013, 1, 15, 12, tzinfo=UTC)),
        ("2013-01-15 12:00Z", datetime(2013, 1, 15, 12, tzinfo=UTC)),
        ("2013-03-01T02:30:00.123456+05:30", datetime(2013, 2, 28, 21, 0, 0, 123456, tzinfo=UTC)),
        ("2012-02-29T23:59:59-0800", datetime(2012, 3, 1, 7, 59, 59, tzinfo=UTC)),
        ("2013-01-02 00:00+01", datetime(2013, 1, 1, 23, tzinfo=UTC)),
    ],
)
def test_a_moment_means_the_same_in_every_session(database: RoleDatabase, setting: str, moment: datetime, style: str) -> None:
    with database.connect(READER) as connection:
        connection.execute("select set_config('datestyle', %s, false), set_config('timezone', 'Pacific/Auckland', false)", [style])
        connection.execute("select set_config('finelt.as_of', %s, false)", [setting])
        assert connection.execute("select as_of.moment() = %s::timestamptz", [moment.isoformat()]).fetchone() == (True,)


@pytest.mark.parametrize("setting", ["", None])
def test_without_a_moment_the_views_equal_the_marts(database: RoleDatabase, setting: str | None) -> None:
    with database.connect(READER) as connection:
        if setting is not None:
            connection.execute("select set_config('finelt.as_of', %s, false)", [setting])
        ((views, marts),) = connection.execute(
            "select (select count(*) from as_of.fct_yield), (select count(*) from marts.fct_yield)"
        ).fetchall()
    assert views == marts > 0


def test_the_moment_is_read_once_a_query_and_queries_stay_parallel(database: RoleDatabase) -> None:
    with database.connect(READER) as connection:
        plan = "\n".join(row[0] for row in connection.execute("explain (verbose) select * from as_of.fct_yield").fetchall())
    assert "InitPlan" in plan
    assert [line for line in plan.splitlines() if "as_of.moment()" in line and "Filter" in line] == []
    safe = "select proparallel = 's' from pg_proc where proname = 'moment' and pronamespace = 'as_of'::regnamespace"
    assert database.rows(READER, safe) == [(True,)]
