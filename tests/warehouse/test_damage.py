"""load-warehouse on a damaged lake and on commits with wrong clocks: everything else is loaded, and each failure is reported."""

from __future__ import annotations

import json
import random
import shutil
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Any

import boto3
import msgspec
import pytest
from jobkit import commits
from jobkit.errors import BadDataError, DamagedError, NewerFormatError
from jobkit.lake import Lake
from load_warehouse import clocks, runner

from tests.warehouse.samples import DATASET, PARTITION, Recorder, commit, current, load, price, rewrite_known_at, versions

if TYPE_CHECKING:
    from pathlib import Path

    from jobkit.lake import Commit

    from tests.fixtures_postgres import Warehouse

OTHER = "ticker=GOOG/year=2012"
DAMAGE = {
    "gone": None,
    "empty": b"",
    "nonsense": b"{]",
    "deep": b"[" * 200_000,
    "null": b"null",
    "huge": b'{"number": ' + b"9" * 5000 + b"}",
}


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Three commits of a partition, and another partition."""
    place = tmp_path / "lake"
    for close in ("1", "2", "3"):
        commit(place, [price("2012-01-03", close)])
    commit(place, [price("2012-01-03", ticker="GOOG")], partition=OTHER)
    return place


def damage(lake: Path, key: str, kind: str) -> None:
    """Replace a file of the lake by the content of this kind, or remove it."""
    path, text = lake / key, DAMAGE[kind]
    path.unlink() if text is None else path.write_bytes(text)


def commit_path(lake: Path, number: int) -> str:
    """The path of a commit file in the lake."""
    return Lake(str(lake)).commit_key(DATASET, PARTITION, number)


def data_path(lake: Path, number: int) -> str:
    """The path of a commit's Parquet file in the lake."""
    return Lake(str(lake)).read_commit(DATASET, PARTITION, number).data.path


def run_load(lake: Path | str, warehouse: Warehouse) -> tuple[BadDataError | NewerFormatError | None, dict[str, dict[str, Any]]]:
    """Run the job; return the error it raised and the outcome of each partition."""
    job, error = Recorder(), None
    try:
        runner.run(job, str(lake), (), (), warehouse.url, warehouse.password, 2)  # type: ignore[arg-type]
    except (BadDataError, NewerFormatError) as raised:
        error = raised
    outcomes = zip(job.outcomes, job.details, strict=True)
    return error, {display_name(*place): {"outcome": outcome, **details} for (*place, outcome), details in outcomes}


def display_name(dataset: str, partition: str) -> str:
    """A partition's name, with the dataset in front unless it is DATASET."""
    return partition if dataset == DATASET else f"{dataset}/{partition}"


def fetch_closes(warehouse: Warehouse) -> list[int]:
    """Return the price of every version of AAPL's row, in the order they became known."""
    return [row[0] for row in warehouse.rows("select close::int from raw.prices where ticker = 'AAPL' order by known_from")]


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("what", [commit_path, data_path])
def test_a_newer_commit_loads_if_an_older_one_is_damaged(lake: Path, warehouse: Warehouse, kind: str, what: Any) -> None:
    damage(lake, what(lake, 2), kind)
    error, outcomes = run_load(lake, warehouse)
    assert (error, outcomes[PARTITION]["outcome"], outcomes[PARTITION]["commit"]) == (None, "committed", 3)
    assert len(outcomes[PARTITION]["gaps"]) == 1
    assert "commit 2" in outcomes[PARTITION]["gaps"][0]
    assert "gaps" not in outcomes[OTHER]
    assert fetch_closes(warehouse) == [1, 3]
    assert run_load(lake, warehouse)[1][PARTITION]["outcome"] == "unchanged"


