"""The commit protocol's promises, the same for file:// and s3://."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import msgspec
import pytest
from jobkit import commits, formats
from jobkit import lake as lakes
from jobkit.errors import DamagedError, NewerFormatError, UsageError
from jobkit.lake import PARQUET, CommitDraft, Lake, SourceMetadata, is_parquet

if TYPE_CHECKING:
    from collections.abc import Callable

PART = "ticker=AAPL/year=2012"


def draft(data: bytes, lake: Lake | None = None, **changes: Any) -> CommitDraft:
    def source() -> Any:
        about = SourceMetadata("https://vendor.example/x", "text/csv", '"e1"', None)
        return (lake.store_source("prices", b"vendor bytes of " + data, about),) if lake else ()

    given = {
        "rows": 3,
        "quarantine": None,
        "quarantined": 0,
        "key": ("date",),
        "leaf": "year(date)",
        "writer": {"job": "t", "version": "1"},
    }
    return CommitDraft(data=data, source=source, **{**given, **changes})


def test_a_commit_makes_the_partition(url: str) -> None:
    lake = Lake(url)
    assert lake.head("prices", PART) is None
    commit, made = lake.commit("prices", PART, draft(b"rows", lake))
    assert made
    assert lake.head("prices", PART) == commit
    assert lake.read(commit.data) == b"rows"
    assert lake.read(commit.source[0]) == b"vendor bytes of rows"
    assert (lake.datasets(), lake.partitions("prices")) == (["prices"], [PART])


def test_the_same_bytes_again_change_nothing(url: str) -> None:
    lake = Lake(url)
    first, _ = lake.commit("prices", PART, draft(b"rows", lake))
    before = list(lake.store.list_keys(""))
    again, made = lake.commit("prices", PART, draft(b"rows", lake))
    assert (again, made) == (first, False)
    assert list(lake.store.list_keys("")) == before


def test_other_bytes_are_a_new_version_and_the_old_one_stays(url: str) -> None:
    lake = Lake(url)
    lake.commit("prices", PART, draft(b"one"))
    lake.commit("prices", PART, draft(b"two"))
    history = lake.history("prices", PART)
    assert [(commit.number, lake.read(commit.data)) for commit in history] == [(1, b"one"), (2, b"two")]
    assert history[0].known_at < history[1].known_at


def test_a_commit_that_was_received_earlier_has_that_moment_and_follows_no_later_one(url: str) -> None:
    def commit(moment: str, data: bytes) -> bool:
        return Lake(url, datetime.fromisoformat(moment)).commit("prices", PART, draft(data))[1]

    assert commit("2010-01-20T12:00:00+00:00", b"one")
    assert commit("2010-02-01T12:00:00+00:00", b"two")
    before = list(Lake(url).store.list_keys(""))
    for moment in ("2010-01-20T12:00:00+00:00", "2010-02-01T12:00:00+00:00"):
        assert not commit(moment, b"other")
    assert list(Lake(url).store.list_keys("")) == before
    assert Lake(url).commit("prices", PART, draft(b"now"))[1]
    assert [made.known_at[:10] for made in Lake(url).history("prices", PART)][:2] == ["2010-01-20", "2010-02-01"]


def test_a_change_in_the_quarantine_alone_is_a_new_version(url: str) -> None:
    lake = Lake(url)
    lake.commit("prices", PART, draft(b"rows"))
    commit, made = lake.commit("prices", PART, draft(b"rows", quarantine=b"bad", quarantined=1))
    assert made
    assert (commit.rows_read, commit.quarantine and commit.quarantine.rows) == (4, 1)


def test_concurrent_writers_lose_nothing_and_leave_no_gap(url: str) -> None:
    lake = Lake(url)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: lake.commit("prices", PART, draft(b"%d" % n)), range(8)))
    history = lake.history("prices", PART)
    assert [commit.number for commit in history] == list(range(1, 9))
    assert sorted(lake.read(commit.data) for commit in history) == [b"%d" % n for n in range(8)]


def test_a_writer_that_dies_before_its_commit_is_never_seen(url: str) -> None:
    lake = Lake(url)
    lake.commit("prices", PART, draft(b"old"))

    def dies() -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lake.commit("prices", PART, draft(b"new")._replace(source=dies))
    head = lake.head("prices", PART)
    assert head is not None
    assert lake.read(head.data) == b"old"


def test_changed_bytes_are_never_returned(url: str) -> None:
    lake = Lake(url)
    commit, _ = lake.commit("prices", PART, draft(b"rows"))
    lake.store.put(commit.data.path, b"rotten")
    with pytest.raises(DamagedError):
        lake.read(commit.data)


def test_a_commit_is_readable_json_with_its_key(url: str) -> None:
    lake = Lake(url)
    lake.commit("prices", PART, draft(b"rows"))
    document = json.loads(lake.store.get(f"raw/prices/{PART}/_commits/000001.json"))
    assert (document["number"], document["key"], document["leaf"]) == (1, ["date"], "year(date)")


@pytest.mark.parametrize("partition", ["", "x", "a=..", "a=1/../b=2", "a=1//b=2", "A=1", "a=b c", "a='; drop table x"])
def test_hostile_partitions_are_refused(url: str, partition: str) -> None:
    with pytest.raises(UsageError):
        Lake(url).commit("prices", partition, draft(b"x"))


@pytest.mark.parametrize("dataset", ["", "../x", "a/b", "Prices", "_bytes", "x" * 60])
def test_hostile_datasets_are_refused(url: str, dataset: str) -> None:
    with pytest.raises(UsageError):
        Lake(url).commit(dataset, PART, draft(b"x"))


KEY = f"raw/prices/{PART}/_commits/000001.json"
DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda _data: None,
    "empty": lambda _data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "one bit": lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
    "longer": lambda data: data + b"\n",
    "other bytes": lambda data: bytes(len(data)),
}
every_damage = pytest.mark.parametrize("damage", DAMAGE)


def harm(lake: Lake, key: str, damage: str) -> None:
    """Damage a stored object, as a disk or a person would: past the store's own writing."""
    spoilt = DAMAGE[damage](lake.store.get(key))
    if spoilt is not None:
        lake.store.put(key, spoilt)
    elif (tag := lake.store.get_with_etag(key)[1]) and not lake.store.delete_if_match(key, tag):
        raise RuntimeError(key)


