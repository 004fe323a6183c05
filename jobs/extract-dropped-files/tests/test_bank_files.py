"""Bank files: what a statement says is read exactly, a file that does not prove that it is whole is refused."""

from __future__ import annotations

import io
import random
import zipfile
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from extract_dropped_files import bank_files, statements, validation
from extract_dropped_files.bank_files import BankFileError
from jobkit.contracts import load_packaged
from jobkit.errors import BadDataError

from .bank_samples import GERMAN, IBAN, Entry, camt, mt940, statement

RULES = load_packaged(validation.PACKAGE, "bank_statement")
MOVEMENT_RULES = load_packaged(validation.PACKAGE, "bank_movement")
SHARED = Path(__file__).parents[4] / "shared" / "feeds" / "bank"
TWO = (Entry("30.00"), Entry("10.50", "DBIT"))


def read(text: str | bytes, name: str = "a.xml") -> list[statements.Statement]:
    return bank_files.read(RULES, text.encode() if isinstance(text, str) else text, name)


def refusal(text: str | bytes, name: str = "a.xml") -> BankFileError:
    with pytest.raises(BankFileError) as error:
        read(text, name)
    return error.value


def amounts(text: str) -> list[Decimal]:
    return [movement.amount for one in read(text) for movement in one.movements]


@pytest.mark.parametrize("version", ["02", "04", "08", "13"])
def test_each_version_of_camt_is_read_alike(version: str) -> None:
    named = "<Pty><Nm>Payer</Nm></Pty>" if version in ("08", "13") else "<Nm>Payer</Nm>"
    details = (
        "<NtryRef>R1</NtryRef><AcctSvcrRef>NONREF</AcctSvcrRef><NtryDtls><TxDtls><Refs><EndToEndId>E1</EndToEndId></Refs>"
        f"<RltdPties><Dbtr>{named}</Dbtr><DbtrAcct><Id><IBAN>X1</IBAN></Id></DbtrAcct></RltdPties>"
        "<RmtInf><Ustrd>Invoice 5</Ustrd><Ustrd>00</Ustrd></RmtInf></TxDtls></NtryDtls>"
    )
    (one,) = read(camt(statement("100", "119.5", Entry("30.00", more=details), TWO[1], version=version), version=version))
    assert (one.account, one.currency, one.statement_id, one.closing.day) == (IBAN, "EUR", "S1", date(2026, 11, 20))
    first = one.movements[0]
    assert (first.amount, first.counterparty, first.counterparty_account, first.remittance) == (Decimal(30), "Payer", "X1", "Invoice 500")
    assert (first.reference, first.bank_reference, first.end_to_end_id, first.details) == ("R1", None, "E1", 1)
    assert one.movements[1].amount == Decimal("-10.5")


@pytest.mark.parametrize(
    ("text", "amount"),
    [("10.000000", "10"), ("+10.", "10"), ("000000000000000000010.5", "10.5"), ("+.12345000", "0.12345"), ("10.50", "10.50")],
)
def test_an_amount_may_be_written_in_each_way_that_xml_schema_allows(text: str, amount: str) -> None:
    (found,) = amounts(camt(statement("0.000000", text, Entry(text))))
    assert found == Decimal(amount)
    assert len(f"{found:f}".partition(".")[2]) <= 5


def test_only_booked_entries_count() -> None:
    pending = (Entry("7", status="PDNG"), Entry("8", status="INFO"))
    assert amounts(camt(statement("100", "119.50", *TWO, *pending))) == [Decimal(30), Decimal("-10.5")]


@pytest.mark.parametrize(("direction", "closing"), [("CRDT", "104"), ("DBIT", "96")])
def test_a_reversal_has_the_sign_that_the_bank_wrote(direction: str, closing: str) -> None:
    (one,) = read(camt(statement("100", closing, Entry("4", direction, more="<RvslInd>true</RvslInd>"))))
    assert one.movements[0].is_reversal


def test_a_batch_is_its_entry_and_never_its_details() -> None:
    details = "".join(f'<TxDtls><Amt Ccy="USD">{amount}</Amt></TxDtls>' for amount in (20, 30))
    batch = f"<AcctSvcrRef>B1</AcctSvcrRef><NtryDtls><Btch><NbOfTxs>2</NbOfTxs></Btch>{details}</NtryDtls>"
    (one,) = read(camt(statement("0", "53.00", Entry("53.00", more=batch))))
    (movement,) = one.movements
    assert (movement.amount, movement.details, movement.remittance, movement.bank_reference) == (Decimal(53), 2, None, "B1")


def test_the_previous_closing_balance_opens_a_statement_and_forecasts_are_ignored() -> None:
    forecast = (
        '<Bal><Tp><CdOrPrtry><Cd>FWAV</Cd></CdOrPrtry></Tp><Amt Ccy="SEK">1</Amt>'
        "<CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-11-25</Dt></Dt></Bal>"
    )
    (one,) = read(camt(statement("-5", "14.5", *TWO, codes=("PRCD", "CLBD"), more=forecast)))
    assert (one.opening.amount, one.closing.amount) == (Decimal(-5), Decimal("14.5"))


