"""Dropped files are committed or rejected and moved away; a run that is killed anywhere changes no outcome."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest
from extract_dropped_files import bank_files, delivery, parser, runner, validation
from jobkit import declaration
from jobkit.contracts import load_packaged
from jobkit.errors import BadDataError, UsageError

from .drops import DATASET, HEADER, KEY, PARTITION, RULES, Job, Place, rows


@pytest.fixture
def here(place: str) -> Place:
    return Place(place)


def test_the_contracts_are_the_datasets_that_the_job_declares() -> None:
    declared = declaration.read_package("extract_dropped_files")
    filled = {load_packaged(validation.PACKAGE, name).dataset for name in validation.list_folders()} | {bank_files.MOVEMENTS}
    assert sorted(f"raw/{name}" for name in filled) == sorted(name for name in declared.writes if name.startswith("raw/"))


def test_a_dropped_file_is_committed_and_moved(here: Place) -> None:
    here.put(KEY, HEADER + rows(3))
    assert here.run(KEY) == [(PARTITION, "committed")]
    assert here.list_keys() == [f"accepted/{KEY}"]
    head = here.head()
    assert (head.data.rows, head.quarantine, head.leaf) == (3, None, "hash(account, 1)")
    assert here.lake.read(head.source[0]) == (HEADER + rows(3)).encode()


@pytest.mark.parametrize("name", [".bank.csv", "bank.csv.filepart", "bank.csv.PART", "bank.tmp"])
def test_an_unfinished_upload_is_left_alone_until_it_is_renamed(here: Place, name: str) -> None:
    """Its event comes first; to move it away would make the rename fail."""
    key = f"{DATASET}/{name}"
    here.put(key, HEADER + rows(3))
    assert (here.run(), here.run(key)) == ([], [])
    here.put(KEY, here.drop.store.get(key))
    assert here.run() == [(PARTITION, "committed")]


def test_the_same_file_again_is_unchanged_and_other_bytes_are_a_new_commit(here: Place) -> None:
    for text, outcome, number in ((rows(3), "committed", 1), (rows(3), "unchanged", 1), (rows(4), "committed", 2)):
        here.put(KEY, HEADER + text)
        assert here.run(KEY) == [(PARTITION, outcome)]
        assert here.head().number == number
    here.put(f"{KEY}.gz", gzip.compress((HEADER + rows(4)).encode()))
    assert here.run() == [(PARTITION, "unchanged")]


def test_a_file_without_many_rows_of_the_lake_is_refused_unless_shrinking_is_allowed(here: Place) -> None:
    here.put(KEY, HEADER + rows(100))
    here.run(KEY)
    correction = KEY.replace(".csv", "_v2.csv")
    here.put(correction, HEADER + rows(60))
    told = here.refused()
    assert "40 of the 100 rows of commit 1 are missing from what came, which has 60" in told
    assert (here.head().number, str(here.drop.read_rejection(correction)) in told) == (1, True)
    here.put(correction, HEADER + rows(60))
    assert here.run(correction, allow_shrinking=True) == [(PARTITION, "committed")]
    assert here.head().data.rows == 60
    assert here.list_keys() == [f"accepted/{KEY}", f"accepted/{correction}"]


@pytest.mark.parametrize("allow_shrinking", [False, True])
def test_a_header_alone_empties_no_partition(here: Place, *, allow_shrinking: bool) -> None:
    here.put(KEY, HEADER + rows(3))
    here.run(KEY)
    here.put(KEY, HEADER)
    with pytest.raises(BadDataError, match="a header and no rows"):
        here.run(KEY, allow_shrinking=allow_shrinking)
    assert here.head().number == 1


def test_a_file_of_another_account_does_not_replace_those_of_the_bank(here: Place) -> None:
    here.put(KEY, HEADER + rows(3))
    here.run(KEY)
    here.put(KEY.replace(".csv", "-second.csv"), HEADER + rows(3).replace("Bank,A", "Bank,B"))
    assert "3 of the 3 rows of commit 1 are missing" in here.refused()
    assert here.head().number == 1


def test_a_file_of_several_banks_is_refused_if_one_of_them_shrinks(here: Place) -> None:
    here.put(KEY, HEADER + rows(20) + rows(20).replace("Bank", "Bank C"))
    here.run(KEY)
    here.put(KEY, HEADER + rows(21) + rows(10).replace("Bank", "Bank C"))
    assert "rows of commit 1 are missing" in here.refused()
    other = delivery.format_partition(RULES, ["Bank C", "2026-11-20"])
    assert [here.head(partition).number for partition in (PARTITION, other)] == [1, 1]
    assert here.list_keys() == [f"accepted/{KEY}", f"rejected/{KEY}", f"rejected/{KEY}.reasons.json"]


def test_a_quarantined_row_does_not_count_as_missing(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are compared as the contract reads them: the bank has other headers, blanks and lower case."""
    fields = tuple(replace(field, source=f"bank's {field.name}") for field in RULES.fields)
    rules = replace(RULES, fields=fields, max_missing_rows=0.0)
    monkeypatch.setattr(runner.contracts, "load_packaged", lambda _package, _dataset: rules)
    header = ",".join(f"bank's {name}" for name in HEADER.strip().split(",")) + "\n"
    here.put(KEY, header + rows(100))
    here.run(KEY)
    bad = "2026-11-20, Bank ,A7 ,us0378331005,ten,1.5,15,USD\n"
    here.put(KEY, header + "".join(bad if ",A7," in line else line for line in rows(100).splitlines(keepends=True)))
    assert here.run(KEY) == [(PARTITION, "committed")]
    head = here.head()
    assert (head.data.rows, head.quarantine.rows) == (99, 1)


