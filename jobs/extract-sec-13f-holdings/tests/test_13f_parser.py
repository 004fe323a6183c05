"""Filings of Form 13F are read line by line; a table that contradicts its summary is refused, and the unit is decided per filing."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from extract_sec_13f_holdings.parser import parse
from jobkit import contracts
from jobkit.contracts import load_packaged
from jobkit.errors import BadDataError
from jobkit.requests import Request

FEEDS = Path(__file__).parents[4] / "shared/feeds/sec"
PARTITION = "cik=0001619124/accession=0001619124-21-000002"
REQUEST = Request("sec_13f_holdings", (PARTITION,), "/")
RULES = load_packaged("extract_sec_13f_holdings", "sec_13f_holdings")
APPLE = ("APPLE INC", "037833100", "230054", "1733777", "SH", "")
OPTION = ("APPLE INC", "037833100", "1", "9", "SH", "<p:putCall>Put</p:putCall>")
BOND = ("A BOND", "000000AA1", "7", "7000", "PRN", "")
LINE = (
    "<p:infoTable><p:nameOfIssuer>%s</p:nameOfIssuer><p:titleOfClass>COM</p:titleOfClass><p:cusip>%s</p:cusip><p:value>%s</p:value>"
    "<p:shrsOrPrnAmt><p:sshPrnamt>%s</p:sshPrnamt><p:sshPrnamtType>%s</p:sshPrnamtType></p:shrsOrPrnAmt>%s"
    "<p:investmentDiscretion>SOLE</p:investmentDiscretion>"
    "<p:votingAuthority><p:Sole>5</p:Sole><p:Shared>0</p:Shared><p:None>0</p:None></p:votingAuthority></p:infoTable>"
)


def filing(
    *lines: tuple[str, ...], total: str = "", form: str = "13F-HR", filed: str = "20210212", amendment: str = "", entries: int = -1
) -> bytes:
    """Return a complete submission as EDGAR has it, with a newline before the XML declaration."""
    table = "".join(LINE % line for line in lines)
    summary = f"<tableEntryTotal>{len(lines) if entries < 0 else entries}</tableEntryTotal>"
    summary += f"<tableValueTotal>{total or sum(int(line[2]) for line in lines)}</tableValueTotal>"
    return f"""<SEC-DOCUMENT>0001619124-21-000002.txt : {filed}
