"""The marts of a site as Iceberg tables: what was published at any moment, however the job ends."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest
from jobkit.errors import BadDataError, MisconfiguredError, NewerFormatError
from jobkit.lake import Lake
from jobkit.stores import open_store
from pyarrow import parquet
from register_iceberg_tables import history, published
from register_iceberg_tables.catalogs import open_catalog
from register_iceberg_tables.tables import ensure_namespace

from tests.kills import ADDING_A_SNAPSHOT, run_with_kills
from tests.warehouse.samples import Recorder
from verification.engines import __main__ as engines
from verification.engines import runner

if TYPE_CHECKING:
    from pathlib import Path

    from pyiceberg.table import Table

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
Rows = dict[str, list[Any]]


def at(day: int) -> datetime:
    return START + timedelta(days=day)


def publish(folder: Path, version: str, previous: str | None, day: int, **marts: Rows) -> None:
    """Write a version of a site as publish-marts does, and make it current."""
    described = {}
    for mart, rows in marts.items():
        buffer = io.BytesIO()
        parquet.write_table(pa.table(rows), buffer)
        path = folder / "site" / "v" / version / "marts" / f"{mart}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())
        file = {"path": f"marts/{mart}.parquet", "bytes": buffer.tell(), "sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}
        described[mart] = {"rows": len(next(iter(rows.values()))), "files": {"parquet": file}}
    catalogue = {"version": version, "previous": previous, "marts": described}
    for name, document in (("published", {"published_at": at(day).isoformat()}), ("catalogue", catalogue)):
        (folder / "site" / "v" / version / f"{name}.json").write_text(json.dumps(document))
    point_to(folder, version)


def point_to(folder: Path, version: str) -> None:
    (folder / "site" / "latest.json").write_text(json.dumps({"version": version, "format": 2}))


def withdraw(folder: Path, version: str) -> None:
    """Delete what scripts/site withdraw deletes."""
    files = sorted((folder / "site" / "v" / version).rglob("*"), reverse=True)
    for path in (path for path in files if path.is_file()):
        path.unlink()


def register(folder: Path, site: Path | None = None) -> tuple[dict[str, str], list[str]]:
    """Return the outcome of each mart, and the problems."""
    job = Recorder()
    catalog = open_catalog(Lake(str(folder)), "sqlite")
    ensure_namespace(catalog, "published")
    store = open_store(str(site or folder / "site"))
    problems = published.register(job, store, catalog, "published", f"file://{folder}/iceberg/published")  # type: ignore[arg-type]
    return {mart: outcome for mart, _, outcome in job.outcomes}, problems


def table(folder: Path, mart: str) -> Table:
    return open_catalog(Lake(str(folder)), "sqlite").load_table(f"published.{mart}")


def rows(folder: Path, mart: str, day: float | None = None) -> Rows:
    """What the table has now, or had half a day after a day."""
    iceberg = table(folder, mart)
    snapshot = iceberg.snapshot_as_of_timestamp(history.to_milliseconds(START + timedelta(days=day))) if day is not None else None
    return iceberg.scan(snapshot_id=snapshot.snapshot_id if snapshot else None).to_arrow().to_pydict()


def versions(folder: Path, mart: str) -> list[str]:
    return [snapshot.summary["finelt.version"] for snapshot in table(folder, mart).snapshots() if snapshot.summary]


def fill_site(folder: Path) -> None:
    """A mart that changes and gets a column, one that stays, one that a version no longer has, and one that comes without rows."""
    publish(folder, "a", None, 0, changes={"x": [1, 2]}, stays={"x": [5]}, goes={"x": ["k"]})
    publish(folder, "b", "a", 1, changes={"x": [1, 3]}, stays={"x": [5]}, comes={"x": pa.array([], pa.int64())})
    publish(folder, "c", "b", 2, changes={"x": [1, 3], "y": ["u", "v"]}, stays={"x": [5]}, comes={"x": [7]})


def check_site(folder: Path) -> None:
    assert [rows(folder, "changes", day) for day in (0.5, 1.5)] == [{"x": [1, 2]}, {"x": [1, 3]}]
    assert rows(folder, "changes") == {"x": [1, 3], "y": ["u", "v"]}
    assert (rows(folder, "goes", 0.5), rows(folder, "goes"), versions(folder, "goes")) == ({"x": ["k"]}, {"x": []}, ["a", "b"])
    assert (rows(folder, "comes", 1.5), rows(folder, "comes")) == ({"x": []}, {"x": [7]})
    assert (rows(folder, "stays"), versions(folder, "stays")) == ({"x": [5]}, ["a"])
    assert versions(folder, "changes") == ["a", "b", "c"]


def test_a_version_that_changed_a_mart_is_a_snapshot_at_its_publication(tmp_path: Path) -> None:
    fill_site(tmp_path)
    assert register(tmp_path) == (dict.fromkeys(("changes", "stays", "goes", "comes"), "committed"), [])
    check_site(tmp_path)
    assert register(tmp_path) == (dict.fromkeys(("changes", "stays", "goes", "comes"), "unchanged"), [])
    publish(tmp_path, "d", "c", 3, changes={"x": [9], "y": ["w"]}, stays={"x": [5]}, comes={"x": [7]})
    catalog = open_catalog(Lake(str(tmp_path)), "sqlite")
    (step,) = published.plan(open_store(str(tmp_path / "site")), catalog, "published", f"file://{tmp_path}/iceberg/published")
    assert step == {"mart": "changes", "version": "d", "published_at": at(3).isoformat()}
    assert register(tmp_path)[0]["changes"] == "committed"
    assert rows(tmp_path, "changes") == {"x": [9], "y": ["w"]}


def test_engines_answer_three_publications_like_the_files_of_the_site(tmp_path: Path) -> None:
    """A mart that is gone has no rows, and a column is asked from the moment on at which it was there."""
    fill_site(tmp_path)
    ensure_namespace(open_catalog(Lake(str(tmp_path)), "sqlite"), "raw")
    register(tmp_path)
    questions = list(engines.list_questions(tmp_path, tmp_path / "site"))
    expected = {question["id"]: engines.answer_from_files(tmp_path, tmp_path / "site", question) for question in questions}
    assert [expected[f"published.changes at moment {moment}"]["figures"][0] for moment in (1, 2, 3)] == [(2, "3"), (2, "4"), (2, "4")]
    assert [expected[f"published.goes at moment {moment}"]["rows"] for moment in (1, 2, 3)] == [1, 0, 0]
    assert len(questions) == 3 * 3 + 2
    for engine in ("pyiceberg", "polars", "duckdb"):
        answers = [runner.ask(engine, question) for question in questions]
        assert not [answer["error"] for answer in answers if "error" in answer], engine
        differences = [
            engines.find_difference(question, expected[question["id"]], found) for question, found in zip(questions, answers, strict=True)
        ]
        assert not any(differences), (engine, differences)


def test_a_job_that_is_killed_at_any_step_registers_every_version_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_site(tmp_path)
    kills = run_with_kills(lambda: register(tmp_path), ADDING_A_SNAPSHOT, 9, monkeypatch)  # one round more than there are snapshots
    assert kills == 3 * 8, "there are eight snapshots, and each was added by a run that was killed after it"
    check_site(tmp_path)


def test_after_a_withdrawal_the_tables_have_the_current_version(tmp_path: Path) -> None:
    publish(tmp_path, "a", None, 0, changes={"x": [1]}, stays={"x": [5]})
    publish(tmp_path, "b", "a", 1, changes={"x": [2]}, stays={"x": [5]})
    register(tmp_path)
    withdraw(tmp_path, "a")  # it has the file of the mart that did not change since
    assert register(tmp_path)[0] == {"stays": "committed", "changes": "unchanged"}
    assert (rows(tmp_path, "stays"), versions(tmp_path, "stays")) == ({"x": [5]}, ["a", "b"])
    publish(tmp_path, "c", "b", 2, changes={"x": [3]}, stays={"x": [5]})
    register(tmp_path)
    withdraw(tmp_path, "c")
    point_to(tmp_path, "b")
    assert register(tmp_path)[0] == {"stays": "unchanged", "changes": "committed"}
    assert rows(tmp_path, "changes") == {"x": [2]}
    assert set(register(tmp_path)[0].values()) == {"unchanged"}


def test_a_column_of_another_type_begins_a_new_table_and_a_lost_file_fails_its_mart_only(tmp_path: Path) -> None:
    publish(tmp_path, "a", None, 0, changes={"x": [1]}, stays={"x": [5]})
    register(tmp_path)
    publish(tmp_path, "b", "a", 1, changes={"x": ["one"]}, stays={"x": [6]})
    publish(tmp_path, "c", "b", 2, changes={"x": ["one"]}, stays={"x": [7]})
    (tmp_path / "site" / "v" / "b" / "marts" / "stays.parquet").unlink()
    outcomes, (problem,) = register(tmp_path)
    assert outcomes == {"changes": "committed", "stays": "failed"}
    assert problem.endswith("v/b/marts/stays.parquet is gone; the site names it; run publish-marts again, then this")
    assert (rows(tmp_path, "changes"), versions(tmp_path, "changes")) == ({"x": ["one"]}, ["b"])
    assert rows(tmp_path, "stays") == {"x": [5]}


@pytest.mark.parametrize(
    ("pointer", "error", "message"),
    [
        (None, MisconfiguredError, "has no publication; check --site, or run publish-marts first"),
        ("[]", BadDataError, "is not a valid pointer"),
        ('{"version": "a", "format": 99}', NewerFormatError, "latest.json"),
        ('{"version": "a", "format": 2}', BadDataError, "names a version that is gone"),
    ],
)
def test_a_site_that_cannot_be_read_is_refused(tmp_path: Path, pointer: str | None, error: type[Exception], message: str) -> None:
    (tmp_path / "site").mkdir()
    if pointer:
        (tmp_path / "site" / "latest.json").write_text(pointer)
    with pytest.raises(error, match=message):
        register(tmp_path)


def test_every_published_mart_of_the_demo_has_the_rows_of_its_file(
    demo_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")
    site = demo_directory / "site"
    outcomes, problems = register(tmp_path, site)
    files = {path.stem: path for path in (site / "latest").glob("*.parquet")}
    assert (set(outcomes), set(outcomes.values()), problems) == (set(files), {"committed"}, [])
    for mart, path in files.items():
        expected = pl.read_parquet(path)
        assert table(tmp_path, mart).scan().to_arrow().num_rows == expected.height, mart
        assert pl.scan_iceberg(table(tmp_path, mart), reader_override="native").collect().equals(expected), mart
