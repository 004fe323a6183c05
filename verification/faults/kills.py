"""Kill every job at each of its failpoints and run it again. The state must equal that of an undisturbed run."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from jobkit import failpoints

from finelt.table_digests import digest_tables
from jobs.catalogue import REPOSITORY, catalogue
from orchestration.local import sample_parameters
from verification.faults import job_runs, sample_restatements, states

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection, Sequence

    from verification.faults.sandbox import Sandbox
    from verification.faults.states import State
    from verification.faults.trials import TrialCounts

WORKERS = 2
FILER = {"cik_str": 320193, "ticker": "AAPL", "title": "Apple Inc."}
SINGER_MESSAGES = (
    {"type": "SCHEMA", "stream": "filers", "schema": {"properties": {name: {} for name in FILER}}, "key_properties": ["cik_str", "ticker"]},
    {"type": "RECORD", "stream": "filers", "record": FILER},
    {"type": "STATE", "value": {"filers": 1}},
)


class Trial(NamedTuple):
    """One trial of a job: its options, and how to read and close its state."""

    options: list[str]
    state: Callable[[], State]
    close: Callable[[], None] = lambda: None


class KillResult(NamedTuple):
    """The failpoints of a job, how often it was killed, and the violations."""

    job: str
    steps: tuple[str, ...]
    kills: int
    violations: tuple[str, ...]


def list_trials(sandbox: Sandbox, bucket: str | None = None) -> dict[str, Callable[[], Trial]]:
    """List a function per job that creates a trial."""
    stages = sample_restatements.build_stages(sandbox)

    def extract(job: str) -> Callable[[], Trial]:
        def new_trial() -> Trial:
            lake = f"s3://{bucket}/{sandbox.new_path('lake').name}" if bucket else str(sandbox.new_path("lake"))
            return Trial(["--lake", lake, *sandbox.extract_options(job)], lambda: states.read_lake(lake))

        return new_trial

    def dropped_files() -> Trial:
        lake, drop = sandbox.new_path("lake"), sandbox.new_path("drop")
        sample_restatements.write_drop(drop)
        return Trial(["--lake", str(lake), "--drop", str(drop)], lambda: {**states.read_lake(lake), **states.read_site(drop)})

    def load() -> Trial:
        url = sandbox.create_database()
        return Trial(
            ["--lake", str(stages.lake), *sandbox.warehouse_options(url)], lambda: _tables(sandbox, url), lambda: sandbox.drop_database(url)
        )

    def transform() -> Trial:
        url = sandbox.copy_database(stages.loaded)
        return Trial(sandbox.transform_options(url), lambda: _tables(sandbox, url), lambda: sandbox.drop_database(url))

    def publish() -> Trial:
        site = sandbox.new_path("site")
        options = [*sandbox.warehouse_options(stages.transformed), "--site", str(site), "--docs", str(stages.docs)]
        return Trial(options, lambda: states.read_site(site))

    def register() -> Trial:
        lake = sandbox.new_path("lake")
        shutil.copytree(stages.lake, lake, copy_function=os.link)
        return Trial(["--lake", str(lake)], lambda: states.read_iceberg(lake))

    found: dict[str, Callable[[], Trial]] = {job: extract(job) for job in sample_parameters.build_all_sample_extracts("", "")}
    if bucket is None:
        found |= {
            "extract-dropped-files": dropped_files,
            "extract-singer-streams": lambda: _build_singer_trial(sandbox),
            "load-warehouse": load,
            "transform-warehouse": transform,
            "publish-marts": publish,
            "register-iceberg-tables": register,
        }
        if missing := {spec.name for spec in catalogue()} - set(found):
            raise RuntimeError(f"no trial for {', '.join(sorted(missing))}; add one to list_trials in verification/faults/kills.py")
    return found


def _build_singer_trial(sandbox: Sandbox) -> Trial:
    lake, sent = sandbox.new_path("lake"), sandbox.new_path("messages")
    sent.write_text("".join(f"{json.dumps(line)}\n" for line in SINGER_MESSAGES), encoding="utf-8")
    folder = REPOSITORY / "jobs" / "extract-sec-filers" / "extract_sec_filers"
    words = ["--connection", "kills", "--stream", "filers=sec_filers", "--contracts", str(folder)]
    return Trial(["--lake", str(lake), "--tap", f"sh -c 'cat {sent}'", *words], lambda: states.read_lake(str(lake)))


def _tables(sandbox: Sandbox, url: str) -> State:
    with sandbox.connect(url) as connection:
        return digest_tables(connection)


def kill_job(job: str, new_trial: Callable[[], Trial], seeds: int, rng: random.Random, skipped: Collection[str] = ()) -> KillResult:
    """Kill a job at each of its failpoints but the skipped ones, `seeds` times each, at another pass each time if there are several."""
    baseline = new_trial()
    counts = {step: times for step, times in _count_failpoints(job, baseline).items() if step not in skipped}
    expected = baseline.state()
    baseline.close()
    failpoint_names = [f"{step}#{n}" for step, times in counts.items() for n in sorted(rng.sample(range(1, times + 1), min(seeds, times)))]
    with ThreadPoolExecutor(WORKERS) as pool:
        found = list(pool.map(lambda failpoint: _run_trial(job, new_trial(), failpoint, expected), failpoint_names))
    return KillResult(job, tuple(counts), sum(killed for killed, _ in found), tuple(violations for _, violations in found if violations))


def _count_failpoints(job: str, trial: Trial) -> dict[str, int]:
    """Count how often an undisturbed run passes each failpoint."""
    result = job_runs.run_successfully(job, trial.options, **{failpoints.VARIABLE: failpoints.LOG_ALL})
    counts: dict[str, int] = defaultdict(int)
    for line in result.stderr.splitlines():
        if step := json.loads(line).get("step", "") if '"event": "step"' in line else "":
            counts[step.rpartition("#")[0]] += 1
    if not counts:
        raise RuntimeError(f"{job} passes no step that it could be killed at")
    return dict(counts)


def _run_trial(job: str, trial: Trial, failpoint: str, expected: State) -> tuple[int, str | None]:
    """Kill a job at a failpoint and run it again.

    Return 1 if it was killed (its threads may interleave differently), else 0, and the violation, if any.
    """
    try:
        first = job_runs.run_job(job, trial.options, **{failpoints.VARIABLE: failpoint})
        if first.code not in (0, -signal.SIGKILL):
            return 0, f"{job} at {failpoint!r}: it ended with {first.code} by itself"
        rerun = job_runs.run_job(job, trial.options)
        if rerun.code or (found := trial.state()) != expected:
            where = "" if rerun.code else _describe_difference(found, expected)
            return 1, f"{job} killed at {failpoint!r}: run again it ended with {rerun.code}{where}"
        return int(first.code != 0), None
    finally:
        trial.close()


def _describe_difference(found: State, expected: State) -> str:
    differing = sorted(key for key in {*found, *expected} if found.get(key) != expected.get(key))
    return f" and differs in {', '.join(differing[:3])}" + (
        f" and {len(differing) - 3} more" if len(differing) > len(differing[:3]) else ""
    )


def kill_all_jobs(
    sandbox: Sandbox, counts: TrialCounts, rng: random.Random, only: Sequence[str] = (), bucket: str | None = None
) -> list[KillResult]:
    """Kill every job of the catalogue, one after another."""
    results: list[KillResult] = []
    for job, new_trial in list_trials(sandbox, bucket).items():
        if not only or job in only:
            skipped = () if counts.every_job else {step for result in results for step in result.steps}
            results.append(kill_job(job, new_trial, counts.seeds, rng, skipped))
    return results
