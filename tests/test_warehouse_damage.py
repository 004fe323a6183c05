"""load-warehouse from a lake that is damaged, or whose clocks were wrong: what can be loaded is, the rest fails alone and is reported."""

from __future__ import annotations

import json
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

from tests.warehouse_samples import DATASET, PARTITION, Recorder, commit, current, load, made_at, price, versions

if TYPE_CHECKING:
    from pathlib import Path

    from jobkit.lake import Commit

    from tests.fixtures_postgres import Warehouse

OTHER = "ticker=GOOG/year=2012"
SPOIL = {
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


def spoil(lake: Path, key: str, kind: str) -> None:
    path, text = lake / key, SPOIL[kind]
    path.unlink() if text is None else path.write_bytes(text)


def record(lake: Path, number: int) -> str:
    return Lake(str(lake)).commit_key(DATASET, PARTITION, number)


def data(lake: Path, number: int) -> str:
    return Lake(str(lake)).read_commit(DATASET, PARTITION, number).data.path


def loaded(lake: Path | str, warehouse: Warehouse) -> tuple[BadDataError | NewerFormatError | None, dict[str, dict[str, Any]]]:
    """What was raised in the end, and the receipt's partitions."""
    job, error = Recorder(), None
    try:
        runner.run(job, str(lake), (), (), warehouse.url, warehouse.password, 2)  # type: ignore[arg-type]
    except (BadDataError, NewerFormatError) as raised:
        error = raised
    told = zip(job.outcomes, job.details, strict=True)
    return error, {name(*place): {"outcome": outcome, **details} for (*place, outcome), details in told}


def name(dataset: str, partition: str) -> str:
    """A partition as the tests name it: that of another dataset with the dataset before it."""
    return partition if dataset == DATASET else f"{dataset}/{partition}"


def closes(warehouse: Warehouse) -> list[int]:
    """The prices of every version, in the order in which they were known."""
    return [row[0] for row in warehouse.rows("select close::int from raw.prices where ticker = 'AAPL' order by known_from")]


@pytest.mark.parametrize("kind", SPOIL)
@pytest.mark.parametrize("what", [record, data])
def test_a_newer_commit_loads_where_an_older_one_is_damaged(lake: Path, warehouse: Warehouse, kind: str, what: Any) -> None:
    spoil(lake, what(lake, 2), kind)
    error, told = loaded(lake, warehouse)
    assert (error, told[PARTITION]["outcome"], told[PARTITION]["commit"]) == (None, "committed", 3)
    assert len(told[PARTITION]["gaps"]) == 1
    assert "commit 2" in told[PARTITION]["gaps"][0]
    assert "gaps" not in told[OTHER]
    assert closes(warehouse) == [1, 3]
    assert loaded(lake, warehouse)[1][PARTITION]["outcome"] == "unchanged"


@pytest.mark.parametrize(("what", "kind"), [*product([record], [*SPOIL][1:]), *product([data], SPOIL)])  # a record that is gone never was
def test_a_partition_whose_newest_commit_is_damaged_fails_alone(lake: Path, warehouse: Warehouse, kind: str, what: Any) -> None:
    spoil(lake, what(lake, 3), kind)
    error, told = loaded(lake, warehouse)
    assert isinstance(error, DamagedError)
    assert error.exit_code == 65
    assert (told[PARTITION]["outcome"], told[OTHER]["outcome"]) == ("failed", "committed")
    assert closes(warehouse) == [1, 2]
    commit(lake, [price("2012-01-03", "4")])
    error, told = loaded(lake, warehouse)
    assert (error, told[PARTITION]["outcome"], len(told[PARTITION]["gaps"])) == (None, "committed", 1)
    assert closes(warehouse) == [1, 2, 4]


def test_a_commit_that_is_loaded_and_damaged_since_fails_its_partition_until_a_new_one_stands(lake: Path, warehouse: Warehouse) -> None:
    load(lake, warehouse)
    spoil(lake, record(lake, 3), "nonsense")
    error, told = loaded(lake, warehouse)
    assert isinstance(error, DamagedError)
    assert (told[PARTITION]["outcome"], told[OTHER]["outcome"]) == ("failed", "unchanged")
    commit(lake, [price("2012-01-03", "3"), price("2012-01-04", "3")])
    assert loaded(lake, warehouse)[0] is None
    assert sorted(current(warehouse)) == ["2012-01-03", "2012-01-04"]


def test_an_older_commit_that_the_warehouse_refuses_gives_way_to_a_newer_one(tmp_path: Path, warehouse: Warehouse) -> None:
    commit(tmp_path, [price("2012-01-03", "1"), price("2012-01-03", "2")])
    assert isinstance(loaded(tmp_path, warehouse)[0], BadDataError)
    commit(tmp_path, [price("2012-01-03", "2")])
    error, told = loaded(tmp_path, warehouse)
    assert error is None
    assert "same key" in told[PARTITION]["gaps"][0]


def test_a_folder_copied_under_another_name_fails_alone(lake: Path, warehouse: Warehouse) -> None:
    copied = "ticker=AAPL/year=2013"
    shutil.copytree(lake / "raw" / DATASET / PARTITION, lake / "raw" / DATASET / copied)
    shutil.copytree(lake / "raw" / DATASET / OTHER, lake / "raw" / DATASET / "a copy of 2012")
    shutil.copytree(lake / "raw" / DATASET, lake / "raw" / "yields")
    error, told = loaded(lake, warehouse)
    assert isinstance(error, DamagedError)
    assert {place for place, one in told.items() if one["outcome"] == "failed"} == {copied} | {
        f"yields/{place}" for place in (PARTITION, OTHER, copied)
    }
    assert "says it is commit" in told[copied]["reason"]
    assert closes(warehouse) == [1, 2, 3]
    assert warehouse.rows("select count(*) filter (where known_to = 'infinity') from raw.prices") == [(2,)]


def test_a_missing_number_is_reported(lake: Path, warehouse: Warehouse) -> None:
    (lake / record(lake, 1)).unlink()
    error, told = loaded(lake, warehouse)
    assert (error, told[PARTITION]["gaps"], closes(warehouse)) == (None, ["commit 1 is missing"], [2, 3])


def test_a_number_that_goes_missing_after_it_was_loaded_stops_nothing(lake: Path, warehouse: Warehouse) -> None:
    load(lake, warehouse)
    (lake / record(lake, 3)).rename(lake / "aside")
    made = commit(lake, [price("2012-01-03", "3")])
    (lake / record(lake, 3)).unlink()
    (lake / record(lake, 4)).write_bytes(commits.encode(msgspec.structs.replace(made, number=4)))
    error, told = loaded(lake, warehouse)
    assert (error, told[PARTITION]["commit"], told[PARTITION]["gaps"]) == (None, 4, ["commit 3 is missing"])


def test_a_newer_format_fails_its_partition_alone_with_the_code_of_a_setting(lake: Path, warehouse: Warehouse) -> None:
    path = lake / record(lake, 3)
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    error, told = loaded(lake, warehouse)
    assert isinstance(error, NewerFormatError)
    assert error.exit_code == 78
    assert (told[PARTITION]["outcome"], told[OTHER]["outcome"]) == ("failed", "committed")


def test_other_names_among_the_commits_stop_nothing(lake: Path, warehouse: Warehouse) -> None:
    for name in ("0000009.json", "000009.json.tmp", "notes.txt"):
        (lake / record(lake, 1)).with_name(name).write_text("somebody's")
    (lake / record(lake, 1)).with_name("000009").mkdir()
    error, told = loaded(lake, warehouse)
    assert (error, told[PARTITION]["outcome"], "gaps" in told[PARTITION]) == (None, "committed", False)


def test_what_is_put_right_loads_whole_into_an_empty_database(lake: Path, warehouse: Warehouse, tmp_path: Path) -> None:
    shutil.copytree(lake, tmp_path / "backup")
    spoil(lake, data(lake, 2), "empty")
    loaded(lake, warehouse)
    assert closes(warehouse) == [1, 3]
    shutil.copytree(tmp_path / "backup", lake, dirs_exist_ok=True)
    assert loaded(lake, warehouse)[1][PARTITION]["outcome"] == "unchanged"
    warehouse.run("drop schema raw cascade")
    loaded(lake, warehouse)
    assert closes(warehouse) == [1, 2, 3]


def test_in_s3_a_damaged_commit_is_passed_over_too(warehouse: Warehouse, bucket: str) -> None:
    made = [commit(f"s3://{bucket}/x", [price("2012-01-03", close)]) for close in ("1", "2", "3")]
    boto3.client("s3").delete_object(Bucket=bucket, Key=f"x/{made[1].data.path}")
    error, told = loaded(f"s3://{bucket}/x", warehouse)
    assert (error, len(told[PARTITION]["gaps"]), closes(warehouse)) == (None, 1, [1, 3])


def year_2099(lake: Path, number: int) -> Commit:
    return made_at(lake, Lake(str(lake)).read_commit(DATASET, PARTITION, number), "2099-01-01T00:00:00.000000Z")


def known(warehouse: Warehouse) -> list[datetime]:
    return [row[0] for row in warehouse.rows("select known_from from raw.prices where ticker = 'AAPL' order by known_from")]


@pytest.mark.parametrize("numbers", [[1], [2], [3], [1, 2, 3]])
def test_a_commit_from_the_future_is_recorded_at_the_time_it_was_stored_and_holds_no_later_one_up(
    lake: Path, warehouse: Warehouse, numbers: list[int]
) -> None:
    for number in numbers:
        year_2099(lake, number)
    told = loaded(lake, warehouse)[1][PARTITION]
    assert told["clock_corrected"] == len(numbers)
    moments = known(warehouse)
    assert closes(warehouse) == [1, 2, 3]
    assert moments == sorted(moments)
    assert max(moments) < datetime.now(UTC) + timedelta(minutes=1)
    for number in {1, 2, 3} - set(numbers):
        assert moments[number - 1] == Lake(str(lake)).read_commit(DATASET, PARTITION, number).known
    assert warehouse.rows("select count(*) from raw.prices where known_from <= now() and known_to > now()") == [(2,)]
    made = commit(lake, [price("2012-01-03", "4")])
    assert "clock_corrected" not in loaded(lake, warehouse)[1][PARTITION]
    assert known(warehouse)[-1] == made.known


def test_a_clock_that_is_a_little_ahead_is_believed(lake: Path, warehouse: Warehouse) -> None:
    moment = (datetime.now(UTC) + clocks.CLOCK_TOLERANCE / 2).isoformat()
    made_at(lake, Lake(str(lake)).read_commit(DATASET, PARTITION, 3), moment)
    assert "clock_corrected" not in loaded(lake, warehouse)[1][PARTITION]
    assert known(warehouse)[-1] == datetime.fromisoformat(moment)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_what_an_earlier_version_recorded_in_the_future_is_corrected(
    lake: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    year_2099(lake, number)
    with monkeypatch.context() as before:
        before.setattr(clocks, "is_in_future", lambda *_: False)
        load(lake, warehouse)
    wrong = versions(warehouse)
    assert known(warehouse)[-1] > datetime(2098, 1, 1, tzinfo=UTC)
    told = loaded(lake, warehouse)[1]
    assert (told[PARTITION]["outcome"], told[PARTITION]["clock_corrected"]) == ("committed", 4 - number)
    assert told[OTHER]["outcome"] == "unchanged"
    corrected = versions(warehouse)
    assert [row[:6] for row in corrected] == [row[:6] for row in wrong]
    assert closes(warehouse) == [1, 2, 3]
    unlike = "select count(*) from raw.prices p join raw._ledger l on l.load_id = p._load_id where l.known_at <> p.known_from"
    assert warehouse.rows(unlike) == [(0,)]
    assert warehouse.rows("select count(*) from raw.prices where _load_id not in (select load_id from raw._ledger)") == [(0,)]
    warehouse.run("drop schema raw cascade")
    loaded(lake, warehouse)
    assert versions(warehouse) == corrected
    assert loaded(lake, warehouse)[1][PARTITION]["outcome"] == "unchanged"
