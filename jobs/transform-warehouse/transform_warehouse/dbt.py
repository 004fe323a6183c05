"""dbt, called in this process: what it says becomes log lines and progress, what it did becomes outcomes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, cast

from dbt.cli.main import dbtRunner, dbtRunnerResult
from jobkit import steps
from jobkit.errors import BadDataError, JobError, MisconfiguredError, TemporaryError
from psycopg2 import sql  # type: ignore[import-untyped]

from transform_warehouse import books, lineage
from transform_warehouse.as_of import Model
from transform_warehouse.aside import aside

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dbt.artifacts.schemas.run import RunExecutionResult, RunResult
    from dbt.contracts.graph.manifest import Manifest
    from dbt_common.events.base_types import EventMsg
    from jobkit.command import Job
    from jobkit.receipt import Outcome

SHOWN = 3
WARNINGS = 10
OUTCOMES: dict[str, Outcome] = {"success": "committed", "skipped": "skipped"}
BAD_DATA = re.compile(
    r"could not create unique index|violates|out of range|division by zero|invalid input syntax|overflow|logarithm",
    re.IGNORECASE,
)
TEMPORARY = re.compile(
    r"terminating connection|connection (to server|already closed|refused)|server closed|deadlock|No space left|recovery mode",
    re.IGNORECASE,
)


def name_warehouse(warehouse: str, password: str) -> None:
    """Nothing; profiles.yml finds the warehouse in the environment of this process, which starts no other."""
    parts = books.parts(warehouse)
    os.environ.update(
        FINELT_DBT_HOST=parts["host"],
        FINELT_DBT_PORT=parts["port"],
        FINELT_DBT_USER=parts["user"],
        FINELT_DBT_DATABASE=parts["dbname"],
        FINELT_DBT_SSLMODE=parts["sslmode"],
        FINELT_DBT_APPLICATION=books.APPLICATION,
        DBT_ENV_SECRET_FINELT_PASSWORD=password,
    )


def invoke(
    *command: str,
    project: Path,
    scratch: Path,
    manifest: Manifest | None = None,
    listen: Callable[[EventMsg], None] = lambda _event: None,
) -> dbtRunnerResult:
    """What a dbt command came to. Nothing is written to stdout nor into the project.

    Raises MisconfiguredError when the project is wrong, TemporaryError when the warehouse went away.
    """
    folders = ["--project-dir", project, "--profiles-dir", project, "--target-path", scratch / "target", "--log-path", scratch / "logs"]
    quiet = ["--log-level", "none", "--log-level-file", "none", "--no-print", "--no-use-colors", "--no-send-anonymous-usage-stats"]
    words = [*command, *map(str, folders), *quiet, "--no-partial-parse"]
    one_at_a_time = threading.Lock()

    def hear(event: EventMsg) -> None:
        with one_at_a_time:
            listen(event)

    runner = dbtRunner(manifest=manifest, callbacks=[hear])
    with contextlib.redirect_stdout(sys.stderr):
        try:
            result = aside(lambda: runner.invoke(words))
        except BaseException:
            one_at_a_time.acquire()  # never given back: the process is about to end, and dbt stands still from its next event on
            raise
    if result.exception is not None:
        said = " ".join(str(result.exception).split())
        raise (TemporaryError if TEMPORARY.search(said) else MisconfiguredError)(f"dbt {command[0]} did not start: {said}")
    return result


def build(
    job: Job, warehouse: books.Books, *, project: Path, scratch: Path, manifest: Manifest, as_of: str | None, changed: Sequence[str] | None
) -> list[Model]:
    """Build and test the models and record what became of each mart; gives seeds and models in the order of their building.

    `changed`: the names of the only models and tests to run, of the daily marts what new loads touch; None for everything whole.

    Raises BadDataError when a test failed or the data broke a model, TemporaryError when the warehouse went away.
    """
    changes_only = changed is not None
    words = ["build", "--exclude-resource-type", "unit_test", "--vars", json.dumps({"as_of": as_of, "changes_only": changes_only})]
    words += ["--full-refresh"] if changed is None else ["--indirect-selection", "empty", "--select", *changed]
    job.details["changes_only"] = changes_only
    done = invoke(*words, project=project, scratch=scratch, manifest=manifest, listen=_Listener(job))
    results = cast("RunExecutionResult", done.result).results
    _record(job, results, manifest)
    _warn(job, [result for result in results if result.status == "warn"], warehouse, manifest)
    failed = [result for result in results if result.status in ("fail", "error", "runtime error")]
    if failed:
        raise _explained(failed, warehouse, manifest)
    return [
        Model(node.schema, node.name, getattr(node, "compiled_code", None) or "", is_made_of_seeds(manifest, node.unique_id))
        for node in (result.node for result in results if str(result.node.resource_type) in ("seed", "model"))
    ]


def is_made_of_seeds(manifest: Manifest, node_id: str) -> bool:
    """Whether a node is a seed, or made of seeds alone, directly or by way of other models."""
    if node_id.startswith("seed."):
        return True
    parents = manifest.nodes[node_id].depends_on_nodes if node_id in manifest.nodes else []
    return bool(parents) and all(is_made_of_seeds(manifest, parent) for parent in parents)


def docs(*, project: Path, scratch: Path, manifest: Manifest) -> bytes:
    """The project's documentation as one HTML file, with the SQL of a whole build."""
    invoke("docs", "generate", "--static", project=project, scratch=scratch, manifest=manifest)
    return (scratch / "target" / "static_index.html").read_bytes()


