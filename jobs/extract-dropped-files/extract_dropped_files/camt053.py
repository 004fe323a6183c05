"""Read the statements of a camt.053 file (ISO 20022 bank to customer statement), any version from .02.

Hand-written on the standard library's parser: pyiso20022 has a class tree per version, this needs the twenty elements that all versions
have. Names are matched without their namespace; where a version adds a level (Sts/Cd, Dbtr/Pty/Nm), both forms are read.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from jobkit import xml_documents
from jobkit.xml_documents import local_name

from extract_dropped_files.statements import Balance, BankDate, BankFileError, Movement, Page, read_iso_date, read_sequence

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMESPACE = re.compile(r"\{[^}]*\b(camt\.\d{3})\.001\.(\d\d)\b[^}]*\}")  # Swiss banks have one of their own around it
AMOUNT = re.compile(r"\+?0*(?:\d{1,18}(?:\.\d{0,5}0*)?|\.\d{1,5}0*)", re.ASCII)  # XML Schema's decimals
MAX_DECIMALS = 5
COUNT = re.compile(r"\d{1,9}")
EXAMPLE = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"
OPENING, CLOSING, INTERIM = ("OPBD", "PRCD"), ("CLBD",), ("ITBD",)  # others are forecasts or information
NO_REFERENCE = {"NONREF", "NOTPROVIDED"}


def read_pages(data: bytes, name: str) -> list[Page]:
    """Return the pages of all statements in the file, in its order. Raises BankFileError (65) if it cannot be one."""
    try:
        root = xml_documents.parse(data)
    except xml_documents.DocumentTypeError:
        raise BankFileError("it has a document type definition, which no bank's file has; it was not read") from None
    except ValueError as error:
        raise BankFileError(f"{name} is not readable XML: {error}; was it cut off?") from None
    documents = [element for element in root.iter() if local_name(element) == "Document"] or [root]  # banks put several into an envelope
    found = [(statement, pages) for document in documents for statement, pages in _list_statements(document, name)]
    return [_read_page(statement, pages, f"statement {number} of {name}") for number, (statement, pages) in enumerate(found, 1)]


def _list_statements(document: Element, name: str) -> list[tuple[Element, Element | None]]:
    """Return the statements of a document, each with the pagination of its message. Raises BankFileError if it is another document."""
    kind = NAMESPACE.match(document.tag)
    if kind is None or kind[1] != "camt.053":
        found = f"{kind[1]}.001.{kind[2]}" if kind else "another kind of XML"
        raise BankFileError(f"{name} is {found}; expected a statement of booked entries, in a namespace such as {EXAMPLE}")
    messages = _children(document, "BkToCstmrStmt")
    statements = [(one, _find(message, "GrpHdr/MsgPgntn")) for message in messages for one in _children(message, "Stmt")]
    if not statements:
        raise BankFileError(f"{name} has no statement (BkToCstmrStmt/Stmt)")
    return statements


def _read_page(statement: Element, message_pages: Element | None, place: str) -> Page:
    account = _text(statement, "Acct/Id/IBAN") or _text(statement, "Acct/Id/Othr/Id")
    if account is None:
        raise BankFileError(f"{place} names no account (Acct/Id)")
    balances = list(_read_balances(statement, place))
    is_first, is_last = _find_ends(statement, message_pages, {code for code, _ in balances})
    opening = _pick(balances, OPENING, place) or (None if is_first else _interim(balances, 0, is_alone=is_last))
    closing = _pick(balances, CLOSING, place) or (None if is_last else _interim(balances, -1, is_alone=is_first))
    booked = [balance for code, balance in balances if code in (*OPENING, *CLOSING, *INTERIM)]
    currency = _text(statement, "Acct/Ccy") or next((balance.currency for balance in booked), "")
    entries = [entry for entry in _children(statement, "Ntry") if (_text(entry, "Sts/Cd") or _text(entry, "Sts")) == "BOOK"]
    _check_currencies({currency, *(balance.currency for balance in booked), *(_currency(entry, place) for entry in entries)}, place)
    fallback = closing or opening
    movements = tuple(_read_entry(entry, fallback, f"entry {number} of {place}") for number, entry in enumerate(entries, 1))
    return Page(
        place, account.replace(" ", ""), currency, _text(statement, "Id"), is_first, is_last, opening, closing, movements,
        _text(statement, "AddtlStmtInf"), _text(statement, "CreDtTm"), _find_page_number(statement, message_pages),
        sequence=read_sequence(_text(statement, "ElctrncSeqNb")) or read_sequence(_text(statement, "LglSeqNb")),
    )  # fmt: skip


def _find_ends(statement: Element, message_pages: Element | None, codes: set[str]) -> tuple[bool, bool]:
    """Return whether this is the first and the last page of the statement. In a message of pages, its balances say so, if it does not."""
    pages = _find(statement, "StmtPgntn")
    if pages is not None:
        return _count(pages, "PgNb") <= 1, _is_true(pages, "LastPgInd")
    if message_pages is None or (_count(message_pages, "PgNb") <= 1 and _is_true(message_pages, "LastPgInd")):
        return True, True
    return bool(codes & {*OPENING}), bool(codes & {*CLOSING})


def _find_page_number(statement: Element, message_pages: Element | None) -> int | None:
    """Return the number of the page, of the statement or else of the message; None without one."""
    pages = _find(statement, "StmtPgntn")
    pages = message_pages if pages is None else pages
    return None if pages is None else _count(pages, "PgNb") or None


def _check_currencies(currencies: set[str], place: str) -> None:
    if len(currencies) > 1:
        raise BankFileError(
            f"{place} has balances or entries in several currencies, which cannot be added up; ask the bank for a statement per currency",
            f"{place} has balances or entries in {', '.join(sorted(currencies))}, which cannot be added up; "
            "ask the bank for a statement per currency",
        )


def _read_balances(statement: Element, place: str) -> Iterator[tuple[str, Balance]]:
    for element in _children(statement, "Bal"):
        code = _text(element, "Tp/CdOrPrtry/Cd") or ""
        if code in (*OPENING, *CLOSING, *INTERIM):
            day = _read_date(element, "Dt", place)
            if day is None:
                raise BankFileError(f"{place} has a balance {code} without a date")
            yield code, Balance(_read_amount(element, f"balance {code} of {place}"), _currency(element, place), day.day)


def _pick(balances: list[tuple[str, Balance]], codes: tuple[str, ...], place: str) -> Balance | None:
    """Return the balance with the first of these codes. Raises BankFileError if the statement has two that differ."""
    for code in codes:
        found = {balance for one, balance in balances if one == code}
        if len(found) > 1:
            raise BankFileError(f"{place} has several different balances {code}; expected one")
        if found:
            return found.pop()
    return None


def _interim(balances: list[tuple[str, Balance]], index: int, *, is_alone: bool) -> Balance | None:
    """Return the interim balance that opens or closes a page. A page in the middle has two; one alone could be either, and is not used."""
    found = [balance for code, balance in balances if code in INTERIM]
    return found[index] if len(found) == (1 if is_alone else 2) else None


def _read_entry(entry: Element, fallback: Balance | None, place: str) -> Movement:
    """Return an entry as booked. The details of a batch are not added up: they may be missing, in another currency, or without charges."""
    value = _read_date(entry, "ValDt", place)
    booking = _read_date(entry, "BookgDt", place) or value or (fallback and BankDate(fallback.day))
    if booking is None:
        raise BankFileError(f"{place} has no date")
    batches = sum(_count(batch, "NbOfTxs") for details in _children(entry, "NtryDtls") for batch in _children(details, "Btch"))
    details = [detail for group in _children(entry, "NtryDtls") for detail in _children(group, "TxDtls")]
    amount = _read_amount(entry, place)
    single = details[0] if len(details) == 1 else Element("none")
    other = "Dbtr" if amount > 0 else "Cdtr"
    if _is_true(entry, "RvslInd") and _find(single, f"RltdPties/{other}") is None:
        other = "Cdtr" if other == "Dbtr" else "Dbtr"  # a returned payment keeps the roles of the payment
    purposes = [text for line in _find_all(single, "RmtInf/Ustrd") if (text := (line.text or "").strip())]
    structured = [text for line in _find_all(single, "RmtInf/Strd/CdtrRefInf/Ref") if (text := (line.text or "").strip())]
    account = f"RltdPties/{other}Acct/Id"
    return Movement(
        amount=amount,
        booking=booking,
        value=value,
        is_reversal=_is_true(entry, "RvslInd"),
        code=_read_code(entry),
        reference=_reference(entry, "NtryRef"),
        bank_reference=_reference(entry, "AcctSvcrRef") or _reference(single, "Refs/AcctSvcrRef"),
        end_to_end_id=_reference(single, "Refs/EndToEndId"),
        counterparty=_text(single, f"RltdPties/{other}/Pty/Nm") or _text(single, f"RltdPties/{other}/Nm"),
        counterparty_account=_text(single, f"{account}/IBAN") or _text(single, f"{account}/Othr/Id"),
        remittance="".join(purposes) or "\n".join(structured) or None,
        text=_text(entry, "AddtlNtryInf") or _text(single, "AddtlTxInf"),
        details=max(batches, len(details)),
    )


def _read_code(entry: Element) -> str | None:
    """Return the codes of the kind of entry, domain first (PMNT-RCDT-ESCT), else the bank's own code."""
    domain = [_text(entry, f"BkTxCd/Domn/{path}") for path in ("Cd", "Fmly/Cd", "Fmly/SubFmlyCd")]
    return "-".join(code for code in domain if code) or _text(entry, "BkTxCd/Prtry/Cd")


