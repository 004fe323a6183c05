"""Recorded companyfacts documents are parsed; other bodies are refused."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from extract_sec_company_facts import fact_table
from extract_sec_company_facts.parser import parse
from jobkit import contracts
from jobkit.contracts import load_packaged
from jobkit.errors import BadDataError
from jobkit.requests import Request

if TYPE_CHECKING:
    from collections.abc import Callable

FEEDS = Path(__file__).parents[4] / "shared/feeds/sec"
REQUEST = Request("sec_company_facts", ("cik=0000320193",), "/")
RULES = load_packaged("extract_sec_company_facts", "sec_company_facts")
FACT = '{"end":"2014-03-29","val":%s,"accn":"0001193125-14-157311","fy":2014,"fp":"Q2","form":"10-Q","filed":"2014-04-24"}'


def document(*facts: str, cik: int = 320193) -> bytes:
    inside = f'{{"us-gaap":{{"CommonStockPar":{{"label":null,"description":null,"units":{{"USD/shares":[{",".join(facts)}]}}}}}}}}'
    return f'{{"cik":{cik},"entityName":"Apple Inc.","facts":{inside}}}'.encode()


def test_a_fact_keeps_the_digits_of_its_value() -> None:
    columns = parse(document(FACT % "1e-05", FACT % "170910000000", FACT % "6.310"), REQUEST)["cik=0000320193"]
    assert columns["val"] == ["0.00001", "170910000000", "6.310"]
    assert (columns["cik"][0], columns["tag"][0], columns["unit"][0]) == ("320193", "CommonStockPar", "USD/shares")
    assert (columns["start"][0], columns["fy"][0], columns["frame"][0]) == (None, 2014, None)


@pytest.mark.parametrize("parse_facts", [parse, fact_table.parse])
def test_a_ratio_without_end_is_rounded_to_ten_decimals_with_a_warning(parse_facts: Callable[[bytes, Request], dict[str, Any]]) -> None:
    """The ratio of a split of 1 for 7, or 1 for 30,000, as JSON has them."""
    columns = parse_facts(
        document(FACT % "0.14285714285714285", (FACT % "3.3333333333333335e-05").replace("2014-03-29", "2014-06-28")), REQUEST
    )
    result = contracts.validate(RULES, columns["cik=0000320193"])
    assert (result.quarantine, result.table["val"].to_pylist()) == (None, [Decimal("0.1428571429"), Decimal("0.0000333333")])
    assert "val: 2 values were rounded" in str(result.warnings)


@pytest.mark.parametrize("cik", ["0000320193", "320193"])
def test_a_cik_may_be_text(cik: str) -> None:
    body = document(FACT % "1").replace(b'"cik":320193', f'"cik":"{cik}"'.encode())
    assert parse(body, REQUEST)["cik=0000320193"]["cik"] == ["320193"]


def test_an_unpaired_surrogate_makes_only_its_row_invalid() -> None:
    columns = parse(document(FACT % "1", (FACT % "2").replace("10-Q", "\\ud83d")), REQUEST)["cik=0000320193"]
    assert columns["form"] == ["10-Q", "\ud83d"]


def test_every_taxonomy_unit_and_form_is_kept_unchanged() -> None:
    """A foreign issuer's document: IFRS in its own currency, shares of the cover page, a condensed schedule, a unit in capitals."""
    tags = {
        ("ifrs-full", "DilutedEarningsLossPerShare", "EUR/shares", "20-F"),
        ("ifrs-full", "Revenue", "JPY", "6-K"),
        ("dei", "EntityCommonStockSharesOutstanding", "shares", "40-F/A"),
        ("srt", "DividendsDeclared", "USD", "10-KT"),
        ("us-gaap", "EarningsPerShareDiluted", "USD/SHARES", "10-QT"),
        ("invest", "Ratio", "pure", "20-F/A"),
    }
    facts: dict[str, dict[str, object]] = {}
    for number, (taxonomy, tag, unit, form) in enumerate(sorted(tags)):
        fact = {"end": "2012-12-31", "val": number, "accn": "0001-13-000001", "fy": None, "fp": None, "form": form, "filed": "2013-03-13"}
        facts.setdefault(taxonomy, {})[tag] = {"label": None, "description": None, "units": {unit: [fact]}}
    body = json.dumps({"cik": 320193, "entityName": "Example NV", "facts": facts}).encode()
    columns = parse(body, REQUEST)["cik=0000320193"]
    kept = contracts.validate(RULES, columns)
    assert kept.quarantine is None
    assert set(zip(*(kept.table[name].to_pylist() for name in ("taxonomy", "tag", "unit", "form")), strict=True)) == tags


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<Error><Code>NoSuchKey</Code></Error>", "not the companyfacts document"),
        (b'{"cik":320193}', "not the companyfacts document"),
        (document(FACT % "1", cik=1), "is about cik 1"),
        (document('{"end":"2014-03-29","value":1}'), "unknown field"),
        (document('{"val":1,"val":2}'), r"us-gaap.CommonStockPar, has the key units.USD/shares\[0\].val twice"),
        (document().replace(b'"facts":{', b'"facts":{"us-gaap":{},'), "has the key facts.us-gaap twice"),
        (document().replace(b'"units"', b'"units":{},"units"'), "has the key units twice"),
        (document().replace(b"320193", b'"320194"'), "is about cik '320194'"),
        (document().replace(b"320193", b'"x"'), "is about cik 'x'"),
    ],
)
def test_another_document_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(BadDataError, match=message):
        parse(body, REQUEST)


@pytest.mark.skipif(not FEEDS.exists(), reason="the recorded vendor files are not on this machine")
@pytest.mark.parametrize(("cik", "facts"), [("0000320193", 24_000), ("0001045810", 20_000), ("0001652044", 15_000)])
def test_recorded_documents_keep_their_contract(cik: str, facts: int) -> None:
    body = gzip.decompress((FEEDS / f"companyfacts_CIK{cik}.json.gz").read_bytes())
    columns = parse(body, REQUEST._replace(partitions=(f"cik={cik}",)))[f"cik={cik}"]
    kept = contracts.validate(RULES, columns)
    assert kept.quarantine is None
    assert kept.table.num_rows == kept.read > facts
    assert all(isinstance(value.as_py(), Decimal) for value in kept.table["val"])