@every_damage
@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_same_bytes_again_rewrite_a_file_that_is_gone_or_damaged(url: str, damage: str, which: int) -> None:
    lake = Lake(url)
    made, _ = lake.commit("prices", PART, draft(b"rows", lake, quarantine=b"bad", quarantined=1))
    file = made.files[which]
    harm(lake, file.path, damage)
    again = Lake(url)
    assert again.commit("prices", PART, draft(b"rows", again, quarantine=b"bad", quarantined=1)) == (made, False)
    assert again.repaired == [file.path]
    assert [Lake(url).find_problem(file) for file in made.files] == [None] * 3


@every_damage
def test_a_commit_never_names_a_file_that_is_damaged(url: str, damage: str) -> None:
    lake = Lake(url)
    first, _ = lake.commit("prices", PART, draft(b"one", lake))
    lake.commit("prices", PART, draft(b"two", lake))
    harm(lake, first.data.path, damage)
    third, made = Lake(url).commit("prices", PART, draft(b"one", lake))
    assert made
    assert Lake(url).read(third.data) == b"one"


def test_vendor_bytes_that_cannot_be_restored_are_replaced_by_those_of_a_new_commit(url: str) -> None:
    lake = Lake(url)
    made, _ = lake.commit("prices", PART, draft(b"rows", lake))
    harm(lake, made.source[0].path, "cut")
    again = Lake(url)
    other = again.store_source(
        "prices", b"the same rows, sent otherwise", SourceMetadata("https://vendor.example/x", "text/csv", None, None)
    )
    healed, is_new = again.commit("prices", PART, draft(b"rows")._replace(source=lambda: (other,)))
    assert (is_new, healed.number, healed.source) == (True, 2, (other,))
    assert [Lake(url).find_problem(file) for file in healed.files] == [None, None]


@pytest.mark.parametrize("damage", [*DAMAGE][1:])
def test_a_commit_that_is_not_what_was_written_is_refused_and_the_next_one_follows_it(url: str, damage: str) -> None:
    lake = Lake(url)
    lake.commit("prices", PART, draft(b"one"))
    lake.commit("prices", PART, draft(b"two"))
    harm(lake, KEY.replace("1.json", "2.json"), damage)
    if damage != "longer":  # white space behind a document changes nothing
        with pytest.raises(DamagedError, match="000002.json is damaged"):
            Lake(url).head("prices", PART)
        state = lake.read_state("prices", PART)
        assert (state.latest_number, state.head and state.head.number, state.intact_number) == (2, 1, None)
        made, is_new = lake.commit("prices", PART, draft(b"one"))
        assert (made.number, is_new) == (3, True)
    assert lake.read_state("prices", PART).intact_number in (2, 3)


