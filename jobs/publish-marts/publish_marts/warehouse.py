"""The warehouse as this job sees it: one read-only snapshot, read through ADBC into Arrow.

The driver's own DB-API module is left aside: it imports pandas where it finds it, half a second that an unchanged rerun need not pay.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NewType
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from jobkit import postgres
from jobkit.errors import MisconfiguredError, TemporaryError
from jobkit.interruption import call_interruptibly

from publish_marts import prefetch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from publish_marts.prefetch import Batches

Sql = NewType("Sql", str)  # a piece of SQL in which every name and text is quoted

CONNECT_TIMEOUT_S = 5
BATCH_BYTES = 2_000_000
_MISSING = ("3F000", "42P01", "42703")  # schema, table, column: the marts are another job's, so that this is no bug here


@dataclass(frozen=True)
class Transform:
    """What the marts are made of: a hash of it, the moment they were asked for if that was not now, and the datasets behind each mart."""

    fingerprint: str
    as_of: datetime | None
    lineage: Mapping[str, Any]


class Warehouse:
    """One snapshot: all that is read through it is of the same moment."""

    def __init__(self, connection: Any, where: str) -> None:  # noqa: ANN401  the driver is untyped
        self._connection, self.where = connection, where

    def execute(self, sql: str) -> None:
        """Run a statement that answers nothing."""
        from adbc_driver_manager import AdbcStatement  # noqa: PLC0415

        with _told(self.where), AdbcStatement(self._connection) as statement:
            statement.set_sql_query(sql)
            call_interruptibly(statement.execute_update)

    @contextmanager
    def stream(self, sql: str) -> Iterator[Batches]:
        """The rows of a query as they arrive, the next fetched while one is used."""
        from adbc_driver_manager import AdbcStatement  # noqa: PLC0415

        with _told(self.where), AdbcStatement(self._connection) as statement:
            statement.set_sql_query(sql)
            statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
            handle, _ = call_interruptibly(statement.execute_query)
            with prefetch.read(handle, statement.cancel) as answer:
                yield answer

    def columns(self, sql: str) -> dict[str, list[Any]]:
        """The rows of a small query, column by column."""
        with self.stream(sql) as answer:
            columns: dict[str, list[Any]] = {name: [] for name in answer.schema.names}
            for batch in answer.batches:
                for name in columns:
                    columns[name] += batch.column(name).to_pylist()
        return columns

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a small query."""
        columns = self.columns(sql)
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def transform(self) -> Transform:
        """The transform that made the marts. Raises TemporaryError when it did not end, MisconfiguredError where it left no lineage."""
        last = self.rows(_LAST_TRANSFORM) if self.has("ops.transforms") else []
        if last and not last[0]["ended"]:
            raise TemporaryError(
                f"the last transform of the warehouse {self.where} is running or ended badly, and its marts may be half made or wrong; "
                "run transform-warehouse to a good end, then publish"
            )
        if not last or last[0]["lineage"] is None:
            raise MisconfiguredError(
                f"the warehouse {self.where} does not say what its marts are made of, without which nothing may be published; "
                "run transform-warehouse first"
            )
        return Transform(last[0]["fingerprint"], last[0]["as_of"], json.loads(last[0]["lineage"]))

    def has(self, relation: str) -> bool:
        """Whether a table or view is there."""
        return bool(self.rows(f"select to_regclass({literal(relation)}) is not null as there")[0]["there"])


_LAST_TRANSFORM = """
select fingerprint, as_of, ended_at is not null as ended, to_jsonb(transforms) ->> 'lineage' as lineage
from ops.transforms
order by transform_id desc
limit 1
"""


@contextmanager
def snapshot(url: str, password: str) -> Iterator[Warehouse]:
    """A read-only view of one moment.

    Raises AuthError for a wrong password, TemporaryError when nobody answers, MisconfiguredError for a database that is not there.
    """
    from adbc_driver_manager import AdbcConnection  # noqa: PLC0415
    from adbc_driver_postgresql import connect  # noqa: PLC0415

    where = urlsplit(url).netloc + urlsplit(url).path
    with _told(where):
        database = connect(_with_password(url, password))
        connection = call_interruptibly(lambda: AdbcConnection(database))
    try:
        connection.set_autocommit(False)
        warehouse = Warehouse(connection, where)
        warehouse.execute("set transaction isolation level repeatable read, read only")
        warehouse.execute("set local timezone to 'UTC'")
        yield warehouse
    finally:
        connection.close()
        database.close()


def quoted(name: str) -> Sql:
    """A name as SQL takes it whatever is in it."""
    return Sql('"' + name.replace('"', '""') + '"')


def literal(text: str) -> Sql:
    """A text as SQL takes it."""
    return Sql("'" + text.replace("'", "''") + "'")


def compose(template: str, **parts: Sql) -> Sql:
    """SQL of ours with these pieces in it."""
    return Sql(template.format(**parts))


def _with_password(url: str, password: str) -> str:
    """The URL for the driver alone; it never reaches a log."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    options = {"connect_timeout": str(CONNECT_TIMEOUT_S), "application_name": "publish-marts", **dict(parse_qsl(parts.query))}
    return urlunsplit((parts.scheme, f"{user}:{quote(password, safe='')}@{host}", parts.path, urlencode(options), ""))


@contextmanager
def _told(where: str) -> Iterator[None]:
    """The driver's errors as sentences with the right exit code."""
    from adbc_driver_manager import Error  # noqa: PLC0415

    try:
        yield
    except Error as error:
        if error.sqlstate in _MISSING:
            reason = postgres.server_message(str(error))
            raise MisconfiguredError(f"the warehouse {where} lacks a relation: {reason}; run transform-warehouse first") from None
        raise postgres.translate_error(f"the warehouse {where}", str(error), error.sqlstate) or error from None
    except prefetch.BrokenError as error:
        raise TemporaryError(f"the warehouse {where} broke off: {error}; try again") from None
