"""transform-warehouse on a real Postgres with a few raw rows."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import pytest
from transform_warehouse import build_log, manifest_cache
from transform_warehouse import project as projects
from transform_warehouse.moment import MomentType

from tests.forks import ForkedJob
from tests.small_project import cache_manifest, copy_project, copy_small_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import psycopg

    from tests.fixtures_postgres import Warehouse

MARTS = projects.list_marts(projects.find_project(None))
PRICES = """
    create schema raw;
    create table raw._ledger (
        load_id bigint generated always as identity, dataset text, partition text, commit integer, sha256 text, rows bigint,
        known_at timestamptz, loaded_at timestamptz default now()
    );
    create table raw.tiingo_prices (
        ticker text, date date, close numeric(18,6), high numeric(18,6), low numeric(18,6), open numeric(18,6), volume bigint,
        "adjClose" float8, "adjHigh" float8, "adjLow" float8, "adjOpen" float8, "adjVolume" bigint,
        "divCash" numeric(18,6), "splitFactor" numeric(18,8),
        _row_number integer, _load_id bigint, known_from timestamptz, known_to timestamptz
    );
"""


def load(connection: psycopg.Connection[Any], day: str, close: float, *, known: tuple[str, str] = ("2013-01-01", "infinity")) -> None:
    """Insert one price as the loader does, with its ledger row."""
    connection.execute(
        "insert into raw._ledger (dataset, partition, commit, sha256) values ('tiingo_prices', %s, 1, %s)", [day, str(close)]
    )
    connection.execute(
        "insert into raw.tiingo_prices values"
        " ('AAPL', %(day)s, %(p)s, %(p)s, %(p)s, %(p)s, 1, %(p)s, %(p)s, %(p)s, %(p)s, 1, 0, 1, 1, 1, %(since)s, %(until)s)",
        {"day": day, "p": close, "since": known[0], "until": known[1]},
    )


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of the dbt project as an image has it: with a cached manifest."""
    folder = tmp_path_factory.mktemp("image") / "dbt"
    return cache_manifest(
        copy_small_project(folder, "fct_price_daily", "fct_close_difference", "stg_lake__loads", "stg_lake__restated_cells")
    )


@pytest.fixture(scope="session")
def whole_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole project as an image has it."""
    return cache_manifest(copy_project(tmp_path_factory.mktemp("whole_image") / "dbt"))


@pytest.fixture
def job(warehouse: Warehouse, project: Path) -> Callable[..., ForkedJob]:
    """Return a function that runs the job on the test's warehouse, as a process."""

    def start(verb: str, *arguments: str, project: Path = project) -> ForkedJob:
        where = ["--warehouse", warehouse.url, "--warehouse-password", warehouse.password_reference, "--project", str(project)]
        return ForkedJob([sys.executable, "-m", "transform_warehouse", verb, *where, *arguments])

    return start


