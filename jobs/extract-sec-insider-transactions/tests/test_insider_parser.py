"""Filings of Forms 3, 4 and 5 are read entry by entry, with the vendor's names; what a footnote stands for is null."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from extract_sec_insider_transactions.parser import parse
from jobkit import contracts
from jobkit.contracts import load_packaged
from jobkit.errors import BadDataError
from jobkit.requests import Request

FEEDS = Path(__file__).parents[4] / "shared/feeds/sec"
ACCESSION = "0001234567-25-000001"
PARTITION = f"accession={ACCESSION}"
REQUEST = Request("sec_insider_entries", (PARTITION,), "/")
RULES = load_packaged("extract_sec_insider_transactions", "sec_insider_entries")
OWNER = (
    "<reportingOwner><reportingOwnerId><rptOwnerCik>000000%s</rptOwnerCik><rptOwnerName>A</rptOwnerName></reportingOwnerId>"
    "<reportingOwnerAddress><rptOwnerCity>X</rptOwnerCity></reportingOwnerAddress>"
    "<reportingOwnerRelationship><isDirector>%s</isDirector></reportingOwnerRelationship></reportingOwner>"
)
SALE = (
    "<nonDerivativeTransaction><securityTitle><value>Common Stock</value></securityTitle>"
    "<transactionDate><value>2025-04-30-05:00</value></transactionDate>"
    "<transactionCoding><transactionCode>S</transactionCode><footnoteId id='F2'/></transactionCoding>"
    "<transactionAmounts><transactionShares><value>10.5</value></transactionShares>"
    "<transactionPricePerShare><footnoteId id='F1'/></transactionPricePerShare>"
    "<transactionAcquiredDisposedCode><value>D</value></transactionAcquiredDisposedCode></transactionAmounts></nonDerivativeTransaction>"
)


def submission(document: str, form: str = "4", filed: str = "20250502") -> bytes:
    """Return a complete submission with an ownership document."""
    return f"""<SEC-DOCUMENT>{ACCESSION}.txt : {filed}
