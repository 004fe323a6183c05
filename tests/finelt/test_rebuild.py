"""A warehouse from the lake alone equals the one that grew day by day, and a difference is told."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from verification.faults import sample_restatements, sandbox
from verification.faults.__main__ import stage as staged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from verification.faults.sandbox import Stage

REBUILD = Path(__file__).parents[2] / "scripts" / "rebuild"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as place:
        yield place


def rebuilt(stage: Stage, lake: Path, *words: str) -> subprocess.CompletedProcess[str]:
    words = tuple(stage.warehouse(word)[1] if word.startswith("postgresql://") else word for word in words)
    command = [str(REBUILD), "--lake", str(lake), "--password", stage.server.password_reference_of("{job}"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_a_warehouse_that_grew_equals_one_from_the_lake_alone_and_a_difference_is_told(stage: Stage) -> None:
    url = stage.database()
    lake = sample_restatements.lake(stage, between=lambda place: grow(stage, place, url))
    grow(stage, lake, url)
    same = rebuilt(stage, lake, "--into", stage.database(), "--warehouse", url)
    assert (same.returncode, "DIFFERS" in same.stdout) == (0, False), same.stdout + same.stderr
    assert "equal   raw.tiingo_prices" in same.stdout
    with stage.connect(url) as connection:
        connection.execute("update raw.tiingo_prices set volume = volume + 1 where ctid = (select min(ctid) from raw.tiingo_prices)")
    other = rebuilt(stage, lake, "--into", stage.database(), "--warehouse", url)
    assert other.returncode == 65
    assert "DIFFERS raw.tiingo_prices" in other.stdout
    (lake / "raw/treasury_par_yields/year=2012/_commits/000001.json").unlink()
    gap = rebuilt(stage, lake, "--into", stage.database(), "--warehouse", url)
    assert gap.returncode == 65
    assert "GAP     treasury_par_yields/year=2012: commit 1 is missing" in gap.stdout
    assert "DIFFERS raw.treasury_par_yields" in gap.stdout
    refused = rebuilt(stage, lake, "--into", url)
    assert (refused.returncode, "give an empty database" in refused.stderr) == (2, True)


def grow(stage: Stage, lake: Path, url: str) -> None:
    sandbox.well("load-warehouse", ["--lake", str(lake), *stage.warehouse(url)])
    sandbox.well("transform-warehouse", stage.warehouse(url))
