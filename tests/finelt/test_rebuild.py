"""A warehouse that is rebuilt from the lake equals the one that was loaded day by day, also if it was killed; differences are reported."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from arro3.core import DataType
from arro3.io import read_parquet, write_parquet
from click.testing import CliRunner
from jobkit.lake import CommitDraft, Lake

from finelt import cli, job_process
from finelt.table_digests import digest_tables
from orchestration.local import postgres_home
from tests import forks
from tests.fixtures_postgres import run_cheap_server
from tests.forks import ForkedJob
from tests.small_project import cache_manifest, copy_small_project
from verification.faults import job_runs, sample_restatements
from verification.faults.sandbox import open_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from verification.faults.sandbox import Sandbox

COLUMN = "10 Yr"
REBUILD = Path(__file__).parents[2] / "scripts" / "rebuild"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch, open_sandbox(run_cheap_server) as opened:
        patch.setattr(job_runs, "start_process", ForkedJob)
        opened.project = cache_manifest(copy_small_project(opened.new_path("dbt"), "fct_price_daily", "fct_yield"))
        yield opened


class Grown(NamedTuple):
    """A lake with restatements, the warehouse that was loaded before and after them, and its dump from before them."""

    lake: Path
    url: str
    dump: Path


@pytest.fixture(scope="module")
def grown(sandbox: Sandbox) -> Grown:
    url, dump = sandbox.create_database(), sandbox.new_path("dump")

    def load_and_dump(place: Path) -> None:
        grow(sandbox, place, url)
        run_client(sandbox, "pg_dump", "--format", "custom", "--file", str(dump), url)

    lake = sample_restatements.build_lake(sandbox, between=load_and_dump)
    grow(sandbox, lake, url)
    return Grown(lake, url, dump)


def run_client(sandbox: Sandbox, program: str, *words: str) -> None:
    environ = {**os.environ, "PGPASSWORD": sandbox.server.password}
    done = subprocess.run(
        [postgres_home.find_wheel() / postgres_home.INSTALL / "bin" / program, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environ,
    )
    assert done.returncode == 0, done.stderr


def rebuilt(sandbox: Sandbox, lake: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    words = tuple(sandbox.warehouse_options(word)[1] if word.startswith("postgresql://") else word for word in words)
    command = [str(REBUILD), "--lake", str(lake), "--password", sandbox.server.password_reference_of("{job}"), *words]
    environ = {**os.environ, "FINELT_PROJECT": str(sandbox.project), **environ}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environ)


def test_a_warehouse_from_an_older_snapshot_catches_up_with_the_lake_exactly_once(sandbox: Sandbox, grown: Grown) -> None:
    restored = sandbox.create_database()
    run_client(sandbox, "pg_restore", "--exit-on-error", "--clean", "--if-exists", "--dbname", restored, str(grown.dump))
    sandbox.server.prepare_roles(restored.rpartition("/")[2])
    before, tables = loads(sandbox, restored), digest(sandbox, grown.url)
    assert digest(sandbox, restored) != tables
    grow(sandbox, grown.lake, restored)
    after = loads(sandbox, restored)
    commits = [commit for _, *commit, _ in after]
    assert len(commits) == len({str(commit) for commit in commits}), "a commit was loaded twice"
    assert before < after
    assert sorted(commits) == sorted(commit for _, *commit, _ in loads(sandbox, grown.url))
    assert digest(sandbox, restored) == tables
    grow(sandbox, grown.lake, restored)
    assert loads(sandbox, restored) == after


def test_a_rebuilt_warehouse_equals_the_original_and_a_difference_is_reported(
    sandbox: Sandbox, grown: Grown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The original was loaded as the lake grew, and has a table that was reloaded, with its marts, after a column got another type."""
    lake, url, _ = grown
    with monkeypatch.context() as patch:
        patch.setattr(job_process.subprocess, "run", lambda command, **_: forks.run(command))
        change_type(sandbox, lake, url)
    grow(sandbox, lake, url)
    assert read_type(sandbox, url, "as_of_internal") == "numeric(12,6)"
    job_runs.run_successfully("load-warehouse", ["--lake", str(lake), *sandbox.warehouse_options(url)])  # drops the table that was replaced
    into = sandbox.create_database()
    killed = rebuilt(sandbox, lake, "--into", into, FINELT_FAILPOINT="after commit#20")
    assert (killed.returncode, "load-warehouse was killed by signal 9; run this again" in killed.stderr) == (75, True), killed.stderr
    before = loads(sandbox, into)
    other_lake = rebuilt(sandbox, lake.parent, "--into", into)
    assert (other_lake.returncode, "was begun from the lake" in other_lake.stderr) == (2, True)
    same = rebuilt(sandbox, lake, "--into", into, "--warehouse", url, "--workers", "3")
    assert (same.returncode, "DIFFERS" in same.stdout) == (0, False), same.stdout + same.stderr
    assert "going on with the rebuild that began at" in same.stdout
    assert "equal   raw.tiingo_prices" in same.stdout
    assert 0 < len(before) < len(loads(sandbox, into))
    assert before <= loads(sandbox, into)  # nothing was loaded twice
    assert "building" in same.stderr  # the jobs' logs and progress are shown
    with sandbox.connect(url) as connection:
        connection.execute("update raw.tiingo_prices set volume = volume + 1 where ctid = (select min(ctid) from raw.tiingo_prices)")
    (lake / "raw/treasury_par_yields/year=2012/_commits/000001.json").unlink()
    other = rebuilt(sandbox, lake, "--into", sandbox.create_database(), "--warehouse", url)
    assert other.returncode == 65
    assert "DIFFERS raw.tiingo_prices" in other.stdout
    assert "GAP     treasury_par_yields/year=2012: commit 1 is missing" in other.stdout
    assert "DIFFERS raw.treasury_par_yields" in other.stdout
    refused = rebuilt(sandbox, lake, "--into", url)
    assert (refused.returncode, "give an empty database" in refused.stderr) == (2, True)