def test_several_statements_of_a_file_are_read() -> None:
    found = read(camt(statement("1", "1", name="A"), statement("1", "31", TWO[0], name="B", days=("2026-11-21", "2026-11-21"))))
    assert [(one.statement_id, len(one.movements)) for one in found] == [("A", 0), ("B", 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (camt(statement("100", "1", currencies=("EUR", "SEK"))), "in several currencies, which cannot be added up"),
        (camt(statement("100", "107", Entry("7", currency="USD"))), "in several currencies"),
        (camt(statement("100", "100", codes=("OPAV", "CLBD"))), "has no opening balance, so that nothing proves that it is whole"),
        (camt(statement("100", "100", codes=("OPBD", "CLAV"))), "has no closing balance"),
        (camt(statement("100", "90", Entry("-10"))), "has no amount that can be read; expected digits"),
        (camt(statement("100", "90.000001", Entry("9.999999", "DBIT"))), "has no amount that can be read; expected digits"),
        (camt(statement("100", "90", Entry("."))), "has no amount that can be read; expected digits"),
        (camt(statement("100", "90", Entry("10", "OUT"))), "does not say whether it is a credit or a debit"),
        (camt(statement("100", "110", Entry("10", day="20.11.2026"))), "has a ValDt that is no date"),
        (camt(statement("100", "100", days=("2026-11-21", "2026-11-20"))), "closes on a day before it opens"),
        (camt(), "has no statement"),
        (camt(statement("1", "1")).replace("camt.053", "camt.052"), "is camt.052.001.08; expected a statement of booked entries"),
        (camt(statement("1", "1"))[:-20], "is not readable XML"),
        (camt(statement("1", "1")).replace("<Document", '<!DOCTYPE a [<!ENTITY e "x">]><Document'), "has a document type definition"),
        ("<html><body>Sorry</body></html>", "is another kind of XML"),
        ("date;amount\n2026-11-20;5\n", "is neither camt.053 nor MT940"),
        (" \n", "is empty"),
    ],
)
def test_a_file_that_is_no_whole_statement_is_refused_with_a_reason(text: str, expected: str) -> None:
    assert expected in str(refusal(text))


def test_a_statement_that_does_not_close_is_refused_with_its_three_figures_in_the_reason_alone() -> None:
    """A cent is missing; the message, which the receipt repeats, has no figure of the account."""
    error = refusal(camt(statement("100.00", "1119.51", Entry("1030.00"), TWO[1])))
    assert "opening 100.00 + movements 1,019.50 = 1,119.50, but closing is 1,119.51" in error.reason
    assert "statement 1 of a.xml does not close" in str(error)
    assert not [figure for figure in ("100.00", "1,0", "1,1") if figure in str(error)]


def page(number: int, opening: str, closing: str, *entries: Entry, last: bool = False) -> str:
    codes = ("OPBD" if number == 1 else "ITBD", "CLBD" if last else "ITBD")
    pages = f"<StmtPgntn><PgNb>{number}</PgNb><LastPgInd>{str(last).lower()}</LastPgInd></StmtPgntn>"
    return statement(opening, closing, *entries, codes=codes, more=pages)


def test_pages_of_a_statement_are_joined_also_from_several_files_of_a_zip() -> None:
    pages = (page(1, "100", "130", TWO[0]), page(2, "130", "119.5", TWO[1]), page(3, "119.5", "124.5", Entry("5"), last=True))
    (one,) = read(camt(*pages))
    assert (one.opening.amount, one.closing.amount, len(one.movements)) == (Decimal(100), Decimal("124.5"), 3)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number, text in reversed([*enumerate(pages, 1)]):
            archive.writestr(f"{IBAN}-{number}.xml", camt(text))
    assert read(packed.getvalue(), "a.zip")[0].content_sha256 == one.content_sha256
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(f"{IBAN}-4.xml", camt(statement("1", "2")))
    assert "statement 1 of file 4 of a.zip does not close" in str(refusal(packed.getvalue(), "a.zip"))
    assert "its previous page is not in the file" in str(refusal(camt(pages[1], pages[2])))
    assert "its next page is not in the file" in str(refusal(camt(pages[0], pages[1])))
    assert "opens with 131" in refusal(camt(pages[0], page(2, "131", "136", Entry("5"), last=True))).reason


def test_pages_of_messages_without_interim_balances_are_added_up_as_a_whole() -> None:
    def message(number: int, text: str, *, last: bool) -> str:
        pages = f"<MsgPgntn><PgNb>{number}</PgNb><LastPgInd>{str(last).lower()}</LastPgInd></MsgPgntn>"
        return camt(text).replace("</GrpHdr>", f"{pages}</GrpHdr>")

    first = message(1, statement("100", "0", TWO[0], codes=("OPBD", "INFO")), last=False)
    whole = statement("1", "1", name="other", account="X1")
    packed = io.BytesIO()
    for closing in ("119.5", "119.6"):
        last = message(2, statement("0", closing, TWO[1], codes=("INFO", "CLBD")) + whole, last=True)
        with zipfile.ZipFile(packed, "w") as archive:
            for number, text in enumerate((first, last)):
                archive.writestr(f"{number}.xml", text)
        if closing == "119.5":
            assert [len(one.movements) for one in read(packed.getvalue(), "a.zip")] == [2, 0]
    assert "+ movements 19.50 = 119.50, but closing is 119.6" in refusal(packed.getvalue(), "a.zip").reason
    assert "its next page is not in the file" in str(refusal(first))


