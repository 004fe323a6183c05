"""Backfills through Prefect whose server is killed in the middle, and comes back at once or after a minute."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from jobkit.errors import TemporaryError

from verification.faults import flow_stack

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from verification.faults.flow_stack import FlowStack

NOTHING = "extract-nothing"
RANGE = {"start": "2012-01-01", "end": "2012-04-30"}
STEPS = {f"{NOTHING} plan", *flow_stack.AFTER, *(f"{NOTHING} 2012-{month:02}" for month in range(1, 5))}
SECONDS, LONGEST_S = 2.0, 14.0  # a job, and a backfill without an outage
AWAY_S, WITHIN_S = 60.0, 400.0


class Found(NamedTuple):
    """What came of so many backfills."""

    backfills: int
    runs: int
    longest_s: float
    wrong: tuple[str, ...]


def outages(directory: Path, number: int, rng: random.Random) -> Found:
    """So many outages, every other one of a minute, each at another moment of a backfill of its own."""
    directory.mkdir()
    wrong, runs, longest_s = [], 0, 0.0
    with flow_stack.running(directory) as stack:
        for trial in range(number):
            away_s, after_s = (0.0, AWAY_S)[trial % 2], rng.uniform(0, LONGEST_S)
            run_id = stack.start("backfill", extracts={NOTHING: {"seconds": SECONDS}}, **RANGE, at_once=2, again=True)
            time.sleep(after_s)
            stack.without_server(away_s)
            back_s = time.monotonic()
            wrong += [f"{after_s:.1f} s, away {away_s:.0f} s: {sentence}" for sentence in _wrong(stack, run_id)]
            runs, longest_s = runs + len(_runs(stack, run_id)), max(longest_s, time.monotonic() - back_s)
    return Found(number, runs, longest_s, tuple(wrong))


def _runs(stack: FlowStack, run_id: str) -> list[dict[str, str]]:
    return list(stack.api.call("POST", "/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}}))


def _wrong(stack: FlowStack, run_id: str) -> Iterator[str]:
    """What is not as it would be without the outage. A run that came to nothing by it may have been tried again."""
    try:
        _, ending = stack.steps(run_id, WITHIN_S)
    except TemporaryError as error:
        yield f"the flow's end is not known: {error}"
        return
    if ending.state != "COMPLETED":
        yield f"the flow ended {ending.state}: {ending.message}"
    runs = _runs(stack, run_id)
    yield from (f"{run['name']} is {run['state_type']}" for run in runs if run["state_type"] not in ("COMPLETED", "CRASHED", "FAILED"))
    done = Counter(_step(run["name"]) for run in runs if run["state_type"] == "COMPLETED")
    if done != Counter(STEPS):
        yield f"done were {dict(done)}, expected each once of {sorted(STEPS)}"


def _step(name: str) -> str:
    """A step as STEPS names it, whichever try it is."""
    job, _, subject = name.partition(" (try")[0].partition(" ")
    if job != NOTHING:
        return job
    return f"{job} {subject.removeprefix('date=')[:7]}" if subject != "plan" else name.partition(" (try")[0]
