"""The Iceberg tables of the lake: the same rows in every engine, as of any moment, however the job ends."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import duckdb_extension_avro
import duckdb_extension_iceberg
import polars as pl
import pytest
from arro3.core import DataType
from jobkit.errors import BadDataError, TemporaryError, UsageError
from jobkit.lake import CommitDraft, Lake
from pyiceberg.catalog import load_catalog
from register_iceberg_tables import history, runner
from register_iceberg_tables.catalogs import open_catalog
from register_iceberg_tables.tables import IcebergTable

from finelt import retention
from finelt.erasure import lake as erasure
from finelt.erasure.subject import Subject
from finelt.retention import Policy
from jobs.catalogue import REPOSITORY
from tests.kills import ADDING_A_SNAPSHOT, run_with_kills
from tests.warehouse.samples import Recorder, parquet
from verification.engines import __main__ as engines
from verification.engines import runner as runner_of_engines

if TYPE_CHECKING:
    from jobkit.lake import Commit
    from pyiceberg.table import Table

    from tests.warehouse.samples import Row

DATASET = "prices"
START = datetime(2013, 1, 31, 12, tzinfo=UTC)
COLUMNS = {
    "ticker": DataType.utf8(),
    "a day": DataType.date32(),
    "close": DataType.decimal128(18, 6),
    "adj.Close (%)": DataType.float64(),
    "small": DataType.decimal128(5, 2),
    "large": DataType.decimal128(38, 10),
    "volume": DataType.int64(),
    "count": DataType.int32(),
    "at": DataType.timestamp("us", tz="UTC"),
    "ok": DataType.bool(),
}
WIDER = DataType.decimal128(7, 2)
NEW_COLUMNS = {**COLUMNS, "venue": DataType.utf8()}


def row(close: str | None, **more: str) -> Row:
    numbers = {"small": "-1.25", "large": "1234567890123456789012345678.5", "volume": "9000000000", "count": "4", "adj.Close (%)": "1.5"}
    return {"ticker": "A", "a day": "2012-01-03", "close": close, "at": "2012-01-03T10:00:00.123456+00:00", "ok": "true", **numbers, **more}


def commit(folder: Path, ticker: str, rows: list[Row], days: float, columns: dict[str, DataType] = COLUMNS) -> Commit:
    """Commit rows as the next version of a ticker's partition, so many days after START."""
    draft = CommitDraft(parquet(rows, columns), len(rows), None, 0, lambda: (), ("ticker",), "hash(ticker, 4)", {"job": "test"})
    return Lake(str(folder), START + timedelta(days=days)).commit(DATASET, f"ticker={ticker}", draft)[0]


def register(folder: Path) -> dict[str, str]:
    """Run the job; return the outcome of each partition."""
    job = Recorder()
    runner.run(job, str(folder), (), "sqlite")  # type: ignore[arg-type]
    return {partition: outcome for _, partition, outcome in job.outcomes}


def table(folder: Path) -> Table:
    return load_catalog("finelt", type="sql", uri=f"sqlite:///{folder}/iceberg/catalog.db").load_table(f"raw.{DATASET}")


def summaries(folder: Path) -> list[tuple[int, str]]:
    """The time and the commits of each snapshot."""
    return [(each.timestamp_ms, str(each.summary and each.summary["finelt.commits"])) for each in table(folder).snapshots()]


def closes_in_lake(folder: Path, moment: datetime) -> list[Decimal | None]:
    """What `finelt.read` selects: of each partition, the last commit known at the moment."""
    lake, values = Lake(str(folder)), []
    for partition in lake.partitions(DATASET):
        known = [one for one in lake.history(DATASET, partition) if one.known <= moment]
        if known and known[-1].data.rows:
            values += pl.read_parquet(lake.read(known[-1].data))["close"].to_list()
    return sorted(values, key=str)


def restated_lake(folder: Path) -> list[datetime]:
    """A lake with a correction, a return to old bytes, a new column and a partition that becomes empty; return moments to ask."""
    commit(folder, "A", [row("1.1"), row(None)], 0)
    commit(folder, "B", [row("2.5")], 0.0001)
    commit(folder, "A", [row("1.2")], 1)
    commit(folder, "A", [row("1.1"), row(None)], 2)
    commit(folder, "B", [row("2.25", venue="XNAS")], 2.0001, NEW_COLUMNS)
    commit(folder, "B", [], 3, NEW_COLUMNS)
    return [START + timedelta(days=days) for days in (0.5, 1, 2.5, 4)]


@pytest.fixture(scope="module")
def restated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[datetime]]:
    folder = tmp_path_factory.mktemp("lake")
    moments = restated_lake(folder)
    assert register(folder) == {"ticker=A": "committed", "ticker=B": "committed"}
    return folder, moments