def zipped(*texts: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number, text in enumerate(texts, 1):
            archive.writestr(f"p{number}.xml", text)
    return packed.getvalue()


def test_all_documents_of_an_envelope_are_read() -> None:
    one, other = (camt(statement("1", "1", name=name)).partition("?>")[2] for name in "AB")
    two_messages = other.replace("</Document>", "<BkToCstmrStmt>" + statement("1", "1", name="C") + "</BkToCstmrStmt></Document>")
    assert [found.statement_id for found in read(f"<Envelope>{one}{two_messages}</Envelope>")] == ["A", "B", "C"]
    assert "statement 2 of a.xml does not close" in str(refusal(f"<E>{one}{other.replace('>1<', '>2<', 1)}</E>"))
    assert "is camt.054" in str(refusal(f"<E>{one}{other.replace('camt.053', 'camt.054')}</E>"))


def test_numbered_pages_are_joined_in_the_order_of_their_numbers() -> None:
    last = 11
    pages = [camt(page(number, str(number), str(number + 1), Entry("1"), last=number == last)) for number in range(1, last + 1)]
    (one,) = read(zipped(*pages), "a.zip")  # p10.xml comes before p2.xml
    assert (one.opening.amount, one.closing.amount, len(one.movements)) == (1, last + 1, last)


def mt940_page(number: int, *amounts: str) -> str:
    opening, closing = ("F" if number == 1 else "M"), ("F" if number == 3 else "M")
    lines = [f":61:261120{amount},NTRFX" for amount in amounts]
    return mt940(*lines, number=f"7/{number}", opening=f"{opening}:C261120EUR100,", closing=f"{closing}:C261120EUR100,")


def camt_page(number: int) -> str:
    return camt(page(number, "100", "100", Entry("9"), Entry("9", "DBIT"), last=number == 3))


@pytest.mark.parametrize(
    "found",
    [
        [mt940_page(1), mt940_page(3)],
        [mt940_page(1), mt940_page(2, "C9", "D9"), mt940_page(2, "C9", "D9"), mt940_page(3)],
        [camt_page(1), camt_page(3)],
        [camt_page(1), camt_page(2), camt_page(2), camt_page(3)],
    ],
)
def test_a_page_that_is_missing_or_doubled_is_refused_also_if_the_balances_do_not_show_it(found: list[str]) -> None:
    assert "of its statement, but statement" in str(refusal(zipped(*found), "a.zip"))
    kind = mt940_page if found[0].startswith(":20:") else camt_page
    (one,) = read(zipped(kind(3), kind(1), kind(2)), "a.zip")
    assert one.opening.amount == one.closing.amount == 100


@pytest.mark.parametrize("fault", ["encrypted", "damaged"])
def test_a_zip_that_cannot_be_unpacked_is_refused_without_the_names_inside(fault: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"{IBAN}_ACME.xml", "content")
    data = packed.getvalue()
    if fault == "damaged":
        data = data.replace(b"content", b"CONTENT")
    else:
        flags = data.index(b"PK\x01\x02") + 8
        data = data[:flags] + b"\x01" + data[flags + 1 :]
    with pytest.raises(BadDataError) as error:
        read(data, "a.zip")
    assert ("file 1 in it is protected by a password" if fault == "encrypted" else "file 1 in it is damaged") in str(error.value)
    assert IBAN not in str(error.value)


def test_a_count_with_more_digits_than_python_reads_is_none() -> None:
    batch = f"<NtryDtls><Btch><NbOfTxs>{'9' * 5000}</NbOfTxs></Btch></NtryDtls>"
    assert read(camt(statement("0", "5", Entry("5", more=batch))))[0].movements[0].details == 0
    pages = f"<StmtPgntn><PgNb>{'9' * 5000}</PgNb><LastPgInd>true</LastPgInd></StmtPgntn>"
    assert len(read(camt(statement("1", "1", more=pages)))) == 1


def test_a_statement_that_begins_on_page_two_of_nothing_is_refused() -> None:
    alone = "<StmtPgntn><PgNb>2</PgNb><LastPgInd>true</LastPgInd></StmtPgntn>"
    assert "previous page" in str(refusal(camt(statement("1", "1", more=alone))))


def test_mt940_pages_are_joined_and_their_chain_is_checked() -> None:
    first = mt940(":61:2611201120C20,N020NONREF", number="7/1", closing="M:C261120EUR120,")
    second = mt940(":61:2611201120D5,N020NONREF", number="7/2", opening="M:C261120EUR120,", closing="F:C261120EUR115,")
    (one,) = read(first + second)
    assert (one.statement_id, one.opening.amount, one.closing.amount, len(one.movements)) == ("7", Decimal(100), Decimal(115), 2)
    assert "its next page is not in the file" in str(refusal(first))
    assert "its previous page is not in the file" in str(refusal(second))
    assert "begins another statement" in str(refusal(first + mt940()))
    broken = second.replace("EUR120,", "EUR121,").replace("EUR115", "EUR116")
    error = refusal(first + broken)
    assert "opens with 121, but statement 1 of a.xml closes with 120" in error.reason.replace(".xml,", ".xml")
    assert "121" not in str(error)


@pytest.mark.parametrize(
    ("line", "amount", "is_reversal"),
    [
        ("2611201120CR300,NTRFX", "300", False),  # R of EUR
        ("2611201120DR20,00NTRFX", "-20", False),
        ("2611201120RCR204,88NTRFX", "-204.88", True),
        ("2611201120RC204,88NTRFX", "-204.88", True),
        ("2611201120RDR5,NTRFX", "5", True),
        ("261120    DD212,39NMSCX", "-212.39", False),  # Citi's blank entry date
        ("261120C65,00NTRFX", "65", False),
        ("261120D000000001213,28N0440121400966", "-1213.28", False),
        ("2611201120C500NTRFX", "500", False),
        ("261120CD0,00NDEFX", "0", False),
    ],
)
def test_the_mark_and_amount_of_an_mt940_entry(line: str, amount: str, *, is_reversal: bool) -> None:
    closing = f"F:C261120EUR{100 + Decimal(amount)}".replace(".", ",")
    if Decimal(amount) < -100:
        closing = f"F:D261120EUR{-100 - Decimal(amount)}".replace(".", ",")
    (movement,) = read(mt940(f":61:{line}", closing=closing))[0].movements
    assert (movement.amount, movement.is_reversal, movement.booking.day) == (Decimal(amount), is_reversal, date(2026, 11, 20))


@pytest.mark.parametrize(
    ("line", "booking", "value"),
    [
        ("2512310102C0,NTRFX", date(2026, 1, 2), date(2025, 12, 31)),
        ("2601021231C0,NTRFX", date(2025, 12, 31), date(2026, 1, 2)),
        ("1602300301C0,N024X", date(2016, 3, 1), date(2016, 2, 29)),
        ("1603010230C0,N024X", date(2016, 2, 29), date(2016, 3, 1)),
    ],
)
def test_dates_cross_the_year_and_an_impossible_one_is_kept_as_text(line: str, booking: date, value: date) -> None:
    (movement,) = read(mt940(f":61:{line}"))[0].movements
    assert movement.value
    assert (movement.booking.day, movement.value.day) == (booking, value)
    assert (movement.booking.as_sent, movement.value.as_sent) == (
        "0230" if "0230C" in line else None,
        "160230" if line.startswith("160230") else None,
    )


def test_subfields_are_joined_before_they_are_split() -> None:
    german, dutch = read(mt940(*GERMAN, closing="F:C261120EUR92,65"))[0].movements
    assert (german.end_to_end_id, german.remittance) == ("A1.200080779.400143254.4961336", "Rechnung 500" + "06875 Vertrag 7")
    assert (german.counterparty, german.counterparty_account) == ("MUSTER AG", IBAN)
    assert (german.code, german.bank_reference, german.reference) == ("NDDT-105", "2026112012345", "KREF+")
    assert german.text
    assert german.text.startswith("/OCMT/EUR11,85//CHGS/EUR0,50/\n105?00")
    assert (dutch.end_to_end_id, dutch.counterparty, dutch.remittance) == ("E-77", "J DOE", "Reference 77")
    assert (dutch.reference, dutch.bank_reference, dutch.booking.day) == (None, None, date(2026, 11, 20))


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (
            "/EREF/E-77//MARF/M-1//CSID/NL99ZZZ1//CNTP/NL08INGB0000001234/INGBNL2A/J DOE B.V./DELFT//REMI/USTD//Reference 77 and/or 78/",
            ("E-77", "J DOE B.V.", "NL08INGB0000001234", "Reference 77 and/or 78"),
        ),
        (
            "/RTRN/MS03//EREF/E-77//CNTP/NL08INGB0000001234/INGBNL2A/J DOE///REMI/STRD/CUR/9001123412341234/",
            ("E-77", "J DOE", "NL08INGB0000001234", "9001123412341234"),
        ),
        ("/PREF/M000000003333333//REMI/USTD//TOTAL 1 TRN/", (None, None, None, "TOTAL 1 TRN")),
        ("/EREF/E-77/BENM//NAME/J DOE/REMI//ISDT/2026-11-20", ("E-77", "J DOE", None, None)),
        ("/TRTP/SEPA/IBAN/NL08INGB0000001234/BIC/INGBNL2A/NAME/J DOE/REMI/a/b/EREF/E-77", ("E-77", "J DOE", "NL08INGB0000001234", "a/b")),
    ],
)
def test_dutch_subfields_end_with_or_without_a_slash(details: str, expected: tuple[str | None, ...]) -> None:
    lines = [details[start : start + 65] for start in range(0, len(details), 65)]
    (movement,) = read(mt940(":61:2611201120C0,NTRFEREF//1", f":86:{lines[0]}", *lines[1:]))[0].movements
    assert (movement.end_to_end_id, movement.counterparty, movement.counterparty_account, movement.remittance) == expected


