"""SEC's recorded list of tickers is parsed; other bodies are refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from extract_sec_filers.parser import parse
from extract_sec_filers.source import build_requests
from jobkit import contracts
from jobkit.contracts import load_packaged
from jobkit.errors import BadDataError

FEED = Path(__file__).parents[4] / "shared/feeds/sec/company_tickers.json.gz"
(REQUEST,) = build_requests()


def test_each_listing_is_a_row_in_the_order_of_the_file() -> None:
    body = b'{"0":{"cik_str":1652044,"ticker":"GOOGL","title":"Alphabet Inc."},'
    body += b'"1":{"cik_str":1652044,"ticker":"GOOG","title":"Alphabet Inc."}}'
    columns = parse(body, REQUEST)["file=company_tickers"]
    assert columns == {"cik_str": [1652044, 1652044], "ticker": ["GOOGL", "GOOG"], "title": ["Alphabet Inc."] * 2}


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"0": 1}', b"<html>"])
def test_another_document_is_refused(body: bytes) -> None:
    with pytest.raises(BadDataError, match=r"company_tickers\.json"):
        parse(body, REQUEST)


@pytest.mark.skipif(not FEED.exists(), reason="the recorded vendor file is not on this machine")
def test_the_recorded_list_keeps_its_contract() -> None:
    columns = parse(gzip.decompress(FEED.read_bytes()), REQUEST)["file=company_tickers"]
    kept = contracts.validate(load_packaged("extract_sec_filers", "sec_filers"), columns)
    assert kept.quarantine is None
    assert kept.table.num_rows == kept.read > 9_000