def stored(lake: Lake, **changes: Any) -> dict[str, Any]:
    """A commit's stored document, changed by somebody who knows nothing of its digest."""
    lake.commit("prices", PART, draft(b"rows", lake, quarantine=b"bad", quarantined=1))
    return {**json.loads(lake.store.get(KEY)), **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"partition": "ticker=AAPL/year=2013"}, {"dataset": "yields"}, {"number": 2}, {"number": "1"}, {"number": 10**30}, {"number": True},
        {"known_at": "soon"}, {"known_at": None}, {"known_at": "2012-01-03T00:00:00"}, {"known_at": 1.5},
        {"known_at": "0001-01-01T00:00:00+14:00"},
        {"data": None}, {"data": []}, {"data": {"path": "x"}}, {"source": {}}, {"source": [None]}, {"key": "date"}, {"key": [1]},
        {"leaf": 3},
        {"rows_read": -1}, {"rows_read": 2}, {"rows_read": 1e300}, {"writer": []}, {"writer": {"job": 1}}, {"quarantine": "x"}, {"more": 1},
    ],
)  # fmt: skip
@pytest.mark.parametrize("layout", [1, 2])
def test_an_impossible_field_is_damage_in_every_format(tmp_path: Any, changes: dict[str, Any], layout: int) -> None:
    lake = Lake(str(tmp_path))
    document = stored(lake, **changes)
    if layout == 1:
        del document["format"], document["digest"]
    lake.store.put(KEY, json.dumps(document).encode())
    with pytest.raises(DamagedError):
        lake.head("prices", PART)


def test_a_commit_that_names_a_file_in_another_place_is_damaged(tmp_path: Any) -> None:
    lake = Lake(str(tmp_path))
    document = stored(lake)
    del document["format"], document["digest"]
    for name in ("data", "quarantine"):
        for path in ("../../outside", "/etc/passwd", document[name]["path"].replace("prices", "yields")):
            lake.store.put(KEY, json.dumps({**document, name: {**document[name], "path": path}}).encode())
            with pytest.raises(DamagedError):
                lake.head("prices", PART)


@pytest.mark.parametrize(
    "text", [b"[" * 200_000, b'{"format": ' + b"9" * 5000 + b"}", b'{"a":' * 100_000, b"nonsense", b"\xff\xfe", b"null", b'"x"']
)
def test_a_document_that_is_not_a_commit_is_damage(tmp_path: Any, text: bytes) -> None:
    lake = Lake(str(tmp_path))
    lake.store.put(KEY, text)
    with pytest.raises(DamagedError):
        lake.head("prices", PART)


@pytest.mark.parametrize("layout", [1, 2, 3])
def test_a_commit_of_an_older_format_is_read(url: str, layout: int) -> None:
    """Its files are in the partition itself."""
    lake = Lake(url)
    document = stored(lake, format=layout)
    made = lake.head("prices", PART)
    assert made is not None
    olds = {}
    for name, ending in (("data", ".parquet"), ("quarantine", ".quarantine.parquet")):
        file = document[name]
        olds[name] = f"raw/prices/{PART}/{file['sha256']}{ending}"
        lake.store.put(olds[name], lake.store.get(file["path"]), PARQUET)
        document[name] = {**file, "path": olds[name]}
    del document["digest"]
    if layout == 1:
        del document["format"]
        for source in document["source"]:
            del source["stored_sha256"], source["stored_bytes"]
    else:
        document["digest"] = hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    lake.store.put(KEY, json.dumps(document, indent=1, sort_keys=True).encode())
    found = lake.head("prices", PART)
    assert found is not None
    assert {"data": found.data.path, "quarantine": found.quarantine and found.quarantine.path} == olds
    assert msgspec.structs.replace(found, source=made.source, data=made.data, quarantine=made.quarantine) == made
    assert [Lake(url).find_problem(file) for file in found.files] == [None] * 3