def read_receipt(process: ForkedJob | subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a job and return its receipt, the only line on its stdout, with its stderr."""
    out, err = process.communicate(timeout=600)
    (line,) = out.splitlines()
    receipt: dict[str, Any] = {**json.loads(line), "stderr": err}
    assert receipt["exit_code"] == process.returncode
    return receipt


def outcomes(receipt: dict[str, Any]) -> dict[str, str]:
    """The outcome of each mart."""
    return {entry["dataset"]: entry["outcome"] for entry in receipt["partitions"]}


def planned(receipt: dict[str, Any]) -> set[str]:
    """The actions of a plan."""
    return {entry["action"] for entry in receipt["details"]["plan"]}


@contextmanager
def prices_locked(warehouse: Warehouse) -> Iterator[None]:
    """Lock the prices during the block, so that a build waits."""
    with warehouse.connect(autocommit=False) as connection:
        connection.execute("lock table raw.tiingo_prices in access exclusive mode")
        yield


def wait_until(warehouse: Warehouse, condition: str) -> None:
    """Wait until a database session fulfils the condition."""
    deadline = time.monotonic() + 300
    while not warehouse.rows(f"select 1 from pg_stat_activity where {condition}"):
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)


IN_DBT = "datname = current_database() and application_name = 'finelt transform'"
HALTED = f"{IN_DBT} and wait_event_type = 'Lock'"
LOCKED_OUT = "query like 'select pg_try_advisory_lock%'"  # another transform's last query is a later one


def test_an_empty_warehouse_gives_empty_marts_and_a_rerun_is_unchanged(
    warehouse: Warehouse, job: Callable[..., ForkedJob], whole_project: Path, tmp_path: Path
) -> None:
    job = partial(job, project=whole_project)
    before = {path: path.stat().st_mtime_ns for path in whole_project.rglob("*")}
    first = read_receipt(job("run", "--docs", str(tmp_path / "docs")))
    assert first["exit_code"] == 0
    assert outcomes(first) == {f"marts.{mart}": "committed" for mart in MARTS}
    assert {entry["dataset"] for entry in first["partitions"] if entry["rows"]} == {"marts.dim_calendar"}
    assert set(first["details"]["tests"]) == {"pass"}
    assert all(set(model) == {"rows", "seconds"} for model in first["details"]["models"].values())
    assert "fct_price_daily" in (tmp_path / "docs" / "index.html").read_text(encoding="utf-8")
    assert {path: path.stat().st_mtime_ns for path in whole_project.rglob("*")} == before
    for line in first["stderr"].splitlines():
        json.loads(line)
    assert warehouse.password not in first["stderr"] + json.dumps(first) + (tmp_path / "docs" / "index.html").read_text(encoding="utf-8")

    again = read_receipt(job("run", "--docs", str(tmp_path / "docs")))
    assert (again["status"], again["unchanged"]) == ("unchanged", len(MARTS))
    assert '"building"' in first["stderr"]
    assert '"building"' not in again["stderr"]

    assert planned(read_receipt(job("plan"))) == {"none"}
    assert planned(read_receipt(job("plan", "--as-of", "2013-01-01T00:00:00Z"))) == {"build"}
    with warehouse.connect() as connection:
        connection.execute("drop table marts.fct_yield")
        assert planned(read_receipt(job("plan"))) == {"build"}
        connection.execute("create table marts.fct_yield ()")
        assert planned(read_receipt(job("plan"))) == {"none"}
        connection.execute(PRICES)
        load(connection, "2012-12-31", 532.17)
        assert planned(read_receipt(job("plan"))) == {"build"}


EARLIER_VERSION = """
    create schema staging;
    create schema intermediate;
    create table staging.stg_lake__touched (ticker text);
    create table intermediate.int_touched (ticker text);
    create view staging.stg_lake__cells_restated as select 1 as item;
    create view staging.by_ticker as select ticker from staging.stg_lake__touched;
"""


def test_a_build_drops_the_models_that_an_earlier_version_named_otherwise(warehouse: Warehouse, job: Callable[..., ForkedJob]) -> None:
    warehouse.run(EARLIER_VERSION)
    receipt = read_receipt(job("run"))
    assert (receipt["status"], receipt["details"]["changes_only"]) == ("done", False)
    left = warehouse.rows(
        "select relname::text from pg_class where relname in ('stg_lake__touched', 'int_touched', 'stg_lake__cells_restated', 'by_ticker')"
    )
    assert left == []


def test_an_impossible_figure_is_a_warning_that_names_the_row(warehouse: Warehouse, job: Callable[..., ForkedJob]) -> None:
    """One bad bar of a vendor does not stop other securities."""
    with warehouse.connect() as connection:
        connection.execute(PRICES)
        load(connection, "2012-12-31", -532.17)
    succeeded = read_receipt(job("run"))
    assert succeeded["exit_code"] == 0
    (warning,) = (found for found in succeeded["details"]["warnings"] if "fct_price_daily_holds" in found)
    for word in ("close > 0", "AAPL", "2012-12-31", "-532.17"):
        assert word in warning
    assert warning in succeeded["stderr"].replace('\\"', '"')


def test_a_failed_dbt_test_is_bad_data_and_names_the_rows(
    warehouse: Warehouse, job: Callable[..., ForkedJob], project: Path, tmp_path: Path
) -> None:
    strict = tmp_path / "dbt"
    shutil.copytree(project, strict, ignore=shutil.ignore_patterns(*projects.DERIVED_FOLDERS))
    test = "select ticker, trade_date, close from {{ ref('fct_price_daily') }} where close > 500"
    (strict / "tests" / "no_close_above_500.sql").write_text(test, encoding="utf-8")
    with warehouse.connect() as connection:
        connection.execute(PRICES)
        load(connection, "2012-12-31", 532.17)
    failed = read_receipt(job("run", "--project", str(strict)))
    assert failed["exit_code"] == 65
    for word in ("no_close_above_500", "AAPL", "2012-12-31", "532.17"):
        assert word in failed["error"]
    assert outcomes(failed)["marts.fct_close_difference"] == "skipped"
    assert planned(read_receipt(job("plan", "--project", str(strict)))) == {"build"}


def test_a_duplicate_row_is_bad_data_and_never_reaches_the_mart(warehouse: Warehouse, job: Callable[..., ForkedJob]) -> None:
    with warehouse.connect() as connection:
        connection.execute(PRICES)
        load(connection, "2012-12-31", 532.17)
        load(connection, "2012-12-31", 532.17)
    failed = read_receipt(job("run"))
    assert failed["exit_code"] == 65
    assert "(2012-12-31, AAPL.1) is duplicated" in failed["error"]
    assert outcomes(failed)["marts.fct_price_daily"] == "failed"
    assert warehouse.rows("select to_regclass('marts.fct_price_daily') is null") == [(True,)]


def test_as_of_builds_the_marts_from_the_rows_known_then_and_the_next_build_returns_to_now(
    warehouse: Warehouse, job: Callable[..., ForkedJob]
) -> None:
    with warehouse.connect() as connection:
        connection.execute(PRICES)
        load(connection, "2012-12-31", 500, known=("2013-01-01", "2013-02-01"))
        load(connection, "2012-12-31", 600, known=("2013-02-01", "infinity"))
        load(connection, "2013-01-15", 550, known=("2013-01-15", "infinity"))  # in the warehouse before the session closes
    assert read_receipt(job("run", "--as-of", "2013-01-15T12:00:00+01:00"))["exit_code"] == 0
    assert warehouse.rows("select close::int from marts.fct_price_daily") == [(500,)]
    assert read_receipt(job("run"))["details"]["changes_only"] is False
    assert warehouse.rows("select close::int from marts.fct_price_daily order by trade_date") == [(600,), (550,)]


SLOW_CACHE = """
import runpy, threading, time
from dbt.adapters.base import BaseAdapter
from dbt.adapters.cache import RelationsCache

first, begun = threading.Lock(), threading.Event()
is_cached, add = BaseAdapter._schema_is_cached, RelationsCache.add

def wait_for_first(adapter, database, schema):
    if schema == "raw" and not first.acquire(blocking=False):
        begun.wait(10)
    return is_cached(adapter, database, schema)

def add_slowly(cache, relation):
    add(cache, relation)
    if relation.schema == "raw":
        begun.set()
        time.sleep(1)

BaseAdapter._schema_is_cached, RelationsCache.add = wait_for_first, add_slowly
runpy.run_module("transform_warehouse", run_name="__main__", alter_sys=True)
"""


def test_no_model_mistakes_a_loaded_table_for_an_empty_one(warehouse: Warehouse, project: Path) -> None:
    """Even if other threads see dbt's cache of the raw schema half filled, however long dbt takes to fill it."""
    with warehouse.connect() as connection:
        connection.execute(PRICES)
        load(connection, "2012-12-31", 532.17)
    where = ["--warehouse", warehouse.url, "--warehouse-password", warehouse.password_reference, "--project", str(project)]
    command = [sys.executable, "-c", SLOW_CACHE, "run", *where]
    assert read_receipt(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))["status"] == "done"
    assert warehouse.rows("select (select count(*) from marts.fct_price_daily), (select count(*) from staging.stg_lake__loads)") == [(1, 1)]


