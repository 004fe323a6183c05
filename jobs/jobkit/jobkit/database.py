"""A client for a vendor's Postgres database: it runs one query for each request and returns the rows as one JSON array.

The server makes the JSON, so that numerics keep their digits, null differs from an empty text, and moments are in UTC. These bytes are
what the lake keeps. The session is read-only. A job that uses this module depends on psycopg.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString, Self
from urllib.parse import urlencode

from jobkit import postgres
from jobkit.body import Body
from jobkit.errors import BadDataError, MisconfiguredError
from jobkit.http import MAX_BODY_BYTES, Response
from jobkit.interruption import call_interruptibly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.lake import Source
    from jobkit.refusals import Meaning

CONNECT_TIMEOUT_S = 10
SETTINGS = "-c default_transaction_read_only=on -c timezone=UTC"
ROWS: LiteralString = "select coalesce(json_agg(row_to_json(answer)), '[]')::text from ({}) as answer"
NO_ROWS: LiteralString = "select count(*)::text from (select * from ({}) as answer limit 0) as nothing"
MEDIA_TYPE = "application/json"


class DatabaseClient:
    """Runs a query whose parameters, such as %(start)s, are those of the request. `database` is a URL of libpq without a password.

    The query has to order its rows, so that the same rows give the same bytes. `retry_timeout_s` and `meanings` are not used: a database
    that is busy ends the job with 75, and its messages have codes.
    """

    retry_timeout_s: float = 0.0
    max_body_bytes: int = MAX_BODY_BYTES
    meanings: Sequence[Meaning] = ()

    def __init__(self, database: str, password: str, *, query: LiteralString) -> None:
        self.base_url = database
        self._password, self._query = password, query

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Each request closes its own connection."""

    def url(self, path: str, params: Sequence[tuple[str, str]] = ()) -> str:
        """Return the name of a request: the database, a path that says what is queried, and the parameters."""
        return self.base_url + path + (f"?{urlencode(params)}" if params else "")

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), known: Source | None = None, *, body: str | None = None) -> Response:
        """Run the query and return its rows; a query has no body.

        Raises the errors of jobkit.postgres, and BadDataError (65) if the rows are too large.
        """
        del known, body
        text = self._fetch(ROWS, params).encode()
        if len(text) > self.max_body_bytes:
            raise BadDataError(
                f"the rows of {self.url(path, params)} have {len(text):,} bytes, more than {self.max_body_bytes:,}; query less at once, or "
                "raise max_body_mib in the job's pyproject.toml"
            )
        content = Body()
        content.write(text)
        return Response(content, self.url(path, params), MEDIA_TYPE, None, None)

    def probe(self, path: str, params: Sequence[tuple[str, str]] = (), body: str | None = None) -> None:
        """Prepare the query without running it: login, table, columns and rights are tested. Raises the errors of jobkit.postgres."""
        del path, body
        self._fetch(NO_ROWS, params)

    def _fetch(self, statement: LiteralString, params: Sequence[tuple[str, str]]) -> str:
        """Return the one value of a statement around the query, over a connection of its own."""
        import psycopg  # noqa: PLC0415  describe needs no driver
        from psycopg import sql  # noqa: PLC0415

        def call() -> str:
            options: dict[str, Any] = {"password": self._password, "connect_timeout": CONNECT_TIMEOUT_S, "options": SETTINGS}
            with psycopg.connect(self.base_url, application_name="finelt", **options) as connection:
                return str(connection.execute(sql.SQL(statement).format(sql.SQL(self._query)), dict(params)).fetchall()[0][0])

        try:
            return call_interruptibly(call)
        except psycopg.Error as error:
            found = postgres.translate_error(f"the database {self.base_url}", str(error), error.sqlstate, option="--database")
            if found is None:  # a wrong query
                raise MisconfiguredError(
                    f"the database {self.base_url} refuses the query in source.py: {str(error).splitlines()[0]}"
                ) from None
            raise found from None
