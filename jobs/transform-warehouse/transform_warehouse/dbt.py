"""Run dbt in this process: its events become progress, its results become outcomes and errors of the job."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from dbt.cli.main import dbtRunner, dbtRunnerResult
from jobkit import failpoints
from jobkit.errors import BadDataError, JobError, MisconfiguredError, TemporaryError
from jobkit.interruption import call_interruptibly
from psycopg2 import sql  # type: ignore[import-untyped]

from transform_warehouse import lineage
from transform_warehouse.as_of import Model
from transform_warehouse.build_log import DBT_APPLICATION_NAME, parse_warehouse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dbt.artifacts.schemas.run import RunExecutionResult, RunResult
    from dbt.contracts.graph.manifest import Manifest
    from dbt_common.events.base_types import EventMsg
    from jobkit.command import Job
    from jobkit.receipt import Outcome

    from transform_warehouse.build_log import BuildLog

# Of dbt's database sessions. A lost commit is harmless, because the build log's commit after the last of them is synchronous.
SESSION_SETTINGS = "-c work_mem=64MB -c maintenance_work_mem=256MB -c synchronous_commit=off -c jit=off"
MAX_SHOWN = 3  # failed tests of a run and failing rows of a test that messages name
MAX_WARNINGS = 10
# In dbt's page (1.12), a browser requests these expressions as files before its scripts replace them, or because nothing does.
UNRENDERED_LINKS = {b'<use xlink:href="{{': b'<use ng-attr-href="{{', b"${require('./assets/favicons/favicon.ico')}": b"data:,"}
OUTCOMES: dict[str, Outcome] = {"success": "committed", "skipped": "skipped"}
BAD_DATA = re.compile(
    r"could not create unique index|violates|out of range|division by zero|invalid input syntax|overflow|logarithm",
    re.IGNORECASE,
)
TEMPORARY = re.compile(
    r"terminating connection|connection (to server|already closed|refused)|server closed|deadlock|No space left|recovery mode",
    re.IGNORECASE,
)


def export_dbt_env(warehouse: str, password: str) -> None:
    """Set the environment variables from which profiles.yml takes the warehouse. This process starts no other."""
    parts = parse_warehouse_url(warehouse)
    os.environ.update(
        FINELT_DBT_HOST=parts["host"],
        FINELT_DBT_PORT=parts["port"],
        FINELT_DBT_USER=parts["user"],
        FINELT_DBT_DATABASE=parts["dbname"],
        FINELT_DBT_SSLMODE=parts["sslmode"],
        FINELT_DBT_SSLROOTCERT=parts.get("sslrootcert", ""),
        FINELT_DBT_APPLICATION=DBT_APPLICATION_NAME,
        DBT_ENV_SECRET_FINELT_PASSWORD=password,
        PGOPTIONS=f"{SESSION_SETTINGS} {os.environ.get('PGOPTIONS', '')}",
    )


def invoke(
    *command: str,
    project: Path,
    scratch: Path,
    manifest: Manifest | None = None,
    listen: Callable[[EventMsg], None] = lambda _event: None,
) -> dbtRunnerResult:
    """Run a dbt command and return its result. It writes only below `scratch`: nothing to stdout, nothing into the project.

    `listen` is called with one event of dbt at a time. Raises MisconfiguredError if the project is wrong, TemporaryError if the
    connection to the warehouse is lost.
    """
    folders = ["--project-dir", project, "--profiles-dir", project, "--target-path", scratch / "target", "--log-path", scratch / "logs"]
    quiet = ["--log-level", "none", "--log-level-file", "none", "--no-print", "--no-use-colors", "--no-send-anonymous-usage-stats"]
    argv = [*command, *map(str, folders), *quiet, "--no-partial-parse"]
    listener_lock = threading.Lock()

    def on_event(event: EventMsg) -> None:
        with listener_lock:
            listen(event)

    runner = dbtRunner(manifest=manifest, callbacks=[on_event])
    with contextlib.redirect_stdout(sys.stderr):
        try:
            result = call_interruptibly(lambda: runner.invoke(argv))
        except BaseException:
            listener_lock.acquire()  # never released: the process is about to end, and dbt stops at its next event
            raise
    if result.exception is not None:
        message = " ".join(str(result.exception).split())
        raise (TemporaryError if TEMPORARY.search(message) else MisconfiguredError)(f"dbt {command[0]} did not start: {message}")
    return result


def build(
    job: Job, build_log: BuildLog, *, project: Path, scratch: Path, manifest: Manifest, as_of: str | None, changed: Sequence[str] | None
) -> list[Model]:
    """Build and test the models, record the outcome of each mart, and return seeds and models in the order they were built.

    `changed` names the models and tests to run; of daily marts, they rebuild only the rows affected by new loads. None builds everything.

    Raises BadDataError if a test failed or the data broke a model, TemporaryError if the connection to the warehouse is lost.
    """
    changes_only = changed is not None
    argv = ["build", "--exclude-resource-type", "unit_test", "--no-write-json"]  # its files are not read, and take a second to write
    argv += ["--vars", json.dumps({"as_of": as_of, "changes_only": changes_only})]
    argv += ["--full-refresh"] if changed is None else ["--indirect-selection", "empty", "--select", *changed]
    job.details["changes_only"] = changes_only
    completed = invoke(*argv, project=project, scratch=scratch, manifest=manifest, listen=_ProgressListener(job))
    results = cast("RunExecutionResult", completed.result).results
    _record_outcomes(job, results, manifest)
    build_log.record_results(job.run_id, _describe_results(results, manifest))
    _record_warnings(job, [result for result in results if result.status == "warn"], build_log, manifest)
    failed = [result for result in results if result.status in ("fail", "error", "runtime error")]
    if failed:
        raise _explain_failures(failed, build_log, manifest)
    return [
        Model(
            node.schema,
            node.name,
            getattr(node, "compiled_code", None) or "",
            is_made_of_seeds(manifest, node.unique_id),
            {name: column.data_type or "" for name, column in node.columns.items()},
            node.config.meta.get("per_ticker", False),
            node.config.meta.get("as_of_key"),
        )
        for node in (result.node for result in results if str(result.node.resource_type) in ("seed", "model"))
    ]


def is_made_of_seeds(manifest: Manifest, node_id: str) -> bool:
    """Whether a node is a seed, or made of seeds alone, directly or through other models."""
    if node_id.startswith("seed."):
        return True
    parents = manifest.nodes[node_id].depends_on_nodes if node_id in manifest.nodes else []
    return bool(parents) and all(is_made_of_seeds(manifest, parent) for parent in parents)


def generate_docs(*, project: Path, scratch: Path, manifest: Manifest) -> bytes:
    """Return the project's documentation as one HTML file, with the SQL of a full build."""
    invoke("docs", "generate", "--static", project=project, scratch=scratch, manifest=manifest)
    page = (scratch / "target" / "static_index.html").read_bytes()
    for link, replacement in UNRENDERED_LINKS.items():
        page = page.replace(link, replacement)
    return page


