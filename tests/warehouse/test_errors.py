"""One failure of Postgres has one exit code in all three warehouse jobs, whichever driver they use."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, LiteralString

import adbc_driver_manager
import adbc_driver_postgresql
import psycopg
import psycopg2
import pytest
from jobkit import lossless_json, postgres
from jobkit.database import DatabaseClient
from jobkit.errors import AuthError, BadDataError, ExitCode, JobError, MisconfiguredError
from load_warehouse import session
from psycopg import sql
from publish_marts import warehouse as published
from transform_warehouse import build_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fixtures_postgres import Warehouse

AUTH, SETTING, DATA, LATER, BUG = ExitCode.AUTH, ExitCode.MISCONFIGURED, ExitCode.BAD_DATA, ExitCode.TEMPORARY, ExitCode.BUG
PASSWORD = "canary-4711"
SQLSTATES = {
    "28000": AUTH, "28P01": AUTH,
    "42501": SETTING, "3D000": SETTING, "3F000": SETTING, "25006": SETTING,
    "23505": DATA, "22003": DATA, "22P02": DATA, "23502": DATA, "54000": DATA,
    "53100": LATER, "08006": LATER, "25P02": LATER, "40001": LATER, "40P01": LATER, "53300": LATER,
    "55P03": LATER, "57014": LATER, "58030": LATER,
    "42601": BUG, "42883": BUG, "XX000": BUG,
}  # fmt: skip
TEXTS = {
    'FATAL:  password authentication failed for user "u"': AUTH,
    'FATAL:  GSSAPI authentication failed for user "u"': AUTH,
    "authentication method 13 not supported": AUTH,
    "fe_sendauth: no password supplied": AUTH,
    'FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "u", database "d", no encryption': AUTH,
    'FATAL:  pg_hba.conf rejects connection for host "10.0.0.1", user "u", database "d", no encryption': AUTH,
    'FATAL:  role "u" does not exist': AUTH,
    'FATAL:  role "u" is not permitted to log in': AUTH,
    'FATAL:  permission denied for database "d"\nDETAIL:  User does not have CONNECT privilege.': SETTING,
    'FATAL:  database "d" does not exist': SETTING,
    "server does not support SSL, but SSL was required": SETTING,
    "SSL error: certificate verify failed": SETTING,
    'root certificate file "/nowhere" does not exist': SETTING,
    'could not load private key file "/k": bad decrypt': SETTING,
    'private key file "/k" has group or world access; file must have permissions u=rw (0600) or less': SETTING,
    'server certificate for "a" does not match host name "b"': SETTING,
    "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?": LATER,
    "FATAL:  the database system is starting up": LATER,
    "FATAL:  sorry, too many clients already": LATER,
    'could not translate host name "h" to address: Name or service not known': LATER,
    "server closed the connection unexpectedly": LATER,
}


def load(url: str, password: str, statement: str) -> None:
    """Run a statement as load-warehouse does."""
    with closing(session.Session(url, password)) as worker, session.translate_errors("here", worker):
        worker.execute(sql.SQL(statement))  # type: ignore[arg-type]


def transform(url: str, password: str, statement: str) -> None:
    """Run a statement as transform-warehouse does."""
    with build_log.open_build_log(url, password) as log:
        log.execute(statement)


def publish(url: str, password: str, statement: str) -> None:
    """Run a statement as publish-marts does."""
    with published.open_snapshot(url, password) as snapshot:
        snapshot.execute(statement)


every_job = pytest.mark.parametrize("job", [load, transform, publish], ids=lambda job: job.__name__)


def failure(job: Callable[[str, str, str], None], url: str, password: str, statement: str = "select 1") -> tuple[ExitCode, str]:
    """The exit code and the message that a job ends with."""
    try:
        job(url, password, statement)
    except JobError as error:
        return error.exit_code, str(error)
    except (psycopg.Error, psycopg2.Error, adbc_driver_manager.Error) as error:
        return ExitCode.BUG, str(error)
    raise AssertionError("no failure")


@every_job
def test_each_sqlstate_has_one_exit_code_in_every_job(job: Callable[[str, str, str], None], warehouse: Warehouse) -> None:
    """The server itself raises each of them, so that the drivers report what they report in production."""
    codes = {}
    for sqlstate in SQLSTATES:
        statement = f"do $$ begin raise exception 'no luck' using errcode = '{sqlstate}'; end $$"
        codes[sqlstate], message = failure(job, warehouse.url, warehouse.password, statement)
        assert "no luck" in message or sqlstate in ("23505", "53100")
        assert "$$" not in message or codes[sqlstate] == BUG
    assert codes == SQLSTATES


@every_job
def test_a_connection_that_the_server_refuses_has_one_exit_code_in_every_job(
    job: Callable[[str, str, str], None], warehouse: Warehouse
) -> None:
    database = warehouse.url.rpartition("/")[2]
    warehouse.run(
        f"drop role if exists outsider; drop role if exists dormant; create role outsider login password '{PASSWORD}';"
        f"create role dormant nologin password '{PASSWORD}'; revoke connect on database {database} from public"
    )
    outsider, dormant, stranger = (warehouse.url.replace("finelt@", f"{role}@") for role in ("outsider", "dormant", "stranger"))
    for url, password, code in (
        (warehouse.url, PASSWORD, AUTH),
        (stranger, PASSWORD, AUTH),
        (dormant, PASSWORD, AUTH),
        (outsider, PASSWORD, SETTING),
        (f"{warehouse.url}_gone", warehouse.password, SETTING),
        ("postgresql://finelt@127.0.0.1:1/warehouse", PASSWORD, LATER),
    ):
        got, message = failure(job, url, password)
        assert got == code, message
        assert PASSWORD not in message
        assert "\n" not in message


@every_job
def test_each_text_of_libpq_has_one_exit_code_in_every_job(job: Callable[[str, str, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    codes = {}
    for text in TEXTS:
        message = f'connection to server at "h" (10.0.0.2), port 5432 failed: {text}\n'
        refused: dict[Any, BaseException] = {
            psycopg: psycopg.OperationalError(f"connection failed: {message}"),
            psycopg2: psycopg2.OperationalError(message),
            adbc_driver_postgresql: adbc_driver_manager.OperationalError(
                f"IO: [libpq] Failed to connect: {message}", status_code=adbc_driver_manager.AdbcStatusCode.IO
            ),
        }
        for driver, error in refused.items():

            def connect(*_: object, error: BaseException = error, **__: object) -> None:
                raise error

            monkeypatch.setattr(driver, "connect", connect)
        codes[text], shown = failure(job, "postgresql://u@h:5432/d", PASSWORD)
        assert "\n" not in shown
    assert codes == TEXTS


def test_every_row_of_the_table_is_tried() -> None:
    """A new rule needs a sample above: one of its SQLSTATEs, and each of its texts."""
    for rule in postgres.RULES:
        for beginning in rule.sqlstates:
            assert any(sqlstate.startswith(beginning) for sqlstate in SQLSTATES), beginning
    for text, code in TEXTS.items():
        error = postgres.translate_error("h", text, None)
        assert error is not None
        assert error.exit_code == code


def test_a_message_holds_no_detail_and_no_statement() -> None:
    text = 'ERROR:  new row violates check constraint "c"\nDETAIL:  Failing row contains (secret).\n\nQuery was:insert into t'
    assert postgres.server_message(text) == 'new row violates check constraint "c"'


def test_a_vendors_database_gives_rows_as_json_without_loss(warehouse: Warehouse) -> None:
    """Numerics keep their digits, null is no empty text, moments are in UTC; equal rows give equal bytes."""
    warehouse.run(
        "create table gold (day date, price numeric, note text, at timestamptz);"
        "insert into gold values ('2024-01-02', 2064.400, '', '2024-01-02 13:00+01');"
        "insert into gold values ('2024-01-03'), ('2023-12-29')"
    )
    query: LiteralString = "select * from gold where day between %(start)s and %(end)s order by day"
    client = DatabaseClient(warehouse.url, warehouse.password, query=query)
    request = ("/gold", [("start", "2024-01-01"), ("end", "2024-12-31")])
    client.probe(*request)
    response = client.get(*request)
    assert response.url == f"{warehouse.url}/gold?start=2024-01-01&end=2024-12-31"
    assert lossless_json.decode(response.body or b"", "it") == [
        {"day": "2024-01-02", "price": "2064.400", "note": "", "at": "2024-01-02T12:00:00+00:00"},
        {"day": "2024-01-03", "price": None, "note": None, "at": None},
    ]
    assert client.get(*request).body == response.body
    assert client.get("/gold", [("start", "1999-01-01"), ("end", "1999-12-31")]).body == b"[]"
    client.max_body_bytes = 10
    with pytest.raises(BadDataError, match="bytes, more than 10; query less at once"):
        client.get(*request)


@pytest.mark.parametrize(
    ("password", "query", "error", "message"),
    [
        ("wrong", "select 1 as x", AuthError, "check the user in --database and the secret that --database-password names"),
        ("", "select * from nowhere", MisconfiguredError, "refuses the query in source.py"),
        ("", "create table x ()", MisconfiguredError, "refuses the query in source.py"),
        ("", "select 1/0 as x", BadDataError, "division by zero"),
    ],
)
def test_a_vendors_database_that_refuses_ends_with_the_code_of_the_reason(
    warehouse: Warehouse, password: str, query: LiteralString, error: type[JobError], message: str
) -> None:
    client = DatabaseClient(warehouse.url, password or warehouse.password, query=query)
    with pytest.raises(error, match=message) as raised:
        client.get("/gold")
    assert warehouse.password not in str(raised.value)
