"""Connections to the warehouse, its refusals as sentences, and the advisory locks that keep loaders apart."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, suppress
from threading import Event
from typing import TYPE_CHECKING, Any

import psycopg
from jobkit import failpoints, postgres
from jobkit.errors import MisconfiguredError, StoppedError
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST_SERVER = 150000  # NULLS NOT DISTINCT
CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_MS = 100  # readers queue behind a waiting DDL lock; longer than this they would notice
# A server notices within seconds that a loader was killed, even while it builds an index or waits for a lock. Under half a million rows
# or so, a helping process costs an index more than it saves: the loader's other connection has work for the other core.
SETTINGS = (
    "-c client_connection_check_interval=2000 -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3 "
    "-c min_parallel_table_scan_size=64MB"
)


class Session:
    """One worker's connections: the main one, and a second where a copy flows from table to table."""

    def __init__(self, url: str, password: str, stopping: Event | None = None) -> None:
        self.url, self.stopping = url, stopping or Event()
        self._password = password
        self._connections: list[psycopg.Connection[Any]] = []

    @property
    def main(self) -> psycopg.Connection[Any]:
        """The connection that holds locks and transactions."""
        return self._connection(0)

    @property
    def second(self) -> psycopg.Connection[Any]:
        """Another one."""
        self._connection(0)
        return self._connection(1)

    def _connection(self, index: int) -> psycopg.Connection[Any]:
        if len(self._connections) <= index:
            self._connections.append(connect(self.url, self._password))
        return self._connections[index]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing, on the main connection."""
        with self.main.transaction():
            yield
            failpoints.hit("before commit")
        failpoints.hit("after commit")

    def execute(self, statement: sql.Composed | sql.SQL) -> psycopg.Cursor[Any]:
        """Run a statement on the main connection. Values are literals in it: a name may hold a percent sign."""
        self.keep_going()
        return self.main.execute(statement)

    def scalar(self, statement: sql.Composed | sql.SQL) -> Any:  # noqa: ANN401  whatever the query gives
        """The first value of the first row; None where there is no row."""
        row = self.execute(statement).fetchone()
        return row[0] if row else None

    def keep_going(self) -> None:
        """Raises StoppedError once the job was told to stop."""
        if self.stopping.is_set():
            raise StoppedError("stopped; nothing half done is visible, run it again to finish")

    def cancel(self) -> None:
        """Interrupt whatever runs; safe to call from another thread."""
        for connection in self._connections:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=2)

    def close(self) -> None:
        """End the connections and with them every lock."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()


def connect(url: str, password: str) -> psycopg.Connection[Any]:
    """A connection in autocommit mode. Raises AuthError, MisconfiguredError or TemporaryError."""
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
    if connection.info.server_version < OLDEST_SERVER:
        connection.close()
        raise MisconfiguredError(f"the warehouse {url} is PostgreSQL {connection.info.server_version // 10000}; 15 or later is needed")
    return connection


@contextmanager
def told(where: str, session: Session) -> Iterator[None]:
    """Translate the warehouse's errors into the job's, about `where`. Errors that only a bug explains propagate (exit code 70)."""
    try:
        yield
    except psycopg.Error as error:
        session.keep_going()
        if not error.sqlstate and not isinstance(error, psycopg.OperationalError):
            raise  # the driver refused our call
        columns = (error.diag.message_detail or "").partition("=(")[0]  # its values may be confidential
        raise postgres.translate_error(where, _message(error), error.sqlstate, detail=columns) or error from None


def _message(error: psycopg.Error) -> str:
    """The server's primary message and where it arose; the driver's own words where the server said nothing."""
    message = error.diag.message_primary or str(error).strip() or type(error).__name__
    return f"{message}, {error.diag.context.splitlines()[0]}" if error.diag.context else message


def lock_key(*words: str) -> int:
    """A 64-bit number for an advisory lock."""
    return int.from_bytes(hashlib.sha256("\0".join(("finelt", *words)).encode()).digest()[:8], signed=True)


@contextmanager
def locked(session: Session, key: int, *, shared: bool = False) -> Iterator[None]:
    """Hold an advisory lock of the session; waits for others."""
    kind = sql.SQL("_shared" if shared else "")
    session.execute(sql.SQL("select pg_advisory_lock{}({})").format(kind, sql.Literal(key)))
    try:
        yield
    finally:
        _unlock(session, key, kind)


@contextmanager
def tried(session: Session, key: int) -> Iterator[bool]:
    """Hold an advisory lock if nobody else holds it at the moment; whether we do."""
    held = session.scalar(sql.SQL("select pg_try_advisory_lock({})").format(sql.Literal(key)))
    try:
        yield held
    finally:
        if held:
            _unlock(session, key, sql.SQL(""))


def _unlock(session: Session, key: int, kind: sql.SQL) -> None:
    """Give a lock back; a broken connection has given it back already."""
    with suppress(psycopg.Error):
        session.main.execute(sql.SQL("select pg_advisory_unlock{}({})").format(kind, sql.Literal(key)))
