"""The result of a scorecard row, and how many trials a row makes."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """A measured row of the scorecard: the number of trials, what was observed, and the violations (empty if the promise holds)."""

    trials: int
    result: str
    violations: tuple[str, ...] = ()


class TrialCounts(NamedTuple):
    """How many trials each row makes.

    every_job: kill each job at each of its failpoints; otherwise kill at each failpoint only the first job that has it.
    """

    seeds: int
    reader_kills: int
    reads: int
    rounds: int
    stops: int
    documents: int
    names: int
    outages: int
    answers: int
    echoes: int
    every_job: bool


FULL_COUNTS = TrialCounts(
    seeds=20,
    reader_kills=200,
    reads=10_000,
    rounds=200,
    stops=20,
    documents=10_000,
    names=10_000,
    outages=10,
    answers=2_000,
    echoes=600,
    every_job=True,
)
REDUCED_COUNTS = TrialCounts(
    seeds=1,
    reader_kills=4,
    reads=400,
    rounds=1,
    stops=1,
    documents=60,
    names=300,
    outages=1,
    answers=60,
    echoes=23,  # one for each place in a response
    every_job=False,
)
