"""load-warehouse with concurrent loaders and readers, killed in the middle, on a server that refuses or disconnects."""

from __future__ import annotations

import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from arro3.core import DataType
from jobkit.errors import AuthError, MisconfiguredError, TemporaryError
from jobkit.lake import Lake
from jobkit.postgres import lock_key, staging_name
from load_warehouse import runner, session, tables
from load_warehouse.copy import ParquetFile
from load_warehouse.policy import LoadPolicy
from psycopg import errors

from tests.warehouse.samples import (
    ALWAYS_SWAP,
    DATASET,
    NEVER_SWAP,
    PARTITION,
    PRICES,
    arguments,
    commit,
    current,
    days,
    finish,
    load,
    price,
    start,
)
from tests.warehouse.samples import versions as all_versions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fixtures_postgres import Warehouse

STAGED = "select tablename from pg_tables where schemaname = 'stage'"
MISSING = """
select sum("rows") - (select count(*) from raw.prices where known_to = 'infinity')
from (select distinct on ("partition") "rows" from raw._ledger order by "partition", "commit" desc) newest
"""


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def wait_until(condition: Any, within_s: float = 300) -> None:
    """Wait until the condition is true."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never became true"
        time.sleep(0.01)


def test_of_concurrent_loaders_one_loads_and_the_others_find_it_unchanged(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, days(300))
    commit(lake, days(200))
    partitions = [f"ticker=T{number}/year=2012" for number in range(6)]
    for number, partition in enumerate(partitions):
        commit(lake, days(50, ticker=f"T{number}"), partition=partition)
    with ThreadPoolExecutor(3) as pool:
        jobs = list(pool.map(lambda _: load(lake, warehouse), range(3)))
    for partition in (PARTITION, *partitions):
        outcomes = sorted(outcome for job in jobs for _, name, outcome in job.outcomes if name == partition)
        assert outcomes == ["committed", "unchanged", "unchanged"]
    assert warehouse.rows("select count(*) filter (where known_to = 'infinity'), count(*) from raw.prices") == [(500, 600)]
    assert warehouse.rows("select count(*) from raw._ledger") == [(8,)]
    assert warehouse.rows(STAGED) == []


def test_concurrent_loads_can_each_add_a_column(lake: Path, warehouse: Warehouse) -> None:
    for number in range(6):
        columns = {**PRICES, f"extra{number}": DataType.utf8()}
        rows = [price(f"{2000 + number}-01-03", **{f"extra{number}": str(number)})]
        commit(lake, rows, columns=columns, partition=f"year={2000 + number}")
    load(lake, warehouse, workers=6)
    extras = " || ".join(f"coalesce(extra{number}, '')" for number in range(6))
    assert [row[0] for row in warehouse.rows(f"select {extras} from raw.prices order by date")] == list("012345")


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
@pytest.mark.parametrize("swap", [True, False])
def test_readers_see_only_whole_partitions(lake: Path, warehouse: Warehouse, isolation: str, *, swap: bool) -> None:
    """Each commit has one value of close; a mixture, or a count that no commit has, would be half a load."""
    policy = ALWAYS_SWAP if swap else NEVER_SWAP
    sizes = [(0, None), *((100 + 10 * number, number) for number in range(1, 9))]
    commit(lake, [price("2011-01-03")], partition="ticker=AAPL/year=2011")
    load(lake, warehouse)
    seen: set[tuple[int, int | None]] = set()
    done = threading.Event()

    def read() -> None:
        query = "select count(*), min(close)::int, max(close)::int from raw.prices where known_to = 'infinity' and date >= '2012-01-01'"
        with warehouse.connect() as connection:
            while not done.is_set():
                with connection.transaction():
                    connection.execute(f"set transaction isolation level {isolation}".encode())
                    connection.execute("select 1")
                    time.sleep(0.005)
                    count, low, high = connection.execute(query).fetchone() or (0, 0, 0)
                    assert low == high
                    seen.add((count, low))
                time.sleep(0.005)

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for count, number in sizes[1:]:
                commit(lake, [{**row, "close": str(number)} for row in days(count)])
                load(lake, warehouse, policy=policy)
        finally:
            done.set()
        for reader in readers:
            reader.result()
    assert seen <= set(sizes)
    assert len(seen) > 3


def test_a_reader_with_a_snapshot_older_than_a_swap_misses_no_rows(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, days(100))
    load(lake, warehouse)
    with warehouse.connect(autocommit=False) as reader:
        reader.execute("set transaction isolation level repeatable read")
        reader.execute("select 1 from pg_class limit 1")  # takes the snapshot, touches nothing of ours
        commit(lake, [{**row, "close": "7"} for row in days(100)])
        load(lake, warehouse, policy=ALWAYS_SWAP)
        assert reader.execute("select count(*) from raw.prices where known_to = 'infinity'").fetchone() == (100,)


def test_a_query_planned_before_a_leaf_existed_does_not_see_its_ledger_row(lake: Path, warehouse: Warehouse) -> None:
    """Postgres plans with the leaves of one moment and reads with a later snapshot; the query pauses between the two."""
    commit(lake, [price("2011-01-03")], partition="ticker=AAPL/year=2011")
    load(lake, warehouse)
    warehouse.run("create function pause() returns bool immutable language sql as 'select pg_sleep(1) is not null'")
    rows, ledger_rows = "select count(*) from raw.prices", 'select sum("rows") from raw._ledger where pause()'
    commit(lake, days(100))
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(warehouse.rows, f"select ({rows}), ({ledger_rows})")
        wait_until(lambda: warehouse.rows("select from pg_stat_activity where wait_event = 'PgSleep'"))
        load(lake, warehouse)
        assert reading.result() == [(1, 1)]
    assert warehouse.rows(f"select ({rows}), ({ledger_rows})") == [(101, 101)]


def test_a_new_leaf_is_loaded_while_a_reader_holds_the_table(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, [price("2011-01-03")], partition="ticker=AAPL/year=2011")
    load(lake, warehouse)
    commit(lake, days(100))
    with warehouse.connect(autocommit=False) as reader:
        reader.execute("select count(*) from raw.prices")
        load(lake, warehouse, policy=LoadPolicy(swap_tries=1))
        assert reader.execute("select count(*) from raw.prices where known_to = 'infinity'").fetchone() == (101,)
    assert warehouse.rows("select count(*) from pg_indexes where schemaname = 'raw' and tablename = 'prices-2012'") == [(2,)]
    assert warehouse.rows(STAGED) == []


def test_three_concurrent_swaps_do_not_deadlock(lake: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    swaps = []
    attach_leaf = tables.attach_leaf
    monkeypatch.setattr(tables, "attach_leaf", lambda *args: swaps.append(args[2].name) or attach_leaf(*args))
    years = {f"year={year}": [price(f"{year}-01-{day:02}", ticker=f"T{day}") for day in range(1, 21)] for year in (2010, 2011, 2012)}
    deadlocks = "select deadlocks from pg_stat_database where datname = current_database()"
    rounds = 6
    for close in range(rounds):
        for partition, rows in years.items():
            commit(lake, [{**row, "close": str(close)} for row in rows], partition=partition)
        load(lake, warehouse, workers=3, policy=ALWAYS_SWAP)
    assert len(swaps) == rounds * len(years)
    assert warehouse.rows("select count(*), count(distinct _load_id) from raw.prices") == [(rounds * 60, rounds * 3)]
    assert warehouse.rows(f"select pg_stat_clear_snapshot()::text, ({deadlocks})") == [("", 0)]


def test_a_leaf_locked_by_another_loader_is_not_swapped(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, days(100))
    load(lake, warehouse)
    leaf = warehouse.rows("select 'raw.\"prices-2012\"'::regclass::oid")
    commit(lake, [{**row, "close": "7"} for row in days(100)])
    with warehouse.connect() as other:
        other.execute("select pg_advisory_lock_shared(%s)", [lock_key("leaf", DATASET, "prices-2012")])
        load(lake, warehouse, policy=ALWAYS_SWAP)
    assert warehouse.rows("select 'raw.\"prices-2012\"'::regclass::oid") == leaf
    assert set(current(warehouse).values()) == {"7.000000"}


def test_a_failure_stops_the_other_threads(lake: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(lake, days(10))
    for ticker in ("GOOG", "IBM", "MSFT", "ORCL"):  # more than there are workers, so that some are never started
        commit(lake, days(10, ticker=ticker), partition=f"ticker={ticker}/year=2012")
    examine = Lake.examine

    def unreadable(self: Lake, dataset: str, partition: str, since: int = 1) -> Any:
        if partition == PARTITION:
            return examine(self, dataset, partition, since)
        wait_until(lambda: warehouse.rows("select from pg_locks where locktype = 'advisory' and not granted"))
        raise TemporaryError("S3 is busy")

    monkeypatch.setattr(Lake, "examine", unreadable)
    with warehouse.connect() as holder:
        holder.execute("select pg_advisory_lock(%s)", [lock_key("leaf", DATASET, "prices-2012")])
        with pytest.raises(TemporaryError, match="S3 is busy"):
            load(lake, warehouse)
    assert [thread.name for thread in threading.enumerate() if "ThreadPool" in thread.name] == []
    assert warehouse.rows("select count(*) from raw._ledger") == [(0,)]


def test_a_waiting_loader_does_not_block_readers(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, days(100))
    load(lake, warehouse)
    commit(lake, [{**row, "close": "7"} for row in days(100)])
    with warehouse.connect(autocommit=False) as holder, warehouse.connect() as reader, ThreadPoolExecutor(1) as pool:
        holder.execute("select count(*) from raw.prices")
        loading = pool.submit(load, lake, warehouse, policy=ALWAYS_SWAP)
        reader.execute("set lock_timeout = '1s'")  # without a lock timeout of its own, the loader would block readers until the rollback
        try:
            wait_until(lambda: warehouse.rows("select from pg_locks where not granted"))
            for _ in range(20):
                reader.execute("select count(*) from raw.prices")
                time.sleep(0.02)
        finally:
            holder.rollback()
        loading.result()
    assert set(current(warehouse).values()) == {"7.000000"}


def interrupt_copy(monkeypatch: pytest.MonkeyPatch, interrupt: Any) -> None:
    """Call `interrupt` once, between the first and the second batch of a copy."""
    iter_batches = ParquetFile.iter_batches
    calls = iter([interrupt])

    def with_interruption(file: ParquetFile) -> Iterator[Any]:
        for batch in iter_batches(file):
            yield batch
            next(calls, lambda: None)()

    monkeypatch.setattr(ParquetFile, "iter_batches", with_interruption)


def terminate_backends(warehouse: Warehouse) -> None:
    """Terminate the database sessions of every loader."""
    warehouse.run(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'load-warehouse' and datname = current_database()"
    )


@pytest.mark.parametrize("state", ["no leaf", "a leaf", "a version"])
def test_a_backend_terminated_during_a_copy_is_temporary_and_leaves_nothing(
    lake: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    if state != "no leaf":
        ticker = "AAPL" if state == "a version" else "GOOG"
        commit(lake, days(100, ticker=ticker), partition=f"ticker={ticker}/year=2012")
        load(lake, warehouse)
    before = all_versions(warehouse) if state != "no leaf" else []
    commit(lake, [{**row, "close": "7"} for row in days(40_000)])
    interrupt_copy(monkeypatch, lambda: terminate_backends(warehouse))
    with pytest.raises(TemporaryError, match=r"prices/ticker=AAPL/year=2012 commit \d: "):
        load(lake, warehouse, partitions=[PARTITION])
    assert all_versions(warehouse) == before
    load(lake, warehouse)
    assert warehouse.rows("select count(*) from raw.prices where known_to = 'infinity' and close = 7") == [(40_000,)]
    assert warehouse.rows(STAGED) == []


def test_a_killed_and_repeated_load_equals_an_undisturbed_one(lake: Path, warehouse: Warehouse) -> None:
    for year in range(2001, 2007):
        commit(lake, days(4_000, date(year, 1, 1)), partition=f"year={year}")
    everything = [{**row, "close": "7"} for row in days(30_000, date(2001, 1, 1))]
    few = [{**row, "close": "8"} if index % 100 == 0 else row for index, row in enumerate(everything)]  # small enough for a file diff
    for restated in (everything, few):
        commit(lake, restated, partition="year=2001")
    started = time.monotonic()
    assert finish(start("run", *arguments(lake, warehouse)))["exit_code"] == 0
    elapsed_s = time.monotonic() - started
    undisturbed = all_versions(warehouse)
    seed = random.Random(8)  # noqa: S311  the same moments every time
    for _ in range(5):
        warehouse.run("drop schema raw cascade")
        process = start("run", *arguments(lake, warehouse))
        time.sleep(seed.uniform(0.3, 0.9) * elapsed_s)
        process.kill()
        process.communicate()
        if warehouse.rows("select to_regclass('raw.prices')") != [(None,)]:
            assert warehouse.rows(MISSING) in ([(0,)], [(None,)])
        assert finish(start("run", *arguments(lake, warehouse)))["exit_code"] == 0
        assert all_versions(warehouse) == undisturbed
        assert warehouse.rows(STAGED) == []


def test_sigterm_stops_a_waiting_load_and_leaves_nothing(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, days(100))
    load(lake, warehouse)
    before = all_versions(warehouse)
    commit(lake, [{**row, "close": "7"} for row in days(100)])
    with warehouse.connect() as holder:
        holder.execute("select pg_advisory_lock(%s)", [lock_key("leaf", DATASET, "prices-2012")])
        process = start("run", *arguments(lake, warehouse))
        wait_until(lambda: warehouse.rows("select from pg_locks where locktype = 'advisory' and not granted"))
        process.send_signal(signal.SIGTERM)
        receipt = finish(process)  # while the lock is held
    assert (receipt["exit_code"], receipt["status"]) == (143, "stopped")
    assert all_versions(warehouse) == before


def test_a_staging_table_of_a_killed_loader_is_dropped_by_the_next(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, days(10))
    warehouse.run(f'create schema stage; create table stage."{staging_name(DATASET, PARTITION)}" (x int)')
    load(lake, warehouse)
    assert warehouse.rows(STAGED) == []
    assert len(current(warehouse)) == 10


def test_connection_errors_have_their_exit_codes_and_show_no_secret(lake: Path, warehouse: Warehouse, tmp_path: Path) -> None:
    commit(lake, days(10))
    (tmp_path / "wrong").write_text("canary-0815")
    nobody, elsewhere = (warehouse.url.rpartition("/")[0].replace("finelt@", "stranger@"), warehouse.url.rpartition("/")[0] + "/nowhere")
    for url, reference, code, message in (
        (warehouse.url, (tmp_path / "wrong").as_uri(), 77, "refuses the login"),
        (elsewhere, warehouse.password_reference, 78, 'database "nowhere" does not exist'),
        (f"{nobody}/postgres", (tmp_path / "wrong").as_uri(), 77, "refuses the login"),
        (warehouse.url, (tmp_path / "missing").as_uri(), 78, "no secret at"),
    ):
        for verb in ("run", "check", "plan"):
            receipt = finish(start(verb, "--lake", str(lake), "--warehouse", url, "--warehouse-password", reference))
            assert (receipt["exit_code"], receipt["error"].count("\n")) == (code, 0)
            assert message in receipt["error"]
            assert "canary-0815" not in str(receipt)
    assert warehouse.rows("select to_regnamespace('raw')") == [(None,)]


def test_a_user_without_the_right_to_create_tables_is_misconfigured(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, days(10))
    warehouse.run("drop role if exists onlooker; create role onlooker login password 'only-reads'")
    url = warehouse.url.replace("finelt@", "onlooker@")
    with pytest.raises(MisconfiguredError, match="schema raw"):
        runner.check(str(lake), url, "only-reads")
    reader = type(warehouse)(url, "only-reads", "")
    with pytest.raises(MisconfiguredError, match="permission denied"):
        load(lake, reader)


def test_check_succeeds_on_a_usable_warehouse_and_creates_nothing(lake: Path, warehouse: Warehouse) -> None:
    commit(lake, days(10))
    runner.check(str(lake), warehouse.url, warehouse.password)
    assert warehouse.rows("select to_regnamespace('raw')") == [(None,)]


def test_a_full_disk_is_temporary() -> None:
    translating = session.translate_errors("prices/year=2012", session.Session("postgresql://finelt@localhost/warehouse", ""))
    with pytest.raises(TemporaryError), translating:
        raise errors.DiskFull


def test_an_unknown_postgres_error_stays_a_bug() -> None:
    translating = session.translate_errors("prices/year=2012", session.Session("postgresql://finelt@localhost/warehouse", ""))
    with pytest.raises(errors.SyntaxError), translating:
        raise errors.SyntaxError


def test_a_wrong_password_and_an_unreachable_server_are_told_apart(warehouse: Warehouse) -> None:
    with pytest.raises(AuthError), closing(session.connect(warehouse.url, "wrong")):
        pass
    with pytest.raises(TemporaryError), closing(session.connect("postgresql://u@127.0.0.1:1/db", "x")):
        pass


def test_the_server_checks_whether_the_loader_is_alive(warehouse: Warehouse) -> None:
    with closing(session.connect(warehouse.url, warehouse.password)) as connection:
        assert isinstance(connection, psycopg.Connection)
        assert connection.execute("show client_connection_check_interval").fetchone() == ("2s",)