def test_a_commit_of_a_newer_format_is_refused_and_not_followed(url: str) -> None:
    lake = Lake(url)
    lake.store.put(KEY, json.dumps(stored(lake, format=formats.COMMIT + 1)).encode())
    for call in (lambda: lake.head("prices", PART), lambda: lake.commit("prices", PART, draft(b"more"))):
        with pytest.raises(NewerFormatError, match="is of format 5, and this version reads formats up to 4; upgrade"):
            call()
    assert lake.commit_numbers("prices", PART) == [1]


def test_the_digest_follows_from_the_stored_document(url: str) -> None:
    document = stored(Lake(url))
    digest = document.pop("digest")
    assert hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest() == digest


def test_files_with_other_names_are_not_commits(url: str) -> None:
    lake = Lake(url)
    made, _ = lake.commit("prices", PART, draft(b"one"))
    for name in (
        "0000003.json",
        "000000.json",
        "3.json",
        "000003.json.tmp",
        "000003.json~",
        "000003 (1).json",
        "000003/x.json",
        "x/000003.json",
        "99999999999.json",
    ):
        lake.store.put(f"raw/prices/{PART}/_commits/{name}", b"somebody's")
    lake.store.put("raw/prices/copy of year=2012/_commits/000001.json", b"somebody's")
    assert (lake.head("prices", PART), lake.latest_numbers("prices")) == (made, {PART: 1})
    assert lake.commit("prices", PART, draft(b"two"))[0].number == 2


def test_missing_numbers_are_reported_as_ranges(url: str) -> None:
    lake = Lake(url)
    made, _ = lake.commit("prices", PART, draft(b"one"))
    for number in (4, 2_000_000_000):
        lake.store.put(lake.commit_key("prices", PART, number), commits.encode(msgspec.structs.replace(made, number=number)))
    history = lake.examine("prices", PART)
    assert (sorted(history.commits), history.missing) == ([1, 4, 2_000_000_000], ((2, 3), (5, 1_999_999_999)))
    assert lake.examine("prices", PART, since=4).missing == ((5, 1_999_999_999),)


@pytest.mark.parametrize(("ahead", "kept"), [(timedelta(days=26_000), False), (timedelta(minutes=1), False), (timedelta(seconds=2), True)])
def test_a_clock_ahead_of_the_store_does_not_date_commits(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, ahead: timedelta, *, kept: bool
) -> None:
    class Ahead(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + ahead

    monkeypatch.setattr(lakes, "datetime", Ahead)
    before = datetime.now(UTC)
    made, _ = Lake(url).commit("prices", PART, draft(b"rows"))
    assert (made.known > before + ahead - timedelta(seconds=1)) == kept or ahead < timedelta(seconds=5)
    assert kept or made.known < datetime.now(UTC) + lakes.CLOCK_TOLERANCE
    assert ("clock ahead" in caplog.text) != kept


def test_on_s3_an_unchanged_file_is_not_read(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(f"s3://{bucket}/x")
    lake.commit("prices", PART, draft(b"rows", lake))
    again = Lake(f"s3://{bucket}/x")
    read: list[str] = []
    monkeypatch.setattr(again.store, "get", lambda key, get=again.store.get: read.append(key) or get(key))
    again.commit("prices", PART, draft(b"rows", again))
    assert [key.rpartition("/")[2] for key in read] == ["000001.json"]


def test_on_s3_a_file_written_without_a_digest_is_read(bucket: str) -> None:
    lake = Lake(f"s3://{bucket}/x")
    made, _ = lake.commit("prices", PART, draft(b"rows", lake))
    boto3.client("s3").put_object(Bucket=bucket, Key=f"x/{made.data.path}", Body=b"rows")
    assert Lake(f"s3://{bucket}/x").find_problem(made.data) is None
    boto3.client("s3").put_object(Bucket=bucket, Key=f"x/{made.data.path}", Body=b"rots")
    assert Lake(f"s3://{bucket}/x").find_problem(made.data) == "is not what was committed"


def test_the_decoder_is_built_before_any_thread_uses_it() -> None:
    """Msgspec 0.22.0 builds what it knows of a Struct at first use, and not safely in two threads: the import does it."""
    assert commits.DECODER.type is commits.Commit


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1PAR1", b"PAR1 cut short", b"no Parquet PAR1"])
def test_bytes_without_both_ends_of_a_parquet_file_are_none(data: bytes) -> None:
    assert not is_parquet(data)
