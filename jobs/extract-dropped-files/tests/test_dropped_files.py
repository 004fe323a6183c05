"""Files from the drop to the lake: what is taken, refused, put aside, and that dying anywhere changes nothing."""

from __future__ import annotations

import gzip
import json
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from extract_dropped_files import delivery, parser, work
from extract_dropped_files.source import Drop
from jobkit import declaration
from jobkit.contract import load_packaged
from jobkit.errors import BadDataError, UsageError
from jobkit.lake import Lake

if TYPE_CHECKING:
    from collections.abc import Sequence

DATASET = "custodian_positions"
HEADER = "position_date,custodian,account,isin,quantity,price,market_value,currency\n"
KEY = f"{DATASET}/bank-2026-11-20.csv"
RULES = load_packaged(work.PACKAGE, DATASET)
PARTITION = delivery.partition(RULES, ["Bank", "2026-11-20"])


def rows(count: int, quantity: str = "10") -> str:
    return "".join(f"2026-11-20,Bank,A{number},US0378331005,{quantity},1.5,15,USD\n" for number in range(count))


@dataclass
class Job:
    """As much of a job as taking files needs, with what it recorded."""

    name: str = "extract-dropped-files"
    version: str = "0"
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("test"))
    outcomes: list[tuple[str, str]] = field(default_factory=list)

    def record_partition(self, _dataset: str, partition: str, outcome: str, **_: object) -> None:
        self.outcomes.append((partition, outcome))

    def progress(self, *_: object) -> None: ...


@dataclass
class Place:
    """A lake and a drop."""

    url: str

    @property
    def drop(self) -> Drop:
        return Drop(f"{self.url}/drop")

    @property
    def lake(self) -> Lake:
        return Lake(f"{self.url}/lake")

    def put(self, key: str, text: str | bytes) -> None:
        self.drop.store.put(key, text.encode() if isinstance(text, str) else text)

    def run(self, key: str | None = None, *, allow_shrinking: bool = False) -> list[tuple[str, str]]:
        job = Job()
        work.run(job, f"{self.url}/lake", f"{self.url}/drop", key, allow_shrinking=allow_shrinking)  # type: ignore[arg-type]
        return job.outcomes

    def refused(self, key: str | None = None) -> str:
        with pytest.raises(BadDataError) as error:
            self.run(key)
        return str(error.value)

    def lying(self) -> Sequence[str]:
        return self.drop.store.list_keys("")

    def head(self, partition: str = PARTITION) -> Any:
        return self.lake.head(DATASET, partition)

    def everything(self) -> dict[str, bytes]:
        """All objects but for the moment a commit was made at."""
        found = {key: self.drop.store.get(key) for key in self.lying()}
        store = self.lake.store
        for key in store.list_keys(""):
            content = store.get(key)
            if key.endswith(".json"):
                content = json.dumps({**json.loads(content), "known_at": None, "digest": None}).encode()
            found[f"lake/{key}"] = content
        return found


@pytest.fixture
def here(place: str) -> Place:
    return Place(place)


def test_the_contracts_are_the_datasets_that_the_job_declares() -> None:
    declared = declaration.read_package("extract_dropped_files")
    written = sorted({f"raw/{load_packaged(work.PACKAGE, name).dataset}" for name in work.folders()})
    assert written == sorted(name for name in declared.writes if name.startswith("raw/"))


def test_a_dropped_file_is_committed_and_put_aside(here: Place) -> None:
    here.put(KEY, HEADER + rows(3))
    assert here.run(KEY) == [(PARTITION, "committed")]
    assert here.lying() == [f"accepted/{KEY}"]
    head = here.head()
    assert (head.data.rows, head.quarantine, head.leaf) == (3, None, "hash(account, 1)")
    assert here.lake.read(head.source[0]) == (HEADER + rows(3)).encode()


def test_the_same_file_again_is_unchanged_and_other_bytes_are_a_new_commit(here: Place) -> None:
    for text, outcome, number in ((rows(3), "committed", 1), (rows(3), "unchanged", 1), (rows(4), "committed", 2)):
        here.put(KEY, HEADER + text)
        assert here.run(KEY) == [(PARTITION, outcome)]
        assert here.head().number == number
    here.put(f"{KEY}.gz", gzip.compress((HEADER + rows(4)).encode()))
    assert here.run() == [(PARTITION, "unchanged")]


