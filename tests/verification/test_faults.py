"""The other rows of the scorecard of faults, and its page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from publish_marts import terms

from tests.verification.fault_rows import OTHER_ROWS, assert_row_holds, new_rng
from verification.faults import page, publication, scorecard

if TYPE_CHECKING:
    from verification.faults.sandbox import Sandbox


@pytest.mark.parametrize("name", OTHER_ROWS)
def test_a_row_of_the_scorecard_holds(sandbox: Sandbox, name: str) -> None:
    assert_row_holds(sandbox, name)


def test_the_page_describes_each_fault_as_the_code_does() -> None:
    """Run `scripts/faults ROW` for a row that is missing; copy the description for one that was only reworded."""
    rows = re.findall(r"^\| `([a-z]+)` \| (.*?) \| [\d,]+ \|", page.PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert dict(rows) == {name: fault.description for name, fault in scorecard.FAULTS.items()}


@pytest.mark.parametrize("reason", [None, "is not for you"])
def test_a_wrong_publication_rule_is_detected(monkeypatch: pytest.MonkeyPatch, reason: str | None) -> None:
    monkeypatch.setattr(terms, "find_refusal", lambda *_: reason)
    assert list(publication.check_rule(20, new_rng()))
