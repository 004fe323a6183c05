"""Measure what docs/disaster-recovery.md promises: a warehouse from the lake and from a dump, deleted objects of a lake, and Prefect."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
import psycopg
from psycopg import sql

from orchestration.deployments import register
from orchestration.local import postgres_home, prefect_server
from verification.benchmarks import measurement
from verification.benchmarks.reload import CURRENT, environment
from verification.benchmarks.samples import Days, open_committer
from verification.faults.faulty_s3 import run_emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from verification.benchmarks.measurement import Measurement
    from verification.benchmarks.reload import Environment

MONTHS = 12
RESTORED = "restored"  # the name of a database
FROM_LAKE, DUMP, RESTORE, CATCH_UP = "load-warehouse from the lake", "pg_dump", "pg_restore", "load-warehouse after it: one new month"
MILLION = 1_000_000
SIZE_BYTES = 1000  # of an object of the lake; the time does not depend on it, because no object is read


class RecoveryResult(NamedTuple):
    """The runs on a warehouse by step, the size of its dump, the restored objects of a lake with the run, and Prefect's seconds."""

    rows: int
    warehouse: dict[str, Measurement]
    dump_mb: float
    objects: int
    lake: Measurement
    prefect_start_s: float
    prefect_register_s: float
    deployments: int


def measure(rows: int, objects: int) -> RecoveryResult:
    """Measure each step once. Raises RuntimeError if a restored warehouse or lake differs from the original."""
    with environment() as one:
        total, steps, dump_mb = _recover_warehouse(one, rows // MONTHS // 20)
    return RecoveryResult(total, steps, dump_mb, objects, _recover_lake(objects), *_recover_prefect())


def _recover_warehouse(one: Environment, symbols: int) -> tuple[int, dict[str, Measurement], float]:
    """Load, dump, load one month more, restore the dump beside, and let it catch up."""
    months = [f"2020-{number:02}" for number in range(1, MONTHS + 1)]
    dump, environ = one.lake.parent / "warehouse.dump", {"PGPASSWORD": one.server.password}
    programs = postgres_home.find_wheel() / postgres_home.INSTALL / "bin"
    with open_committer(one.server, str(one.lake)) as commit:
        for month in months:
            commit(f"month={month}", Days(f"{month}-01", 20, symbols))
        steps = {FROM_LAKE: one.load()}
        words = ["--format", "custom", "--schema", "raw", "--file", str(dump), one.server.url]
        steps[DUMP] = measurement.run_process([str(programs / "pg_dump"), *words], server=one.server, env=environ)
        commit("month=2021-01", Days("2021-01-01", 20, symbols))
    one.load()
    one.admin.execute(sql.SQL("create database {}").format(sql.Identifier(RESTORED)))
    url = one.server.url.rpartition("/")[0] + f"/{RESTORED}"
    words = ["--exit-on-error", "--dbname", url, str(dump)]
    steps[RESTORE] = measurement.run_process([str(programs / "pg_restore"), *words], server=one.server, env=environ)
    words = ["--lake", str(one.lake), "--warehouse", url, "--warehouse-password", one.server.password_reference]
    steps[CATCH_UP] = measurement.run_process([sys.executable, "-m", "load_warehouse", "run", *words], server=one.server)
    with psycopg.connect(url, password=one.server.password) as restored:
        if one._replace(admin=restored).hash(CURRENT) != one.hash(CURRENT):
            raise RuntimeError("the restored warehouse has other rows than the original")
    one.admin.execute(sql.SQL("drop database {}").format(sql.Identifier(RESTORED)))
    return symbols * 20 * MONTHS, steps, dump.stat().st_size / MILLION


def _recover_lake(objects: int) -> Measurement:
    """Delete objects of a versioned bucket of the emulator, and bring them back with `finelt lake restore`."""
    with run_emulator() as emulator:
        bucket, client = emulator.create_bucket(), boto3.client("s3")
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        keys = [f"lake/raw/prices/month=2020-01/{number:064x}.parquet" for number in range(objects)]

        def write_and_delete(key: str) -> None:
            client.put_object(Bucket=bucket, Key=key, Body=bytes(SIZE_BYTES))
            client.delete_object(Bucket=bucket, Key=key)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write_and_delete, keys))
        command = [sys.executable, "-m", "finelt", "lake", "restore", "--lake", f"s3://{bucket}/lake", "--apply"]
        run = measurement.run_process(command, env=dict(os.environ))
        pages: Any = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        if sum(page["KeyCount"] for page in pages) != objects:
            raise RuntimeError("the restored lake has fewer objects than the original")
        return run


def _recover_prefect() -> tuple[float, float, int]:
    """Start a server on an empty database, and register every deployment. Return the seconds of both, and how many deployments."""
    deployments = register.all_deployments(kind="process", pool="process")
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        started_s = time.perf_counter()
        server = prefect_server.start_server(Path(folder))
        try:
            server.wait_until_ready()
            ready_s = time.perf_counter()
            register.register_deployments(server.api(), deployments, kind="process", pool="process")
            return ready_s - started_s, time.perf_counter() - ready_s, len(deployments)
        finally:
            prefect_server.stop_server(server)


def page(found: RecoveryResult) -> Iterator[str]:
    """Yield a table of the warehouse, and a sentence each about lake and Prefect."""
    yield f"A warehouse of {found.rows:,} rows of prices in {MONTHS} partitions; its dump has {found.dump_mb:.0f} MB. One run each."
    yield ""
    yield "| step | seconds | CPU s, client and server | CPU s per million rows |"
    yield "| --- | ---: | ---: | ---: |"
    for step, run in found.warehouse.items():
        rows = found.rows / MONTHS if step == CATCH_UP else found.rows
        cpu_s = run.cpu_s + run.server_cpu_s
        yield f"| {step} | {run.wall_s:.2f} | {cpu_s:.2f} | {cpu_s / rows * MILLION:.2f} |"
    yield ""
    yield f"`finelt lake restore --apply` brought back {found.objects:,} deleted objects of a versioned bucket of the emulator in"
    yield f"{found.lake.wall_s:.2f} s with {found.lake.cpu_s:.2f} CPU s of its own."
    yield ""
    yield f"Prefect's server was ready on an empty database after {found.prefect_start_s:.1f} s, and {found.deployments} deployments were"
    yield f"registered in {found.prefect_register_s:.1f} s."