def test_a_file_that_leaves_rows_out_is_refused_unless_that_is_allowed(here: Place) -> None:
    here.put(KEY, HEADER + rows(100))
    here.run(KEY)
    correction = KEY.replace(".csv", "_v2.csv")
    here.put(correction, HEADER + rows(60))
    told = here.refused()
    assert "40 of the 100 rows of commit 1 are missing from what came, which has 60" in told
    assert (here.head().number, str(here.drop.refusal(correction)) in told) == (1, True)
    here.put(correction, HEADER + rows(60))
    assert here.run(correction, allow_shrinking=True) == [(PARTITION, "committed")]
    assert here.head().data.rows == 60
    assert here.lying() == [f"accepted/{KEY}", f"accepted/{correction}"]


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


def test_of_a_file_of_several_banks_none_is_taken_where_one_has_lost_rows(here: Place) -> None:
    here.put(KEY, HEADER + rows(20) + rows(20).replace("Bank", "Bank C"))
    here.run(KEY)
    here.put(KEY, HEADER + rows(21) + rows(10).replace("Bank", "Bank C"))
    assert "rows of commit 1 are missing" in here.refused()
    other = delivery.partition(RULES, ["Bank C", "2026-11-20"])
    assert [here.head(partition).number for partition in (PARTITION, other)] == [1, 1]
    assert here.lying() == [f"accepted/{KEY}", f"rejected/{KEY}", f"rejected/{KEY}.reasons.json"]


