"""A read-only snapshot of the warehouse, read through ADBC into Arrow.

The driver's DB-API module is not used: it imports pandas, which would add half a second to an unchanged rerun.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NewType
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from jobkit import migrations, postgres
from jobkit.errors import MisconfiguredError, TemporaryError
from jobkit.interruption import call_interruptibly

from publish_marts import prefetch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from publish_marts.prefetch import BatchStream

Sql = NewType("Sql", str)  # a piece of SQL in which every name and text is quoted

CONNECT_TIMEOUT_S = 5
BATCH_BYTES = 500_000
_MISSING_OBJECTS = ("3F000", "42P01", "42703")  # schema, table, column: another job creates the marts, so this is not a bug here


@dataclass(frozen=True)
class Transform:
    """The transform that built the marts: a hash of its inputs, its as-of moment (None for now), and the lineage of each mart."""

    fingerprint: str
    as_of: datetime | None
    lineage: Mapping[str, Any]


class Warehouse:
    """A snapshot of the warehouse: all queries see the same state."""

    def __init__(self, connection: Any, where: str) -> None:  # noqa: ANN401  the driver is untyped
        self._connection, self.where = connection, where

    def execute(self, sql: str) -> None:
        """Run a statement that returns no rows."""
        from adbc_driver_manager import AdbcStatement  # noqa: PLC0415

        with _translate_errors(self.where), AdbcStatement(self._connection) as statement:
            statement.set_sql_query(sql)
            call_interruptibly(statement.execute_update)

    @contextmanager
    def stream(self, sql: str) -> Iterator[BatchStream]:
        """Stream the rows of a query, prefetching the next batches."""
        from adbc_driver_manager import AdbcStatement  # noqa: PLC0415

        with _translate_errors(self.where), AdbcStatement(self._connection) as statement:
            statement.set_sql_query(sql)
            statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
            handle, _ = call_interruptibly(statement.execute_query)
            with prefetch.prefetch(handle, statement.cancel) as stream:
                yield stream

    def fetch_columns(self, sql: str) -> dict[str, list[Any]]:
        """Fetch the result of a small query as a list per column; the lists are empty if there are no rows."""
        with self.stream(sql) as stream:
            columns: dict[str, list[Any]] = {name: [] for name in stream.schema.names}
            for batch in stream.batches:
                for name in columns:
                    columns[name] += batch.column(name).to_pylist()
        return columns

    def fetch_rows(self, sql: str) -> list[dict[str, Any]]:
        """Fetch the result of a small query as a dictionary per row."""
        columns = self.fetch_columns(sql)
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _fetch_tuples(self, sql: str) -> list[tuple[Any, ...]]:
        return list(zip(*self.fetch_columns(sql).values(), strict=True))

    def read_last_transform(self) -> Transform:
        """Read the transform that built the marts.

        Raises TemporaryError if it did not finish, MisconfiguredError if it recorded no lineage, NewerFormatError of a newer version.
        """
        for schema in (migrations.OPS, migrations.RAW):
            migrations.check_schema(self._fetch_tuples, schema, f"the warehouse {self.where}")
        last = self.fetch_rows(_LAST_TRANSFORM) if self.has_relation("ops.transforms") else []
        if last and not last[0]["ended"]:
            raise TemporaryError(
                f"the last transform of the warehouse {self.where} is still running or failed, so its marts may be incomplete or wrong; "
                "run transform-warehouse until it succeeds, then publish"
            )
        if not last or last[0]["lineage"] is None:
            raise MisconfiguredError(
                f"the warehouse {self.where} has no lineage of its marts, and without lineage no mart may be published; "
                "run transform-warehouse first"
            )
        return Transform(last[0]["fingerprint"], last[0]["as_of"], json.loads(last[0]["lineage"]))

    def has_relation(self, relation: str) -> bool:
        """Return whether a table or view exists."""
        return bool(self.fetch_rows(f"select to_regclass({quote_text(relation)}) is not null as found")[0]["found"])


_LAST_TRANSFORM = """
select fingerprint, as_of, ended_at is not null as ended, to_jsonb(transforms) ->> 'lineage' as lineage
from ops.transforms
order by transform_id desc
limit 1
"""


@contextmanager
def open_snapshot(url: str, password: str) -> Iterator[Warehouse]:
    """Open a read-only snapshot of the warehouse.

    Raises AuthError for a wrong password, TemporaryError if the server does not answer, MisconfiguredError for a missing database.
    """
    from adbc_driver_manager import AdbcConnection  # noqa: PLC0415
    from adbc_driver_postgresql import connect  # noqa: PLC0415

    where = urlsplit(url).netloc + urlsplit(url).path
    with _translate_errors(where):
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


def quote_name(name: str) -> Sql:
    """Quote an identifier for SQL. It may contain any character."""
    return Sql(postgres.quote_name(name))


def quote_text(text: str) -> Sql:
    """Quote a text literal for SQL."""
    return Sql(postgres.quote_text(text))


def compose(template: str, **parts: Sql) -> Sql:
    """Fill a SQL template with quoted pieces."""
    return Sql(template.format(**parts))


def _with_password(url: str, password: str) -> str:
    """Add the password to the URL, for the driver only. Never log the result."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    options = {"connect_timeout": str(CONNECT_TIMEOUT_S), "application_name": "publish-marts", **dict(parse_qsl(parts.query))}
    return urlunsplit((parts.scheme, f"{user}:{quote(password, safe='')}@{host}", parts.path, urlencode(options), ""))


@contextmanager
def _translate_errors(where: str) -> Iterator[None]:
    """Translate the driver's errors in the block into job errors; unknown errors propagate (exit 70)."""
    from adbc_driver_manager import Error  # noqa: PLC0415

    try:
        yield
    except Error as error:
        if error.sqlstate in _MISSING_OBJECTS:
            reason = postgres.server_message(str(error))
            raise MisconfiguredError(
                f"the warehouse {where} is missing a schema, table or column: {reason}; run transform-warehouse first"
            ) from None
        raise postgres.translate_error(f"the warehouse {where}", str(error), error.sqlstate) or error from None
    except prefetch.StreamError as error:
        raise TemporaryError(f"the connection to the warehouse {where} was lost: {error}; try again") from None
