"""FiscalData's answers are parsed: the text null is no value, and pages count as one list; recorded answers are valid."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from extract_fiscaldata_debt import source
from extract_fiscaldata_debt.parser import parse
from jobkit import contracts
from jobkit.body import Body
from jobkit.contracts import load_packaged
from jobkit.errors import BadDataError
from jobkit.http import Response
from jobkit.requests import Request

from verification.sample_vendors import fiscaldata

FEEDS = Path(__file__).parents[4] / "shared/feeds/fiscaldata"
DEBT = Request("fiscaldata_debt", ("year=2025",), "/")
AUCTIONS = Request("fiscaldata_auctions", ("year=2026",), "/")


STATED = {"record_date": "DATE", **dict.fromkeys(("debt_held_public_amt", "intragov_hold_amt", "tot_pub_debt_out_amt"), "CURRENCY")}


def page(*rows: dict[str, Any], types: dict[str, str] | None = None) -> dict[str, Any]:
    return {"data": list(rows), "meta": {"dataTypes": STATED if types is None else types, "total-count": len(rows)}}


def test_the_text_null_is_no_value_and_figures_keep_their_cents() -> None:
    days = [{"record_date": f"2025-01-0{day}", "tot_pub_debt_out_amt": "36169957618760.21", "intragov_hold_amt": "null"} for day in (2, 3)]
    columns = parse(json.dumps([page(days[0]), page(days[1])]).encode(), DEBT)["year=2025"]
    assert columns == {
        "record_date": ["2025-01-02", "2025-01-03"],
        "tot_pub_debt_out_amt": ["36169957618760.21"] * 2,
        "intragov_hold_amt": [None, None],
    }


def test_a_year_without_records_fills_no_partition() -> None:
    assert parse(json.dumps([page()]).encode(), DEBT) == {}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (page(types={**STATED, "tot_pub_debt_out_amt": "CURRENCY_MILLIONS"}), "states the types"),
        (page({"record_date": "2024-12-31"}), "has record_date 2024-12-31"),
        ({"data": []}, "states the types"),
        ({"error": "Invalid Query Param"}, "states the types"),
        ({**page(), "data": 1}, "no list data"),
    ],
)
def test_another_answer_is_refused(document: dict[str, Any], message: str) -> None:
    with pytest.raises(BadDataError, match=message):
        parse(json.dumps(document).encode(), DEBT)


@pytest.mark.parametrize(("kind", "is_right"), [("CURRENCY", True), ("CURRENCY0", True), ("CURRENCY_MILLIONS", False), ("NUMBER", True)])
def test_amounts_of_auctions_are_in_no_other_money_than_dollars(kind: str, *, is_right: bool) -> None:
    body = json.dumps(page({"auction_date": "2026-01-05", "total_accepted": "90430132400"}, types={"total_accepted": kind})).encode()
    if is_right:
        assert parse(body, AUCTIONS)["year=2026"]["total_accepted"] == ["90430132400"]
    else:
        with pytest.raises(BadDataError, match="states the types {'total_accepted'"):
            parse(body, AUCTIONS)


def test_auctions_are_selected_by_their_own_day_and_sorted_by_their_key() -> None:
    (request,) = source.build_requests(start=date(2026, 1, 20), end=date(2026, 1, 20), lookback_days=14, datasets=["auctions"])
    assert request.params[:2] == (
        ("filter", "auction_date:gte:2026-01-01,auction_date:lte:2026-12-31"),
        ("sort", "auction_date,cusip"),
    )


def read_auctions(year: int, **changed: str) -> contracts.ValidationResult:
    """The sample's auctions of a year under their contract, with some texts changed in the first."""
    rows = fiscaldata.select("fiscaldata_auctions", [("auction_date", "gte", f"{year}-01-01"), ("auction_date", "lte", f"{year}-12-31")])
    body = json.dumps(fiscaldata.page([{**rows[0], **changed}, *rows[1:]], 1, 100)).encode()
    (columns,) = parse(body, Request("fiscaldata_auctions", (f"year={year}",), "/")).values()
    return contracts.validate(load_packaged("extract_fiscaldata_debt", "fiscaldata_auctions"), columns)


@pytest.mark.parametrize("year", [2014, 2024, 2026])
def test_the_accepted_bids_of_real_auctions_add_up(year: int) -> None:
    assert read_auctions(year).quarantine is None


def test_an_auction_whose_accepted_bids_do_not_add_up_is_bad() -> None:
    sentence = r"total_accepted is 18000021200, which breaks total_accepted = comp_accepted \+ noncomp_accepted \+ fima_noncomp_accepted \+"
    with pytest.raises(BadDataError, match=sentence + r" soma_accepted \(18000021100\)"):
        read_auctions(2024, total_accepted="18000021200")


@pytest.mark.parametrize("part", ["soma_accepted", "fima_noncomp_accepted", "total_accepted"])
def test_an_auction_of_which_a_part_is_not_known_is_kept(part: str) -> None:
    assert read_auctions(2024, **{part: "null"}).quarantine is None


def test_pages_of_auctions_have_each_row_once() -> None:
    """1,001 rows: the second page has one. The fetched pages are parsed as one list, in the order of the key."""
    (row,) = fiscaldata.select("fiscaldata_auctions", [("auction_date", "lte", "2014-12-31")])
    rows = [{**row, "cusip": f"{number:09}"} for number in range(source.PAGE_ROWS + 1)]
    sizes = []

    class Client:
        max_body_bytes = 10_000_000

        def get(self, path: str, params: tuple[tuple[str, str], ...], *_: object, **__: object) -> Response:
            asked = dict(params)
            number, size = int(asked["page[number]"]), int(asked["page[size]"])
            sizes.append(len(rows[(number - 1) * size : number * size]))
            content = Body()
            content.write(json.dumps(fiscaldata.page(rows, number, size)).encode())
            return Response(content, path, "application/json", None, None)

    (request,) = source.build_requests(start=date(2014, 1, 1), end=date(2014, 1, 1), lookback_days=0, datasets=["auctions"])
    answer = source.fetch(Client(), request, None)  # type: ignore[arg-type]
    assert sizes == [1000, 1]
    assert parse(answer.body or b"", request)["year=2014"]["cusip"] == [f"{number:09}" for number in range(1001)]


@pytest.mark.skipif(not FEEDS.exists(), reason="the vendor's own files are not on this machine")
@pytest.mark.parametrize(
    ("file", "request_", "rows"), [("debt_to_penny_2025Q1.json", DEBT, 61), ("auctions_query_one_bill_cut.json", AUCTIONS, 1)]
)
def test_recorded_answers_keep_their_contracts(file: str, request_: Request, rows: int) -> None:
    (columns,) = parse((FEEDS / file).read_bytes(), request_).values()
    result = contracts.validate(load_packaged("extract_fiscaldata_debt", request_.dataset), columns)
    assert (result.read, result.table.num_rows, result.quarantine) == (rows, rows, None)