def test_the_next_file_replaces_a_damaged_commit(here: Place) -> None:
    here.put(KEY, HEADER + rows(3))
    here.run(KEY)
    here.lake.store.put(here.lake.commit_key(DATASET, PARTITION, 1), b"{}")
    here.put(KEY, HEADER + rows(2))
    assert here.run(KEY) == [(PARTITION, "committed")]
    assert (here.head().number, here.head().data.rows) == (2, 2)


def test_a_correction_may_remove_a_few_rows(here: Place) -> None:
    for count in (100, 95):
        here.put(KEY, HEADER + rows(count))
        assert here.run(KEY) == [(PARTITION, "committed")]
    assert here.head().data.rows == 95


def test_a_refused_file_does_not_stop_the_others(here: Place) -> None:
    here.put(f"{DATASET}/a.csv", HEADER + rows(1))
    here.put(f"{DATASET}/b.csv", "some,other,header\n1,2,3\n")
    here.put(f"{DATASET}/c.csv", HEADER + rows(1).replace("Bank", "Bank C"))
    here.put("prices/d.csv", HEADER + rows(1))
    job = Job()
    with pytest.raises(BadDataError, match=r"b\.csv: it lacks the column 'position_date', .*\(and 1 more files"):
        runner.run(job, f"{here.url}/lake", f"{here.url}/drop", None)  # type: ignore[arg-type]
    told = [
        (PARTITION, "committed"),
        (f"{DATASET}/b.csv", "failed"),
        (delivery.format_partition(RULES, ["Bank C", "2026-11-20"]), "committed"),
        ("prices/d.csv", "failed"),
    ]
    assert job.outcomes == told
    moved = [f"accepted/{DATASET}/a.csv", f"accepted/{DATASET}/c.csv"]
    moved += [f"rejected/{name}{end}" for name in (f"{DATASET}/b.csv", "prices/d.csv") for end in ("", ".reasons.json")]
    assert here.list_keys() == moved
    reasons = json.loads(here.drop.store.get("rejected/prices/d.csv.reasons.json"))["reasons"]
    assert reasons == ["prices/d.csv lies in no contract's folder; expected one of bank_statement, custodian_lots, custodian_positions"]
    assert here.run() == []


def test_a_few_bad_rows_are_quarantined_and_many_refuse_the_file_with_reasons(here: Place) -> None:
    here.put(KEY, HEADER + rows(99) + "2026-11-20,Bank,B,US0378331005,ten,1,1,USD\n")
    assert here.run() == [(PARTITION, "committed")]
    head = here.head()
    assert (head.data.rows, head.quarantine.rows) == (99, 1)
    here.put(KEY, HEADER + rows(2, "ten"))
    assert "2 of 2 rows break the contract" in here.refused()
    reasons = json.loads(here.drop.store.get(f"rejected/{KEY}.reasons.json"))["reasons"]
    assert [reason.partition(", not")[0] for reason in reasons[1:]] == ["line 2: quantity is 'ten'", "line 3: quantity is 'ten'"]
    assert here.head().number == 1