# A latest commit file that is missing was never made.
@pytest.mark.parametrize(("what", "kind"), [*product([commit_path], [*DAMAGE][1:]), *product([data_path], DAMAGE)])
def test_only_the_partition_whose_latest_commit_is_damaged_fails(lake: Path, warehouse: Warehouse, kind: str, what: Any) -> None:
    damage(lake, what(lake, 3), kind)
    error, outcomes = run_load(lake, warehouse)
    assert isinstance(error, DamagedError)
    assert error.exit_code == 65
    assert (outcomes[PARTITION]["outcome"], outcomes[OTHER]["outcome"]) == ("failed", "committed")
    assert fetch_closes(warehouse) == [1, 2]
    commit(lake, [price("2012-01-03", "4")])
    error, outcomes = run_load(lake, warehouse)
    assert (error, outcomes[PARTITION]["outcome"], len(outcomes[PARTITION]["gaps"])) == (None, "committed", 1)
    assert fetch_closes(warehouse) == [1, 2, 4]


def test_a_loaded_commit_damaged_later_fails_its_partition_once_all_are_checked(lake: Path, warehouse: Warehouse) -> None:
    """Until then the log shows nothing new; from then on the partition fails in each run, until a new commit."""
    load(lake, warehouse)
    damage(lake, commit_path(lake, 3), "nonsense")
    assert run_load(lake, warehouse)[0] is None
    warehouse.run("update raw._positions set checked_at = checked_at - interval '8 days'")
    assert isinstance(run_load(lake, warehouse)[0], DamagedError)
    error, outcomes = run_load(lake, warehouse)
    assert isinstance(error, DamagedError)
    assert (outcomes[PARTITION]["outcome"], outcomes[OTHER]["outcome"]) == ("failed", "unchanged")
    commit(lake, [price("2012-01-03", "3"), price("2012-01-04", "3")])
    assert run_load(lake, warehouse)[0] is None
    assert sorted(current(warehouse)) == ["2012-01-03", "2012-01-04"]


def test_a_refused_commit_is_skipped_if_a_newer_one_loads(tmp_path: Path, warehouse: Warehouse) -> None:
    commit(tmp_path, [price("2012-01-03", "1"), price("2012-01-03", "2")])
    assert isinstance(run_load(tmp_path, warehouse)[0], BadDataError)
    commit(tmp_path, [price("2012-01-03", "2")])
    error, outcomes = run_load(tmp_path, warehouse)
    assert error is None
    assert "same key" in outcomes[PARTITION]["gaps"][0]


def test_only_folders_copied_under_another_name_fail(lake: Path, warehouse: Warehouse) -> None:
    copied = "ticker=AAPL/year=2013"
    shutil.copytree(lake / "raw" / DATASET / PARTITION, lake / "raw" / DATASET / copied)
    shutil.copytree(lake / "raw" / DATASET / OTHER, lake / "raw" / DATASET / "a copy of 2012")
    shutil.copytree(lake / "raw" / DATASET, lake / "raw" / "yields")
    error, outcomes = run_load(lake, warehouse)
    assert isinstance(error, DamagedError)
    assert {place for place, one in outcomes.items() if one["outcome"] == "failed"} == {copied} | {
        f"yields/{place}" for place in (PARTITION, OTHER, copied)
    }
    assert "says it is commit" in outcomes[copied]["reason"]
    assert fetch_closes(warehouse) == [1, 2, 3]
    assert warehouse.rows("select count(*) filter (where known_to = 'infinity') from raw.prices") == [(2,)]


def test_a_missing_commit_number_is_reported(lake: Path, warehouse: Warehouse) -> None:
    (lake / commit_path(lake, 1)).unlink()
    error, outcomes = run_load(lake, warehouse)
    assert (error, outcomes[PARTITION]["gaps"], fetch_closes(warehouse)) == (None, ["commit 1 is missing"], [2, 3])