@pytest.mark.parametrize("rest", [":30:45 BY CARD", ":21:45 BY CARD", ":28:45 BY CARD", ":25:45 BY CARD"])
def test_a_wrapped_line_that_begins_with_minutes_is_no_field(rest: str) -> None:
    (movement,) = read(mt940(":61:2611201120C0,NTRFX", ":86:PAID AT 12", rest))[0].movements
    assert movement.text == f"PAID AT 12\n{rest}"


def test_a_text_after_the_closing_balance_is_that_of_the_statement() -> None:
    text = mt940(":61:261120C0,NTRFX", ":86:of the entry").replace("-\n", ":64:C261120EUR1,\n:86:of the statement\n-\n")
    (one,) = read(text)
    assert (one.movements[0].text, one.text) == ("of the entry", "of the statement")


PLAIN = mt940(":61:2611201120C20,N020NONREF", ":86:some text", closing="F:C261120EUR120,")


@pytest.mark.parametrize(
    "framed",
    [
        PLAIN.replace("\n", "\r\n"),
        f"{{1:F01BANKDEFFAXXX0000000000}}{{2:I940BANKDEFFXXXXN}}{{4:\r\n{PLAIN}-}}{{5:{{MAC:0}}}}",
        f"\x01{{1:F01BANKDEFFAXXX}}{{4:{PLAIN}-}}\x03",
        f"ABNANL2A\n940\nABNANL2A\n{PLAIN}",
        f":940:\n{PLAIN}".removesuffix("-\n"),
        PLAIN.replace(":61:", "\n\n:61:").removesuffix("-\n"),
        PLAIN.replace(":25:37040044/532013000", ":25:37040044/532013000EUR"),
        f"\ufeff{PLAIN}",
    ],
)
def test_what_frames_a_message_does_not_matter(framed: str) -> None:
    assert [one.content_sha256 for one in read(framed + framed.removeprefix("\ufeff"))] == [read(PLAIN)[0].content_sha256] * 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PLAIN.replace(":62F:", ":63F:"), "has no lines :62M:"),
        (PLAIN.replace("C20,N", "Cx20,"), "line 5, :61: of statement 1 of a.sta, cannot be read as an entry"),
        (PLAIN.replace("C20,", "C1.000,00"), "line 5, :61: of statement 1 of a.sta, cannot be read as an entry"),
        (PLAIN.replace("C20,", "C" + "9" * 5000 + ","), "line 5, :61:"),
        (PLAIN.replace("C20,", "C20," + "0" * 5000), "line 5, :61:"),
        (PLAIN.replace("EUR100,", "EUR" + "9" * 5000 + ","), "line 4, :60F: of statement 1 of a.sta, is no balance"),
        (PLAIN.replace(":25:37040044/532013000", ":25: "), "names no account (:25: is empty)"),
        (PLAIN.replace("C20,", "EC20,"), "EC and ED are not booked yet"),
        (PLAIN.replace("2611201120C", "2613201120C"), "line 5, :61:"),
        (PLAIN.replace("60F:C2611", "60F:X2611"), "line 4, :60F: of statement 1 of a.sta, is no balance"),
        (PLAIN.replace("62F:C261120EUR", "62F:C261120USD"), "opens and closes in different currencies"),
        (PLAIN.replace(":60F:", ":34F:EURD0,\n:60F:"), "is an interim report (MT942)"),
        (PLAIN.replace("-\n", ":61:261120C1,NTRFX\n"), "line 8 of statement 1 of a.sta is an entry after the closing balance"),
        (PLAIN.replace("text", "t\xfc").encode("cp1252"), "line 6 of a.sta is not utf-8"),
    ],
)
def test_an_mt940_that_cannot_be_read_is_refused_with_its_line(text: str | bytes, expected: str) -> None:
    assert expected in str(refusal(text, "a.sta"))


