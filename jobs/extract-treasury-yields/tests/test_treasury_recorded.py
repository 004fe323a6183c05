"""A recorded year of the Treasury is valid under its contract."""

from __future__ import annotations

from pathlib import Path

import pytest
from extract_treasury_yields.parser import parse
from jobkit import contracts
from jobkit.contracts import load_packaged
from jobkit.requests import Request

FEED = Path(__file__).parents[4] / "shared/feeds/treasury/par_yield_curve_2000_official.csv"


@pytest.mark.skipif(not FEED.exists(), reason="the recorded vendor file is not on this machine")
def test_the_recorded_year_2000_keeps_its_contract() -> None:
    columns = parse(FEED.read_bytes(), Request("treasury_par_yields", ("year=2000",), "/"))["year=2000"]
    kept = contracts.validate(load_packaged("extract_treasury_yields", "treasury_par_yields"), columns)
    assert (kept.read, kept.quarantine) == (kept.table.num_rows, None)
    assert kept.read > 240
