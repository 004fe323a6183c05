"""The smallest file that leads on from the lake's content is chosen, checked as a whole, cut into parts and committed."""

from __future__ import annotations

import json
from dataclasses import replace
from email.message import Message
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import pytest
from extract_gleif_entities import golden_copy, parser, runner, source
from jobkit import contracts
from jobkit.body import Body
from jobkit.contracts import load_packaged
from jobkit.errors import BadDataError
from jobkit.http import Response
from jobkit.lake import Lake
from jobkit.requests import Request

from tests.recorded_answers import FEEDS
from verification.sample_vendors import gleif, wire

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ENTITIES, RELATIONSHIPS, EXCEPTIONS = source.KINDS
APPLE, APPLE_ENERGY = "HWUPKR0MPOU8FGXBT394", "549300YX4S1LLSMK2627"
ALL_FILES = [(), ("LastDay",), ("LastWeek",), ("LastMonth",)]


def respond(packed: bytes, path: str = "/publishes/lei2/latest.xml") -> Response:
    body = Body()
    body.write(packed)
    return Response(body, f"https://goldencopy.gleif.org{path}", "application/zip", None, None)


class GleifOn:
    """GLEIF on a day, and what it was asked for."""

    def __init__(self, day: str) -> None:
        self.day, self.asked = day, list[str]()

    def get(self, path: str, params: Sequence[tuple[str, str]] = ()) -> Response:
        self.asked.append(dict(params).get("delta", "full"))
        return respond(gleif.answer(wire.Request(path, dict(params), Message(), 0, self.day)).body, path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


def as_part(file: str, rows: Sequence[dict[str, str]], *, start: str = "", count: int | None = None) -> bytes:
    return gleif.document(file, rows, "2025-03-05T00:00:00Z", start, count)


def parse(dataset: str, document: bytes) -> dict[str, Any]:
    partition = "content=20250305T000000Z/file=full/part=0001"
    return parser.parse(document, Request(dataset, (partition,), ""))[partition]


@pytest.mark.parametrize(
    ("day", "last", "asked", "taken"),
    [
        ("2025-03-04", None, ["full"], "full"),
        ("2025-03-05", "2025-03-04T00:00:00Z", ["LastDay"], "LastDay"),  # a delta that starts where the content ends applies
        ("2025-03-05", "2025-03-03T23:59:59Z", ["LastDay", "LastWeek"], "LastWeek"),
        ("2025-03-10", "2025-03-05T00:00:00Z", ["LastDay", "LastWeek"], "LastWeek"),
        ("2025-04-01", "2025-03-05T00:00:00Z", ["LastDay", "LastWeek", "LastMonth"], "LastMonth"),
        ("2025-05-15", "2025-03-05T00:00:00Z", ["LastDay", "LastWeek", "LastMonth", "full"], "full"),
        ("2025-03-05", "2025-03-05T00:00:00Z", ["LastDay"], None),
        ("2025-03-05", "2025-03-06T00:00:00Z", ["LastDay"], None),  # an older copy than before changes nothing
    ],
)
def test_the_shortest_delta_that_leaves_no_gap_is_taken_else_the_full_file(
    day: str, last: str | None, asked: list[str], taken: str | None
) -> None:
    client = GleifOn(day)
    published = source.fetch(client, ENTITIES, last)  # type: ignore[arg-type]  what it needs of a client
    assert (client.asked, published and published.file_kind) == (asked, taken)


def test_a_file_with_another_number_of_records_than_its_header_says_is_refused() -> None:
    rows = gleif.select("lei2", "2025-03-05T00:00:00Z", "")
    whole = golden_copy.GoldenCopy(respond(gleif.pack(as_part("lei2", rows))), "LEIRecord", is_delta=False)
    whole.check()
    cut = golden_copy.GoldenCopy(respond(gleif.pack(as_part("lei2", rows, count=2_394_586))), "LEIRecord", is_delta=False)
    with pytest.raises(BadDataError, match=rf"has {len(rows)} records where its header says 2,394,586; nothing of it was committed"):
        cut.check()


@pytest.mark.parametrize(
    ("packed", "is_delta", "message"),
    [
        (b"<html>", False, "is no zip file"),
        (gleif.pack(as_part("lei2", [])), True, "says it is GLEIF_FULL_PUBLISHED; expected GLEIF_DELTA_PUBLISHED"),
        (gleif.pack(as_part("lei2", [], start="2025-03-04T00:00:00Z")), False, "expected GLEIF_FULL_PUBLISHED"),
        (gleif.pack(b"LEI,LegalName\n"), False, "is not XML"),
        (gleif.pack(as_part("lei2", []).replace(b"UTF-8", b"UTF-9", 1)), False, "is not XML"),
        (gleif.pack(b'<!DOCTYPE a [<!ENTITY b "c">]>' + as_part("lei2", []).partition(b"?>")[2]), False, "has a DOCTYPE"),
        (gleif.pack(as_part("lei2", []).replace(b"RecordCount", b"Records")), False, "expected ContentDate, FileContent and RecordCount"),
    ],
)
def test_another_file_is_refused_in_a_sentence(packed: bytes, *, is_delta: bool, message: str) -> None:
    with pytest.raises(BadDataError, match=message):
        golden_copy.GoldenCopy(respond(packed), "LEIRecord", is_delta=is_delta)


@pytest.mark.parametrize(
    "changes",
    [
        [(b"PK\x03\x04", 0, b"XX")],  # the header before the content
        [(b"PK\x01\x02", 10, b"\x63\x00")],  # a compression that Python has not
        [(b"PK\x01\x02", 8, b"\x01\x00")],  # encrypted
        [(b"PK\x01\x02", 8, b"\x00\x08"), (b"PK\x01\x02", 46, b"\xff")],  # a name that is not the UTF-8 that it should be
    ],
)
def test_a_damaged_zip_is_refused_in_a_sentence(changes: list[tuple[bytes, int, bytes]]) -> None:
    packed = bytearray(gleif.pack(as_part("lei2", [])))
    for header, offset, value in changes:
        at = packed.index(header) + offset
        packed[at : at + len(value)] = value
    with pytest.raises(BadDataError, match="is damaged|is no zip file"):
        golden_copy.GoldenCopy(respond(bytes(packed)), "LEIRecord", is_delta=False)


@pytest.mark.parametrize("read_bytes", [7, 64, 1 << 20])
def test_parts_have_every_record_once_wherever_a_read_ends(monkeypatch: pytest.MonkeyPatch, read_bytes: int) -> None:
    monkeypatch.setattr(golden_copy, "READ_BYTES", read_bytes)
    monkeypatch.setattr(golden_copy, "PART_RECORDS", 4)
    monkeypatch.setattr(parser, "PART_RECORDS", 4)
    rows = gleif.select("lei2", "2025-05-15T00:00:00Z", "")
    copy = golden_copy.GoldenCopy(respond(gleif.pack(as_part("lei2", rows))), "LEIRecord", is_delta=False)
    partitions = [f"content=20250515T000000Z/file=full/part={number:04}" for number in (1, 2, 3)]
    parts = [parser.parse(part, Request(ENTITIES, (name,), ""))[name] for name, part in zip(partitions, copy.parts(), strict=True)]
    assert [lei for part in parts for lei in part["lei"]] == [row["lei"] for row in rows]
    assert [number for part in parts for number in part["record_number"]] == list(range(1, len(rows) + 1))


def test_a_lei_with_a_wrong_check_digit_is_quarantined() -> None:
    (row, *_) = gleif.select("lei2", "2025-03-05T00:00:00Z", "")
    wrong = {**row, "lei": row["lei"][:-1] + str(9 - int(row["lei"][-1]))}
    rules = replace(load_packaged("extract_gleif_entities", ENTITIES), max_bad_rows=0.5)
    result = contracts.validate(rules, parse(ENTITIES, as_part("lei2", [row, wrong])))
    assert result.table.column("lei").to_pylist() == [row["lei"]]
    assert result.quarantine is not None
    assert "its check digit does not hold" in str(result.quarantine.column("reasons").to_pylist())


def test_a_deletion_is_a_row_with_its_moment() -> None:
    (row, *_) = gleif.select("rr", "2025-05-15T00:00:00Z", "")
    document = as_part("rr", [row, {**row, "deleted_at": "2025-03-04T18:50:35Z"}], start="2025-03-04T00:00:00Z")
    assert parse(RELATIONSHIPS, document)["deleted_at"] == [None, "2025-03-04T18:50:35Z"]
    exception = {"lei": APPLE, "category": "DIRECT_ACCOUNTING_CONSOLIDATION_PARENT", "reason": "NO_LEI"}
    document = as_part("repex", [{**exception, "deleted_at": "2025-03-04T18:50:35Z"}, exception], start="2025-03-04T00:00:00Z")
    assert parse(EXCEPTIONS, document)["deleted_at"] == ["2025-03-04T18:50:35Z", None]


class FakeJob(SimpleNamespace):
    """As much of a job as a run needs."""

    def record_partition(self, dataset: str, partition: str, outcome: str, **_: object) -> None:
        self.outcomes.append((dataset, partition.partition("/part=")[0], outcome))

    def progress(self, *_: object) -> None: ...


def run(monkeypatch: pytest.MonkeyPatch, lake: Path, day: str) -> list[tuple[str, str, str]]:
    monkeypatch.setattr(source, "build_client", lambda *_, **__: GleifOn(day))
    job = FakeJob(outcomes=[], hosts=(), deadline_s=60, max_body_bytes=1, name="extract-gleif-entities", version="0")
    runner.run(job, [ENTITIES], lake_url=lake.as_uri(), base_url="", retry_timeout=0)  # type: ignore[arg-type]
    return list(job.outcomes)


def test_a_file_counts_once_it_is_there_as_a_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run that dies after the first part is repeated by the next, which starts from the same content."""
    monkeypatch.setattr(golden_copy, "PART_RECORDS", 2)
    monkeypatch.setattr(parser, "PART_RECORDS", 2)
    full, delta = "content=20250304T000000Z/file=full", "content=20250305T000000Z/file=LastDay"
    assert {outcome for _, _, outcome in run(monkeypatch, tmp_path, "2025-03-04")} == {"committed"}
    commit_part = runner._commit_part

    def die(*words: Any) -> None:
        if words[2].dataset == source.FILES:
            raise KeyboardInterrupt
        commit_part(*words)

    monkeypatch.setattr(runner, "_commit_part", die)
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, tmp_path, "2025-03-05")
    monkeypatch.setattr(runner, "_commit_part", commit_part)
    lake = Lake(tmp_path.as_uri())
    assert runner.find_last_file(lake, ENTITIES) == f"dataset={ENTITIES}/{full}"
    assert run(monkeypatch, tmp_path, "2025-03-05") == [
        (ENTITIES, delta, "unchanged"),
        (source.FILES, f"dataset={ENTITIES}/{delta}", "committed"),
    ]
    assert run(monkeypatch, tmp_path, "2025-03-05") == [
        (ENTITIES, delta, "unchanged"),
        (source.FILES, f"dataset={ENTITIES}/{delta}", "unchanged"),
    ]


RECORDED = {"lei": (ENTITIES, "LEIRecord"), "rr": (RELATIONSHIPS, "RelationshipRecord"), "repex": (EXCEPTIONS, "Exception")}


@pytest.mark.skipif(not FEEDS.exists(), reason="the recorded files of GLEIF are absent")
@pytest.mark.parametrize("file", ["lei-data", "lei-updates-data2", "rr-data", "rr-updates-data2", "repex-data", "repex-updates-data2"])
def test_recorded_files_are_valid_under_the_contract_and_incomplete(file: str) -> None:
    """They are the beginnings of real files, so the number of records in their headers is refused."""
    text = (FEEDS / f"gleif/golden_{file}.xml").read_bytes()
    prefix = file.partition("-")[0]
    dataset, element = RECORDED[prefix]
    copy = golden_copy.GoldenCopy(respond(gleif.pack(text)), element, is_delta=False)
    with pytest.raises(BadDataError, match="records where its header says"):
        copy.check()
    (part,) = copy.parts()
    columns = parse(dataset, part)
    result = contracts.validate(load_packaged("extract_gleif_entities", dataset), columns)
    assert (result.quarantine, result.table.num_rows) == (None, text.count(f"</{prefix}:{element}>".encode()))
    if file == "rr-data":
        assert "IS_FUND-MANAGED_BY" in columns["relationship_type"]
        periods = json.loads(columns["relationship_periods"][0])
        assert periods[0] == {"StartDate": "2012-11-29T00:00:00.000Z", "PeriodType": "RELATIONSHIP_PERIOD"}