@pytest.mark.parametrize("sample", [camt(statement("100", "119.5", *TWO)), mt940(*GERMAN, closing="F:C261120EUR92,65")])
def test_any_damage_gives_statements_that_close_or_one_error_message(sample: str) -> None:
    rng = random.Random(7)  # noqa: S311  the same damage every time
    pieces = (b"", b"0", b",", b".", b"\x00", b"\xff", b"\n", b":61:", b":62F:", b"<Stmt>", b"EUR", b"99999999", b"&#1;", "\u0663".encode())
    closed = 0
    for _ in range(400):
        data = bytearray(sample.encode())
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(len(data))
            data[place : place + rng.choice((0, 1, 3, 40))] = rng.choice(pieces)
        try:
            found = read(bytes(data))
            parts = list(bank_files.build_parts(RULES, MOVEMENT_RULES, found))
        except BadDataError:
            continue
        closed += 1
        for one in found:
            assert one.opening.amount + sum(movement.amount for movement in one.movements) == one.closing.amount
        assert not any(part.result.quarantine for part in parts)
    assert 0 < closed < 400


def test_a_file_with_more_entries_than_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank_files, "MAX_ENTRIES", 1)
    assert "has more than 1 entries; split it" in str(refusal(mt940(*[":61:261120C0,NTRFX"] * 2)))