class _ProgressListener:
    """Reports dbt's events as the job's progress."""

    def __init__(self, job: Job) -> None:
        self._job, self._finished, self._total = job, 0, 0

    def __call__(self, event: EventMsg) -> None:
        if event.info.name == "LogStartLine":
            self._total = event.data.total
        elif event.info.name == "NodeFinished":
            failpoints.hit(f"after {event.data.node_info.resource_type}")
            self._finished += 1
            self._job.progress(self._finished, max(self._total, self._finished), event.data.node_info.node_name)


def _record_outcomes(job: Job, results: Sequence[RunResult], manifest: Manifest) -> None:
    """Write the outcome of each mart, the models and the number of tests by status to the receipt."""
    models = {}
    for result in _select_results(results, "model"):
        rows = max(result.adapter_response.get("rows_affected", 0), 0)  # a view has -1
        seconds = round(result.execution_time, 3)
        models[result.node.name] = {"rows": rows, "seconds": seconds}
        if result.node.schema == lineage.MARTS:
            outcome = OUTCOMES.get(result.status, "failed")
            job.record_partition(f"marts.{result.node.name}", "all", outcome, rows=rows, seconds=seconds)
    marts = {relation.name for relation in lineage.find_models(manifest) if relation.schema == lineage.MARTS}
    for name in sorted(marts - models.keys()):
        job.record_partition(f"marts.{name}", "all", "unchanged")
    tests = Counter(str(result.status) for result in _select_results(results, "test"))
    job.details.update(models=models, tests=dict(tests))
    job.log.info("built", extra={"models": len(models), **{f"tests_{status}": count for status, count in tests.items()}})