class _Listener:
    """Turns dbt's events into progress."""

    def __init__(self, job: Job) -> None:
        self._job, self._done, self._total = job, 0, 0

    def __call__(self, event: EventMsg) -> None:
        if event.info.name == "LogStartLine":
            self._total = event.data.total
        elif event.info.name == "NodeFinished":
            steps.passed(f"after {event.data.node_info.resource_type}")
            self._done += 1
            self._job.progress(self._done, max(self._total, self._done), event.data.node_info.node_name)


def _record(job: Job, results: Sequence[RunResult], manifest: Manifest) -> None:
    models = {}
    for result in _of_kind(results, "model"):
        rows = max(result.adapter_response.get("rows_affected", 0), 0)  # a view has -1
        seconds = round(result.execution_time, 3)
        models[result.node.name] = {"rows": rows, "seconds": seconds}
        if result.node.schema == lineage.MARTS:
            outcome = OUTCOMES.get(result.status, "failed")
            job.outcome(f"marts.{result.node.name}", "all", outcome, rows=rows, seconds=seconds)
    marts = {relation.name for relation in lineage.models(manifest) if relation.schema == lineage.MARTS}
    for name in sorted(marts - models.keys()):
        job.outcome(f"marts.{name}", "all", "unchanged")
    tests = Counter(str(result.status) for result in _of_kind(results, "test"))
    job.details.update(models=models, tests=dict(tests))
    job.log.info("built", extra={"models": len(models), **{f"tests_{status}": count for status, count in tests.items()}})


def _warn(job: Job, warned: Sequence[RunResult], warehouse: books.Books, manifest: Manifest) -> None:
    """Log the tests that found doubtful data, with a few rows of each, and put them into the receipt. They stop nothing."""
    job.details["warnings"] = [_failed_test(result, warehouse, manifest) for result in warned[:WARNINGS]]
    for warning in job.details["warnings"]:
        job.log.warning("doubtful data", extra={"found": warning})


def _of_kind(results: Sequence[RunResult], kind: str) -> list[RunResult]:
    return [result for result in results if str(result.node.resource_type) == kind]


def _explained(failed: list[RunResult], warehouse: books.Books, manifest: Manifest) -> JobError | RuntimeError:
    """The failures in one sentence. A model's comes before a test's, as it may be its cause."""
    broken = [result for result in failed if result.status != "fail"]
    if not broken:
        told = [_failed_test(result, warehouse, manifest) for result in failed[:SHOWN]]
        return BadDataError("; ".join(told) + (f"; {len(failed) - SHOWN} more tests failed" if len(failed) > SHOWN else ""))
    said = " ".join(str(broken[0].message).split())
    shown = said if lineage.shows_values(manifest, broken[0].node.unique_id) else "the database's message may hold confidential values"
    sentence = f"{broken[0].node.name} could not be built: {shown}"
    if TEMPORARY.search(said):
        return TemporaryError(f"{sentence}; run again when the warehouse is well")
    if BAD_DATA.search(said):
        return BadDataError(f"{sentence}; the rows it speaks of are in the staging views")
    return RuntimeError(sentence)


def _failed_test(result: RunResult, warehouse: books.Books, manifest: Manifest) -> str:
    """The test and a few of the rows it failed on, unless they may hold confidential values."""
    statement, failures = getattr(result.node, "compiled_code", ""), result.failures or 0
    if not lineage.shows_values(manifest, result.node.unique_id):
        return f"test {result.node.name} failed on {failures} rows, which may hold confidential values and are not shown"
    failing = sql.SQL("select * from (\n{}\n) as failing limit {}").format(sql.SQL(statement), sql.Literal(SHOWN))
    rows = warehouse.rows(failing)
    shown = ", ".join(json.dumps(row, default=str) for row in rows)
    more = f" and {failures - len(rows)} more" if failures > len(rows) else ""
    return f"test {result.node.name} failed on {failures} rows: {shown}{more}"
