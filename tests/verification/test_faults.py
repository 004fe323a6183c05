"""The scorecard of faults, a few of each; `scripts/faults` does all of them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from jobkit import failpoints
from publish_marts import terms

from verification.faults import job_runs, kills, publication, scorecard, states, trials
from verification.faults.sandbox import open_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from verification.faults.sandbox import Sandbox

SEED = 20


def dice() -> random.Random:
    return random.Random(SEED)  # noqa: S311  the same moments every time


@pytest.fixture(scope="module")
def stage() -> Iterator[Sandbox]:
    with open_sandbox() as place:
        yield place


@pytest.mark.parametrize("name", list(scorecard.ROWS))
def test_a_row_of_the_scorecard_holds(sandbox: Sandbox, name: str) -> None:
    row = scorecard.ROWS[name](sandbox, trials.REDUCED_COUNTS, dice())
    assert row.violations == ()
    assert row.trials > 0


def test_a_job_that_does_harm_is_found(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that changes with every look is what a job that doubles a row would leave."""
    place = kills.list_trials(sandbox)["extract-sec-filers"]
    looks = iter(range(1000))
    monkeypatch.setattr(states, "read_lake", lambda _url: {"look": next(looks)})
    found = kills.kill_job("extract-sec-filers", place, 1, dice())
    assert len(found.violations) == found.kills > 0
    assert "differs in look" in found.violations[0]


@pytest.mark.parametrize("reason", [None, "is not for you"])
def test_a_rule_that_publishes_too_much_or_too_little_is_found(monkeypatch: pytest.MonkeyPatch, reason: str | None) -> None:
    monkeypatch.setattr(terms, "find_refusal", lambda *_: reason)
    assert list(publication.check_rule(20, dice()))


def test_no_step_is_told_and_nobody_killed_unless_asked_for(sandbox: Sandbox) -> None:
    result = job_runs.run_successfully(
        "extract-sec-filers", ["--lake", str(sandbox.new_path("lake")), *sandbox.extract_options("extract-sec-filers")]
    )
    assert '"step"' not in result.stderr
    assert job_runs.run_job("extract-sec-filers", [], verb="describe", **{failpoints.VARIABLE: "before write#1"}).code == 0
