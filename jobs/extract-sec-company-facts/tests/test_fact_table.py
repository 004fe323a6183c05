"""The quick way to read facts makes the same Parquet files as the parser, and leaves to it whatever it would change."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from extract_sec_company_facts import fact_table, parser
from jobkit import contracts
from jobkit.contracts import TypedRows, load_packaged
from jobkit.contracts.typed_rows import accept
from jobkit.requests import Request

FEEDS = Path(__file__).parents[4] / "shared/feeds/sec"
REQUEST = Request("sec_company_facts", ("cik=0000320193",), "/")
RULES = load_packaged("extract_sec_company_facts", "sec_company_facts")
FACTS = (
    '{"start":"2013-12-29","end":"2014-03-29","val":170910000000,"accn":"0001193125-14-157311","fy":2014,"fp":"Q2","form":"10-Q","filed":"2014-04-24"}',
    '{"end":"2014-03-29","val":-6.310,"accn":"0001193125-14-157311","fy":2014,"fp":"Q2","form":"10-Q","filed":"2014-04-24","frame":"CY2014Q1I"}',
    '{"end":"2014-06-28","val":0.0000000001,"accn":"0001193125-14-277193","fy":null,"fp":null,"form":"8-K","filed":"2014-07-23"}',
)
LAST = '{"end":"2014-09-27","val":1,"accn":"0001193125-14-383437","fy":2014,"fp":"FY","form":"10-K","filed":"2014-10-27"}'


def document(*facts: str) -> bytes:
    units = f'"units":{{"USD":[{",".join(facts)}],"EUR":[{LAST}],"JPY":[]}}'
    concept = f'{{"label":"A: \\"label\\"","description":null,{units}}}'
    return f'{{"cik":320193,"entityName":"Apple Inc.","facts":{{"dei":{{"Shares":{concept}}},"us-gaap":{{"Net":{concept}}}}}}}'.encode()


def test_both_ways_write_the_same_file() -> None:
    body = document(*FACTS)
    rows = fact_table.parse(body, REQUEST)["cik=0000320193"]
    assert isinstance(rows, TypedRows)
    quick = accept(RULES, rows.table)
    assert quick is not None
    slow = contracts.validate(RULES, parser.parse(body, REQUEST)["cik=0000320193"])
    assert contracts.to_parquet(quick) == contracts.to_parquet(slow.table) == contracts.to_parquet(contracts.validate(RULES, rows).table)
    assert [str(value) for value in quick["val"].to_pylist()[:4]] == ["170910000000.0000000000", "-6.3100000000", "1E-10", "1.0000000000"]


@pytest.mark.parametrize("start", ["", '"start":"2013-12-29",'])
def test_all_facts_may_be_of_a_moment_or_of_a_period(start: str) -> None:
    """Then no row has a start, or none lacks it."""
    body = document(*(f"{{{start}{fact[1:]}" for fact in FACTS[1:])).replace(LAST.encode(), f"{{{start}{LAST[1:]}".encode())
    rows = fact_table.parse(body, REQUEST)["cik=0000320193"]
    assert isinstance(rows, TypedRows)
    quick = accept(RULES, rows.table)
    assert quick is not None
    slow = contracts.validate(RULES, parser.parse(body, REQUEST)["cik=0000320193"])
    assert contracts.to_parquet(quick) == contracts.to_parquet(slow.table)


@pytest.mark.parametrize(
    "fact",
    [
        LAST.replace('"val":1', '"val":"1"'),
        LAST.replace('"val":1', '"val":0.12345678901'),
        LAST.replace('"val":1', '"val":1e-11'),
        LAST.replace('"val":1', '"val":1E5'),
        LAST.replace('"val":1', '"val":1e40'),
        LAST.replace('"val":1', '"val":1,"val":2'),
        LAST.replace('"val":1', '"val":1,"unit":"USD"'),
        LAST.replace('"val":1', '"val":1,"scale":3'),
        LAST.replace("2014,", '"2014",'),
        LAST.replace("2014,", "2014.5,"),
        LAST.replace("2014,", "2014.0,"),
        LAST.replace("2014,", "20140.0,"),
        LAST.replace("2014,", "-2014.0,"),
        LAST.replace('"val":1', '"val":1,"scale":null'),
        LAST.replace('"val":1', '"val":null,"val":1'),
        LAST.replace('"val":1', '"val":null,"val":null'),
        LAST.replace('"val":1', '"val":1,"val":null'),
        LAST.replace('"val":1', '"val":null,"frame":"}","val":1'),
        LAST.replace('"val":1', '"val":null,"val":1') + "," + LAST.replace('"val":1,', ""),
        LAST.replace("2014,", "99999999999,"),
        LAST.replace("10-K", "10-\\u004b"),
        LAST.replace('"10-K"', "10"),
        "null",
        "[]",
    ],
)
def test_what_arrow_would_change_is_left_to_the_parser(fact: str) -> None:
    assert fact_table.build(document(FACTS[0]), "320193") is not None
    assert fact_table.build(document(FACTS[0], fact), "320193") is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"cik":320193', b'"cik":320194'),
        (b'"label":"A', b'"label":null,"label":"A'),
        (b'"facts":{', b'"facts":{"dei":{},'),
        (b'"JPY":[]', b'"JPY":null'),
        (b'"JPY":[]', b'"USD":[]'),
        (b'"JPY":[]', b'"a\\u003ab":[]'),
        (b'"units"', b'"units":{},"units"'),
        (b'"entityName":"Apple Inc.",', b""),
    ],
)
def test_an_unusual_document_is_left_to_the_parser(old: bytes, new: bytes) -> None:
    assert fact_table.build(document(FACTS[0]).replace(old, new), "320193") is None


@pytest.mark.parametrize(
    ("fact", "reason"),
    [
        (FACTS[0], "repeats the key of row 1"),
        (FACTS[1].replace("-6.310", "7"), None),
        (LAST.replace("2014-09-27", "2014-09-31"), "end is '2014-09-31', not a date YYYY-MM-DD"),
        (LAST.replace("2014-10-27", "1992-10-27"), "filed is 1992-10-27, below 1993-01-01"),
        (LAST.replace('"val":1,', ""), "val is missing"),
        (LAST.replace("0001193125-14-383437", "0" * 1001), "its key (taxonomy, tag, unit, accn) has"),
    ],
)
def test_rows_that_break_the_contract_are_quarantined_the_same_way(fact: str, reason: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = fact_table.parse(document(FACTS[0], fact), REQUEST)["cik=0000320193"]
    assert isinstance(rows, TypedRows)
    monkeypatch.setattr("jobkit.contracts.validation._check_tolerance", lambda *_: None)
    result, expected = (
        contracts.validate(RULES, rows),
        contracts.validate(RULES, parser.parse(document(FACTS[0], fact), REQUEST)["cik=0000320193"]),
    )
    assert contracts.to_parquet(result.table) == contracts.to_parquet(expected.table)
    assert (result.quarantine is None) is (reason is None)
    if result.quarantine and reason:
        assert result.quarantine["reasons"].to_pylist()[0].startswith(reason)


def test_a_document_without_facts_has_no_rows() -> None:
    for facts in ("", ',"facts":{}', ',"facts":{"dei":{}}'):
        body = f'{{"cik":320193,"entityName":"Apple Inc."{facts}}}'.encode()
        columns = fact_table.parse(body, REQUEST)["cik=0000320193"]
        assert contracts.validate(RULES, columns).table.num_rows == 0


def test_a_document_of_the_cover_page_only_has_its_rows() -> None:
    """Many filers have facts of dei and none of us-gaap."""
    units = f'{{"shares":[{LAST}]}}'
    concept = f'{{"label":"Shares","description":null,"units":{units}}}'
    body = f'{{"cik":320193,"entityName":"Apple Inc.","facts":{{"dei":{{"EntityCommonStockSharesOutstanding":{concept}}}}}}}'.encode()
    tables = [contracts.validate(RULES, parse(body, REQUEST)["cik=0000320193"]).table for parse in (fact_table.parse, parser.parse)]
    for table in tables:
        found = [table[name].to_pylist() for name in ("taxonomy", "tag", "unit", "val")]
        assert found[:3] == [["dei"], ["EntityCommonStockSharesOutstanding"], ["shares"]]
        assert [float(value) for value in found[3]] == [1]


@pytest.mark.skipif(not FEEDS.exists(), reason="the recorded vendor files are not on this machine")
@pytest.mark.parametrize("cik", ["0000320193", "0001045810", "0001652044"])
def test_recorded_documents_take_the_quick_way_and_are_equal(cik: str) -> None:
    body, request = gzip.decompress((FEEDS / f"companyfacts_CIK{cik}.json.gz").read_bytes()), REQUEST._replace(partitions=(f"cik={cik}",))
    rows = fact_table.parse(body, request)[f"cik={cik}"]
    assert isinstance(rows, TypedRows)
    quick = accept(RULES, rows.table)
    assert quick is not None
    assert contracts.to_parquet(quick) == contracts.to_parquet(contracts.validate(RULES, rows.reread()).table)
    assert quick.num_rows == sum(
        len(facts) for tags in json.loads(body)["facts"].values() for tag in tags.values() for facts in tag["units"].values()
    )
