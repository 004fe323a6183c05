"""Connections to the warehouse, the translation of its errors, and the advisory locks that keep loaders apart."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from threading import Event
from typing import TYPE_CHECKING, Any

import psycopg
from jobkit import failpoints, postgres
from jobkit.errors import MisconfiguredError, StoppedError
from psycopg import sql

from load_warehouse.policy import LoadPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_SERVER_VERSION = 150000  # NULLS NOT DISTINCT
CONNECT_TIMEOUT_S = 10
RAW_SCHEMA, STAGE_SCHEMA = "raw", "stage"
# The first settings let a server notice within seconds that a loader was killed, even while it builds an index or waits for a lock. The
# last one: below about half a million rows, parallel workers slow down an index, because another session keeps the other core busy.
SETTINGS = (
    "-c client_connection_check_interval=2000 -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3 "
    "-c min_parallel_table_scan_size=64MB"
)


class Session:
    """The connections and the policy of one worker thread. The second connection is opened only to copy from table to table.

    schema: where its tables and its ledger are: raw, or stage for the copy that a reload makes.
    """

    def __init__(
        self, url: str, password: str, stopping: Event | None = None, policy: LoadPolicy | None = None, schema: str = RAW_SCHEMA
    ) -> None:
        self.url, self.stopping, self.policy, self.schema = url, stopping or Event(), policy or LoadPolicy(), schema
        self.newest: dict[str, Any] = {}  # commits, by dataset; for `shape.find_newest`
        self.shapes: dict[str, Any] = {}  # of the newest commits that were read, by dataset; for `shape.read_newest`
        self._password = password
        self._connections: list[psycopg.Connection[Any]] = []

    @property
    def is_reload(self) -> bool:
        """Whether it makes the copy of a reload."""
        return self.schema != RAW_SCHEMA

    def table(self, name: str) -> sql.Identifier:
        """Return a raw table, a leaf or the ledger as SQL."""
        return sql.Identifier(self.schema, name)

    @property
    def main(self) -> psycopg.Connection[Any]:
        """The connection that holds locks and transactions."""
        return self._connection(0)

    @property
    def second(self) -> psycopg.Connection[Any]:
        """The connection that writes while the main one reads."""
        self._connection(0)
        return self._connection(1)

    def _connection(self, index: int) -> psycopg.Connection[Any]:
        if len(self._connections) <= index:
            self._connections.append(connect(self.url, self._password))
        return self._connections[index]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block in one transaction of the main connection."""
        with self.main.transaction():
            yield
            failpoints.hit("before commit")
        failpoints.hit("after commit")

    def execute(self, statement: sql.Composed | sql.SQL) -> psycopg.Cursor[Any]:
        """Run a statement on the main connection. Write values as literals: with parameters, a percent sign in a name would fail."""
        self.raise_if_stopping()
        return self.main.execute(statement)

    def scalar(self, statement: sql.Composed | sql.SQL) -> Any:  # noqa: ANN401  whatever the query returns
        """Return the first value of the first row; None if there is no row."""
        row = self.execute(statement).fetchone()
        return row[0] if row else None

    def raise_if_stopping(self) -> None:
        """Raise StoppedError if the job was asked to stop."""
        if self.stopping.is_set():
            raise StoppedError("stopped; no partial result is visible, run it again to finish")

    def cancel(self) -> None:
        """Cancel the running queries; safe to call from another thread."""
        for connection in self._connections:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=2)

    def close(self) -> None:
        """Close the connections, which releases every lock."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()


def connect(url: str, password: str) -> psycopg.Connection[Any]:
    """Open a connection in autocommit mode.

    Raises AuthError (77) if the login is refused, MisconfiguredError (78) for a missing database or an old server, TemporaryError (75) if
    the server cannot be reached.
    """
    try:
        connection: psycopg.Connection[Any] = psycopg.connect(
            url,
            password=password,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="load-warehouse",
            options=SETTINGS,
            prepare_threshold=None,
        )
    except psycopg.OperationalError as error:
        raise postgres.translate_error(f"the warehouse {url}", str(error), error.sqlstate) or error from None
    if connection.info.server_version < MIN_SERVER_VERSION:
        connection.close()
        raise MisconfiguredError(f"the warehouse {url} is PostgreSQL {connection.info.server_version // 10000}; 15 or later is needed")
    return connection


@contextmanager
def translate_errors(where: str, session: Session) -> Iterator[None]:
    """Translate Postgres errors of the block into job errors about `where`; unknown errors propagate (exit 70)."""
    try:
        yield
    except psycopg.Error as error:
        session.raise_if_stopping()
        if not error.sqlstate and not isinstance(error, psycopg.OperationalError):
            raise  # a wrong call of the driver: a bug
        columns = (error.diag.message_detail or "").partition("=(")[0]  # its values may be confidential
        raise postgres.translate_error(where, _describe(error), error.sqlstate, detail=columns) or error from None


def _describe(error: psycopg.Error) -> str:
    """Return the server's message and the first line of its context."""
    message = error.diag.message_primary or (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{message}, {error.diag.context.splitlines()[0]}" if error.diag.context else message


@contextmanager
def hold_lock(session: Session, key: int, *, shared: bool = False) -> Iterator[None]:
    """Wait for an advisory lock and hold it during the block."""
    suffix = sql.SQL("_shared" if shared else "")
    session.execute(sql.SQL("select pg_advisory_lock{}({})").format(suffix, sql.Literal(key)))
    try:
        yield
    finally:
        _unlock(session, key, suffix)


@contextmanager
def try_lock(session: Session, key: int) -> Iterator[bool]:
    """Hold an advisory lock during the block if it is free now; yield whether it is held."""
    is_held = session.scalar(sql.SQL("select pg_try_advisory_lock({})").format(sql.Literal(key)))
    try:
        yield is_held
    finally:
        if is_held:
            _unlock(session, key, sql.SQL(""))


def _unlock(session: Session, key: int, suffix: sql.SQL) -> None:
    """Release a lock. A broken connection has already released it."""
    with suppress(psycopg.Error):
        session.main.execute(sql.SQL("select pg_advisory_unlock{}({})").format(suffix, sql.Literal(key)))
