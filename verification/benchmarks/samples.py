"""Generate rows of daily prices as lake partitions. The server generates them, so that millions take seconds."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from adbc_driver_postgresql import dbapi
from arro3.core import Table
from arro3.io import write_parquet
from jobkit.lake import CommitDraft, Lake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestration.local.postgres import Postgres

DATASET = "prices"
COLUMNS = '"_row_number", symbol, date, currency, open, high, low, close, volume, dividend'
_DAYS = """
select (row_number() over ())::int as "_row_number", 'S' || lpad((n % {symbols})::text, 6, '0') as symbol,
  (date '{first}' + n / {symbols})::date as date, 'USD' as currency,
  round((50 + n % 977 * 0.13)::numeric, 2)::float8 as open, round((51 + n % 983 * 0.13)::numeric, 2)::float8 as high,
  round((49 + n % 991 * 0.13)::numeric, 2)::float8 as low,
  round((50 + n % 997 * 0.13 + case when n % {every} = 0 then {more} else 0 end)::numeric, 2)::float8 as close,
  (n::bigint * 7919 % 10000019) as volume, (case when n % 50 = 0 then null else n % 7 * 0.01 end)::float8 as dividend
from generate_series(0, {symbols} * {days} - 1) as n
"""


class Days(NamedTuple):
    """Consecutive days with the same number of symbols, sorted by day and symbol.

    Every so many-th close is more by as many cents as `version` says, so that versions differ in one row of so many.
    """

    first: str
    days: int
    symbols: int
    version: int = 0
    every: int = 1

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.days * self.symbols

    @property
    def query(self) -> str:
        """The query that generates the rows."""
        return _DAYS.format(first=self.first, days=self.days, symbols=self.symbols, every=self.every, more=self.version / 100)


@contextmanager
def open_committer(server: Postgres, lake: str) -> Iterator[Callable[[str, Days], None]]:
    """Yield a function that commits days as a partition of a lake."""
    writer = {"job": "bench", "version": "0"}
    with dbapi.connect(server.url.replace("@", f":{server.password}@")) as connection, connection.cursor() as cursor:

        def commit(partition: str, days: Days) -> None:
            cursor.execute(days.query)
            file = io.BytesIO()
            write_parquet(Table.from_arrow(cursor.fetch_arrow()), file, compression="zstd(3)")
            draft = CommitDraft(file.getvalue(), days.rows, None, 0, lambda: (), key=("date", "symbol"), leaf="month(date)", writer=writer)
            Lake(lake).commit(DATASET, partition, draft)

        yield commit