def _read_amount(element: Element, place: str) -> Decimal:
    """Return the amount with the sign of CdtDbtInd. That is the direction on the account, also of a reversal (RvslInd)."""
    text, direction = _text(element, "Amt") or "", _text(element, "CdtDbtInd") or ""
    if not AMOUNT.fullmatch(text):
        raise BankFileError(
            f"{place} has no amount that can be read; expected digits, with a point before at most five decimals and without a minus"
        )
    if direction not in ("CRDT", "DBIT"):
        raise BankFileError(f"{place} does not say whether it is a credit or a debit (CdtDbtInd is neither CRDT nor DBIT)")
    amount = Decimal(text)
    if len(text.partition(".")[2]) > MAX_DECIMALS:
        amount = round(amount, MAX_DECIMALS)  # only zeros follow
    return amount if direction == "CRDT" else -amount  # of 0, this is 0, and a product with -1 is -0


def _currency(element: Element, place: str) -> str:
    amount = _find(element, "Amt")
    currency = None if amount is None else amount.get("Ccy")
    if not currency:
        raise BankFileError(f"{place} has an amount without a currency (Amt/@Ccy)")
    return currency


def _read_date(element: Element, path: str, place: str) -> BankDate | None:
    """Return a date (Dt) or the day of a time (DtTm), None if it is missing. Raises BankFileError if it is no date."""
    text = _text(element, f"{path}/Dt") or _text(element, f"{path}/DtTm")
    found = read_iso_date(text) if text else None
    if text and found is None:
        raise BankFileError(f"{place} has a {path} that is no date; expected one such as 2026-11-20")
    return found


def _count(element: Element, path: str) -> int:
    """Return a whole number of up to nine digits, 0 if it is missing or none."""
    text = _text(element, path) or ""
    return int(text) if COUNT.fullmatch(text) else 0


def _is_true(element: Element, path: str) -> bool:
    return _text(element, path) in ("true", "1")


def _reference(element: Element, path: str) -> str | None:
    text = _text(element, path)
    return None if text in NO_REFERENCE else text


def _text(element: Element, path: str) -> str | None:
    found = _find(element, path)
    return None if found is None else (found.text or "").strip() or None


def _find(element: Element, path: str) -> Element | None:
    return next(iter(_find_all(element, path)), None)


def _find_all(element: Element, path: str) -> list[Element]:
    """Return the descendants at a path of names without namespace."""
    found = [element]
    for part in path.split("/"):
        found = [child for parent in found for child in _children(parent, part)]
    return found


def _children(element: Element, name: str) -> list[Element]:
    return [child for child in element if local_name(child) == name]