def movement_ids(text: str) -> list[str]:
    return [one for found in read(text) for one in statements.build_movement_rows(found)["movement_id"]]


def test_equal_payments_are_two_rows_whose_keys_survive_a_correction() -> None:
    coffee, other = Entry("2.50", "DBIT"), Entry("9")
    ids = movement_ids(camt(statement("10", "5", coffee, coffee)))
    assert len(set(ids)) == 2
    corrected = movement_ids(camt(statement("10", "14.00", other, coffee, coffee)))
    assert corrected[1:] == ids
    assert movement_ids(camt(statement("10.0", "5", coffee, Entry("2.5", "DBIT")), message="M2")) == ids


def test_a_zero_is_the_same_whether_the_bank_calls_it_a_credit_or_a_debit() -> None:
    credit, debit = (
        read(camt(statement(zero, "0.00", Entry("0.00", direction))))[0] for zero, direction in (("0", "CRDT"), ("-0", "DBIT"))
    )
    assert credit.content_sha256 == debit.content_sha256
    assert statements.build_statement_row(debit)["opening_balance"] == ["0"]
    assert statements.build_movement_rows(debit)["amount"] == ["0.00"]


def reconcile(new: str, *known: str) -> list[str]:
    before = [bank_files._describe(one) for text in known for one in read(text)]
    return [one.statement_id for one in bank_files.reconcile(read(new), before)]


def day(first: int, last: int, opening: int, closing: int, name: str) -> str:
    entries = [Entry(str(abs(closing - opening)), "CRDT" if closing > opening else "DBIT")] if closing != opening else []
    days = (f"2026-11-{first:02}", f"2026-11-{last:02}")
    return camt(statement(str(opening), str(closing), *entries, name=name, days=days))


@pytest.mark.parametrize(
    ("new", "known", "names"),
    [
        (day(2, 2, 10, 30, "B"), day(2, 2, 10, 30, "A"), ["A"]),  # sent again under another name
        (day(2, 2, 10, 40, "A"), day(2, 2, 10, 30, "A"), ["A"]),  # a correction
        (day(2, 2, 30, 40, "B"), day(2, 2, 10, 30, "A"), ["B"]),  # the second of a day
        (day(3, 3, 30, 40, "B"), day(2, 2, 10, 30, "A"), ["B"]),
        (day(2, 3, 30, 40, "B"), day(1, 2, 10, 30, "A"), ["B"]),  # MT940 dates the opening on the day before
        (day(2, 3, 35, 40, "B"), day(1, 2, 10, 30, "A"), ["B"]),  # a gap is no overlap
        (day(1, 30, 10, 40, "M"), day(2, 2, 10, 30, "A"), None),  # a month over a day
        (day(1, 30, 10, 40, "M"), day(1, 1, 10, 30, "A"), None),
        (day(30, 30, 20, 40, "A"), day(1, 30, 10, 40, "M"), None),
        (day(2, 2, 10, 31, "B"), day(2, 2, 10, 30, "A"), None),  # a correction that does not say of what
    ],
)
def test_a_statement_is_known_again_and_another_of_its_days_is_refused(new: str, known: str, names: list[str] | None) -> None:
    if names is None:
        with pytest.raises(BankFileError, match="another statement"):
            reconcile(new, known)
    else:
        assert reconcile(new, known) == names


A, B, C = (day(20, 20, *balances, name) for *balances, name in ((100, 150, "A"), (150, 120, "B"), (120, 130, "C")))
MT = [day(19, 20, 100, 150, "A"), day(19, 20, 150, 120, "B"), day(19, 20, 120, 130, "C")]


@pytest.mark.parametrize(
    "drops",
    [
        [A, B, C],
        [C, B, A],
        [B, A, C],
        [A + C + B],
        [A, C + B],
        MT,
        [MT[2] + MT[0] + MT[1]],
        [MT[0], B, C],  # the second opens on the day on which the first closed
        [A, B, day(20, 21, 120, 130, "next day")],
        [MT[0], day(20, 21, 130, 140, "next day"), B, C],  # two of a day come after the next day
        [A, day(20, 20, 150, 100, "B"), day(20, 20, 100, 170, "C"), day(20, 20, 170, 175, "D")],  # balances come again
        [A + B, day(20, 20, 100, 140, "A") + day(20, 20, 140, 120, "B")],  # corrections of both
    ],
)
def test_statements_of_a_day_that_continue_each_other_are_all_kept(drops: list[str]) -> None:
    known: dict[str, bank_files.KnownStatement] = {}
    for text in drops:
        found = bank_files.reconcile([one for each in split(text) for one in read(each)], list(known.values()))
        known |= {one.statement_id: bank_files._describe(one) for one in found}
    assert len(known) == len({one.statement_id for text in drops for each in split(text) for one in read(each)}) >= 2