<SEC-HEADER>{ACCESSION}.hdr.sgml : {filed}
<ACCEPTANCE-DATETIME>{filed}214705
ACCESSION NUMBER:		{ACCESSION}
CONFORMED SUBMISSION TYPE:	{form}
CONFORMED PERIOD OF REPORT:	20250430
FILED AS OF DATE:		{filed}
</SEC-HEADER>
<DOCUMENT>
<TYPE>{form}
<TEXT>
<XML>
{document}
</XML>
</TEXT>
</DOCUMENT>
</SEC-DOCUMENT>
""".encode()


def filing(tables: str = "", form: str = "4", owners: str = OWNER % (2222, 1), more: str = "") -> bytes:
    """Return a filing about issuer 1111 with these owners and tables."""
    return submission(
        f"<ownershipDocument><documentType>{form}</documentType><periodOfReport>2025-04-30</periodOfReport>{more}"
        f"<issuer><issuerCik>0000001111</issuerCik><issuerTradingSymbol>AA</issuerTradingSymbol></issuer>{owners}{tables}"
        "<footnotes><footnote id='F1'>An average.\n  From 1 to 2.</footnote></footnotes></ownershipDocument>",
        form,
    )


def rows_of(body: bytes) -> list[dict[str, Any]]:
    """The rows that the contract accepts; it quarantines none."""
    result = contracts.validate(RULES, parse(body, REQUEST)[PARTITION])
    assert result.quarantine is None
    names = result.table.schema.names
    return [dict(zip(names, row, strict=True)) for row in zip(*(result.table[name].to_pylist() for name in names), strict=True)]


def table(*lines: str) -> str:
    return f"<nonDerivativeTable>{''.join(lines)}</nonDerivativeTable>"


def test_each_entry_is_a_row_also_one_that_repeats() -> None:
    rows = rows_of(filing(table(SALE, SALE)))
    assert [row["kind"] for row in rows] == ["reportingOwner", "nonDerivativeTransaction", "nonDerivativeTransaction", "footnote"]
    assert [row["entry"] for row in rows] == [1, 2, 3, 4]
    assert rows[1] | {"entry": 3, "_row_number": 3} == rows[2] | {"_row_number": 3}
    assert {row["accepted_at"].isoformat() for row in rows} == {"2025-05-03T01:47:05+00:00"}  # after midnight in UTC
    assert {str(row["filed"]) for row in rows} == {"2025-05-02"}
    assert rows[3]["text"] == "An average. From 1 to 2."


def test_a_price_for_which_a_footnote_stands_is_null_and_one_of_zero_is_zero() -> None:
    sale = rows_of(filing(table(SALE)))[1]
    assert (sale["transactionPricePerShare"], sale["price_footnotes"], sale["footnotes"]) == (None, "F1", "F2 F1")
    assert (str(sale["transactionDate"]), sale["transactionShares"]) == ("2025-04-30", Decimal("10.5"))
    grant = rows_of(filing(table(SALE.replace("<footnoteId id='F1'/>", "<value>0</value><footnoteId id='F1'/>"))))[1]
    assert (grant["transactionPricePerShare"], grant["price_footnotes"]) == (0, "F1")


@pytest.mark.parametrize(("shares", "found"), [(".5", "0.5"), ("190.", "190"), ("+190", "190")])
def test_a_number_may_be_any_decimal_of_xml(shares: str, found: str) -> None:
    sale = rows_of(filing(table(SALE.replace("10.5", shares))))[1]
    assert sale["transactionShares"] == Decimal(found)


def test_a_price_that_is_a_quotient_is_rounded_to_eight_decimals_with_a_warning() -> None:
    columns = parse(filing(table(SALE.replace("10.5", "10.123456785"))), REQUEST)[PARTITION]
    result = contracts.validate(RULES, columns)
    assert (result.quarantine, result.table["transactionShares"].to_pylist()[1]) == (None, Decimal("10.12345678"))  # half to even
    assert "transactionShares: 1 values were rounded" in str(result.warnings)


def test_several_owners_report_a_transaction_once() -> None:
    rows = rows_of(filing(table(SALE), owners=OWNER % (3333, "false") + OWNER % (2222, "true")))
    assert [(row["rptOwnerCik"], row["isDirector"]) for row in rows[:2]] == [(3333, False), (2222, True)]
    assert [row["kind"] for row in rows].count("nonDerivativeTransaction") == 1
    assert {row["owner_ciks"] for row in rows} == {"2222 3333"}
    assert "rptOwnerCity" not in rows[0]


def test_every_filing_has_all_columns_of_the_contract() -> None:
    assert set(parse(filing(), REQUEST)[PARTITION]) == {field.name for field in RULES.fields}


def test_an_amendment_names_a_day_and_a_form_without_lines_has_its_owner() -> None:
    rows = rows_of(filing(form="4/A", more="<dateOfOriginalSubmission>2025-05-01Z</dateOfOriginalSubmission><aff10b5One>1</aff10b5One>"))
    assert [row["kind"] for row in rows] == ["reportingOwner", "footnote"]
    assert {(row["form"], str(row["dateOfOriginalSubmission"]), row["aff10b5One"]) for row in rows} == {("4/A", "2025-05-01", True)}
    assert {row["aff10b5One"] for row in rows_of(filing())} == {None}  # the form did not ask, which is not no


@pytest.mark.parametrize(
    ("right", "wrong", "reason"),
    [
        ("<value>10.5<", "<value>-10.5<", "transactionShares"),
        ("<value>D<", "<value>Q<", "transactionAcquiredDisposedCode"),
        (">S<", ">sale<", "transactionCode"),
        ("2025-04-30-05:00", "2052-04-30", "transactionDate"),  # after the filing
        ("2025-04-30-05:00", "2025-02-30", "transactionDate"),
    ],
)
def test_a_bad_transaction_is_quarantined_and_the_others_are_taken(right: str, wrong: str, reason: str) -> None:
    result = contracts.validate(RULES, parse(filing(table(SALE, SALE.replace(right, wrong))), REQUEST)[PARTITION])
    assert (result.table.num_rows, result.quarantine.num_rows if result.quarantine else 0) == (3, 1)
    assert result.quarantine is not None
    assert reason in str(result.quarantine["reasons"].to_pylist())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (filing(form="144"), f"is 144 {ACCESSION}; expected one of 3, 3/A, 4"),
        (filing().replace(b"R:\t\t0001234567-25-000001", b"R:\t\t0001234567-25-000002"), "is 4 0001234567-25-000002"),
        (filing(owners=""), "names no reporting owner"),
        (filing(owners=OWNER % (2222, 1) + OWNER.replace("000000%s", "") % 1), "names no reporting owner, or one without a CIK"),
        (filing(table("<nonDerivativeHolding/>" * 30_000)), "has more than 30,000 entries"),
        (filing(table("<gift/>")), "the entry 'gift' in nonDerivativeTable; expected nonDerivativeTransaction or"),
        (
            filing(table(SALE.replace("</transactionDate>", "</transactionDate><transactionDate/>"))),
            "has transactionDate twice in one",
        ),
        (filing()[:-300], "is not a whole submission"),
        (filing().replace(b"</issuer>", b""), "has no XML in 4"),
        (filing().replace(b"<ownershipDocument>", b"<!DOCTYPE a><ownershipDocument>"), "has a document type or an entity"),
        (filing().replace(b"<TYPE>4\n", b"<TYPE>EX-24\n"), "has 0 XML documents of the type 4"),
    ],
)
def test_another_filing_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(BadDataError, match=message):
        parse(body, REQUEST)


@pytest.mark.skipif(not FEEDS.exists(), reason="the recorded vendor files are not on this machine")
@pytest.mark.parametrize(
    ("name", "form", "kinds", "shares"),
    [
        ("form3_no_securities.xml", "3", {"reportingOwner": 1, "remarks": 1}, 0),
        ("form3_snow.xml", "3", {"reportingOwner": 1, "derivativeHolding": 6, "footnote": 9, "remarks": 1}, 0),
        (
            "form4_374water.xml",
            "4",
            {"reportingOwner": 1, "nonDerivativeTransaction": 1, "derivativeTransaction": 1, "footnote": 1},
            757756 + 757576,
        ),
        (
            "form4_snow.xml",
            "4",
            {"reportingOwner": 1, "nonDerivativeTransaction": 6, "nonDerivativeHolding": 8, "derivativeTransaction": 1, "footnote": 16},
            3 * 200000,
        ),
        ("form5_snow.xml", "5", {"reportingOwner": 1, "nonDerivativeTransaction": 1, "nonDerivativeHolding": 2, "footnote": 4}, 61386),
    ],
)
def test_recorded_filings(name: str, form: str, kinds: dict[str, int], shares: int) -> None:
    rows = rows_of(submission((FEEDS / name).read_text(), form, "20260102"))
    found = [row["kind"] for row in rows]
    assert {kind: found.count(kind) for kind in found} == kinds
    assert sum(row["transactionShares"] or 0 for row in rows) == shares
    assert all(row["isDirector"] is not True for row in rows[1:])