def test_sigterm_stops_a_waiting_transform_and_leaves_nothing_half_built(warehouse: Warehouse, job: Callable[..., ForkedJob]) -> None:
    with warehouse.connect() as connection:
        connection.execute(PRICES)
        load(connection, "2012-12-31", 532.17)
    with prices_locked(warehouse):
        process = job("run")
        wait_until(warehouse, HALTED)
        process.send_signal(signal.SIGTERM)
        receipt = read_receipt(process)
        assert (receipt["exit_code"], receipt["status"]) == (143, "stopped"), receipt["stderr"]
        wait_until(
            warehouse, f"not exists (select from pg_stat_activity where {IN_DBT})"
        )  # the server notices a moment after the job's end
    assert warehouse.rows("select relname from pg_class where relname like '%dbt\\_tmp%' or relname like '%dbt\\_backup%'") == []


def test_a_killed_transform_does_not_block_the_next(warehouse: Warehouse, job: Callable[..., ForkedJob]) -> None:
    with warehouse.connect() as connection:
        connection.execute(PRICES)
        load(connection, "2012-12-31", 532.17)
    with prices_locked(warehouse):
        process = job("run")
        wait_until(warehouse, HALTED)
        process.kill()
        process.communicate()
        following = job("run")
        wait_until(warehouse, f"{HALTED} and backend_start > (select max(started_at) from ops.transforms)")
    assert read_receipt(following)["status"] == "done"
    assert warehouse.rows("select close::float from marts.fct_price_daily") == [(532.17,)]


