"""The scorecard of faults, with a few trials of each row; `scripts/faults` makes all of them."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import pytest
from jobkit import failpoints
from publish_marts import terms

from verification.faults import job_runs, kills, page, publication, scorecard, states, trials
from verification.faults.sandbox import open_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from verification.faults.sandbox import Sandbox

SEED = 20


def new_rng() -> random.Random:
    return random.Random(SEED)  # noqa: S311  the same moments every time


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as opened:
        yield opened


@pytest.mark.parametrize("name", list(scorecard.FAULTS))
def test_a_row_of_the_scorecard_holds(sandbox: Sandbox, name: str) -> None:
    row = scorecard.FAULTS[name].measure(sandbox, trials.REDUCED_COUNTS, new_rng())
    assert row.violations == ()
    assert row.trials > 0


def test_the_page_describes_each_fault_as_the_code_does() -> None:
    """Run `scripts/faults ROW` for a row that is missing; copy the description for one that was only reworded."""
    rows = re.findall(r"^\| `([a-z]+)` \| (.*?) \| [\d,]+ \|", page.PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert dict(rows) == {name: fault.description for name, fault in scorecard.FAULTS.items()}


def test_a_job_with_a_wrong_state_is_detected(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that differs between two reads is what a job that doubles a row would leave."""
    new_trial = kills.list_trials(sandbox)["extract-sec-filers"]
    reads = iter(range(1000))
    monkeypatch.setattr(states, "read_lake", lambda _url: {"read": next(reads)})
    result = kills.kill_job("extract-sec-filers", new_trial, 1, new_rng())
    assert len(result.violations) == result.kills > 0
    assert "differs in read" in result.violations[0]


@pytest.mark.parametrize("reason", [None, "is not for you"])
def test_a_wrong_publication_rule_is_detected(monkeypatch: pytest.MonkeyPatch, reason: str | None) -> None:
    monkeypatch.setattr(terms, "find_refusal", lambda *_: reason)
    assert list(publication.check_rule(20, new_rng()))


def test_failpoints_are_off_by_default(sandbox: Sandbox) -> None:
    result = job_runs.run_successfully(
        "extract-sec-filers", ["--lake", str(sandbox.new_path("lake")), *sandbox.extract_options("extract-sec-filers")]
    )
    assert '"step"' not in result.stderr
    assert job_runs.run_job("extract-sec-filers", [], verb="describe", **{failpoints.VARIABLE: "before write#1"}).code == 0
