"""What starting costs: `describe` of every job, and the imports that a `describe` and a run begin with."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from jobs.catalogue import catalogue
from scripts.benchmarks import took

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.benchmarks.took import Took

BARE = "python -c pass"
SHOWN = 6
# What a run of each imports before its own work begins; `describe` imports none of it.
HEAVY = {
    "extract-*": "jobkit.http, jobkit.contract, arro3.core, arro3.compute, arro3.io, httpx2, stamina, pyrate_limiter",
    "load-warehouse": "load_warehouse.work",
    "publish-marts": "publish_marts.frames, adbc_driver_postgresql",
    "transform-warehouse": "dbt.cli.main",
    "a lake in S3": "boto3",
}


class Started(NamedTuple):
    """Runs of each job's `describe` and of Python alone, the dearest imports of one, and of what runs import."""

    runs: dict[str, list[Took]]
    imports: list[tuple[str, float]]
    heavy: dict[str, list[Took]]


def measure(times: int) -> Started:
    """Each in turns, after one that is not counted, so that files are in memory as on a machine in use."""
    commands = {BARE: [sys.executable, "-c", "pass"]}
    commands |= {spec.name: [sys.executable, "-m", spec.package, "describe"] for spec in catalogue()}
    runs = took.in_turns({name: _way(command) for name, command in commands.items()}, times)
    heavy = {name: _way([sys.executable, "-c", f"import {modules}"]) for name, modules in HEAVY.items()}
    return Started(runs, _imports(commands["load-warehouse"]), took.in_turns(heavy, times))


def _way(command: list[str]) -> took.Way:
    return lambda: took.process(command)


def _imports(command: list[str]) -> list[tuple[str, float]]:
    """Modules and their own milliseconds, the dearest first."""
    python, *words = command
    said = subprocess.run([python, "-X", "importtime", *words], capture_output=True, text=True, check=True).stderr  # noqa: S603
    lines = [line.removeprefix("import time:").split("|") for line in said.splitlines() if line.startswith("import time:")][1:]
    return sorted(((name.strip(), int(own) / 1000) for own, _, name in lines), key=lambda item: -item[1])


def page(found: Started) -> Iterator[str]:
    """A table of starts, one line of imports."""
    bare = took.median(found.runs[BARE]).wall_s
    yield "From a process's start to its exit, compiled bytecode, files in memory; medians."
    yield ""
    yield f"| `describe` of | ms | times {BARE} | CPU ms | MiB |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, runs in found.runs.items():
        one = took.median(runs)
        yield f"| {name} | {one.wall_s * 1000:.0f} | {one.wall_s / bare:.1f} | {one.cpu_s * 1000:.0f} | {one.peak_mib:.0f} |"
    total = sum(own for _, own in found.imports)
    told = ", ".join(f"{name} {own:.1f}" for name, own in found.imports[:SHOWN])
    yield ""
    yield f"Of load-warehouse's, {total:.0f} ms are {len(found.imports)} imports, the dearest in ms of their own: {told}."
    yield ""
    yield "What a run imports on top before its work begins:"
    yield ""
    yield "| run of | ms beyond Python's own |"
    yield "| --- | ---: |"
    for name, runs in found.heavy.items():
        yield f"| {name} | {(took.median(runs).wall_s - bare) * 1000:.0f} |"