def test_a_second_transform_waits_and_is_unchanged(warehouse: Warehouse, job: Callable[..., ForkedJob], whole_project: Path) -> None:
    job = partial(job, project=whole_project)  # whose fct_freshness shows late data
    with warehouse.connect() as connection:
        connection.execute(PRICES)
        load(connection, "2012-12-31", 532.17)
    with prices_locked(warehouse):
        first = job("run")
        wait_until(warehouse, HALTED)
        second = job("run")
        wait_until(warehouse, LOCKED_OUT)
    receipts = [read_receipt(first), read_receipt(second)]
    assert [receipt["status"] for receipt in receipts] == ["done", "unchanged"]
    assert "waiting for another transform" in receipts[1]["stderr"].splitlines()[0]
    for receipt in receipts:  # the clock makes data late, also if there is nothing to build
        (late,) = receipt["details"]["late"]
        assert (late["dataset"], late["last_date"], late["latency_days"]) == ("tiingo_prices", "2012-12-31", 5)
        assert late["days_late"] > 5000
        assert '"late"' in receipt["stderr"]


def test_wrong_credentials_and_wrong_addresses_have_their_exit_codes(
    warehouse: Warehouse, job: Callable[..., ForkedJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRONG", "not-the-password")
    for verb in ("run", "check", "plan"):
        refused = read_receipt(job(verb, "--warehouse-password", "env://WRONG"))
        assert refused["exit_code"] == 77
        assert "not-the-password" not in refused["stderr"] + json.dumps(refused)
    assert read_receipt(job("run", "--warehouse", warehouse.url + "_gone"))["exit_code"] == 78
    assert read_receipt(job("run", "--warehouse", "postgresql://finelt@127.0.0.1:1/warehouse"))["exit_code"] == 75
    assert read_receipt(job("run", "--project", "/nowhere"))["exit_code"] == 78
    assert read_receipt(job("check"))["exit_code"] == 0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2013-01-15T12:00:00+01:00", datetime(2013, 1, 15, 11, tzinfo=UTC)),
        ("2013-01-15 12:00Z", datetime(2013, 1, 15, 12, tzinfo=UTC)),
        ("2013-01-15T12:00:00.5-0530", datetime(2013, 1, 15, 17, 30, 0, 500_000, tzinfo=UTC)),
        ("2012-02-29T23:59:59.999999+15:59", datetime(2012, 2, 29, 8, 0, 59, 999_999, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", datetime(1, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_as_of_is_a_moment_with_a_zone(text: str, moment: datetime) -> None:
    assert MomentType().convert(text, None, None) == moment


@pytest.mark.parametrize(
    "text",
    [
        *("infinity", "-infinity", "now", "today", "yesterday", "epoch", "", " ", "2013", "2013-01-15", "20130115T120000Z", "1358251200"),
        *("2013-01-15T12:00:00", "2013-01-15T12:00:00 Europe/Berlin", "2013-01-15T12:00:00+16:00", "2013-01-15T12:00:00z", "allballs"),
        *("2013-02-29T12:00:00Z", "2013-13-01T12:00:00Z", "2013-01-15T24:00:00Z", "2013-01-15T12:00:60Z", "2013-W03-2T12:00Z"),
        *("0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "2013-01-15T12:00:00.1234567Z"),
        *("2013-01-15T12:00:00Z\n", "\u0662013-01-15T12:00:00Z", "2013-01-15T12:00:00Z'; select 1; --"),
    ],
)
def test_an_invalid_as_of_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected a moment that has passed, with its time zone, such as 2013-01-15T12:00:00Z"):
        MomentType().convert(text, None, None)


@pytest.mark.parametrize("verb", ["run", "check", "plan"])
def test_an_as_of_must_have_passed_by_the_warehouses_clock(warehouse: Warehouse, job: Callable[..., ForkedJob], verb: str) -> None:
    with build_log.open_build_log(warehouse.url, warehouse.password) as log:
        now = log.execute("select clock_timestamp() as now")[0]["now"]
    for future in ("9999-12-31T23:59:59.999999-15:59", (now + timedelta(hours=1)).isoformat()):
        refused = read_receipt(job(verb, "--as-of", future))
        assert refused["exit_code"] == 2
        assert "expected a moment that has passed, with its time zone" in refused["error"]


@pytest.mark.usefixtures("warehouse")
def test_an_as_of_before_the_first_year_is_clipped_to_it(job: Callable[..., ForkedJob]) -> None:
    assert read_receipt(job("plan", "--as-of", "0001-01-01T00:00:00+14:00"))["exit_code"] == 0


def test_the_fingerprint_depends_on_the_projects_files(tmp_path: Path) -> None:
    copy = tmp_path / "dbt"
    shutil.copytree(projects.find_project(None), copy)
    assert projects.compute_fingerprint(copy) == projects.compute_fingerprint(projects.find_project(None))
    (copy / "target" / "any").parent.mkdir(exist_ok=True)
    (copy / "target" / "any").write_text("derived")
    (copy / "README.md").write_text("edited")
    assert projects.compute_fingerprint(copy) == projects.compute_fingerprint(projects.find_project(None))
    (copy / "models" / "marts" / "fct_new.sql").write_text("select 1 as one")
    assert projects.compute_fingerprint(copy) != projects.compute_fingerprint(projects.find_project(None))
    assert "fct_new" in projects.list_marts(copy)


def test_the_cached_manifest_is_used(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(_project: Path) -> None:
        pytest.fail("parsed again")

    monkeypatch.setattr(manifest_cache, "_parse_project", parse)
    assert manifest_cache.cache_manifest(project).is_file()
    manifest = manifest_cache.load_manifest(project, database="elsewhere")
    relations = {node.relation_name for node in manifest.nodes.values() if node.relation_name}
    assert '"elsewhere"."marts"."fct_price_daily"' in relations
    assert all(name.startswith('"elsewhere".') for name in relations)


def test_the_dbt_project_refuses_an_invalid_as_of(warehouse: Warehouse, project: Path, tmp_path: Path) -> None:
    """Also when dbt is called without the job."""
    with warehouse.connect() as connection:
        connection.execute(PRICES)
    host, _, port = warehouse.url.split("@")[1].split("/")[0].partition(":")
    settings = {
        "FINELT_DBT_HOST": host,
        "FINELT_DBT_PORT": port,
        "FINELT_DBT_DATABASE": warehouse.url.rpartition("/")[2],
        "DBT_ENV_SECRET_FINELT_PASSWORD": warehouse.password,
    }
    folders = ["--project-dir", project, "--profiles-dir", project, "--target-path", tmp_path / "target", "--log-path", tmp_path / "logs"]
    words = ["compile", "--select", "stg_tiingo__prices", "--vars", json.dumps({"as_of": "2013-01-15' or true --"}), *map(str, folders)]
    command = [sys.executable, "-m", "dbt.cli.main", *words]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected a moment such as 2013-01-15T12:00:00+00:00" in done.stdout
