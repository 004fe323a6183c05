"""Expire old versions of a lake, killed at each failpoint, and next to a writer that commits the figures of expired versions again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

from jobkit import failpoints
from jobkit.lake import CommitDraft, Lake, SourceMetadata

from finelt.lake import verify
from verification.faults import job_runs, states

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from verification.faults.sandbox import Sandbox
    from verification.faults.trials import TrialCounts

DATASET, PARTITIONS, VERSIONS = "ecb_fx_rates", ("year=2011", "year=2012"), 8
BEGIN = datetime(2020, 1, 2, tzinfo=UTC)
EXPIRE = f"""
import json, sys
from datetime import UTC, datetime
from finelt.retention import Policy, expire
from jobkit import failpoints
from jobkit.lake import Lake
expire(Lake(sys.argv[1]), {DATASET!r}, Policy(1), datetime.now(UTC), is_dry_run=False)
print(json.dumps(failpoints._counts))
"""


class Outcome(NamedTuple):
    """The number of trials and the violations."""

    trials: int
    violations: tuple[str, ...]


def check_expiry(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Outcome:
    """Kill the expiry at its failpoints and run it again; then run it next to a writer, killed at some failpoint each time."""
    undisturbed = _build_lake(sandbox)
    passes = _run(undisturbed, failpoints.LOG_ALL)
    expected = _read(undisturbed)
    points = select_points(passes, counts.seeds, rng)
    violations = []
    for point in points:
        lake = _build_lake(sandbox)
        _run(lake, point)
        violations += [f"killed at {point!r}: {finding}" for finding in _find_problems(lake)]
        _run(lake)
        violations += [f"killed at {point!r}: run again, it left another lake"] if _read(lake) != expected else []
    rounds = max(counts.rounds // 5, 1)
    for number in range(rounds):
        lake = _build_lake(sandbox)
        writer = Thread(target=_commit_old_figures, args=(lake,))
        writer.start()
        _run(lake, rng.choice(points))
        writer.join()
        _run(lake)
        violations += [f"round {number}: {finding}" for finding in _find_problems(lake)]
    return Outcome(len(points) + rounds, tuple(violations))


def _build_lake(sandbox: Sandbox) -> Path:
    """Fill a lake with versions nine days apart, all of them old, of which month ends and the newest stay."""
    folder = sandbox.new_path("lake")
    for version in range(VERSIONS):
        lake = Lake(str(folder), received_at=BEGIN + timedelta(days=9 * version))
        for partition in PARTITIONS:
            _commit(lake, partition, version)
    return folder


def _commit(lake: Lake, partition: str, version: int) -> None:
    about = SourceMetadata("https://vendor.example/", "text/csv", None, None)
    data, body = f"rows of {partition}, version {version}".encode(), f"response {version % 3}".encode()
    draft = CommitDraft(
        data, 1, None, 0, lambda: (lake.store_source(DATASET, body, about),), ("date",), "year(date)", {"job": "test", "version": "0"}
    )
    lake.commit(DATASET, partition, draft)


def _commit_old_figures(folder: Path) -> None:
    for version in range(VERSIONS):
        for partition in PARTITIONS:
            _commit(Lake(str(folder)), partition, version)


def _run(folder: Path, point: str = "") -> Counter[str]:
    return run_script(EXPIRE, folder, point)


def select_points(passes: Counter[str], seeds: int, rng: random.Random) -> list[str]:
    """Return the failpoints at which to kill: of each name, so many of the times that it is passed."""
    return [f"{name}#{number}" for name, times in passes.items() for number in sorted(rng.sample(range(1, times + 1), min(seeds, times)))]


def run_script(script: str, folder: Path, point: str = "") -> Counter[str]:
    """Run a script on a lake in a process of its own, killed at a failpoint. Return how often it passed each, which it prints."""
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(command, env=job_runs.clean_environ(**{failpoints.VARIABLE: point}), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode not in ((0, -signal.SIGKILL) if point else (0,)):
        raise RuntimeError(f"the script ended with {done.returncode}: {done.stderr[-2000:]}")
    return Counter(json.loads(done.stdout)) if done.stdout else Counter()


def _find_problems(folder: Path) -> Iterator[str]:
    """Yield what is lost: every commit that is there has its files, and no number is missing without a record."""
    yield from (f"{finding.where}: {finding.text}" for finding in verify(Lake(str(folder))).wrong)


def _read(folder: Path) -> states.State:
    """Read commits, files and records."""
    lake = Lake(str(folder))
    return {**states.read_lake(folder), "keys": [key for key in lake.store.list_keys("") if "/_log/" not in key]}
