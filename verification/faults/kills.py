"""SIGKILL at every named step of every job, and run again: what is there then is what an undisturbed run leaves."""

from __future__ import annotations

import json
import signal
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from jobkit import failpoints as steps

from jobs.catalogue import catalogue
from orchestration.local import sample_parameters
from verification.faults import sample_restatements, sandbox

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from verification.faults.sandbox import Stage, State

AT_ONCE = 2


class Trial(NamedTuple):
    """A job in a place of its own: its options, and what it leaves there."""

    options: list[str]
    state: Callable[[], State]
    close: Callable[[], None] = lambda: None


class Killed(NamedTuple):
    """What killing a job came to: the names of its steps, how often it was killed, and what was wrong afterwards."""

    job: str
    steps: tuple[str, ...]
    kills: int
    wrong: tuple[str, ...]


def trials(stage: Stage, bucket: str | None = None) -> dict[str, Callable[[], Trial]]:
    """By job what makes a place for one more trial of it; the places before it in the pipeline are filled once."""
    filled, published = sample_restatements.lake(stage), stage.fresh("docs")
    raw = stage.database()
    sandbox.well("load-warehouse", ["--lake", str(filled), *stage.warehouse(raw)])
    made = stage.database(raw.rpartition("/")[2])
    sandbox.well("transform-warehouse", [*stage.warehouse(made), "--docs", str(published)])

    def extract(job: str) -> Callable[[], Trial]:
        def place() -> Trial:
            lake = f"s3://{bucket}/{stage.fresh('lake').name}" if bucket else str(stage.fresh("lake"))
            return Trial(["--lake", lake, *stage.asks(job)], lambda: sandbox.lake(lake))

        return place

    def dropped() -> Trial:
        lake, drop = stage.fresh("lake"), stage.fresh("drop")
        sample_restatements.drop(drop)
        return Trial(["--lake", str(lake), "--drop", str(drop)], lambda: {**sandbox.lake(lake), **sandbox.site(drop)})

    def load() -> Trial:
        url = stage.database()
        return Trial(["--lake", str(filled), *stage.warehouse(url)], lambda: _tables(stage, url), lambda: stage.drop(url))

    def transform() -> Trial:
        url = stage.database(raw.rpartition("/")[2])
        return Trial(stage.warehouse(url), lambda: _tables(stage, url), lambda: stage.drop(url))

    def publish() -> Trial:
        site = stage.fresh("site")
        return Trial([*stage.warehouse(made), "--site", str(site), "--docs", str(published)], lambda: sandbox.site(site))

    found: dict[str, Callable[[], Trial]] = {job: extract(job) for job in sample_parameters.build_sample_extracts("", "")}
    if bucket is None:
        found |= {
            "extract-dropped-files": dropped,
            "load-warehouse": load,
            "transform-warehouse": transform,
            "publish-marts": publish,
        }
        if missing := {spec.name for spec in catalogue()} - set(found):
            raise RuntimeError(f"nobody says how to kill {', '.join(sorted(missing))}; tell verification/faults/kills.py")
    return found


def _tables(stage: Stage, url: str) -> State:
    with stage.connect(url) as connection:
        return sandbox.tables(connection)


def kill(job: str, place: Callable[[], Trial], seeds: int, rng: random.Random) -> Killed:
    """Kill a job at each of its steps, as often as there are seeds, each time at another moment where it is passed more than once."""
    undisturbed = place()
    passed = _steps(job, undisturbed)
    expected = undisturbed.state()
    undisturbed.close()
    moments = [f"{step}#{n}" for step, times in passed.items() for n in sorted(rng.sample(range(1, times + 1), min(seeds, times)))]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda moment: _once(job, place(), moment, expected), moments))
    return Killed(job, tuple(passed), sum(killed for killed, _ in found), tuple(wrong for _, wrong in found if wrong))


def _steps(job: str, trial: Trial) -> dict[str, int]:
    """The steps of an undisturbed run, and how often each is passed."""
    done = sandbox.well(job, trial.options, **{steps.VARIABLE: steps.LOG_ALL})
    passed: dict[str, int] = defaultdict(int)
    for line in done.stderr.splitlines():
        if step := json.loads(line).get("step", "") if '"event": "step"' in line else "":
            passed[step.rpartition("#")[0]] += 1
    if not passed:
        raise RuntimeError(f"{job} passes no step that it could be killed at")
    return dict(passed)


def _once(job: str, trial: Trial, moment: str, expected: State) -> tuple[int, str | None]:
    """Whether it was killed there (its threads may take another course), and what was wrong in the end."""
    try:
        first = sandbox.run(job, trial.options, **{steps.VARIABLE: moment})
        if first.code not in (0, -signal.SIGKILL):
            return 0, f"{job} at {moment!r}: it ended with {first.code} by itself"
        again = sandbox.run(job, trial.options)
        if again.code or (found := trial.state()) != expected:
            where = "" if again.code else _difference(found, expected)
            return 1, f"{job} killed at {moment!r}: run again it ended with {again.code}{where}"
        return int(first.code != 0), None
    finally:
        trial.close()


def _difference(found: State, expected: State) -> str:
    other = sorted(key for key in {*found, *expected} if found.get(key) != expected.get(key))
    return f" and differs in {', '.join(other[:3])}" + (f" and {len(other) - 3} more" if len(other) > len(other[:3]) else "")


def all_jobs(stage: Stage, seeds: int, rng: random.Random, only: Sequence[str] = (), bucket: str | None = None) -> list[Killed]:
    """Every job of the catalogue, one after the other."""
    return [kill(job, place, seeds, rng) for job, place in trials(stage, bucket).items() if not only or job in only]
