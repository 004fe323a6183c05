"""Identifiers are validated before they are asked for; every match of an answer is a row of its question, and none is chosen."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import tenacity.nap
from extract_openfigi_identifiers import parser, source
from jobkit import contracts, http
from jobkit.body import Body
from jobkit.contracts import load_packaged
from jobkit.errors import BadDataError, UsageError
from jobkit.http import Response
from jobkit.requests import Request

from tests.recorded_answers import FEEDS
from verification.faults import job_runs
from verification.sample_vendors import server

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

IBM = {"idType": "ID_ISIN", "idValue": "US4592001014"}
NOTHING = {"idType": "TICKER", "idValue": "ZZZZ", "exchCode": "US"}
MALFORMED = {"idType": "ID_ISIN", "idValue": "US45"}
needs_feeds = pytest.mark.skipif(not FEEDS.exists(), reason="the recorded answers of OpenFIGI are absent")


def parse(questions: Sequence[dict[str, str]], answers: str, *partitions: str) -> dict[str, Any]:
    names = partitions or tuple(map(source.to_partition, questions))
    return parser.parse(f"[{json.dumps(questions)},{answers}]".encode(), Request("openfigi_mappings", names, ""))


@pytest.mark.parametrize(
    ("identifier", "problem"),
    [
        ("ID_ISIN:US4592001015", "ID_ISIN:US4592001015 is not an ISIN: its check digit does not hold"),
        ("ID_CUSIP:459200102", "not a CUSIP"),
        ("ID_SEDOL:2005974", "not a SEDOL"),
        ("ID_BB_GLOBAL:BBG000BLNNH7", "not a FIGI"),
        ("COMPOSITE_ID_BB_GLOBAL:BBG000BLNNH", "not a FIGI"),
        ("ID_BB_GLOBAL_SHARE_CLASS_LEVEL:BSG000BLNNH6", "not a FIGI"),
    ],
)
def test_an_identifier_with_a_wrong_check_digit_is_refused_before_anything_is_asked(identifier: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        source.build_requests(identifiers=["ID_ISIN:US4592001014", identifier], without_key=False)


@pytest.mark.parametrize(("without_key", "sizes"), [(False, [100, 20]), (True, [10] * 12)])
def test_a_request_has_as_many_questions_as_openfigi_takes(sizes: list[int], *, without_key: bool) -> None:
    identifiers = [f"TICKER:T{number}:US" for number in range(120)]
    requests = source.build_requests(identifiers=[*identifiers, *identifiers[:3]], without_key=without_key)
    assert [len(request.partitions) for request in requests] == sizes


@pytest.mark.parametrize(
    ("identifier", "partition"),
    [
        ("ID_ISIN:US4592001014", "type=ID_ISIN/id=US4592001014/exchange=all"),
        ("TICKER:BRK/B:US", "type=TICKER/id=BRK_2FB/exchange=US"),
        ("TICKER:IBM 03/20/10 P130:ABU DHABI", "type=TICKER/id=IBM_2003_2F20_2F10_20P130/exchange=ABU_20DHABI"),
        ("TICKER:IBM_1*#:US", "type=TICKER/id=IBM_5F1_2A_23/exchange=US"),
    ],
)
def test_a_partition_names_its_question(identifier: str, partition: str) -> None:
    question = source.parse_identifier(identifier)
    assert (source.to_partition(question), source.to_question(partition)) == (partition, question)


def test_an_answer_does_not_overwrite_its_question() -> None:
    answer = [{"data": [{"figi": "BBG000BLNNH6", "id_value": "other", "id_type": "other", "exch_code": "other", "result": "other"}]}]
    ((_, columns),) = parse([IBM], json.dumps(answer)).items()
    named = [columns[name] for name in ("id_type", "id_value", "exch_code", "result")]
    assert named == [["ID_ISIN"], ["US4592001014"], ["all"], ["BBG000BLNNH6"]]


class Echo:
    """A client that answers each question with its own value."""

    def get(self, path: str, *_: object, body: str) -> Response:
        answer = Body()
        answer.write(json.dumps([{"warning": asked["idValue"]} for asked in json.loads(body)]).encode())
        return Response(answer, f"https://api.openfigi.com{path}", "application/json", None, None)


def test_the_questions_are_stored_with_the_answers_so_that_another_batch_reads_them_too() -> None:
    """A replay asks for what is declared now, which may be in another order and in other batches than when it was asked."""
    (request,) = source.build_requests(identifiers=["TICKER:B:US", "TICKER:A:US"], without_key=False)
    stored = source.fetch(Echo(), request, None).body  # type: ignore[arg-type]  what it needs of a client
    assert stored is not None
    found = parser.parse(stored, request._replace(partitions=("type=TICKER/id=A/exchange=US", "type=TICKER/id=C/exchange=US")))
    assert {name: columns["result"] for name, columns in found.items()} == {"type=TICKER/id=A/exchange=US": ["A"]}


def test_no_identifier_found_is_an_answer() -> None:
    ((_, columns),) = parse([NOTHING], '[{"warning":"No identifier found."}]').items()
    assert (columns["result"], columns["figi"], columns["exch_code"]) == (["No identifier found."], [None], ["US"])
    result = contracts.validate(load_packaged("extract_openfigi_identifiers", "openfigi_mappings"), columns)
    assert (result.table.num_rows, result.quarantine) == (1, None)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ('[{"warning":"No identifier found."}]', "no list with one answer for each question"),
        ('{"error":"Invalid"}', "no list with one answer for each question"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(answers: str, message: str) -> None:
    with pytest.raises(BadDataError, match=message):
        parse([IBM, NOTHING], answers)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ('{"data":[]}', "OpenFIGI refuses TICKER ZZZZ US"),
        ('{"error":"Invalid idValue format."}', "OpenFIGI refuses TICKER ZZZZ US: Invalid idValue format.; correct --identifiers"),
    ],
)
def test_a_question_that_is_refused_leaves_the_others_alone(answer: str, message: str) -> None:
    first, second = parse([IBM, NOTHING], f'[{{"warning":"a"}},{answer}]').values()
    assert first["result"] == ["a"]
    assert isinstance(second, BadDataError)
    assert str(second).startswith(message)


@pytest.mark.parametrize(("without_key", "reset_s"), [(False, 6), (True, 60)])
@pytest.mark.parametrize("retry_after_s", [None, 4])
def test_the_limits_that_openfigi_states_are_obeyed(
    monkeypatch: pytest.MonkeyPatch, retry_after_s: int | None, reset_s: int, *, without_key: bool
) -> None:
    """Others may use the same key or address: the limit is used up after the first answer, and refused after the second."""
    stated = {"ratelimit-limit": "25", "ratelimit-remaining": "0", "ratelimit-reset": str(reset_s)}
    script = [(200, stated), (429, {**stated, **({"Retry-After": str(retry_after_s)} if retry_after_s else {})}), (200, {})]
    keys: list[str | None] = []
    waits: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(waits), sleep=waits.append)

    def answer(request: httpx2.Request) -> httpx2.Response:
        keys.append(request.headers.get("X-OPENFIGI-APIKEY"))
        status, fields = script.pop(0)
        return httpx2.Response(status, headers={**fields, "Content-Type": "application/json"}, stream=httpx2.ByteStream(b"[]"))

    monkeypatch.setenv("OPENFIGI_TOKEN", "a-key")
    monkeypatch.setattr(http, "time", clock)
    monkeypatch.setattr(tenacity.nap, "time", clock)
    with source.build_client((), base_url=source.BASE_URL, token="env://OPENFIGI_TOKEN", without_key=without_key) as client:
        monkeypatch.setattr(client._client, "_transport", httpx2.MockTransport(answer))
        monkeypatch.setattr(client, "_limiter", SimpleNamespace(try_acquire=str))
        for _ in range(2):
            client.get(source.PATH, body="[]")
    assert keys == [None if without_key else "a-key"] * 3
    assert waits == [reset_s, retry_after_s or reset_s]


@needs_feeds
def test_all_matches_of_a_recorded_answer_are_kept() -> None:
    text = (FEEDS / "openfigi/mapping_isin_example.json").read_text()
    ((_, columns),) = parse([IBM], text).items()
    result = contracts.validate(load_packaged("extract_openfigi_identifiers", "openfigi_mappings"), columns)
    assert (result.table.num_rows, result.quarantine) == (198, None)
    counts = [len(set(columns[name])) for name in ("figi", "compositeFIGI", "shareClassFIGI")]
    assert counts == [198, 81, 1]


@needs_feeds
def test_a_recorded_answer_with_an_error_names_the_question() -> None:
    text = (FEEDS / "openfigi/mapping_data_warning_mixed.json").read_text()
    refused = [str(one) for one in parse([IBM, NOTHING, MALFORMED], text).values() if isinstance(one, BadDataError)]
    assert refused == ["OpenFIGI refuses ID_ISIN US45: Invalid idValue format.; correct --identifiers"]


def test_a_refused_identifier_fails_alone(tmp_path: Path) -> None:
    with server.run_server() as vendors:
        words = ["--lake", str(tmp_path), "--without-key", "--base-url", f"{vendors}/api.openfigi.com"]
        asked = [word for name in ("TICKER:IBM:NOWHERE", "TICKER:IBM:US") for word in ("--identifiers", name)]
        result = job_runs.run_job("extract-openfigi-identifiers", [*words, *asked])
    assert result.code == 65
    assert result.receipt
    assert "OpenFIGI refuses TICKER IBM NOWHERE: Invalid exchCode.; correct --identifiers" in str(result.receipt["error"])
    outcomes = {one["partition"].rpartition("=")[2]: one["outcome"] for one in result.receipt["partitions"]}
    assert outcomes == {"NOWHERE": "failed", "US": "committed"}
