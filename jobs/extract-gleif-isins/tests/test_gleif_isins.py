"""An ISIN is asked for on its own; all LEI records of an answer are kept, and an empty answer is one, too."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import tenacity.nap
from extract_gleif_isins import parser, source
from jobkit import contracts, http
from jobkit.contracts import load_packaged
from jobkit.errors import BadDataError, UsageError
from jobkit.requests import Request

from tests.recorded_answers import FEEDS
from verification.faults import job_runs
from verification.sample_vendors import gleif, gleif_isins, server

if TYPE_CHECKING:
    from pathlib import Path

PUMA, PUMA_LEI, CONTENT = "DE0006969603", "529900GRZ2BQY5ZM9N49", "2025-05-15T00:00:00Z"
needs_feeds = pytest.mark.skipif(not FEEDS.exists(), reason="the recorded answers of GLEIF are absent")


def parse(body: bytes) -> dict[str, Any]:
    (found,) = parser.parse(body, Request("gleif_isins", (f"isin={PUMA}",), "")).values()
    return found


def validate(columns: dict[str, Any]) -> tuple[int, bool]:
    """The number of good rows, and whether there are others."""
    result = contracts.validate(load_packaged("extract_gleif_isins", "gleif_isins"), columns)
    return result.table.num_rows, result.quarantine is not None


def test_each_isin_is_a_request_and_other_identifiers_are_left_out() -> None:
    identifiers = ["TICKER:IBM:US", f"ID_ISIN:{PUMA}", "ID_ISIN:US4592001014:US", "ID_CUSIP:000000000", f"ID_ISIN:{PUMA}"]
    found = [(request.partitions, request.params) for request in source.build_requests(identifiers=identifiers)]
    assert found == [((f"isin={isin}",), (("filter[isin]", isin), ("page[size]", "200"))) for isin in (PUMA, "US4592001014")]


@pytest.mark.parametrize(
    ("isin", "problem"),
    [
        ("US4592001015", "ID_ISIN:US4592001015 is not an ISIN: its check digit does not hold"),
        ("4592001014", "ID_ISIN:4592001014 is not an ISIN"),
    ],
)
def test_a_text_that_is_no_isin_is_refused_before_anything_is_asked(isin: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        source.build_requests(identifiers=[f"ID_ISIN:{PUMA}", f"ID_ISIN:{isin}"])


def test_all_leis_of_an_isin_are_kept() -> None:
    rows = [row for row in gleif.select("lei2", CONTENT, "") if row["legal_name"].lower().startswith("puma")]
    columns = parse(gleif_isins.document(rows, CONTENT))
    assert sorted(columns["result"]) == sorted(columns["lei"]) == sorted(row["lei"] for row in rows)
    assert len(rows) == 2
    assert set(columns["isin"]) == {PUMA}
    assert validate(columns) == (2, False)


def test_an_answer_without_a_record_says_that_no_lei_is_known() -> None:
    columns = parse(gleif_isins.document([], CONTENT))
    assert columns == {**{name: [None] for name in parser.NAMES}, "isin": [PUMA], "result": ["no LEI known"], "publish_date": [CONTENT]}
    assert validate(columns) == (1, False)


def test_a_record_with_a_wrong_lei_is_refused() -> None:
    (row,) = [row for row in gleif.select("lei2", CONTENT, "") if row["lei"] == PUMA_LEI]
    with pytest.raises(BadDataError, match="lei is 529900GRZ2BQY5ZM9N48, not a LEI"):
        validate(parse(gleif_isins.document([{**row, "lei": PUMA_LEI[:-1] + "8"}], CONTENT)))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (gleif_isins.document([], CONTENT, total=2_900_000), f"about {PUMA} has 0 of 2900000 LEI records"),
        (b"[]", "is not a list of LEI records; it begins"),
        (b'{"meta":{"goldenCopy":{"publishDate":"2025-05-15T00:00:00Z"}},"data":{}}', "is not a list of LEI records"),
        (b'{"errors":[{"status":"400","title":"Invalid filter"}]}', "is not a list of LEI records"),
    ],
)
def test_another_document_and_a_part_of_a_list_are_refused(body: bytes, message: str) -> None:
    with pytest.raises(BadDataError, match=message):
        parse(body)


def test_the_limit_is_obeyed_and_json_api_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 requests a minute; others may use the same address, so a refusal with Retry-After is waited for."""
    script = [(429, {"Retry-After": "30"}), (200, {})]
    waits: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(waits), sleep=waits.append)

    def answer(_: httpx2.Request) -> httpx2.Response:
        status, fields = script.pop(0)
        return httpx2.Response(status, headers={**fields, "Content-Type": gleif_isins.MEDIA_TYPE}, stream=httpx2.ByteStream(b"{}"))

    monkeypatch.setattr(http, "time", clock)
    monkeypatch.setattr(tenacity.nap, "time", clock)
    with source.build_client((), base_url=source.BASE_URL) as client:
        monkeypatch.setattr(client._client, "_transport", httpx2.MockTransport(answer))
        assert client.get(source.PATH).body == b"{}"
    assert waits == [30]
    assert (source.REQUESTS, source.PERIOD_S) == (60, 60)


def test_identifiers_without_an_isin_are_no_error(tmp_path: Path) -> None:
    """The list of identifiers is that of extract-openfigi-identifiers, which may have tickers only."""
    with server.run_server() as vendors:
        words = ["--lake", str(tmp_path), "--identifiers", "TICKER:IBM:US", "--base-url", f"{vendors}/api.gleif.org"]
        result = job_runs.run_job("extract-gleif-isins", words)
    assert result.code == 0
    assert result.receipt
    assert result.receipt["partitions"] == []


@needs_feeds
def test_recorded_records_are_rows() -> None:
    """A list of records by LEI has the same form as one by ISIN."""
    columns = parse((FEEDS / "gleif/api_multi_lei_records.json").read_bytes())
    assert validate(columns) == (12, False)
    rows = list(zip(*(columns[name] for name in parser.NAMES[2:]), strict=True))
    assert (PUMA_LEI, "PUMA SE", "ACTIVE", "ISSUED", CONTENT) in rows
    assert ("335800CCCPHKUOXPC332", "NFA INTERNATIONAL", "ACTIVE", "LAPSED", CONTENT) in rows


@needs_feeds
def test_a_recorded_empty_list_is_an_answer() -> None:
    """That of an entity without ISINs, which has the same form."""
    assert parse((FEEDS / "gleif/api_isins_254900MSZM6DMP853B11.json").read_bytes())["result"] == [parser.UNKNOWN]