def split(text: str) -> list[str]:
    return [f"<?xml{one}" for one in text.split("<?xml") if one]


@pytest.mark.parametrize(
    ("new", "known"),
    [
        (C, [A]),  # the one between them is missing
        (day(20, 20, 150, 110, "X"), [A, B]),  # B again with another content, although it continues A
        (day(20, 20, 100, 115, "X") + day(20, 20, 115, 150, "Y"), [A]),  # A in two parts
        (day(20, 20, 30, 40, "X"), [day(1, 20, 40, 40, "month")]),  # a day of the month ends with the balance with which the month opens
    ],
)
def test_a_statement_that_begins_a_second_chain_of_a_day_is_refused(new: str, known: list[str]) -> None:
    before = [bank_files._describe(one) for text in known for one in read(text)]
    with pytest.raises(BankFileError, match="another statement"):
        bank_files.reconcile([one for each in split(new) for one in read(each)], before)


@pytest.mark.parametrize(("new", "known"), [((120, 150), (100, 120)), ((100, 120), (120, 150))])
def test_a_further_statement_under_the_number_of_another_is_no_correction(new: tuple[int, int], known: tuple[int, int]) -> None:
    with pytest.raises(BankFileError, match="continues another statement of its day under the same number"):
        reconcile(day(20, 20, *new, "S1"), day(20, 20, *known, "S1"))
    assert reconcile(day(20, 20, 100, 100, "S1"), day(20, 20, 100, 120, "S1")) == ["S1"]  # a correction back to the opening balance


def test_two_parts_of_a_day_in_mt940_have_the_page_in_their_names() -> None:
    first = mt940(":61:2611201120C20,N020NONREF", number="5/1", closing="F:C261120EUR120,")
    second = mt940(":61:2611201120C30,N020NONREF", number="5/2", opening="F:C261120EUR120,", closing="F:C261120EUR150,")
    assert reconcile(second, first) == ["5/2"]
    assert reconcile(first, second) == ["5"]
    neutral = mt940(":61:261120C20,N020A", ":61:261120D20,N020B", number="5/1")  # ends where it began
    assert reconcile(mt940(":61:261120C30,N020C", number="5/2", closing="F:C261120EUR130,"), neutral) == ["5/2"]


def test_a_statement_that_is_twice_in_a_file_counts_once_unless_it_differs() -> None:
    once = statement("10", "40", TWO[0])
    assert reconcile(camt(once, once)) == ["S1"]
    with pytest.raises(BankFileError, match="twice, with different content"):
        reconcile(camt(once, statement("10", "41", Entry("31"))))


ACCEPTED = {
    "camt053_02_sns_nl_2026.xml": 11, "camt053_02_two_statements.xml": 2, "camt053_no_entries.xml": 0, "camt053_txdtls.xml": 1,
    "mt940_betterplace_de_binary_char.sta": 4, "mt940_bil_lu_charges_and_free_text.sta": 1,
    "mt940_citi_us_blank_entry_date_zero_amounts.txt": 5, "mt940_de_february_30.sta": 1, "mt940_de_reversal_RC_cut.sta": 12,
    "mt940_kontist_de_utf8.sta": 6, "mt940_lbbw_de_pool.sta": 2, "mt940_mbank_pl_soh_etx.sta": 3, "mt940_rabobank_nl_structured.sta": 4,
    "mt940_sberbank_hu_ns_tag_replacement_chars.sta": 3, "mt940_sns_nl_crlf_padded.sta": 2, "mt940_volksbank_de_no_entry_date_cut.sta": 6,
}  # fmt: skip
REFUSED = {
    "camt053_02_abnamro_nl_reversal_batch.xml": "does not close", "camt053_02_all_balance_types.xml": "does not close",
    "camt053_02_date_times_as_dates.xml": "no closing balance", "camt053_02_five_decimals.xml": "does not close",
    "camt053_02_goldman_sachs_us_wires_returns.xml": "several currencies", "camt053_02_invalid.xml": "no statement",
    "camt053_04.xml": "several currencies", "camt053_07_minimal.xml": "no opening balance", "camt053_08.xml": "several currencies",
    "camt053_delivery.zip": "does not close", "camt054.xml": "camt.054", "camt052_08_de.xml": "camt.052",
    "mt940_abnamro_nl.sta": "does not close", "mt940_commerzbank_de_return_of_direct_debit.sta": "does not close",
    "mt940_hsbc_hk_ocmt.sta": "does not close", "mt940_ing_nl_crlf.sta": "does not close", "mt940_knab_nl.sta": "statement 2",
    "mt940_postfinance_ch_pages_soh_etx.sta": "statement 2", "mt940_rabobank_nl_2011_many_86.sta": "does not close",
    "mt940_raiffeisen_hu_cp852.sta": "is not utf-8", "mt940_sparkasse_de_interim_balance_utf8.sta": "previous page",
    "mt940_triodos_nl_angle_subfields.sta": "does not close", "mt942_mbank_pl.sta": "MT942",
}  # fmt: skip


