"""The quarantine: every row that was read stays in the lake and in the warehouse until somebody drops it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from jobkit.contracts import load_packaged
from jobkit.errors import UsageError
from jobkit.lake import CommitDraft, Lake

from finelt import quarantine, replay
from tests import recorded_lake
from tests.warehouse.samples import load

if TYPE_CHECKING:
    from pathlib import Path

    from jobkit.lake import Commit

    from tests.fixtures_postgres import Warehouse

DATASET, PARTITION = "massive_daily_prices", "date=2015-11-20"
RULES = load_packaged("extract_massive_daily_prices", DATASET)
GOOD = {"v": 1000, "o": 10.0, "c": 10.2, "h": 10.5, "l": 9.9, "t": 1448053200000}
BELOW_LOW = {"T": "PMV", **GOOD, "c": 9.8}
ALL_ZERO = {"T": "CUI", **dict.fromkeys(GOOD, 0), "t": GOOD["t"]}


def answer(*bad: dict[str, Any]) -> bytes:
    """Build the vendor's response for a day: 200 valid rows and the bad ones."""
    rows = [{"T": f"T{number:03}", **GOOD} for number in range(200)]
    rows[100:100] = bad
    return json.dumps({"resultsCount": len(rows), "adjusted": False, "results": rows, "status": "OK"}).encode()


def commit(lake: Lake, body: bytes) -> tuple[Commit, bool]:
    """Commit a response as the extractor does."""
    (made,) = recorded_lake.commit(lake, recorded_lake.Answer("extract_massive_daily_prices", DATASET, (PARTITION,), body))
    return made


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    found = Lake(str(tmp_path / "lake"))
    commit(found, answer(BELOW_LOW, ALL_ZERO))
    return found


def invoke(lake: Lake, *words: str) -> tuple[int, str]:
    """Run the command; return its exit code and output."""
    ended = CliRunner().invoke(quarantine.main, [words[0], "--lake", str(lake.store.url), *words[1:]])
    return ended.exit_code, ended.output


def test_valid_quarantined_and_dropped_rows_add_up_to_the_rows_read(lake: Lake) -> None:
    assert quarantine.list_partitions(lake) == [(DATASET, PARTITION, 1, 202, 200, 2, 0)]
    numbers, reason = invoke(lake, "ls")[1].split("\n")[1].split("  0        ")
    assert numbers.split() == [DATASET, PARTITION, "1", "202", "200", "2"]
    assert reason == "l is 9.9, which breaks l <= c with 9.8"


def test_show_prints_the_row_as_it_was_sent_and_the_reasons(lake: Lake) -> None:
    code, said = invoke(lake, "show", DATASET, PARTITION)
    first, second = map(json.loads, said.splitlines())
    assert code == 0
    assert (first["row"], first["reasons"]) == (101, "l is 9.9, which breaks l <= c with 9.8")
    assert (first["raw_row"]["T"], first["raw_row"]["c"], first["raw_row"]["date"]) == ("PMV", "9.8", "2015-11-20")
    assert (second["raw_row"]["T"], second["reasons"]) == ("CUI", "c is 0, below 0.000001")


def test_a_dropped_row_stays_in_the_previous_commit_and_does_not_return(lake: Lake) -> None:
    assert invoke(lake, "drop", "--reason", "the vendor will not correct it", DATASET, PARTITION)[0] == 0
    assert quarantine.list_partitions(lake) == []
    assert quarantine.count_rows(lake.history(DATASET, PARTITION)[-1])[2:] == (2, 202, 200, 0, 2)
    assert lake.history(DATASET, PARTITION)[-1].writer["reason"] == "the vendor will not correct it"
    assert len(invoke(lake, "show", "--commit", "1", DATASET, PARTITION)[1].splitlines()) == 2
    made, is_new = commit(lake, answer(BELOW_LOW, ALL_ZERO))
    assert (made.number, is_new) == (2, False)
    assert commit(lake, answer(BELOW_LOW))[1]
    assert quarantine.list_partitions(lake) == [(DATASET, PARTITION, 3, 201, 200, 1, 0)]


def test_replay_parses_the_stored_bytes_with_the_present_contract(lake: Lake, capfd: pytest.CaptureFixture[str]) -> None:
    head = quarantine.find_commit(lake, DATASET, PARTITION)
    before = CommitDraft(b"what an older parser made", 1, None, 0, lambda: head.source, RULES.key, RULES.leaf, {"job": "t", "version": "0"})
    lake.commit(DATASET, PARTITION, before)
    assert replay.replay(str(lake.store.url), DATASET, PARTITION) == 0
    receipt = json.loads(capfd.readouterr().out)
    assert [(one["partition"], one["outcome"], one["quarantined"]) for one in receipt["partitions"]] == [(PARTITION, "committed", 2)]
    assert quarantine.list_partitions(lake) == [(DATASET, PARTITION, 3, 202, 200, 2, 0)]


def test_a_missing_partition_or_commit_is_a_usage_error(lake: Lake) -> None:
    for words in (
        ("show", DATASET, "date=2015-11-21"),
        ("show", "--commit", "9", DATASET, PARTITION),
        ("replay", DATASET, "date=1999-01-04"),
    ):
        code, said = invoke(lake, *words)
        assert code == 2
        assert "there is no" in said
    quarantine.drop_rows(lake, DATASET, PARTITION, "seen")
    with pytest.raises(UsageError, match="has no rows in quarantine"):
        quarantine.drop_rows(lake, DATASET, PARTITION, "seen again")
    assert invoke(lake, "ls")[1] == "the quarantine is empty\n"


def test_the_warehouse_has_the_quarantined_rows_of_each_commit_with_their_validity(lake: Lake, warehouse: Warehouse) -> None:
    load(str(lake.store.url).removeprefix("file://"), warehouse)
    select = "select row_number, raw_row ->> 'T', reasons, \"commit\", known_to = 'infinity' from raw._quarantine order by 1, 4"
    below, zero = "l is 9.9, which breaks l <= c with 9.8", "c is 0, below 0.000001"
    assert warehouse.rows(select) == [(101, "PMV", below, 1, True), (102, "CUI", zero, 1, True)]
    place = "select ctid, xmin from raw._quarantine where row_number = 101"
    held = warehouse.rows(place)
    commit(lake, answer(BELOW_LOW))
    load(str(lake.store.url).removeprefix("file://"), warehouse)
    assert warehouse.rows(select) == [(101, "PMV", below, 1, True), (102, "CUI", zero, 1, False)]
    assert warehouse.rows(place) == held
    quarantine.drop_rows(lake, DATASET, PARTITION, "seen")
    load(str(lake.store.url).removeprefix("file://"), warehouse)
    assert warehouse.rows("select count(*) from raw._quarantine where known_to = 'infinity'") == [(0,)]
    [[known]] = warehouse.rows(
        "select count(*) from raw._quarantine q join raw._ledger l on q.known_to = l.known_at and q.dataset = l.dataset"
    )
    assert known == 2
    counted = 'select "commit", rows from raw._ledger order by 1'
    assert warehouse.rows(counted) == [(1, 200), (2, 200), (3, 200)]
