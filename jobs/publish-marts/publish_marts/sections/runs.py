"""The builds of the marts: their tests, and the sections of a build's own page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from publish_marts import links
from publish_marts.html_tables import EMPTY, Table, build_headers, format_count, format_number
from publish_marts.sections.section import Section, iterate_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from publish_marts.frames import Frames

    Run = Mapping[str, Any]
    Test = Mapping[str, Any]

PASSED = "pass"
_STATUS = {PASSED: ("good", "passed"), "warn": ("fair", "warned"), "skipped": ("fair", "not run")}


def select_tests(run: Run, marts: Collection[str], datasets: Collection[str]) -> list[Test]:
    """Select the tests of a run that are about published marts or permitted datasets alone, those that did not pass first."""
    tests = (run.get("results") or {}).get("tests", ())
    shown = [
        test
        for test in tests
        if (test["marts"] and set(test["marts"]) <= set(marts)) or (test["datasets"] and set(test["datasets"]) <= set(datasets))
    ]
    return sorted(shown, key=lambda test: (test["status"] == PASSED, test["name"]))


def find_last_results(runs: Sequence[Run], select: Callable[[Run], list[Test]]) -> list[tuple[Run, Test]]:
    """Return each test with the newest run that ran it. A build of a few changes runs only the tests of what they affect."""
    newest: dict[str, tuple[Run, Test]] = {}
    for run in runs:
        for test in select(run):
            newest.setdefault(test["name"], (run, test))
    return sorted(newest.values(), key=lambda pair: (pair[1]["status"] == PASSED, pair[1]["name"]))


def build_tests(results: Sequence[tuple[Run, Test]], marts: Collection[str]) -> Section | None:
    """List the last result of each test."""
    if not results:
        return None
    failing = sum(test["status"] != PASSED for _, test in results)
    lead = f"{failing} of {len(results)} tests did not pass." if failing else f"All {len(results)} tests passed."
    headers = build_headers("Test", "Result", "Rows found", "Table", "Run", numbers=("Rows found",))
    rows = [[*_test_cells(test, marts), link_run(run)] for run, test in results]
    return Section("tests", "Tests", f"{lead} Each line is the last result of a test.", tables=(Table("Tests", headers, rows),))


def build_runs(runs: Sequence[Run], select: Callable[[Run], list[Test]]) -> Section | None:
    """List the newest builds of the marts with the number of tests by result."""
    if not runs:
        return None
    numbers = ("Seconds", "Passed", "Warned", "Failed")
    headers = build_headers("Run", "Result", "Started, UTC", *numbers, numbers=numbers)
    rows = [[link_run(run), format_result(run), _format_time(run.get("started_at")), *_count_cells(run, select(run))] for run in runs]
    return Section("runs", "Runs", "The newest builds of the tables, newest first.", tables=(Table("Runs", headers, rows),))


def build_run(run: Run, frames: Frames, tests: Sequence[Test], marts: Collection[str]) -> list[Section]:
    """Build the page of a run: the loads that it added, the tables that it built, its tests."""
    loads = frames.run_loads[frames.run_loads["transform_id"] == run["transform_id"]]
    load_rows = [[links.link_page("datasets", row.dataset), format_count(row.loads), format_count(row.rows)] for row in iterate_rows(loads)]
    load_headers = build_headers("Dataset", "Loads", "Rows", numbers=("Loads", "Rows"))
    models = [model for model in (run.get("results") or {}).get("models", ()) if model["name"] in marts]
    model_headers = build_headers("Table", "Result", "Seconds", numbers=("Seconds",))
    model_rows = [
        [links.link_page("marts", model["name"]), _format_status(model["status"]), format_number(model["seconds"], 2)] for model in models
    ]
    test_headers = build_headers("Test", "Result", "Rows found", "Table", numbers=("Rows found",))
    all_sections = [
        Section("loads", "New loads", "Loads since the build before.", tables=(Table("New loads", load_headers, load_rows),)),
        Section("built", "Tables built", "", tables=(Table("Tables built", model_headers, model_rows),)),
        Section("tests", "Tests", "", tables=(Table("Tests", test_headers, [_test_cells(test, marts) for test in tests]),)),
    ]
    return [section for section in all_sections if section.tables[0].rows]


def link_run(run: Run) -> Markup:
    """Link to the page of a run."""
    return links.link_page("runs", str(run["transform_id"]), f"build {run['transform_id']}")


def format_result(run: Run) -> Markup:
    """Format how a build ended. One that has not ended failed, or was stopped."""
    return _badge("good", "succeeded") if run.get("ended_at") else _badge("bad", "failed")


def describe_run(run: Run) -> str:
    """Describe a build in one sentence."""
    as_of = f", as of {run['as_of']}" if run.get("as_of") else ""
    started = _format_time(run.get("started_at"))
    return f"Build of the tables that started on {started} UTC{as_of}. Its id in logs and receipts is {run.get('run_id', 'unknown')}."


def _test_cells(test: Test, marts: Collection[str]) -> list[str]:
    about = [links.link_page("marts", name) for name in test["marts"] if name in marts]
    failures = format_count(test["failures"]) if test["failures"] else EMPTY
    return [test["name"], _format_status(test["status"]), failures, Markup(", ").join(about)]


def _count_cells(run: Run, tests: Sequence[Test]) -> list[str]:
    started, ended = (datetime.fromisoformat(run[name]) if run.get(name) else None for name in ("started_at", "ended_at"))
    seconds = format_number((ended - started).total_seconds(), 1) if started and ended else EMPTY
    counts = {status: sum(test["status"] == status for test in tests) for status in (PASSED, "warn")}
    failed = sum(test["status"] not in (PASSED, "warn", "skipped") for test in tests)
    return [seconds, *(format_count(count) if tests else EMPTY for count in (counts[PASSED], counts["warn"], failed))]


def _format_status(status: str) -> Markup:
    return _badge(*_STATUS.get(status, ("good", "built") if status == "success" else ("bad", "failed")))


def _badge(css: str, text: str) -> Markup:
    return Markup('<span class="status {}">{}</span>').format(css, text)


def _format_time(text: str | None) -> str:
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M}" if text else EMPTY
