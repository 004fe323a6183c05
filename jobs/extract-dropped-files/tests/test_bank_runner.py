"""Bank files on their way to the lake: exactly once, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from extract_dropped_files import bank_files, runner
from jobkit.errors import BadDataError

from .bank_samples import IBAN, Entry, camt, mt940, statement
from .drops import Job, Place

FOLDER = bank_files.STATEMENTS
ENTRIES = (Entry("30.00"), Entry("2.50", "DBIT"), Entry("2.50", "DBIT"))
CLOSING = "125.00"


@pytest.fixture
def here(tmp_path: Path) -> Place:
    return Place(f"file://{tmp_path}")


def committed(here: Place) -> dict[str, list[tuple[int, int]]]:
    """The number of each commit of each dataset, and its rows."""
    found: dict[str, list[tuple[int, int]]] = {}
    for dataset in (bank_files.STATEMENTS, bank_files.MOVEMENTS):
        for partition in here.lake.partitions(dataset):
            found.setdefault(dataset, []).extend((commit.number, commit.data.rows) for commit in here.lake.history(dataset, partition))
    return found


def drop(here: Place, text: str, name: str = "day.xml") -> list[str]:
    here.put(f"{FOLDER}/{name}", text)
    return [outcome for _, outcome in here.run()]


def test_a_bank_file_fills_a_partition_of_both_datasets_and_no_name_shows_the_account(here: Place) -> None:
    assert drop(here, camt(statement("100", CLOSING, *ENTRIES))) == ["committed", "committed"]
    assert committed(here) == {"bank_statement": [(1, 1)], "bank_movement": [(1, 3)]}
    assert here.list_keys() == [f"accepted/{FOLDER}/day.xml"]
    assert not [key for key in here.lake.store.list_keys("") if IBAN in key or "/S1" in key]


def test_a_bank_file_may_have_any_name_and_two_parts_of_a_day_are_both_kept(here: Place) -> None:
    names = ("Kontoauszug M\u00e4rz 2026.sta", "2026-11-20_(1).sta")
    texts = (mt940(":61:261120C20,N020A", number="5/1", closing="F:C261120EUR120,"),
             mt940(":61:261120C30,N020B", number="5/2", opening="F:C261120EUR120,", closing="F:C261120EUR150,"))  # fmt: skip
    for name, text in zip(names, texts, strict=True):
        assert drop(here, text, name) == ["committed", "committed"]
    assert drop(here, texts[0], "again.sta") == ["unchanged", "unchanged"]
    assert committed(here) == {"bank_statement": [(1, 1)] * 2, "bank_movement": [(1, 1)] * 2}
    assert set(here.list_keys()) == {f"accepted/{FOLDER}/{name}" for name in (*names, "again.sta")}


def test_a_statement_sent_again_in_another_message_changes_nothing(here: Place) -> None:
    first = camt(statement("100", CLOSING, *ENTRIES))
    drop(here, first)
    before = committed(here)
    again = camt(statement("100.00", "125", *ENTRIES, name="S9", created="2026-11-22T06:00:00Z", version="04"), version="04", message="M2")
    assert drop(here, again, "again.xml") == ["unchanged", "unchanged"]
    assert drop(here, first) == ["unchanged", "unchanged"]
    assert committed(here) == before


def test_a_correction_replaces_the_statement_of_its_number_and_an_older_version_does_not(here: Place) -> None:
    first = camt(statement("100", CLOSING, *ENTRIES))
    drop(here, first)
    corrected = camt(statement("100", "135.00", *ENTRIES, Entry("10"), created="2026-11-22T06:00:00Z"))
    assert drop(here, corrected, "correction.xml") == ["committed", "committed"]
    assert committed(here) == {"bank_statement": [(1, 1), (2, 1)], "bank_movement": [(1, 3), (2, 4)]}
    here.put(f"{FOLDER}/late.xml", first)
    assert "has a version of it that was made later" in here.refused()
    assert here.lake.head("bank_movement", here.lake.partitions("bank_movement")[0]).data.rows == 4  # type: ignore[union-attr]


def test_a_file_with_one_bad_statement_is_refused_whole_with_the_figures_for_its_sender_alone(here: Place) -> None:
    here.put(f"{FOLDER}/two.xml", camt(statement("1", "1", name="A"), statement("100", "125.01", *ENTRIES, account="OTHER")))
    job = Job()
    with pytest.raises(BadDataError) as error:
        runner.run(job, f"{here.url}/lake", f"{here.url}/drop", None)  # type: ignore[arg-type]
    assert "125" not in str(error.value)
    assert job.outcomes == [(f"{FOLDER}/two.xml", "failed")]
    assert not list(here.lake.store.list_keys(""))
    document = json.loads(here.drop.store.get(f"rejected/{FOLDER}/two.xml.reasons.json"))
    (reason,) = document["reasons"]
    assert "opening 100 + movements 25.00 = 125.00, but closing is 125.01" in reason
    assert "125" not in document["message"]


def test_a_month_over_days_that_the_lake_has_is_refused(here: Place) -> None:
    drop(here, camt(statement("100", CLOSING, *ENTRIES)))
    days = ("2026-11-01", "2026-11-30")
    here.put(f"{FOLDER}/month.xml", camt(statement("90", CLOSING, *ENTRIES, Entry("10", day="2026-11-05"), name="M", days=days)))
    assert "movements would be there twice" in here.refused()
    assert committed(here) == {"bank_statement": [(1, 1)], "bank_movement": [(1, 3)]}


def test_statements_without_a_number_follow_each_other_and_quiet_days_are_kept(here: Place) -> None:
    """German banks number every day 0: the opening balance tells one statement from the next."""
    quiet = mt940(number="00000/001")
    busy = mt940(":61:2611211121C5,NTRFX", number="00000/001", opening="F:C261120EUR100,", closing="F:C261121EUR105,")
    assert drop(here, quiet, "1.sta") == ["committed"] * 2
    assert drop(here, busy, "2.sta") == ["committed"] * 2
    assert drop(here, quiet + busy, "both.sta") == ["unchanged"] * 4
    assert sorted(committed(here)["bank_movement"]) == [(1, 0), (1, 1)]


def test_a_run_that_died_between_the_datasets_is_finished_by_the_next(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    here.put(f"{FOLDER}/day.xml", camt(statement("100", CLOSING, *ENTRIES)))
    commits = runner.partition_writer.commit

    def die_at_the_second(*args: object, **options: object) -> object:
        if args[2].dataset == FOLDER:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return commits(*args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(runner.partition_writer, "commit", die_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            here.run()
    assert committed(here) == {"bank_movement": [(1, 3)]}
    assert [outcome for _, outcome in here.run()] == ["unchanged", "committed"]


def test_the_plan_names_the_partitions_of_both_datasets(here: Place) -> None:
    here.put(f"{FOLDER}/day.xml", camt(statement("100", CLOSING, *ENTRIES)))
    planned = runner.plan(f"{here.url}/lake", f"{here.url}/drop", None)
    assert [(entry["dataset"], entry["commit"]) for entry in planned] == [("bank_movement", None), ("bank_statement", None)]


def test_the_examples_of_the_page_are_accepted(here: Place) -> None:
    for example in (Path(__file__).parents[3] / "docs" / "banks").iterdir():
        here.put(f"{FOLDER}/{example.name}", example.read_bytes())
    assert [outcome for _, outcome in here.run()] == ["committed"] * 4
