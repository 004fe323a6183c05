"""Measure start times: `describe` of every job, the imports of a run, and load-warehouse with little or nothing to load."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from arro3.compute import cast
from arro3.core import Array, DataType, Table
from arro3.io import write_parquet
from jobkit.errors import ExitCode
from jobkit.lake import CommitDraft, Lake

from images import docker_cli
from jobs.catalogue import REPOSITORY
from orchestration.local import sample_parameters
from verification.benchmarks import measurement
from verification.benchmarks.measurement import Measurement
from verification.benchmarks.scratch_server import run_scratch_server
from verification.faults.kills import SINGER_MESSAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jobs.catalogue import JobSpec
    from orchestration.local.postgres import Postgres

PARTITIONS, FIRST_DAY, EPOCH = 60, date(2020, 1, 1), date(1970, 1, 1)
NOTHING, CONNECT = "python -c pass", "import psycopg, connect"
NAMED, AMONG = "one changed day, named", "one changed day, not named"
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}  # the warm-up writes the bytecode
IMPORTED = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", re.MULTILINE)  # own microseconds, module
SHOWN = 4
IN_IMAGE = """
import json, os, subprocess, time
def describe():
    before, began = os.times(), time.perf_counter()
    subprocess.run(["job", "describe"], stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return time.perf_counter() - began, after.children_user + after.children_system - before.children_user - before.children_system
print(json.dumps([describe() for _ in range({times} + 1)][1:]))
"""


class Imports(NamedTuple):
    """What a job imports: how many modules, and milliseconds of each package's own; the standard library is one package."""

    modules: int
    packages: Counter[str]


class StartResult(NamedTuple):
    """All measured runs. `in_images` is empty without a Docker engine."""

    days: int
    rows: int
    described: dict[str, list[Measurement]]
    in_images: dict[str, list[Measurement]]
    imported: dict[str, dict[str, Imports]]  # by verb and job
    loaded: dict[str, list[Measurement]]


def measure(days: int, rows: int, times: int, specs: tuple[JobSpec, ...], *, in_images: bool = True) -> StartResult:
    """Measure everything in turn, after a warm-up. Raises RuntimeError if a job fails or loads other rows than expected."""
    described = measurement.run_in_turns({NOTHING: _python("pass"), "import click": _python("import click"), **_describes(specs)}, times)
    with run_scratch_server() as (server, _, home):
        imported = {
            "describe": {spec.name: _imports(spec, ["describe"], times) for spec in specs},
            "run": {spec.name: _imports(spec, ["run", *_words(spec, home)], times) for spec in specs},
        }
        loaded = _loaded(server, home / "lake", days, rows, times)
    return StartResult(days, rows, described, _in_images(specs, times) if in_images else {}, imported, loaded)


def _python(code: str) -> Callable[[], Measurement]:
    return lambda: measurement.run_process([sys.executable, "-c", code], env=COMPILED)


def _describes(specs: tuple[JobSpec, ...]) -> dict[str, Callable[[], Measurement]]:
    """Measure the installed commands."""

    def method(command: Path) -> Callable[[], Measurement]:
        return lambda: measurement.run_process([str(command), "describe"], env=COMPILED)

    return {spec.name: method(Path(sys.executable).with_name(spec.name)) for spec in specs}


def _in_images(specs: tuple[JobSpec, ...], times: int) -> dict[str, list[Measurement]]:
    """Measure `describe` inside each job's container, without the start of the container. Return nothing without a Docker engine."""
    found = {}
    with suppress(docker_cli.EngineError):
        docker_cli.docker("version")
        for spec in specs:
            image = docker_cli.build_image(spec, docker_cli.BuildEnvironment.from_environ(os.environ))
            code = IN_IMAGE.replace("{times}", str(times))
            text = json.loads(docker_cli.docker("run", "--rm", "--entrypoint", "/app/bin/python", image, "-c", code))
            found[spec.name] = [Measurement(*one) for one in text]
    return found


def _words(spec: JobSpec, home: Path) -> list[str]:
    """Return options with which the job runs until it finds that no server is listening, or has nothing to do."""
    drop = home / "drop"
    drop.mkdir(exist_ok=True)
    messages = home / "messages"
    messages.write_text("".join(f"{json.dumps(message)}\n" for message in SINGER_MESSAGES), encoding="utf-8")
    options: dict[str, object] = {
        "lake": home / "none",
        "drop": drop,
        "site": home / "site",
        "warehouse": "postgresql://any@127.0.0.1:9/any",
        "warehouse_password": "env://ANY",
        "connection": "any",
        "tap": f"cat {messages}",
        "stream": "filers=sec_filers",
        "contracts": REPOSITORY / "jobs" / "extract-sec-filers" / "extract_sec_filers",
        "retry_timeout": 0,
        **sample_parameters.build_all_sample_extracts("http://127.0.0.1:9", "env://ANY").get(spec.name, {}),
    }
    described = subprocess.run([sys.executable, "-m", spec.package, "describe"], capture_output=True, check=True).stdout  # noqa: S603
    named = json.loads(described)["options"]["properties"]
    return [
        word
        for name, value in options.items()
        if name in named
        for item in (value if isinstance(value, list) else [value])
        for word in (f"--{name.replace('_', '-')}", str(item))
    ]


def _imports(spec: JobSpec, words: list[str], times: int) -> Imports:
    """Return the fastest of several import profiles."""
    profiles = [_profile([sys.executable, "-X", "importtime", "-m", spec.package, *words]) for _ in range(times + 1)]
    return min(profiles, key=lambda profile: profile.packages.total())


def _profile(command: list[str]) -> Imports:
    done = subprocess.run(command, env={**os.environ, **COMPILED, "ANY": "any"}, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode not in (ExitCode.DONE, ExitCode.TEMPORARY, ExitCode.MISCONFIGURED):  # the last, of a lake without a dataset
        raise RuntimeError(f"{' '.join(command[3:])} ended with {done.returncode}: {done.stderr[-500:]}")
    packages, modules = Counter[str](), IMPORTED.findall(done.stderr)
    for own_us, module in modules:
        package = module.partition(".")[0]
        packages["standard library" if package in sys.stdlib_module_names else package] += int(own_us)
    return Imports(len(modules), packages)


def _loaded(server: Postgres, home: Path, days: int, rows: int, times: int) -> dict[str, list[Measurement]]:
    """Measure load-warehouse with little or nothing to load, and the start of Python and psycopg."""
    lakes, prices = {"months": home / "months", "days": home / "days"}, count(1)
    for n in range(PARTITIONS):
        _commit(lakes["months"], "months", FIRST_DAY + timedelta(n), 100, 0)
    for n in range(days):
        _commit(lakes["days"], "days", FIRST_DAY + timedelta(n), rows, 0)
    changed = FIRST_DAY + timedelta(days // 2)

    def load(lake: Path, *words: str) -> Measurement:
        warehouse = ["--warehouse", server.url, "--warehouse-password", server.password_reference]
        command = [str(Path(sys.executable).with_name("load-warehouse")), "run", "--lake", str(lake), *warehouse, *words]
        return measurement.run_process(command, server=server, env=COMPILED)

    def change(*words: str) -> Measurement:
        _commit(lakes["days"], "days", changed, rows, next(prices))
        return load(lakes["days"], *words)

    methods: dict[str, Callable[[], Measurement]] = {
        NOTHING: _python("pass"),
        CONNECT: _python(f"import psycopg; psycopg.connect({server.url!r}, password={server.password!r}).close()"),
        f"nothing new in {PARTITIONS} partitions": lambda: load(lakes["months"]),
        f"nothing new in {days:,} days": lambda: load(lakes["days"]),
        NAMED: lambda: change("--dataset", "days", "--partition", _partition(changed)),
        AMONG: change,
    }
    for lake in lakes.values():
        load(lake)
    with psycopg.connect(server.url, password=server.password, autocommit=True) as connection:
        versions = count(1)

        def check(name: str) -> None:
            if name in (NAMED, AMONG):
                _holds(connection, days, rows, next(versions))

        return measurement.run_in_turns(methods, times, check)


def _holds(connection: psycopg.Connection[Any], days: int, rows: int, price: int) -> None:
    """Check that every day has its rows once, and the changed day those of the last commit."""
    query = b"select count(*), count(distinct (date, symbol)), sum(price) from raw.days where known_to = 'infinity'"
    found, expected = connection.execute(query).fetchone(), (days * rows, days * rows, price * rows)
    if found != expected:
        raise RuntimeError(f"raw.days holds {found}, expected {expected}")


def _partition(day: date) -> str:
    return f"date={day}"


def _commit(lake: Path, dataset: str, day: date, rows: int, price: int) -> None:
    """Commit a day of `rows` symbols, all at one price."""
    columns: dict[str, Any] = {
        "_row_number": Array(range(1, rows + 1), DataType.int32()),
        "symbol": Array([f"S{n:06}" for n in range(rows)], DataType.string()),
        "date": cast(Array([(day - EPOCH).days] * rows, DataType.int32()), DataType.date32()),
        "price": Array([price] * rows, DataType.int64()),
    }
    file = io.BytesIO()
    write_parquet(Table.from_pydict(columns), file, compression="zstd(3)")
    writer = {"job": "bench", "version": "0"}
    draft = CommitDraft(file.getvalue(), rows, None, 0, lambda: (), key=("date", "symbol"), leaf="month(date)", writer=writer)
    Lake(str(lake)).commit(dataset, _partition(day), draft)


def page(found: StartResult) -> Iterator[str]:
    """Yield tables of medians: describe, imports, loads with little to do."""
    yield "`describe` of each job, from process start to exit, with compiled bytecode."
    yield ""
    yield from _milliseconds(found.described, found.in_images)
    yield ""
    yield "Imports, in milliseconds per package (`-X importtime` adds overhead). `run` ends when it finds that"
    yield "no server is listening."
    for verb, profiles in found.imported.items():
        yield from ("", f"| {verb} | modules | ms | of which |", "| --- | ---: | ---: | --- |")
        for job, imports in profiles.items():
            dearest = ", ".join(f"{package} {own_us / 1000:.0f}" for package, own_us in imports.packages.most_common(SHOWN))
            yield f"| {job} | {imports.modules} | {imports.packages.total() / 1000:.0f} | {dearest} |"
    yield ""
    yield "load-warehouse, from process start to exit."
    yield f"A changed day has {found.rows:,} rows, all changed, and is one of {found.days:,}."
    yield ""
    yield from measurement.format_table(found.loaded, AMONG)
    yield from measurement.format_chart(
        "describe", "milliseconds", {name: measurement.median(runs).wall_s * 1000 for name, runs in found.described.items()}
    )


def _milliseconds(described: Mapping[str, list[Measurement]], in_images: Mapping[str, list[Measurement]]) -> Iterator[str]:
    yield f"| describe | ms [least] | CPU ms |{' in its image, ms [least] | CPU ms |' if in_images else ''}"
    yield f"| --- | ---: | ---: |{' ---: | ---: |' if in_images else ''}"
    for name, runs in described.items():
        inside = _cells(in_images[name]) if name in in_images else " | |" if in_images else ""
        yield f"| {name} |{_cells(runs)}{inside}"


def _cells(runs: list[Measurement]) -> str:
    middle, least_s = measurement.median(runs), min(run.wall_s for run in runs)
    return f" {middle.wall_s * 1000:.0f} [{least_s * 1000:.0f}] | {middle.cpu_s * 1000:.0f} |"
