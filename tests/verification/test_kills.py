"""The rows of the scorecard in which jobs are killed and stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from jobkit import failpoints

from tests.verification.fault_rows import KILL_ROWS, assert_row_holds, new_rng
from verification.faults import job_runs, kills, states

if TYPE_CHECKING:
    from verification.faults.sandbox import Sandbox


@pytest.mark.parametrize("name", KILL_ROWS)
def test_a_row_of_the_scorecard_holds(sandbox: Sandbox, name: str) -> None:
    assert_row_holds(sandbox, name)


def test_a_job_with_a_wrong_state_is_detected(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that differs between two reads is what a job that doubles a row would leave."""
    new_trial = kills.list_trials(sandbox)["extract-sec-filers"]
    reads = iter(range(1000))
    monkeypatch.setattr(states, "read_lake", lambda _url: {"read": next(reads)})
    result = kills.kill_job("extract-sec-filers", new_trial, 1, new_rng())
    assert len(result.violations) == result.kills > 0
    assert "differs in read" in result.violations[0]


def test_failpoints_are_off_by_default(sandbox: Sandbox) -> None:
    result = job_runs.run_successfully(
        "extract-sec-filers", ["--lake", str(sandbox.new_path("lake")), *sandbox.extract_options("extract-sec-filers")]
    )
    assert '"step"' not in result.stderr
    assert job_runs.run_job("extract-sec-filers", [], verb="describe", **{failpoints.VARIABLE: "before write#1"}).code == 0
