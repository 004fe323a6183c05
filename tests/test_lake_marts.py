"""The marts that are built from the Iceberg tables on many processes: the same rows as those of Postgres, to the digit."""

from __future__ import annotations

import math
import random
import shutil
import sys
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg
import pytest
from click.testing import CliRunner
from jobkit.errors import TemporaryError
from pyiceberg.catalog import load_catalog

from finelt.lake_marts import builder, command, definitions
from finelt.lake_marts.groups import group_tickers
from finelt.lake_marts.model import MARTS
from orchestration.local import postgres
from tests import forks
from verification.benchmarks import lake_marts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from finelt.lake_marts.model import Definitions
    from orchestration.local.postgres import Postgres
    from tests.fixtures_postgres import Warehouse

ROLE = "transform-warehouse"


@pytest.fixture(scope="module")
def server(demo_directory: Path) -> Iterator[Postgres]:
    with postgres.run_server(demo_directory / "postgres") as running:
        yield running


@pytest.fixture
def lake(demo_directory: Path, tmp_path: Path) -> Path:
    """A copy of the demo's lake, with its Iceberg tables."""
    copied = shutil.copytree(demo_directory / "lake", tmp_path / "lake")
    done = forks.run([sys.executable, "-m", "register_iceberg_tables", "run", "--lake", str(copied), "--dataset", "tiingo_prices"])
    assert done.returncode == 0, done.stderr
    return copied


