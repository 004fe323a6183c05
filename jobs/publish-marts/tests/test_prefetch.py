"""Reading ahead of the rows that are used, from a real Postgres."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from jobkit.errors import TemporaryError
from publish_marts import warehouse as reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fixtures_postgres import Warehouse

ROWS = "select n::bigint as n, repeat('x', 200) as filling from generate_series(1, 200000) as n"
SILENT = ROWS.replace("as filling", "as filling, case n when 30000 then pg_sleep(600)::text end as silence")
ENDLESS = ROWS.replace("200000", "2000000")
AT_WORK = "select wait_event from pg_stat_activity where application_name = 'publish-marts' and state = 'active'"


def test_every_row_comes_once_and_in_order(warehouse: Warehouse) -> None:
    with reading.snapshot(warehouse.url, warehouse.password) as opened, opened.stream(ROWS) as answer:
        assert answer.schema.names == ["n", "filling"]
        sizes: list[int] = []
        numbers: list[int] = []
        for batch in answer.batches:
            sizes.append(batch.num_rows)
            numbers += batch.column("n").to_pylist()
    assert len(sizes) > 10
    assert numbers == list(range(1, 200_001))


def test_a_server_that_goes_away_is_told_as_temporary(warehouse: Warehouse) -> None:
    broken = pytest.raises(TemporaryError, match="broke off: ")
    with broken, reading.snapshot(warehouse.url, warehouse.password) as opened, opened.stream(ENDLESS) as answer:
        next(answer.batches)
        warehouse.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'publish-marts'")
        for _ in answer.batches:
            pass


@pytest.mark.parametrize("silent", [True, False])
def test_whoever_wants_no_more_rows_leaves_no_query_behind(warehouse: Warehouse, *, silent: bool) -> None:
    """Neither one that the server is slow with, nor one whose rows wait to be fetched."""
    with reading.snapshot(warehouse.url, warehouse.password) as opened, opened.stream(SILENT if silent else ENDLESS) as answer:
        next(answer.batches)
        until(lambda: warehouse.rows(AT_WORK) == [("PgSleep" if silent else "ClientWrite",)])
    until(lambda: warehouse.rows(AT_WORK) == [])


def until(true: Callable[[], bool]) -> None:
    """Wait for something that takes the server a moment."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