def test_every_engine_answers_as_of_a_moment_like_the_lake(restated: tuple[Path, list[datetime]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")
    folder, moments = restated
    iceberg = table(folder)
    duck = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for package in (duckdb_extension_avro, duckdb_extension_iceberg):
        (extension,) = Path(str(package.__file__)).parent.rglob("*.duckdb_extension")
        duck.execute(f"load '{extension}'")
    for moment in moments:
        expected = closes_in_lake(folder, moment)
        snapshot = iceberg.snapshot_as_of_timestamp(history.to_milliseconds(moment))
        assert snapshot
        arrow = iceberg.scan(snapshot_id=snapshot.snapshot_id).to_arrow()
        native = pl.scan_iceberg(iceberg, snapshot_id=snapshot.snapshot_id, reader_override="native").collect()
        query = f"from iceberg_scan('{iceberg.metadata_location}', snapshot_from_timestamp => timestamptz '{moment.isoformat()}')"
        duck_closes = [found[0] for found in duck.execute(f"select close {query}").fetchall()]
        answers = [arrow["close"].to_pylist(), native["close"].to_list(), duck_closes]
        assert [sorted(answer, key=str) for answer in answers] == [expected] * 3
    assert len(expected) == 2
    values = duck.execute(f'select "adj.Close (%)", small, large, volume, "count", "at"::text, ok, "a day"::text {query}').fetchall()
    first = (1.5, Decimal("-1.25"), Decimal("1234567890123456789012345678.5"), 9_000_000_000, 4, "2012-01-03 10:00:00.123456+00", True)
    assert values[0][:7] == first


def test_the_query_of_the_page_finds_the_current_files_without_iceberg(
    restated: tuple[Path, list[datetime]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Globbing finds replaced versions, too."""
    folder, moments = restated
    _, _, section = (REPOSITORY / "docs" / "iceberg.md").read_text(encoding="utf-8").partition("## Without Iceberg")
    query = section.partition("```sql\n")[2].partition("```")[0]
    monkeypatch.chdir(folder.parent)
    (folder.parent / "lake").symlink_to(folder)
    duck = duckdb.connect()
    ((files,),) = duck.execute(query.replace("treasury_par_yields", DATASET)).fetchall()
    closes = "select close from read_parquet(?, union_by_name = true) order by close nulls last"
    assert [row[0] for row in duck.execute(closes, [files]).fetchall()] == closes_in_lake(folder, moments[-1])
    assert len(duck.execute(closes, [str(folder / "raw" / DATASET / "**" / "*.parquet")]).fetchall()) > len(files)


def test_the_engines_of_the_lock_file_answer_three_moments_like_the_commits(restated: tuple[Path, list[datetime]]) -> None:
    """And the comparison finds another number of rows, of values, and another sum."""
    folder, _ = restated
    questions = list(engines.list_questions(folder, None))
    expected = [engines.answer_from_files(folder, None, question) for question in questions]
    assert [answer["rows"] for answer in expected] == [3, 3, 2]
    assert len({str(answer) for answer in expected}) == 3
    for engine in ("pyiceberg", "polars", "duckdb"):
        answers = [runner_of_engines.ask(engine, question) for question in questions]
        assert not [answer["error"] for answer in answers if "error" in answer], engine
        found = [engines.find_difference(*each) for each in zip(questions, expected, answers, strict=True)]
        assert found == [None] * 3, engine
    (question, *_), (answer, *_) = questions, expected
    at = [name for name, _ in question["columns"]].index("large")
    count, total = answer["figures"][at]
    for wrong in ((count - 1, total), (count, total.removesuffix("0") + "1")):
        figures = [wrong if number == at else figure for number, figure in enumerate(answer["figures"])]
        assert str(engines.find_difference(question, answer, {**answer, "figures": figures})).startswith(f"large has {wrong[0]} values")
    assert engines.find_difference(question, answer, {**answer, "rows": 4}) == "4 rows instead of 3"


def test_duckdb_confuses_columns_that_differ_in_case_only_as_the_page_warns(tmp_path: Path) -> None:
    """When this fails, DuckDB reads them: remove the warning from docs/iceberg.md."""
    commit(tmp_path, "A", [{"T": "1", "t": "10"}], 0, {"T": DataType.int64(), "t": DataType.int64()})
    register(tmp_path)
    (question,) = engines.list_questions(tmp_path, None)
    expected = engines.answer_from_files(tmp_path, None, question)
    assert expected["figures"] == [(1, "1"), (1, "10")]
    assert runner_of_engines.ask("polars", question) == runner_of_engines.ask("pyiceberg", question) == expected
    assert runner_of_engines.ask("duckdb", question)["figures"] == [(0, None), (1, "1")]
    assert "`raw.massive_daily_prices`" in (REPOSITORY / "docs" / "iceberg.md").read_text(encoding="utf-8")


def test_a_snapshot_has_the_commits_that_came_together_and_their_time(restated: tuple[Path, list[datetime]]) -> None:
    folder, _ = restated
    first = history.to_milliseconds(START)
    assert summaries(folder) == [
        (first + 8_640, '{"ticker=A": 1, "ticker=B": 1}'),
        (first + 86_400_000, '{"ticker=A": 2}'),
        (first + 2 * 86_400_000 + 8_640, '{"ticker=A": 3, "ticker=B": 2}'),
        (first + 3 * 86_400_000, '{"ticker=B": 3}'),
    ]
    metadata = table(folder).metadata
    assert metadata.last_updated_ms == summaries(folder)[-1][0]  # Java's readers refuse a table whose last update is before its log
    assert [entry.timestamp_ms for entry in metadata.metadata_log] == [moment for moment, _ in summaries(folder)[:-1]]
    assert metadata.properties["gc.enabled"] == "false"


def test_a_rerun_changes_nothing(restated: tuple[Path, list[datetime]]) -> None:
    folder, _ = restated
    before = table(folder).metadata_location
    assert register(folder) == {"ticker=A": "unchanged", "ticker=B": "unchanged"}
    assert runner.plan(str(folder), (), "sqlite") == []
    assert table(folder).metadata_location == before


def test_a_job_that_is_killed_at_any_step_registers_every_commit_once(
    restated: tuple[Path, list[datetime]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lake"
    restated_lake(folder)
    assert run_with_kills(lambda: register(folder), ADDING_A_SNAPSHOT, 4, monkeypatch) == 12
    assert summaries(folder) == summaries(restated[0])
    assert table(folder).scan().to_arrow().num_rows == 2


def test_of_two_jobs_at_once_one_ends_with_75(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    commit(tmp_path, "A", [row("1.1")], 0)
    register(tmp_path)
    commit(tmp_path, "B", [row("2.5")], 1)
    catalog = open_catalog(lake, "sqlite")
    late = IcebergTable(catalog, ("raw", DATASET), lake.store.uri(f"iceberg/raw/{DATASET}"))
    (versions,) = runner.find_work(lake, DATASET, runner.read_registered(late), is_new=False).snapshots
    register(tmp_path)
    with pytest.raises(TemporaryError, match="raw.prices was changed by another run"):
        late.add_snapshot(runner._build_snapshot(lake, versions))
    assert table(tmp_path).scan().to_arrow().num_rows == 2


def test_a_moment_that_has_expired_is_refused_and_never_answered_with_an_older_version(tmp_path: Path) -> None:
    """Also if the table is made after the expiry: it begins where nothing has expired."""
    for number in range(4):
        commit(tmp_path, "A", [row(f"{number}.5")], 20 * number + 1)  # two in February 2013, of which the first expires
    commit(tmp_path, "B", [row("9")], 0)
    register(tmp_path)
    moments = [START + timedelta(days=20 * number + 2) for number in range(4)]
    ids = [found.snapshot_id for moment in moments if (found := table(tmp_path).snapshot_as_of_timestamp(history.to_milliseconds(moment)))]
    expired = retention.expire(Lake(str(tmp_path)), DATASET, Policy(2), datetime(2026, 11, 29, tzinfo=UTC), is_dry_run=False)
    assert expired.commits == 1
    with pytest.raises(FileNotFoundError):
        table(tmp_path).scan(snapshot_id=ids[0]).to_arrow()
    answers = [closes_in_lake(tmp_path, moment) for moment in moments]
    for snapshot, answer in zip(ids[1:], answers[1:], strict=True):
        assert sorted(table(tmp_path).scan(snapshot_id=snapshot).to_arrow()["close"].to_pylist(), key=str) == answer
    register(tmp_path)
    (tmp_path / "iceberg" / "catalog.db").unlink()
    register(tmp_path)
    assert table(tmp_path).snapshot_as_of_timestamp(history.to_milliseconds(moments[0])) is None
    again = [table(tmp_path).snapshot_as_of_timestamp(history.to_milliseconds(moment)) for moment in moments[1:]]
    counts = [table(tmp_path).scan(snapshot_id=one.snapshot_id).to_arrow()["close"].to_pylist() for one in again if one]
    assert [sorted(values, key=str) for values in counts] == answers[1:]


def test_an_erased_value_is_in_no_metadata_and_the_table_is_made_again(tmp_path: Path) -> None:
    """Metadata has the least and greatest value of each column, so erased values as well."""
    moments = restated_lake(tmp_path)
    register(tmp_path)
    lake, subject = Lake(str(tmp_path)), Subject(DATASET, "venue", "XNAS")
    of_marts = (
        "iceberg/published/fct_price/metadata/1.avro",
        "iceberg/marts/fct_price/metadata/1.avro",
        "iceberg/marts/_files/a/1.parquet",
    )
    for key in of_marts:
        lake.store.put(key, b"a mart has the value, too")
    assert erasure.scan(lake, subject).counts["files of Iceberg tables"]
    assert not any(erasure.erase(lake, subject, lambda documents: documents).counts.values())
    assert not [*lake.store.list_keys(f"iceberg/raw/{DATASET}/"), *filter(lake.store.exists, of_marts)]
    assert next(step["commits"] for step in runner.plan(str(tmp_path), (), "sqlite")) == {"ticker=A": 1, "ticker=B": 1}
    assert set(register(tmp_path).values()) == {"committed"}
    for moment in moments:
        snapshot = table(tmp_path).snapshot_as_of_timestamp(history.to_milliseconds(moment))
        assert snapshot
        answer = table(tmp_path).scan(snapshot_id=snapshot.snapshot_id).to_arrow()["close"].to_pylist()
        assert sorted(answer, key=str) == closes_in_lake(tmp_path, moment)
    assert set(register(tmp_path).values()) == {"unchanged"}


def test_a_damaged_commit_or_a_lost_file_fails_its_dataset_until_it_is_repaired(tmp_path: Path) -> None:
    made = commit(tmp_path, "A", [row("1.1")], 0)
    file = tmp_path / made.data.path
    data = file.read_bytes()
    file.unlink()
    with pytest.raises(BadDataError, match="is gone; a commit names it; run its extractor again"):
        register(tmp_path)
    file.write_bytes(data)
    assert register(tmp_path) == {"ticker=A": "committed"}
    later = commit(tmp_path, "A", [row("1.2")], 1)
    (tmp_path / Lake(str(tmp_path)).commit_key(DATASET, "ticker=A", later.number)).write_text("{}")
    commit(tmp_path, "B", [row("2")], 1)
    with pytest.raises(BadDataError, match="is damaged"):
        register(tmp_path)
    assert sorted(table(tmp_path).scan().to_arrow()["close"].to_pylist()) == [Decimal("1.1"), Decimal(2)]


def test_a_column_of_another_type_is_refused_by_name(tmp_path: Path) -> None:
    commit(tmp_path, "A", [row("1.1")], 0)
    register(tmp_path)
    commit(tmp_path, "A", [row("1.1")], 1, {**COLUMNS, "close": DataType.utf8()})
    with pytest.raises(BadDataError, match="close"):
        register(tmp_path)
    assert table(tmp_path).scan().to_arrow()["close"].to_pylist() == [Decimal("1.1")]


def test_a_wider_type_holds_what_older_files_have_and_a_scale_that_would_round_is_refused(tmp_path: Path) -> None:
    commit(tmp_path, "A", [row("1.1")], 0)
    commit(tmp_path, "B", [row("1.1", count="9000000000", small="12345.25")], 1, {**COLUMNS, "count": DataType.int64(), "small": WIDER})
    register(tmp_path)
    found = table(tmp_path).scan().to_arrow()
    assert sorted(zip(found["count"].to_pylist(), found["small"].to_pylist(), strict=True)) == [
        (4, Decimal("-1.25")),
        (9000000000, Decimal("12345.25")),
    ]
    commit(tmp_path, "C", [row("1.1", small="1.5")], 2, {**COLUMNS, "small": DataType.decimal128(7, 1)})
    with pytest.raises(BadDataError, match=r"a column of raw.prices has a new type, which Iceberg cannot change into: .*small"):
        register(tmp_path)


def test_options_that_cannot_be_right_are_refused(tmp_path: Path) -> None:
    commit(tmp_path, "A", [row("1.1")], 0)
    with pytest.raises(UsageError, match="no dataset gold in the lake"):
        runner.run(Recorder(), str(tmp_path), ("gold",), "sqlite")  # type: ignore[arg-type]
    environment = {**os.environ, "AWS_EC2_METADATA_DISABLED": "true"}
    words = [sys.executable, "-m", "register_iceberg_tables", "run", "--lake", str(tmp_path), "--catalog", "hive"]
    done: Any = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert "is not a catalogue: sqlite, sqlite:///path or glue" in done.stderr