@pytest.mark.skipif(not SHARED.exists(), reason="the banks' own files are not on this machine")
@pytest.mark.parametrize("name", [*ACCEPTED, *REFUSED])
def test_files_of_real_banks_are_read_or_refused_with_the_right_reason(name: str) -> None:
    data = (SHARED / name).read_bytes()
    if name in REFUSED:
        assert REFUSED[name] in str(refusal(data, name))
        return
    found = read(data, name)
    parts = list(bank_files.build_parts(RULES, MOVEMENT_RULES, found))
    assert sum(part.result.table.num_rows for part in parts if part.rules is MOVEMENT_RULES) == ACCEPTED[name]


@pytest.mark.skipif(not SHARED.exists(), reason="the banks' own files are not on this machine")
def test_five_returned_wires_close_with_the_sign_of_the_bank() -> None:
    """Goldman's file labels one entry EUR that is booked in USD, and is refused for it; with the right label it closes."""
    data = (SHARED / "camt053_02_goldman_sachs_us_wires_returns.xml").read_bytes()
    (one,) = read(data.replace(b'<Amt Ccy="EUR">29.06', b'<Amt Ccy="USD">29.06'))
    returns = [movement.amount for movement in one.movements if movement.is_reversal]
    assert (len(one.movements), len(returns), min(returns) > 0) == (19, 5, True)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ("<ElctrncSeqNb>00058</ElctrncSeqNb><LglSeqNb>7</LglSeqNb>", "58"),
        ("<ElctrncSeqNb>00000</ElctrncSeqNb><LglSeqNb>2</LglSeqNb>", "2"),
        ("<ElctrncSeqNb>0</ElctrncSeqNb>", None),
        ("<ElctrncSeqNb>A1</ElctrncSeqNb>", None),
        ("", None),
    ],
)
def test_a_statement_has_the_number_with_which_its_bank_counts(numbers: str, expected: str | None) -> None:
    (one,) = read(camt(statement("100", "119.50", *TWO, more=numbers)))
    assert one.sequence == expected
    assert statements.build_statement_row(one)["sequence_number"] == [expected]


@pytest.mark.parametrize(("number", "expected"), [("00143/1", "143"), ("0", None), ("00000/001", None), ("2021/02", "2021"), ("12A", None)])
def test_a_statement_of_mt940_has_the_number_before_the_slash(number: str, expected: str | None) -> None:
    (one,) = read(mt940(number=number), "a.sta")
    assert one.sequence == expected


@pytest.mark.parametrize(
    ("time", "day"),
    [
        ("2026-11-20T23:30:00-05:00", "2026-11-20"),
        ("2026-11-21T00:30:00+02:00", "2026-11-21"),
        ("2026-11-20T23:59:00.000Z", "2026-11-20"),
        ("2026-11-21T13:00:00.123456789+14:00", "2026-11-21"),
        ("2026-11-20T00:00:00", "2026-11-20"),
    ],
)
def test_the_day_of_a_time_is_that_of_its_own_zone(time: str, day: str) -> None:
    """In UTC, the first three would be of the next day, the day before and the same."""
    entry = Entry("19.50")
    text = camt(statement("100", "119.50", entry)).replace("<BookgDt><Dt>2026-11-20</Dt>", f"<BookgDt><DtTm>{time}</DtTm>")
    assert time in text
    assert read(text)[0].movements[0].booking.day == date.fromisoformat(day)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"OFXHEADER:100\nDATA:OFXSGML\nENCODING:USASCII\n\n<OFX><BANKMSGSRSV1>", "an OFX file"),
        (b'<?xml version="1.0"?>\n<?OFX OFXHEADER="200" VERSION="211"?>\n<OFX></OFX>', "an OFX file"),
        (b"PK\x03\x04\x14\x00\x06\x00", "an Excel workbook or an archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook or an archive"),
        (b"!Type:Bank\nD20/11/2026\n", "a QIF file"),
    ],
)
def test_another_kind_of_bank_file_is_refused_by_its_name(data: bytes, kind: str) -> None:
    message = f"a.dat is {kind}; ask the bank for camt.053 or MT940, whose balances prove that they are whole"
    assert str(refusal(data, "a.dat")) == message


def test_a_sheet_of_a_bank_is_neither_of_the_formats() -> None:
    assert str(refusal("Date;Amount;Balance\n20.11.2026;-10,50;100,00\n", "a.csv")) == (
        "a.csv is neither camt.053 nor MT940: no line begins with :20:; ask the bank for one of the two"
    )


@pytest.mark.skipif(not SHARED.exists(), reason="the banks' own files are not on this machine")
def test_recorded_files_of_other_kinds_are_refused() -> None:
    others = [*SHARED.glob("ofx*"), *SHARED.parent.glob("excel/*")]
    assert len(others) > 15
    for file in others:
        assert "ask the bank for" in str(refusal(file.read_bytes(), file.name)), file.name