def test_a_loaded_commit_that_goes_missing_does_not_stop_later_ones(lake: Path, warehouse: Warehouse) -> None:
    load(lake, warehouse)
    (lake / commit_path(lake, 3)).rename(lake / "aside")
    made = commit(lake, [price("2012-01-03", "3")])
    (lake / commit_path(lake, 3)).unlink()
    (lake / commit_path(lake, 4)).write_bytes(commits.encode(msgspec.structs.replace(made, number=4)))
    error, outcomes = run_load(lake, warehouse)
    assert (error, outcomes[PARTITION]["commit"], outcomes[PARTITION]["gaps"]) == (None, 4, ["commit 3 is missing"])


def test_only_a_partition_in_a_newer_format_fails_as_misconfigured(lake: Path, warehouse: Warehouse) -> None:
    path = lake / commit_path(lake, 3)
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    error, outcomes = run_load(lake, warehouse)
    assert isinstance(error, NewerFormatError)
    assert error.exit_code == 78
    assert (outcomes[PARTITION]["outcome"], outcomes[OTHER]["outcome"]) == ("failed", "committed")


def test_foreign_files_among_the_commits_are_ignored(lake: Path, warehouse: Warehouse) -> None:
    for name in ("0000009.json", "000009.json.tmp", "notes.txt"):
        (lake / commit_path(lake, 1)).with_name(name).write_text("not a commit")
    (lake / commit_path(lake, 1)).with_name("000009").mkdir()
    error, outcomes = run_load(lake, warehouse)
    assert (error, outcomes[PARTITION]["outcome"], "gaps" in outcomes[PARTITION]) == (None, "committed", False)


def test_a_repaired_lake_loads_completely_into_an_empty_database(lake: Path, warehouse: Warehouse, tmp_path: Path) -> None:
    shutil.copytree(lake, tmp_path / "backup")
    damage(lake, data_path(lake, 2), "empty")
    run_load(lake, warehouse)
    assert fetch_closes(warehouse) == [1, 3]
    shutil.copytree(tmp_path / "backup", lake, dirs_exist_ok=True)
    assert run_load(lake, warehouse)[1][PARTITION]["outcome"] == "unchanged"
    warehouse.run("drop schema raw cascade")
    run_load(lake, warehouse)
    assert fetch_closes(warehouse) == [1, 2, 3]


def test_a_damaged_commit_in_s3_is_skipped(warehouse: Warehouse, bucket: str) -> None:
    made = [commit(f"s3://{bucket}/x", [price("2012-01-03", close)]) for close in ("1", "2", "3")]
    boto3.client("s3").delete_object(Bucket=bucket, Key=f"x/{made[1].data.path}")
    error, outcomes = run_load(f"s3://{bucket}/x", warehouse)
    assert (error, len(outcomes[PARTITION]["gaps"]), fetch_closes(warehouse)) == (None, 1, [1, 3])


def set_commit_time_to_2099(lake: Path, number: int) -> Commit:
    """Rewrite a commit as if the writer's clock had been wrong."""
    return rewrite_known_at(lake, Lake(str(lake)).read_commit(DATASET, PARTITION, number), "2099-01-01T00:00:00.000000Z")


def fetch_known_from(warehouse: Warehouse) -> list[datetime]:
    """Return when each version of AAPL's row became known."""
    return [row[0] for row in warehouse.rows("select known_from from raw.prices where ticker = 'AAPL' order by known_from")]


@pytest.mark.parametrize("numbers", [[1], [2], [3], [1, 2, 3]])
def test_a_commit_from_the_future_is_recorded_at_its_store_time_and_delays_no_later_one(
    lake: Path, warehouse: Warehouse, numbers: list[int]
) -> None:
    for number in numbers:
        set_commit_time_to_2099(lake, number)
    outcomes = run_load(lake, warehouse)[1][PARTITION]
    assert outcomes["clock_corrected"] == len(numbers)
    moments = fetch_known_from(warehouse)
    assert fetch_closes(warehouse) == [1, 2, 3]
    assert moments == sorted(moments)
    assert max(moments) < datetime.now(UTC) + timedelta(minutes=1)
    for number in {1, 2, 3} - set(numbers):
        assert moments[number - 1] == Lake(str(lake)).read_commit(DATASET, PARTITION, number).known
    assert warehouse.rows("select count(*) from raw.prices where known_from <= now() and known_to > now()") == [(2,)]
    made = commit(lake, [price("2012-01-03", "4")])
    assert "clock_corrected" not in run_load(lake, warehouse)[1][PARTITION]
    assert fetch_known_from(warehouse)[-1] == made.known


