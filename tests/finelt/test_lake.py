"""finelt lake: damage is found, and repaired from the vendor bytes if possible."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from click.testing import CliRunner
from jobkit import commits
from jobkit.lake import CommitDraft, Lake, SourceMetadata

from finelt import lake as command
from tests import recorded_lake

if TYPE_CHECKING:
    from pathlib import Path

    from jobkit.lake import Commit

DATASET, YEAR, OTHER = "treasury_par_yields", "year=2013", "year=2012"
HEADER = "Date,2 Yr,10 Yr"
BODY = f"{HEADER}\n01/03/2013,1.00,2.00\n01/02/2013,0.27,1.86"


def add(lake: Lake, body: str, year: str = "2013") -> Commit:
    ((made, _),) = recorded_lake.commit(lake, recorded_lake.treasury(year, body))
    return made


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return a lake with two commits of one year and one of another."""
    lake = Lake(str(tmp_path / "lake"))
    add(lake, BODY)
    add(lake, BODY.replace("1.86", "1.87"))
    add(lake, BODY.replace("/2013", "/2012"), "2012")
    return lake


def invoke(lake: Lake, verb: str, *arguments: str) -> tuple[int, list[str]]:
    """Return the exit code of the command and the lines that it prints."""
    result = CliRunner().invoke(command.main, [verb, "--lake", lake.store.url, *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output.splitlines()


def test_an_intact_lake_has_no_findings(lake: Lake) -> None:
    assert invoke(lake, "verify") == (0, ["6 files of 3 commits of 2 partitions: nothing wrong"])
    assert invoke(lake, "verify", "--sample", "0", "--dataset", DATASET, "--partition", OTHER) == (
        0, ["2 files of 1 commits of 1 partitions: nothing wrong"],
    )  # fmt: skip
    assert invoke(lake, "repair") == (0, ["0 repaired, 0 not"])


def test_an_unknown_dataset_or_partition_is_a_usage_error(lake: Lake) -> None:
    assert invoke(lake, "verify", "--dataset", "prices")[0] == 2
    assert invoke(lake, "verify", "--partition", "year=1999")[0] == 2


@pytest.mark.parametrize("text", [None, b"", b"rotten"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_damaged_parquet_file_is_found_and_rebuilt_bit_for_bit(lake: Lake, number: int, text: bytes | None) -> None:
    made = lake.read_commit(DATASET, YEAR, number)
    content = damage(lake, made.data.path, text)
    code, lines = invoke(lake, "verify")
    assert (code, len(lines)) == (65, 2)
    assert lines[0].startswith(f"WRONG {DATASET}/{YEAR} commit {number}: {made.data.path}")
    assert invoke(lake, "verify", "--sample", "0")[0] == 65  # its size tells
    code, lines = invoke(lake, "repair")
    assert (code, lines[-1]) == (0, "1 repaired, 0 not")
    assert lake.store.get(made.data.path) == content
    assert invoke(lake, "verify")[0] == 0


def damage(lake: Lake, key: str, text: bytes | None) -> bytes:
    """Delete or overwrite an object; return its content before."""
    content, etag = lake.store.get_with_etag(key)
    if text is None:
        lake.store.delete_if_match(key, etag)
    else:
        lake.store.put(key, text)
    return content


def test_damage_that_keeps_the_size_is_found_by_reading(lake: Lake) -> None:
    path = lake.read_commit(DATASET, YEAR, 1).data.path
    damage(lake, path, bytes(lake.store.get_size(path)))
    assert invoke(lake, "verify", "--sample", "0")[0] == 0
    assert invoke(lake, "verify", "--sample", "100")[0] == 65


def test_damaged_vendor_bytes_are_found_and_nothing_is_rebuilt_from_them(lake: Lake) -> None:
    made = lake.read_commit(DATASET, YEAR, 2)
    damage(lake, made.source[0].path, b"rotten")
    damage(lake, made.data.path, b"rotten")
    assert [line[:5] for line in invoke(lake, "verify")[1][:2]] == ["WRONG", "WRONG"]
    code, lines = invoke(lake, "repair")
    assert (code, lines[-1]) == (65, "0 repaired, 2 not")
    assert "run its extractor again" in lines[0]
    assert lake.commit_numbers(DATASET, YEAR) == [1, 2]


def test_a_damaged_latest_commit_is_followed_by_a_repetition_of_the_previous_one(lake: Lake) -> None:
    damage(lake, lake.commit_key(DATASET, YEAR, 2), b"{")
    assert invoke(lake, "verify")[0] == 65
    code, lines = invoke(lake, "repair", "--partition", YEAR)
    assert (code, "commit 3 repeats commit 1, as commit 2 is damaged" in lines[0]) == (0, True)
    head = lake.head(DATASET, YEAR)
    assert head is not None
    assert (head.data, head.writer["reason"]) == (lake.read_commit(DATASET, YEAR, 1).data, "commit 2 is damaged")
    code, lines = invoke(lake, "repair")
    assert (code, "commit 2: stays damaged, as newer commits exist" in lines[0]) == (65, True)


def test_other_rows_by_todays_parser_become_a_new_commit(lake: Lake) -> None:
    kept = lake.store_source(DATASET, BODY.encode(), SourceMetadata("https://vendor.example/", "text/csv", None, None))
    writer = {"job": "older", "version": "0"}
    made, _ = lake.commit(
        DATASET, YEAR, CommitDraft(b"what an older parser made", 1, None, 0, lambda: (kept,), ("Date",), "year(Date)", writer)
    )
    lake.store.put(made.data.path, b"rotten")
    code, lines = invoke(lake, "repair")
    assert (code, "commit 4 has 2 rows of the same vendor bytes, by today's parser; commit 3 had 1" in lines[0]) == (0, True)
    head = lake.head(DATASET, YEAR)
    assert head is not None
    assert head.data == lake.read_commit(DATASET, YEAR, 1).data
    code, lines = invoke(lake, "verify")
    assert (code, f"commit 3: {made.data.path}" in lines[0]) == (65, True)


def test_gaps_strays_copies_leftovers_and_wrong_clocks_are_distinguished(lake: Lake) -> None:
    first = lake.read_commit(DATASET, YEAR, 1)
    later = msgspec.structs.replace(first, number=4, known_at="2099-01-01T00:00:00Z")
    lake.store.put(lake.commit_key(DATASET, YEAR, 4), commits.encode(later))
    lake.store.put(lake.commit_key(DATASET, "year=2014", 1), lake.store.get(lake.commit_key(DATASET, YEAR, 1)))
    lake.store.put(f"raw/{DATASET}/{YEAR}/_commits/0000003.json", b"{}")
    lake.store.put(f"raw/{DATASET}/{YEAR}/_versions/{'0' * 64}.parquet", b"left")
    lake.store.put(f"raw/{DATASET}/_check", b"left by a check")
    lake.store.put(f"raw/{DATASET}/{YEAR}/.tmp0", b"left")
    code, lines = invoke(lake, "verify")
    wrong = [line.partition(": ")[2] for line in lines if line.startswith("WRONG")]
    assert (code, len(wrong), wrong[0]) == (65, 2, "commit 3 is missing")
    assert f"says it is commit 1 of {DATASET}/{YEAR}" in wrong[1]
    notes = " ".join(line for line in lines if line.startswith("note"))
    for text in (
        "0000003.json: is named by no",
        "0.parquet: is named by no",
        ".tmp0: is a temporary file",
        "2099-01-01T00:00:00Z, a time in the future",
    ):
        assert text in notes
    assert notes.count("note") == 4


def test_a_wrong_row_count_is_found(lake: Lake) -> None:
    key = lake.commit_key(DATASET, YEAR, 2)
    document = json.loads(lake.store.get(key))
    del document["format"], document["digest"]
    document["data"]["rows"], document["rows_read"] = 7, 7
    lake.store.put(key, json.dumps(document).encode())
    code, lines = invoke(lake, "verify")
    assert (code, "has 2 rows, its commit says 7" in lines[0]) == (65, True)


def test_a_newer_format_is_reported_and_the_rest_is_verified(lake: Lake) -> None:
    key = lake.commit_key(DATASET, YEAR, 2)
    lake.store.put(key, json.dumps({**json.loads(lake.store.get(key)), "format": 99}).encode())
    code, lines = invoke(lake, "verify")
    assert (code, "upgrade finelt" in lines[0], lines[-1].startswith("2 files of 1 commits")) == (65, True, True)
    assert not [line for line in lines if "is named by no commit" in line]  # the newer commit may name it
    code, lines = invoke(lake, "repair")
    assert (code, "upgrade finelt" in lines[-1]) == (78, True)


def test_a_dropped_file_is_rebuilt_under_its_name(lake: Lake) -> None:
    from extract_dropped_files import runner
    from extract_dropped_files.source import Drop

    from tests.test_shrinking import Job

    header = "position_date,custodian,account,isin,quantity,price,market_value,currency\n"
    drop = Drop(lake.store.url + "/../drop")
    drop.store.put(
        "custodian_positions/bank 2013.csv".replace(" ", "-"), (header + "2013-01-31,Bank,A1,US0378331005,1,1.5,1.5,USD\n").encode()
    )
    runner.run(Job(), lake.store.url, drop.store.url, None)  # type: ignore[arg-type]
    [partition] = lake.partitions("custodian_positions")
    head = lake.head("custodian_positions", partition)
    assert head is not None
    lake.store.put(head.data.path, b"rotten")
    assert invoke(lake, "repair")[0] == 0
    assert lake.find_problem(head.data) is None
