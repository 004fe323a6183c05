"""Kill the Prefect server in the middle of backfills, and restart it at once or after a minute."""

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

JOB = "extract-nothing"
RANGE = {"start": "2012-01-01", "end": "2012-04-30"}
STEPS = {f"{JOB} plan", *flow_stack.AFTER, *(f"{JOB} 2012-{month:02}" for month in range(1, 5))}
JOB_S, BACKFILL_S = 2.0, 14.0  # durations of a job and of a backfill without an outage
OUTAGE_S, TIMEOUT_S = 60.0, 400.0


class Outcome(NamedTuple):
    """The result of all backfills."""

    backfills: int
    runs: int
    longest_s: float
    violations: tuple[str, ...]


def run_backfills(directory: Path, number: int, rng: random.Random) -> Outcome:
    """Run a number of backfills with one outage each at a random moment. Every second outage lasts a minute."""
    directory.mkdir()
    violations, runs, longest_s = [], 0, 0.0
    with flow_stack.running(directory) as stack:
        for trial in range(number):
            outage_s, delay_s = (0.0, OUTAGE_S)[trial % 2], rng.uniform(0, BACKFILL_S)
            run_id = stack.start("backfill", extracts={JOB: {"seconds": JOB_S}}, **RANGE, at_once=2, again=True)
            time.sleep(delay_s)
            stack.without_server(outage_s)
            recovered_s = time.monotonic()
            violations += [f"{delay_s:.1f} s, away {outage_s:.0f} s: {sentence}" for sentence in _find_violations(stack, run_id)]
            runs, longest_s = runs + len(_runs(stack, run_id)), max(longest_s, time.monotonic() - recovered_s)
    return Outcome(number, runs, longest_s, tuple(violations))


def _runs(stack: FlowStack, run_id: str) -> list[dict[str, str]]:
    return list(stack.api.call("POST", "/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}}))


def _find_violations(stack: FlowStack, run_id: str) -> Iterator[str]:
    """Find differences from a backfill without an outage. A run that failed because of the outage may have been retried."""
    try:
        _, ending = stack.steps(run_id, TIMEOUT_S)
    except TemporaryError as error:
        yield f"the flow's end is not known: {error}"
        return
    if ending.state != "COMPLETED":
        yield f"the flow ended {ending.state}: {ending.message}"
    runs = _runs(stack, run_id)
    yield from (f"{run['name']} is {run['state_type']}" for run in runs if run["state_type"] not in ("COMPLETED", "CRASHED", "FAILED"))
    result = Counter(_step_name(run["name"]) for run in runs if run["state_type"] == "COMPLETED")
    if result != Counter(STEPS):
        yield f"done were {dict(result)}, expected each once of {sorted(STEPS)}"


def _step_name(name: str) -> str:
    """Convert a run's name to a name in STEPS, without the attempt."""
    job, _, subject = name.partition(" (try")[0].partition(" ")
    if job != JOB:
        return job
    return f"{job} {subject.removeprefix('date=')[:7]}" if subject != "plan" else name.partition(" (try")[0]