def test_a_row_that_is_quarantined_is_not_missing_however_its_bank_writes(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are compared as the contract reads them: the bank has other headers, blanks and lower case."""
    fields = tuple(replace(field, source=f"bank's {field.name}") for field in RULES.fields)
    rules = replace(RULES, fields=fields, max_missing_rows=0.0)
    monkeypatch.setattr(work.contracts, "load_packaged", lambda _package, _dataset: rules)
    header = ",".join(f"bank's {name}" for name in HEADER.strip().split(",")) + "\n"
    here.put(KEY, header + rows(100))
    here.run(KEY)
    bad = "2026-11-20, Bank ,A7 ,us0378331005,ten,1.5,15,USD\n"
    here.put(KEY, header + "".join(bad if ",A7," in line else line for line in rows(100).splitlines(keepends=True)))
    assert here.run(KEY) == [(PARTITION, "committed")]
    head = here.head()
    assert (head.data.rows, head.quarantine.rows) == (99, 1)


def test_a_damaged_commit_is_followed_by_the_file_that_comes_next(here: Place) -> None:
    here.put(KEY, HEADER + rows(3))
    here.run(KEY)
    here.lake.store.put(here.lake.commit_key(DATASET, PARTITION, 1), b"{}")
    here.put(KEY, HEADER + rows(2))
    assert here.run(KEY) == [(PARTITION, "committed")]
    assert (here.head().number, here.head().data.rows) == (2, 2)


def test_a_correction_may_take_a_few_rows_back(here: Place) -> None:
    for count in (100, 95):
        here.put(KEY, HEADER + rows(count))
        assert here.run(KEY) == [(PARTITION, "committed")]
    assert here.head().data.rows == 95


def test_all_that_wait_are_taken_and_one_that_is_refused_keeps_none_out(here: Place) -> None:
    here.put(f"{DATASET}/a.csv", HEADER + rows(1))
    here.put(f"{DATASET}/b.csv", "some,other,header\n1,2,3\n")
    here.put(f"{DATASET}/c.csv", HEADER + rows(1).replace("Bank", "Bank C"))
    here.put("prices/d.csv", HEADER + rows(1))
    job = Job()
    with pytest.raises(BadDataError, match=r"b\.csv: it lacks the column 'position_date', .*\(and 1 more files"):
        work.run(job, f"{here.url}/lake", f"{here.url}/drop", None)  # type: ignore[arg-type]
    told = [
        (PARTITION, "committed"),
        (f"{DATASET}/b.csv", "failed"),
        (delivery.partition(RULES, ["Bank C", "2026-11-20"]), "committed"),
        ("prices/d.csv", "failed"),
    ]
    assert job.outcomes == told
    aside = [f"accepted/{DATASET}/a.csv", f"accepted/{DATASET}/c.csv"]
    aside += [f"rejected/{name}{end}" for name in (f"{DATASET}/b.csv", "prices/d.csv") for end in ("", ".reasons.json")]
    assert here.lying() == aside
    reasons = json.loads(here.drop.store.get("rejected/prices/d.csv.reasons.json"))["reasons"]
    assert reasons == ["prices/d.csv lies in no contract's folder; expected one of custodian_lots, custodian_positions"]
    assert here.run() == []


def test_few_bad_rows_go_to_the_quarantine_and_many_refuse_the_file_row_by_row(here: Place) -> None:
    here.put(KEY, HEADER + rows(99) + "2026-11-20,Bank,B,US0378331005,ten,1,1,USD\n")
    assert here.run() == [(PARTITION, "committed")]
    head = here.head()
    assert (head.data.rows, head.quarantine.rows) == (99, 1)
    here.put(KEY, HEADER + rows(2, "ten"))
    assert "2 of 2 rows break the contract" in here.refused()
    reasons = json.loads(here.drop.store.get(f"rejected/{KEY}.reasons.json"))["reasons"]
    assert [reason.partition(", not")[0] for reason in reasons[1:]] == ["line 2: quantity is 'ten'", "line 3: quantity is 'ten'"]
    assert here.head().number == 1


def test_a_mended_file_takes_its_refusal_away(here: Place) -> None:
    here.put(KEY, HEADER + rows(2, "ten"))
    here.refused()
    here.put(KEY, HEADER + rows(2))
    here.run()
    assert here.lying() == [f"accepted/{KEY}"]


def test_an_event_that_comes_twice_says_again_what_became_of_the_file(here: Place) -> None:
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
def test_dying_before_any_change_of_the_drop_or_the_lake_changes_nothing(here: Place, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is cut off before its first, second, ... write or delete; the next one ends as an undisturbed one."""
    whole = Place(f"{here.url}/whole")
    whole.put(KEY, HEADER + text)
    undisturbed = _ended(whole)
    kinds = {type(here.drop.store), type(whole.lake.store)}
    for steps in range(20):
        torn = Place(f"{here.url}/torn{steps}")
        torn.put(KEY, HEADER + text)
        with monkeypatch.context() as patch:
            left = [steps]
            for kind in kinds:
                for name in ("put", "put_if_absent", "delete_if_match"):
                    patch.setattr(kind, name, _dying(getattr(kind, name), left))
            died = _ended(torn) == "died"
        assert _ended(torn) == undisturbed
        assert _places(torn) == _places(whole)
        if not died:
            assert steps > 2
            return
    pytest.fail("it never came to its end")


class _Death(BaseException):
    """As SIGKILL: nothing is tidied up by the code that dies."""


def _dying(method: Any, left: list[int]) -> Any:
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


def _ended(place: Place) -> str:
    try:
        place.run(KEY)
    except _Death:
        return "died"
    except BadDataError as error:
        return str(error)
    return "done"


def _places(place: Place) -> dict[str, bytes]:
    return {key: content.replace(place.url.encode(), b"") for key, content in place.everything().items()}


def test_a_file_that_is_replaced_while_it_is_taken_waits_again(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    here.put(KEY, HEADER + rows(1))
    real = parser.parse

    def slow(data: bytes, name: str, layout: Any) -> Any:
        here.put(KEY, HEADER + rows(2))
        return real(data, name, layout)

    with monkeypatch.context() as patch:
        patch.setattr(parser, "parse", slow)
        here.run(KEY)
    assert KEY in here.lying()
    assert here.run() == [(PARTITION, "committed")]
    assert here.head().data.rows == 2


def test_a_file_that_no_memory_holds_is_not_read(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "LARGEST_BYTES", 100)
    here.put(KEY, HEADER + rows(2))
    assert "stays where it is; split it" in here.refused()
    assert here.lying() == [KEY]


def test_the_plan_says_what_waits_and_moves_nothing(here: Place) -> None:
    here.put(KEY, HEADER + rows(1))
    before = here.everything()
    expected = {"dataset": DATASET, "partition": PARTITION, "asks": KEY, "commit": None}
    assert work.plan(f"{here.url}/lake", f"{here.url}/drop", None) == [expected]
    work.check(f"{here.url}/lake", f"{here.url}/drop")
    assert here.everything() == before
