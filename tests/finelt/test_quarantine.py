"""The quarantine: nothing that was read is lost, in the lake nor in the warehouse, until somebody lets it go."""

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
    """A day of 200 tickers and some bad rows, as the vendor sends it."""
    rows = [{"T": f"T{number:03}", **GOOD} for number in range(200)]
    rows[100:100] = bad
    return json.dumps({"resultsCount": len(rows), "adjusted": False, "results": rows, "status": "OK"}).encode()


def commit(lake: Lake, body: bytes) -> tuple[Commit, bool]:
    """What the extractor commits of an answer."""
    (made,) = recorded_lake.commit(lake, recorded_lake.Answer("extract_massive_daily_prices", DATASET, (PARTITION,), body))
    return made


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    found = Lake(str(tmp_path / "lake"))
    commit(found, answer(BELOW_LOW, ALL_ZERO))
    return found


def ask(lake: Lake, *words: str) -> tuple[int, str]:
    """What the command says on stdout, or on stderr where it fails."""
    ended = CliRunner().invoke(quarantine.main, [words[0], "--lake", str(lake.store.url), *words[1:]])
    return ended.exit_code, ended.output


def test_good_and_quarantined_and_dropped_are_what_was_read(lake: Lake) -> None:
    assert quarantine.listed(lake) == [(DATASET, PARTITION, 1, 202, 200, 2, 0)]
    assert ask(lake, "ls")[1].split("\n")[1].split() == [DATASET, PARTITION, "1", "202", "200", "2", "0"]


def test_show_has_the_row_as_it_was_sent_and_why(lake: Lake) -> None:
    code, said = ask(lake, "show", DATASET, PARTITION)
    first, second = map(json.loads, said.splitlines())
    assert code == 0
    assert (first["row"], first["reasons"]) == (101, "l is 9.9, which breaks l <= c with 9.8")
    assert (first["raw_row"]["T"], first["raw_row"]["c"], first["raw_row"]["date"]) == ("PMV", "9.8", "2015-11-20")
    assert (second["raw_row"]["T"], second["reasons"]) == ("CUI", "c is 0, below 0.000001")


def test_a_dropped_row_stays_in_the_commit_before_and_does_not_come_back(lake: Lake) -> None:
    assert ask(lake, "drop", "--reason", "not ours to mend", DATASET, PARTITION)[0] == 0
    assert quarantine.listed(lake) == []
    assert quarantine.counted(lake.history(DATASET, PARTITION)[-1])[2:] == (2, 202, 200, 0, 2)
    assert lake.history(DATASET, PARTITION)[-1].writer["reason"] == "not ours to mend"
    assert len(ask(lake, "show", "--commit", "1", DATASET, PARTITION)[1].splitlines()) == 2
    made, is_new = commit(lake, answer(BELOW_LOW, ALL_ZERO))
    assert (made.number, is_new) == (2, False)
    assert commit(lake, answer(BELOW_LOW))[1]
    assert quarantine.listed(lake) == [(DATASET, PARTITION, 3, 201, 200, 1, 0)]


def test_replay_reads_the_kept_bytes_with_todays_contract(lake: Lake, capfd: pytest.CaptureFixture[str]) -> None:
    head = quarantine.head(lake, DATASET, PARTITION)
    before = CommitDraft(b"what an older parser made", 1, None, 0, lambda: head.source, RULES.key, RULES.leaf, {"job": "t", "version": "0"})
    lake.commit(DATASET, PARTITION, before)
    assert replay.replay(str(lake.store.url), DATASET, PARTITION) == 0
    receipt = json.loads(capfd.readouterr().out)
    assert [(one["partition"], one["outcome"], one["quarantined"]) for one in receipt["partitions"]] == [(PARTITION, "committed", 2)]
    assert quarantine.listed(lake) == [(DATASET, PARTITION, 3, 202, 200, 2, 0)]


def test_what_is_not_there_is_told_in_a_sentence(lake: Lake) -> None:
    for words in (
        ("show", DATASET, "date=2015-11-21"),
        ("show", "--commit", "9", DATASET, PARTITION),
        ("replay", DATASET, "date=1999-01-04"),
    ):
        code, said = ask(lake, *words)
        assert code == 2
        assert "there is no" in said
    quarantine.drop(lake, DATASET, PARTITION, "seen")
    with pytest.raises(UsageError, match="has nothing in quarantine"):
        quarantine.drop(lake, DATASET, PARTITION, "seen again")
    assert ask(lake, "ls")[1] == "nothing is in quarantine\n"


def test_the_warehouse_has_the_quarantined_rows_of_each_commit_and_when_they_were_known(lake: Lake, warehouse: Warehouse) -> None:
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
    quarantine.drop(lake, DATASET, PARTITION, "seen")
    load(str(lake.store.url).removeprefix("file://"), warehouse)
    assert warehouse.rows("select count(*) from raw._quarantine where known_to = 'infinity'") == [(0,)]
    [[known]] = warehouse.rows(
        "select count(*) from raw._quarantine q join raw._ledger l on q.known_to = l.known_at and q.dataset = l.dataset"
    )
    assert known == 2
    counted = 'select "commit", rows from raw._ledger order by 1'
    assert warehouse.rows(counted) == [(1, 200), (2, 200), (3, 200)]