def change_type(sandbox: Sandbox, lake: Path, url: str) -> None:
    """Commit a partition of yields with another type of a column, and reload the table. Views read the old one until the next build."""
    store = Lake(str(lake))
    head = store.head("treasury_par_yields", "year=2013")
    assert head
    table = read_parquet(io.BytesIO(store.read(head.data))).read_all()
    index, data = table.column_names.index(COLUMN), io.BytesIO()
    column = table.column(COLUMN).cast(DataType.decimal128(12, 6))
    write_parquet(table.set_column(index, table.field(index).with_type(column.type), column), data)
    draft = CommitDraft(data.getvalue(), head.data.rows, None, 0, lambda: head.source, head.key, head.leaf, head.writer)
    store.commit(head.dataset, head.partition, draft)
    words = ["reload", head.dataset, "--lake", str(lake), "--warehouse", sandbox.warehouse_options(url)[1]]
    words += ["--password", sandbox.server.password_reference_of("{job}"), "--apply"]
    reloaded = CliRunner().invoke(cli.finelt, words)
    assert (reloaded.exit_code, "column 10 Yr: numeric(8,4) -> numeric(12,6)" in reloaded.output) == (0, True), reloaded.output
    assert (read_type(sandbox, url, "raw"), read_type(sandbox, url, "as_of_internal")) == ("numeric(12,6)", "numeric(8,4)")
    with sandbox.connect(url) as connection:
        assert connection.execute("select count(*) > 0 from as_of.fct_yield").fetchone() == (True,)


def read_type(sandbox: Sandbox, url: str, schema: str) -> str:
    """Return the type of the column in the raw table, or in the view of it."""
    query = "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = %s::regclass and attname = %s"
    with sandbox.connect(url) as connection:
        row = connection.execute(query, [f"{schema}.treasury_par_yields", COLUMN]).fetchone()
    assert row
    return str(row[0])


def loads(sandbox: Sandbox, url: str) -> set[tuple[object, ...]]:
    with sandbox.connect(url) as connection:
        return set(connection.execute('select load_id, dataset, "partition", "commit", loaded_at from raw._ledger').fetchall())


def digest(sandbox: Sandbox, url: str) -> dict[str, object]:
    with sandbox.connect(url) as connection:
        return digest_tables(connection)


def grow(sandbox: Sandbox, lake: Path, url: str) -> None:
    job_runs.run_successfully("load-warehouse", ["--lake", str(lake), *sandbox.warehouse_options(url)])
    job_runs.run_successfully("transform-warehouse", sandbox.transform_options(url))
