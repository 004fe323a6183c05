"""A warehouse that is rebuilt from the lake equals the one that was loaded day by day, also if it was killed; differences are reported."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fixtures_postgres import run_cheap_server
from tests.forks import ForkedJob
from tests.small_project import cache_manifest, copy_small_project
from verification.faults import job_runs, sample_restatements
from verification.faults.sandbox import open_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from verification.faults.sandbox import Sandbox

REBUILD = Path(__file__).parents[2] / "scripts" / "rebuild"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch, open_sandbox(run_cheap_server) as opened:
        patch.setattr(job_runs, "start_process", ForkedJob)
        opened.project = cache_manifest(copy_small_project(opened.new_path("dbt"), "fct_price_daily", "fct_yield"))
        yield opened


def rebuilt(sandbox: Sandbox, lake: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    words = tuple(sandbox.warehouse_options(word)[1] if word.startswith("postgresql://") else word for word in words)
    command = [str(REBUILD), "--lake", str(lake), "--password", sandbox.server.password_reference_of("{job}"), *words]
    environ = {**os.environ, "FINELT_PROJECT": str(sandbox.project), **environ}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environ)


def test_a_rebuilt_warehouse_equals_the_original_and_a_difference_is_reported(sandbox: Sandbox) -> None:
    url = sandbox.create_database()
    lake = sample_restatements.build_lake(sandbox, between=lambda place: grow(sandbox, place, url))
    grow(sandbox, lake, url)
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


def loads(sandbox: Sandbox, url: str) -> set[tuple[object, ...]]:
    with sandbox.connect(url) as connection:
        return set(connection.execute('select load_id, dataset, "partition", "commit", loaded_at from raw._ledger').fetchall())


def grow(sandbox: Sandbox, lake: Path, url: str) -> None:
    job_runs.run_successfully("load-warehouse", ["--lake", str(lake), *sandbox.warehouse_options(url)])
    job_runs.run_successfully("transform-warehouse", sandbox.transform_options(url))