def build(server: Postgres, lake: Path, *words: str) -> str:
    where = ["--lake", str(lake), "--warehouse", server.url_of("{job}", server.database)]
    result = CliRunner().invoke(command.main, [*where, "--password", server.password_reference_of(ROLE), *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def read_rows(lake: Path, mart: str) -> list[dict[str, Any]]:
    catalog = load_catalog("finelt", type="sql", uri=f"sqlite:///{lake}/iceberg/catalog.db")
    return sorted(
        catalog.load_table(("marts", mart)).scan().to_arrow().to_pylist(), key=lambda row: (row["security_id"], row["trade_date"])
    )


@pytest.fixture(scope="module")
def read_once() -> Callable[..., Definitions]:
    """Read the definitions once, because dbt takes its time to compile."""
    read: list[Definitions] = []

    def read_definitions(*inputs: Any) -> Definitions:
        read.extend([] if read else [definitions.read_definitions(*inputs)])
        return read[0]

    return read_definitions


def test_the_marts_of_two_processes_are_those_of_postgres_and_a_second_build_replaces_them(
    server: Postgres, lake: Path, read_once: Callable[..., Definitions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "read_definitions", read_once)
    for tickers, files in ((2, 2), (10, 1)):
        output = build(server, lake, "--processes", "2", "--tickers", str(tickers))
        assert f"marts.fct_return_daily: 3,688 rows in {files} files" in output
        with psycopg.connect(server.url, password=server.password) as admin:
            for mart in MARTS:
                rows = read_rows(lake, mart)
                columns = ", ".join(rows[0])
                expected = admin.execute(f"select {columns} from marts.{mart} order by security_id, trade_date".encode()).fetchall()
                assert [tuple(row.values()) for row in rows] == expected, mart
        shutil.rmtree(lake / "iceberg" / "marts" / "fct_price_daily", ignore_errors=True)  # `finelt erase` deletes such metadata


def test_the_benchmark_of_a_task_runs(server: Postgres, read_once: Callable[..., Definitions], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake_marts, "read_definitions", read_once)
    found = lake_marts.measure(server, tickers=2)
    assert set(found.rows.values()) == {found.prices}, "each price has a row in each mart"
    assert "| prices per CPU second | " in "\n".join(lake_marts.page(found))


def test_what_is_missing_is_named(tmp_path: Path, lake: Path) -> None:
    for words, message, code in (
        (["--lake", str(tmp_path), "--warehouse", "postgresql://a@b/c"], "run register-iceberg-tables first", 65),
        (["--lake", str(lake)], "--warehouse is missing", 2),
        (["--lake", str(lake), "--warehouse", "postgresql://a@127.0.0.1:1/c", "--password", "env://HOME"], "127.0.0.1", 75),
    ):
        result = CliRunner().invoke(command.main, words)
        assert (result.exit_code, message in result.output) == (code, True), result.output


def test_marts_of_other_prices_are_refused(server: Postgres) -> None:
    with psycopg.connect(server.url, password=server.password, autocommit=True) as connection:
        rows = connection.execute(definitions.TRANSFORMED_PRICES).fetchall()
        commits = {partition: commit for partition, commit, _ in rows}
        assert len(commits) > 1
        definitions._check_same_prices(connection, commits)
        first = min(commits)
        for others in (commits | {first: commits[first] + 1}, commits | {"ticker=ZZZ/year=2013": 1}):
            with pytest.raises(TemporaryError, match="were made of other prices .* for example in ticker="):
                definitions._check_same_prices(connection, others)
        for change, problem in (
            ("delete from ops.transformed_loads", "were made of other prices"),
            (
                "update ops.transforms set as_of = '2013-01-15 12:00Z'",
                "are those of 2013-01-15 12:00Z; run transform-warehouse without --as-of",
            ),
        ):
            with connection.transaction(force_rollback=True):
                connection.execute(change)
                with pytest.raises(TemporaryError, match=problem):
                    definitions._check_same_prices(connection, commits)


def test_groups_keep_linked_tickers_together() -> None:
    owners = [("A", "A.1"), ("B", "B.1"), ("FB", "META.1"), ("META", "META.1"), ("META", "META.0"), ("Z", "META.0")]
    assert list(group_tickers(owners, 1)) == [["A"], ["B"], ["FB", "META", "Z"]]
    assert list(group_tickers(owners, 2)) == [["A", "B"], ["FB", "META", "Z"]]
    assert list(group_tickers(owners, 9)) == [["A", "B", "FB", "META", "Z"]]
    assert list(group_tickers([], 9)) == []


def test_the_query_of_valuations_is_divided_after_the_news() -> None:
    code = "with a as (select 1),\n\nnews as (select 2)\n,\n\n-- why\n-- and how\ntimeline as (select * from news)\nselect * from timeline"
    small, rest = definitions.split_valuations(code)
    assert small == "with a as (select 1),\n\nnews as (select 2)\n\nselect * from news"
    assert rest == "with timeline as (select * from news)\nselect * from timeline"


def test_duckdb_rounds_and_deviates_as_postgres_does(warehouse: Warehouse) -> None:
    """Random doubles of every size, and windows of whole numbers, whose deviation Postgres takes of numerics."""
    rng = random.Random(1)  # noqa: S311  the same numbers every time
    numbers = [rng.choice((-1, 1)) * math.exp(rng.uniform(-30, 12)) for _ in range(3000)] + [
        0.0,
        -0.0,
        0.5,
        2.5e-12,
        1.0,
        90.0,
        0.0000000000005,
    ]
    with duckdb.connect() as database, warehouse.connect() as connection:
        database.execute(builder.FUNCTIONS.read_text())
        for decimals in (10, 12):
            mine = database.execute(f"select round_stable(x, {decimals}) from (select unnest(?::float8[]) as x)", [numbers]).fetchall()
            case = (
                f"case when abs(x) < 1e{12 - decimals} then round(x * 1e{decimals}::float8) / 1e{decimals}::float8 + 0"
                f" else round(x::numeric, {decimals})::float8 end"
            )
            assert mine == connection.execute(f"select {case} from unnest(%s::float8[]) as x".encode(), [numbers]).fetchall()
        mine = database.execute("select round_stable(x, null) from (select unnest(?::float8[]) as x)", [numbers]).fetchall()
        assert mine == connection.execute("select x::numeric::float8 from unnest(%s::float8[]) as x", [numbers]).fetchall()
        returns = [rng.gauss(0, 0.02) for _ in range(300)] + [9.0, 60.0] + [rng.gauss(0, 0.02) for _ in range(300)] + [0.01] * 300
        mine = database.execute(
            "select deviation(count(n) over w, sum(n) over w, sum(case when abs(n) < 1e19 then n * n end) over w, max(abs(n)) over w,"
            " stddev_samp(n::float8) over w)::float8 from"
            " (select i, whole_number(x) as n from (select unnest(?::float8[]) as x, generate_subscripts(?::float8[], 1) as i))"
            " window w as (order by i rows 62 preceding) order by i",
            [returns, returns],
        ).fetchall()
        theirs = connection.execute(
            "select (stddev_samp(n) over w)::float8 from (select i, round(x * 1e17::float8)::bigint::numeric as n"
            " from unnest(%s::float8[]) with ordinality as u (x, i)) as whole window w as (order by i rows 62 preceding) order by i",
            [returns],
        ).fetchall()
        assert mine == theirs
        huge = database.execute(
            "select deviation(count(n), sum(n), sum(case when abs(n) < 1e19 then n * n end), max(abs(n)), stddev_samp(n::float8))::float8"
            " from (select whole_number(unnest([0.01, 250.0, 500.0])) as n)"
        ).fetchone()
        assert huge
        assert huge[0] == pytest.approx(250e17, rel=1e-4)  # too large for exact sums, and no error