def _describe_results(results: Sequence[RunResult], manifest: Manifest) -> dict[str, Any]:
    """Return models and tests as the build log keeps them. A test has the marts and datasets that it is about, but no rows."""
    origins = lineage.find_test_subjects(manifest, [result.node.unique_id for result in _select_results(results, "test")])
    return {
        "models": [
            {"name": result.node.name, "status": str(result.status), "seconds": round(result.execution_time, 3)}
            for result in _select_results(results, "model")
        ],
        "tests": [
            {
                "name": result.node.name,
                "status": str(result.status),
                "failures": result.failures or 0,
                **origins[result.node.unique_id],
            }
            for result in _select_results(results, "test")
        ],
    }


def _record_warnings(job: Job, results: Sequence[RunResult], build_log: BuildLog, manifest: Manifest) -> None:
    """Log the tests that warn about doubtful data, with a few rows of each, and write them to the receipt. They stop no mart."""
    job.details["warnings"] = [_describe_failed_test(result, build_log, manifest) for result in results[:MAX_WARNINGS]]
    for warning in job.details["warnings"]:
        job.log.warning("doubtful data", extra={"found": warning})


def _select_results(results: Sequence[RunResult], resource_type: str) -> list[RunResult]:
    return [result for result in results if str(result.node.resource_type) == resource_type]


def _explain_failures(failed: list[RunResult], build_log: BuildLog, manifest: Manifest) -> JobError | RuntimeError:
    """Return the failures as one error. A failed model comes before failed tests, as it may be their cause."""
    broken_models = [result for result in failed if result.status != "fail"]
    if not broken_models:
        tests = [_describe_failed_test(result, build_log, manifest) for result in failed[:MAX_SHOWN]]
        return BadDataError("; ".join(tests) + (f"; {len(failed) - MAX_SHOWN} more tests failed" if len(failed) > MAX_SHOWN else ""))
    node, message = broken_models[0].node, " ".join(str(broken_models[0].message).split())
    shown = message if lineage.may_show_values(manifest, node.unique_id) else "the database's message may hold confidential values"
    sentence = f"{node.name} could not be built: {shown}"
    if TEMPORARY.search(message):
        return TemporaryError(f"{sentence}; run again when the warehouse is available")
    if BAD_DATA.search(message):
        return BadDataError(f"{sentence}; look at the rows in the staging views")
    return RuntimeError(sentence)


def _describe_failed_test(result: RunResult, build_log: BuildLog, manifest: Manifest) -> str:
    """Return a test's name and a few of the rows it failed on, unless they may hold confidential values."""
    statement, failures = getattr(result.node, "compiled_code", ""), result.failures or 0
    if not lineage.may_show_values(manifest, result.node.unique_id):
        return f"test {result.node.name} failed on {failures} rows, which may hold confidential values and are not shown"
    rows = build_log.execute(sql.SQL("select * from (\n{}\n) as failing limit {}").format(sql.SQL(statement), sql.Literal(MAX_SHOWN)))
    shown = ", ".join(json.dumps(row, default=str) for row in rows)
    more = f" and {failures - len(rows)} more" if failures > len(rows) else ""
    return f"test {result.node.name} failed on {failures} rows: {shown}{more}"
