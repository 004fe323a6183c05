"""Measure a row of the scorecard of faults with few trials; `scripts/faults` makes all of them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from verification.faults import scorecard, trials

if TYPE_CHECKING:
    from verification.faults.sandbox import Sandbox

SEED = 20
KILL_ROWS = ("kills", "stops")  # in a file of their own, so that two processes share the rows
OTHER_ROWS = tuple(name for name in scorecard.FAULTS if name not in KILL_ROWS)


def new_rng() -> random.Random:
    return random.Random(SEED)  # noqa: S311  the same moments every time


def assert_row_holds(sandbox: Sandbox, name: str) -> None:
    row = scorecard.FAULTS[name].measure(sandbox, trials.REDUCED_COUNTS, new_rng())
    assert row.violations == (), "\n".join(row.violations)
    assert row.trials > 0
