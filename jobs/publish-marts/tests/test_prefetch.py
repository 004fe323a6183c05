"""Prefetch rows from a real Postgres."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from jobkit.errors import TemporaryError
from publish_marts.warehouse import open_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fixtures_postgres import Warehouse

ROWS = "select n::bigint as n, repeat('x', 200) as filling from generate_series(1, 200000) as n"
SILENT = ROWS.replace("as filling", "as filling, case n when 7500 then pg_sleep(600)::text end as silence")
ENDLESS = ROWS.replace("200000", "2000000")
WAIT_EVENT = "select wait_event from pg_stat_activity where application_name = 'publish-marts' and state = 'active'"


def test_every_row_is_read_once_and_in_order(warehouse: Warehouse) -> None:
    with open_snapshot(warehouse.url, warehouse.password) as snapshot, snapshot.stream(ROWS) as stream:
        assert stream.schema.names == ["n", "filling"]
        sizes: list[int] = []
        numbers: list[int] = []
        for batch in stream.batches:
            sizes.append(batch.num_rows)
            numbers += batch.column("n").to_pylist()
    assert len(sizes) > 10
    assert numbers == list(range(1, 200_001))


def test_a_lost_connection_is_a_temporary_error(warehouse: Warehouse) -> None:
    lost = pytest.raises(TemporaryError, match="was lost: ")
    with lost, open_snapshot(warehouse.url, warehouse.password) as snapshot, snapshot.stream(ENDLESS) as stream:
        next(stream.batches)
        warehouse.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'publish-marts'")
        for _ in stream.batches:
            pass


@pytest.mark.parametrize("silent", [True, False])
def test_a_reader_that_stops_early_leaves_no_query_behind(warehouse: Warehouse, *, silent: bool) -> None:
    """The query waits in the server, or its rows wait to be fetched."""
    with open_snapshot(warehouse.url, warehouse.password) as snapshot, snapshot.stream(SILENT if silent else ENDLESS) as stream:
        next(stream.batches)
        wait_until(lambda: warehouse.rows(WAIT_EVENT) == [("PgSleep" if silent else "ClientWrite",)])
    wait_until(lambda: warehouse.rows(WAIT_EVENT) == [])


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll until a condition holds. The deadline only ends a test that would hang."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
