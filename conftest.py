"""Settings of every test, the order and the tiers of tests, and a fixture with an emulated S3."""

from __future__ import annotations

import gc
import os
import signal
import sys
from threading import Lock
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xdist.scheduler import LoadFileScheduling

settings.register_profile("no_deadline", deadline=None)  # a test must not depend on the speed of the machine
settings.load_profile("no_deadline")

# A shell makes its background commands ignore SIGINT. The processes that tests start and interrupt would inherit this.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests start thousands of processes that import the same modules; compiling these takes most of a short process's time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Files and folders that take minutes run first, so that no process waits for another's long file at the end.
LONG_FILES = (
    *("test_kills", "test_compose", "test_faults", "test_incremental", "test_aws_services", "test_benchmarks", "test_transform"),
    *("test_ecs_worker", "test_demo", "test_extractors", "test_tutorial", "infra", "test_independent"),
    *("test_container_contract", "test_flows", "test_deployments"),
    *("test_builds", "test_docs", "test_container_pipeline", "test_image_contents", "test_job_contract", "test_rebuild"),
    *("test_securities", "test_fundamentals", "test_conformance", "test_aws_accepts"),
)
# Files that share what takes half a minute to make, the graphs of the stacks or the fixture `feeds`: they stay in one process.
SHARING = {
    "infra": ("tests/infra/",),
    "feeds": ("tests/test_independent.py", "tests/test_calendars.py", "tests/test_macro.py", "tests/test_recorded_anomalies.py"),
}
# Tests of the full suite only: those that use one of these fixtures, which start Postgres or the demo, ...
SERVER_FIXTURES = frozenset({"postgres_server", "demos", "story", "feeds"})
# ... and files and folders that start servers or the program of a stack, or take more than ten processor seconds and repeat what shorter
# files test.
SLOW_FILES = frozenset(
    {
        *("test_aws_services", "test_compose", "test_demo", "test_deployments", "test_ecs_pool", "test_ecs_worker", "test_events"),
        *(
            "test_flow_entrypoint",
            "test_flows",
            "test_local_postgres",
            "test_local_server",
            "test_tutorial",
            "test_rebuild",
            "test_faults",
            "test_kills",
        ),
        *("test_emit", "test_emit_airflow_dagster", "test_emit_aws", "test_emit_cron_compose", "test_emit_kubernetes", "test_benchmarks"),
        *("test_extractors", "test_lineage", "test_recorded_anomalies", "test_sql", "test_versions"),
        *("infra", "test_scheduler"),
    }
)


def find_names(path: Path) -> set[str]:
    """Return the names by which LONG_FILES and SLOW_FILES may have a file or a folder of tests."""
    return {path.stem, path.parent.name} if path.suffix == ".py" else set()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import slow files, and with them Prefect and Pulumi, if slow tests are left out."""
    return True if SLOW_FILES & find_names(collection_path) and "not slow" in config.option.markexpr else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that `./scripts/test --quick` leaves out as slow, and put long files first."""
    for item in items:
        if SLOW_FILES & find_names(item.path) or SERVER_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
    ranks = {name: rank for rank, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: min(ranks.get(name, len(ranks)) for name in find_names(item.path)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:  # noqa: ANN401  xdist's logger has no public type
    """Keep each file, and the files that share something, in one process."""
    from xdist.scheduler import LoadFileScheduling  # noqa: PLC0415  a plugin that may be absent

    class SharingFiles(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            return next((name for name, files in SHARING.items() if file.startswith(files)), file)

    return SharingFiles(config, log)


def pytest_collection_finish() -> None:
    """Spare the garbage collector the tests and modules, which it visits again and again: a tenth of the time of short tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the name of an empty bucket in an emulated S3."""
    import boto3  # noqa: PLC0415  a second that most tests need not pay
    from moto import mock_aws  # noqa: PLC0415
    from moto.s3.responses import S3Response  # noqa: PLC0415

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    put, lock = S3Response.put_object, Lock()

    def put_object(self: S3Response) -> Any:  # noqa: ANN401  moto's own
        with lock:  # S3 checks If-None-Match and writes in one step; moto does it in two, and another thread may write between them
            return put(self)

    monkeypatch.setattr(S3Response, "put_object", put_object)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="lake")
        yield "lake"