<SEC-HEADER>0001619124-21-000002.hdr.sgml : {filed}
<ACCEPTANCE-DATETIME>{filed}100642
ACCESSION NUMBER:		0001619124-21-000002
CONFORMED SUBMISSION TYPE:	{form}
CONFORMED PERIOD OF REPORT:	20201231
FILED AS OF DATE:		{filed}
</SEC-HEADER>
<DOCUMENT>
<TYPE>{form}
<TEXT>
<XML>
<?xml version="1.0" encoding="UTF-8"?>
<edgarSubmission xmlns="http://www.sec.gov/edgar/thirteenffiler"><formData>
<coverPage>{amendment}<reportType>13F HOLDINGS REPORT</reportType></coverPage>
<summaryPage>{summary}</summaryPage></formData></edgarSubmission>
</XML>
</TEXT>
</DOCUMENT>
<DOCUMENT>
<TYPE>INFORMATION TABLE
<TEXT>
<XML>
<?xml version="1.0" encoding="UTF-8"?>
<p:informationTable xmlns:p="http://www.sec.gov/edgar/document/thirteenf/informationtable">{table}</p:informationTable>
</XML>
</TEXT>
</DOCUMENT>
</SEC-DOCUMENT>
""".encode()


def test_each_line_is_a_row_as_filed() -> None:
    columns = parse(filing(APPLE, OPTION, BOND), REQUEST)[PARTITION]
    table = contracts.validate(RULES, columns).table
    assert table["value"].to_pylist() == [Decimal(230054), Decimal(1), Decimal(7)]
    assert (table["line"].to_pylist(), table["put_call"].to_pylist()) == ([1, 2, 3], [None, "Put", None])
    assert table["accepted_at"][0].as_py().isoformat() == "2021-02-12T15:06:42+00:00"
    assert str(table["period"][0].as_py()) == "2020-12-31"
    assert table["value_per_share"].to_pylist() == [Decimal("0.132689")] * 3  # of shares alone
    assert set(table["value_unit"].to_pylist()) == {"kUSD"}


@pytest.mark.parametrize(
    ("value", "shares", "filed", "unit"),
    [
        ("287", "2397", "20230228", None),  # 3M in thousands, or a share of 12 cents
        ("300000", "1000000", "20240212", None),
        ("2049983", "98000", "20230323", "USD"),  # 0001140361-23-013281
        ("66793", "38127", "20210212", "kUSD"),  # 0001619124-21-000002: Alphabet, 1.75 a share looks like dollars
        ("66793", "38127", "20230323", None),  # the same after the change could be either
        ("2049983", "98000", "20210212", None),  # 20,918 dollars a share
        ("5", "0", "20230323", None),
    ],
)
def test_the_unit_is_decided_by_what_a_share_would_be_worth(value: str, shares: str, filed: str, unit: str | None) -> None:
    columns = parse(filing(("A", "037833100", value, shares, "SH", ""), filed=filed), REQUEST)[PARTITION]
    assert (columns["value_unit"], columns["value"]) == ([unit], [value])


@pytest.mark.parametrize(
    ("ratios", "filed", "unit"),
    [
        (("12", "20", "31", "1050", "1060"), "20240212", None),  # cheap shares in dollars, with two for 10 dollars
        (("12", "20", "31", "999", "13"), "20240212", None),
        (("9", "20", "31", "200", "13"), "20240212", None),
        (("12", "20", "31", "999", "13") * 2, "20240212", "kUSD"),
        (("12", "20", "31", "1050", "13") * 2, "20240212", None),
        (("12", "20", "31", "60000", "13"), "20210212", "kUSD"),  # with one of Berkshire Hathaway's class A
    ],
)
def test_a_low_median_is_not_enough_for_thousands_since_2023(ratios: tuple[str, ...], filed: str, unit: str | None) -> None:
    columns = parse(filing(*(("A", "037833100", value, "100", "SH", "") for value in ratios), filed=filed), REQUEST)[PARTITION]
    assert set(columns["value_unit"]) == {unit}


@pytest.mark.parametrize("title", ["*W EXP 12/31/2027", "WT EXP 2027", "Warrants", "RIGHT 03/01/2029"])
def test_warrants_and_rights_are_left_out_of_the_value_of_a_share(title: str) -> None:
    cheap, share = ("CHEAP", "000000AA1", "12", "100", "SH", ""), ("A", "037833100", "1050", "100", "SH", "")
    body = filing(cheap, cheap, share, filed="20240212")
    body = body.replace(b"CHEAP</p:nameOfIssuer><p:titleOfClass>COM", f"CHEAP</p:nameOfIssuer><p:titleOfClass>{title}".encode())
    columns = parse(body, REQUEST)[PARTITION]
    assert (columns["value_unit"], columns["value_per_share"]) == (["USD"] * 3, ["10.500000"] * 3)


@pytest.mark.parametrize("amount", ["NaN", "sNaN", "Infinity", "1e-999999", "x"])
def test_a_number_of_shares_that_is_none_is_for_the_contract_to_refuse(amount: str) -> None:
    columns = parse(filing(("A", "037833100", "9", amount, "SH", ""), APPLE), REQUEST)[PARTITION]
    assert (columns["amount"], columns["value_unit"]) == ([amount, "1733777"], ["kUSD"] * 2)


def test_a_number_may_be_any_decimal_of_xml() -> None:
    columns = parse(filing(("A", "037833100", ".5", "+190.", "SH", ""), total=".5"), REQUEST)[PARTITION]
    assert (columns["value"], columns["amount"]) == (["0.5"], ["190"])


def test_a_fraction_of_a_share_is_rounded_to_four_decimals_with_a_warning() -> None:
    result = contracts.validate(RULES, parse(filing(("A", "037833100", "9", "12.34565", "SH", "")), REQUEST)[PARTITION])
    assert (result.quarantine, result.table["amount"].to_pylist()) == (None, [Decimal("12.3456")])  # half to even
    assert "amount: 1 values were rounded" in str(result.warnings)


@pytest.mark.parametrize(("stated", "kind"), [("RESTATEMENT", "RESTATEMENT"), ("New  Holdings", "NEW HOLDINGS")])
def test_an_amendment_says_what_it_does(stated: str, kind: str) -> None:
    cover = f"<amendmentNo>45</amendmentNo><amendmentInfo><amendmentType>{stated}</amendmentType></amendmentInfo>"
    columns = parse(filing(APPLE, form="13F-HR/A", amendment=cover), REQUEST)[PARTITION]
    assert (columns["amendment_type"], columns["amendment_number"], columns["form"]) == ([kind], ["45"], ["13F-HR/A"])


def test_a_filing_without_entries_is_one_row_without_a_holding() -> None:
    """Else a restatement to nothing would leave no trace, and what it replaces would stay in the mart."""
    table = contracts.validate(RULES, parse(filing(total="0"), REQUEST)[PARTITION]).table
    assert [table[name].to_pylist() for name in ("line", "cusip", "value", "form")] == [[0], [None], [None], ["13F-HR"]]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (filing(APPLE, total="230055"), "has 1 entries worth 230,054, and states 1 worth 230055; nothing of it is taken"),
        (filing(APPLE, BOND, entries=1), "has 2 entries worth 230,061, and states 1"),
        *((filing(APPLE, total=total), "states no total") for total in ("x", "NaN", "sNaN", "Infinity", "1e999999999")),
        (filing((*APPLE[:2], "9", *APPLE[3:])).replace(b"<p:value>9", b"<p:value>sNaN"), "has values that are no numbers"),
        (filing(APPLE, BOND).replace(b"<p:cusip>000000AA1</p:cusip>", b""), "a line without cusip; nothing of it is taken"),
        (filing(APPLE, BOND).replace(b"A BOND", b" "), "a line without name_of_issuer"),
        (filing(APPLE, BOND).replace(b"PRN", b""), "a line without amount_type"),
        (filing(APPLE, BOND).replace(b">7000<", b"><"), "a line without amount;"),
        (filing(APPLE, BOND, total="230054").replace(b">7<", b"><"), "a line without value;"),
        (filing(APPLE, form="13F-HR/A"), "an amendment of the type None"),
        (filing(APPLE, form="13F-NT"), "is 13F-NT 0001619124-21-000002; expected 13F-HR"),
        (filing(APPLE).replace(b"ER:\t\t0001619124-21-000002", b"ER:\t\t0001619124-21-000003"), "is 13F-HR 0001619124-21-000003"),
        (filing(APPLE)[:-400], "is not a whole submission"),
        (b"<html>Maintenance</html>", "is not a whole submission"),
        (filing(APPLE).replace(b"20210212100642", b"20210232100642"), "which is no moment"),
        (filing(APPLE).replace(b"</p:informationTable>", b""), "has no XML in INFORMATION TABLE"),
        (filing(APPLE).replace(b"INFORMATION TABLE", b"OTHER"), "has 0 XML documents of the type INFORMATION TABLE"),
        (filing(APPLE).replace(b"<p:inf", b"<!DOCTYPE a><p:inf", 1), "has a document type or an entity"),
    ],
)
def test_another_filing_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(BadDataError, match=message):
        parse(body, REQUEST)


@pytest.mark.parametrize(
    ("limit", "message"), [("MAX_TAGS", "a table of more than 1 tags"), ("MAX_LINES", "has 2 entries; expected at most 1")]
)
def test_a_table_that_needs_more_memory_than_the_job_has_is_refused(limit: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"extract_sec_13f_holdings.parser.{limit}", 1)
    with pytest.raises(BadDataError, match=message):
        parse(filing(APPLE, OPTION), REQUEST)


@pytest.mark.skipif(not FEEDS.exists(), reason="the recorded vendor files are not on this machine")
@pytest.mark.parametrize(
    ("name", "rows", "total", "unit"),
    [
        ("13f_2021-02-12_thousands_0001619124-21-000002.txt", 5, 732158, "kUSD"),
        ("13f_2023-02-28_still_in_thousands_0001790837-23-000002.txt", 90, 192767, "kUSD"),
        ("13f_2023-03-23_value_in_dollars_0001140361-23-013281.txt", 6, 11019796, "USD"),
    ],
)
def test_recorded_filings(name: str, rows: int, total: int, unit: str) -> None:
    partition = f"cik=0000000001/accession={name[-24:-4]}"
    columns = parse((FEEDS / name).read_bytes(), REQUEST._replace(partitions=(partition,)))[partition]
    result = contracts.validate(RULES, columns)
    assert result.quarantine is None
    assert (result.table.num_rows, sum(result.table["value"].to_pylist()), set(result.table["value_unit"].to_pylist())) == (
        rows,
        total,
        {unit},
    )