def test_a_clock_slightly_ahead_is_accepted(lake: Path, warehouse: Warehouse) -> None:
    moment = (datetime.now(UTC) + clocks.CLOCK_TOLERANCE / 2).isoformat()
    rewrite_known_at(lake, Lake(str(lake)).read_commit(DATASET, PARTITION, 3), moment)
    assert "clock_corrected" not in run_load(lake, warehouse)[1][PARTITION]
    assert fetch_known_from(warehouse)[-1] == datetime.fromisoformat(moment)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_loads_that_an_older_version_recorded_in_the_future_are_corrected(
    lake: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    set_commit_time_to_2099(lake, number)
    with monkeypatch.context() as before:
        before.setattr(clocks, "is_in_future", lambda *_: False)
        load(lake, warehouse)
    wrong = versions(warehouse)
    assert fetch_known_from(warehouse)[-1] > datetime(2098, 1, 1, tzinfo=UTC)
    outcomes = run_load(lake, warehouse)[1]
    assert (outcomes[PARTITION]["outcome"], outcomes[PARTITION]["clock_corrected"]) == ("committed", 4 - number)
    assert outcomes[OTHER]["outcome"] == "unchanged"
    corrected = versions(warehouse)
    assert [row[:6] for row in corrected] == [row[:6] for row in wrong]
    assert fetch_closes(warehouse) == [1, 2, 3]
    unlike = "select count(*) from raw.prices p join raw._ledger l on l.load_id = p._load_id where l.known_at <> p.known_from"
    assert warehouse.rows(unlike) == [(0,)]
    assert warehouse.rows("select count(*) from raw.prices where _load_id not in (select load_id from raw._ledger)") == [(0,)]
    warehouse.run("drop schema raw cascade")
    run_load(lake, warehouse)
    assert versions(warehouse) == corrected
    assert run_load(lake, warehouse)[1][PARTITION]["outcome"] == "unchanged"


EMPTY = "drop schema raw cascade"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_replica_may_be_loaded_while_it_arrives(lake: Path, warehouse: Warehouse, tmp_path: Path, seed: int) -> None:
    """S3 replicates objects in any order. Each load shows a version that was current; one of the whole replica is one of the lake."""
    load(lake, warehouse)
    original = versions(warehouse)
    warehouse.run(EMPTY)
    replica, files = tmp_path / "replica", sorted(path for path in lake.rglob("*") if path.is_file())
    random.Random(seed).shuffle(files)  # noqa: S311  no secret
    newest = 0
    for number, file in enumerate(files, 1):
        copy = replica / file.relative_to(lake)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        if number % 3 == 0 and any(replica.rglob("_commits/*.json")):  # an empty lake is refused
            run_load(replica, warehouse)
            has_table = warehouse.rows("select to_regclass('raw.prices')::text") != [(None,)]
            closes = fetch_closes(warehouse) if has_table else []
            assert closes == sorted(closes)
            assert (closes or [0])[-1] >= newest
            newest = (closes or [0])[-1]
    error, outcomes = run_load(replica, warehouse)
    assert error is None
    assert {outcome["outcome"] for outcome in outcomes.values()} <= {"committed", "unchanged"}
    assert fetch_closes(warehouse)[-1] == 3
    warehouse.run(EMPTY)
    load(replica, warehouse)
    assert versions(warehouse) == original