def test_a_corrected_file_removes_its_rejection(here: Place) -> None:
    here.put(KEY, HEADER + rows(2, "ten"))
    here.refused()
    here.put(KEY, HEADER + rows(2))
    here.run()
    assert here.list_keys() == [f"accepted/{KEY}"]


def test_a_repeated_event_reports_the_same_outcome(here: Place) -> None:
    here.put(KEY, HEADER + rows(2))
    here.run(KEY)
    assert here.run(KEY) == [(PARTITION, "unchanged")]
    other = f"{DATASET}/other.csv"
    here.put(other, "x\n1\n")
    assert here.refused(other) == here.refused(other)
    with pytest.raises(UsageError, match="no file waits at .*never.csv and none was taken from there"):
        here.run(f"{DATASET}/never.csv")
    with pytest.raises(UsageError, match="put aside by an earlier run"):
        here.run(f"accepted/{KEY}")


@pytest.mark.parametrize("text", [rows(2), rows(2, "ten")], ids=["accepted", "rejected"])
def test_a_run_killed_before_any_write_is_completed_by_the_next_run(here: Place, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is cut off before its first, second, ... write or delete; the next one ends as an undisturbed one."""
    whole = Place(f"{here.url}/whole")
    whole.put(KEY, HEADER + text)
    undisturbed = _run_to_end(whole)
    kinds = {type(here.drop.store), type(whole.lake.store)}
    for steps in range(20):
        torn = Place(f"{here.url}/torn{steps}")
        torn.put(KEY, HEADER + text)
        with monkeypatch.context() as patch:
            left = [steps]
            for kind in kinds:
                for name in ("put", "put_if_absent", "delete_if_match"):
                    patch.setattr(kind, name, _dies_after(getattr(kind, name), left))
            died = _run_to_end(torn) == "died"
        assert _run_to_end(torn) == undisturbed
        assert _contents_without_url(torn) == _contents_without_url(whole)
        if not died:
            assert steps > 2
            return
    pytest.fail("it never came to its end")


class _Death(BaseException):
    """As SIGKILL: nothing is tidied up by the code that dies."""


def _dies_after(method: Any, left: list[int]) -> Any:
    inside = [False]

    def call(*arguments: Any, **named: Any) -> Any:
        if not inside[0]:
            if left[0] == 0:
                raise _Death
            left[0] -= 1
        inside[0], before = True, inside[0]
        try:
            return method(*arguments, **named)
        finally:
            inside[0] = before

    return call


def _run_to_end(place: Place) -> str:
    try:
        place.run(KEY)
    except _Death:
        return "died"
    except BadDataError as error:
        return str(error)
    return "done"


def _contents_without_url(place: Place) -> dict[str, bytes]:
    return {key: content.replace(place.url.encode(), b"") for key, content in place.contents().items()}


def test_a_file_that_is_replaced_during_the_run_waits_for_the_next(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    here.put(KEY, HEADER + rows(1))
    real = parser.parse

    def slow(data: bytes, name: str, layout: Any) -> Any:
        here.put(KEY, HEADER + rows(2))
        return real(data, name, layout)

    with monkeypatch.context() as patch:
        patch.setattr(parser, "parse", slow)
        here.run(KEY)
    assert KEY in here.list_keys()
    assert here.run() == [(PARTITION, "committed")]
    assert here.head().data.rows == 2


def test_a_file_that_is_too_large_is_not_read(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "MAX_BYTES", 100)
    here.put(KEY, HEADER + rows(2))
    assert "stays where it is; split it" in here.refused()
    assert here.list_keys() == [KEY]


def test_plan_lists_what_waits_and_moves_nothing(here: Place) -> None:
    here.put(KEY, HEADER + rows(1))
    before = here.contents()
    expected = {"dataset": DATASET, "partition": PARTITION, "asks": KEY, "commit": None}
    assert runner.plan(f"{here.url}/lake", f"{here.url}/drop", None) == [expected]
    runner.check(f"{here.url}/lake", f"{here.url}/drop")
    assert here.contents() == before
