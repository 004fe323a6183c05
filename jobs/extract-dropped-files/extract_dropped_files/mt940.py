"""Read the statements of an MT940 file (SWIFT customer statement message), whatever frames its messages.

Hand-written: mt-940 5.1.1 counts a cancelled credit (RC) as income, and merges all statements of a file into one, so that none can be
checked against its balances. The format: SWIFT User Handbook, Category 9; the subfields of :86: are those of German and Dutch banks.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from extract_dropped_files.statements import Balance, BankDate, BankFileError, Movement, Page, clamp_date, read_sequence

if TYPE_CHECKING:
    from collections.abc import Iterator

TAG = re.compile(r":(\d{2,3}[A-Z]?|NS):(.*)", re.DOTALL)
AFTER_ENTRIES = {"20", "61", "64", "65", "86"}  # tags of two digits that may follow an entry
CONTROLS = dict.fromkeys([*range(9), 11, 12, *range(14, 32)])
AMOUNT = r"\d{1,18}(?:,\d{0,5})?(?![\d.,])"
BALANCE = re.compile(rf"([CD])(\d{{6}})([A-Z]{{3}})({AMOUNT})\s*")
ENTRY = re.compile(
    r"(?P<value>\d{6})(?P<entry>\d{4}|\s{4})?"
    rf"(?P<mark>R?[CD])[A-Z]?(?P<amount>{AMOUNT})"  # the letter is the third of the currency: the R of DR20,00 is that of EUR
    r"(?P<type>[A-Z].{3})?(?P<references>.*)"
)
EXPECTED_MARKS = re.compile(r"\d{6}(\d{4}|\s{4})?E[CD]")
EXAMPLE = "2611201120C1234,56NTRFNONREF"
PAGE = re.compile(r"\d{1,9}")
CENTURY = 80  # years 80 to 99 are of the last century, as SWIFT reads them
DEBITS = {"D", "RC"}
STRUCTURED = re.compile(r"(\d{3})([?>@+|~])(?=\d\d)")
SEPA_KEY = re.compile(r"(EREF|KREF|MREF|CRED|DEBT|SVWZ|ABWA|ABWE|OAMT|COAM|PURP|IBAN|BIC)\+")
SLASH_KEY = re.compile(  # the slash behind one may be that before the next, as in /REMI/USTD/
    r"/(EREF|PREF|REMI|NAME|IBAN|BIC|MARF|CSID|TRTP|ISDT|ORDP|BENM|ULTD|ULTB|ID|ADDR|RTRN|PURP|CNTP|SVCL|OCMT|EXCH|CHGS|ACCW|USTD|STRD)(?=/)"
)
PURPOSE = [*map(str, range(20, 30)), *map(str, range(60, 64))]
NO_REFERENCE = {"", "NONREF", "NOTPROVIDED"}
ORDER = "expected :20:, :25:, :28C:, :60F:, entries (:61:, :86:), :62F:"


class _Field(NamedTuple):
    tag: str
    lines: tuple[str, ...]
    line_number: int

    @property
    def text(self) -> str:
        """The text as it was before the bank wrapped it, which it does in the middle of words."""
        return "".join(self.lines)


def read_pages(text: str, name: str) -> list[Page]:
    """Return each message of the file as a page, in its order. Raises BankFileError (65) if it is no MT940 or a line cannot be read."""
    pages = [_read_page(message, f"statement {number} of {name}") for number, message in enumerate(_split_messages(text), 1)]
    if not pages:
        raise BankFileError(f"{name} is neither camt.053 nor MT940: no line begins with :20:; ask the bank for one of the two")
    return pages


def _split_messages(text: str) -> Iterator[list[_Field]]:
    """Yield the fields of each message. What frames a message (blocks, bank codes, SOH and ETX, blank lines) is dropped."""
    fields: list[_Field] = []
    is_inside = False
    for number, raw in enumerate(text.translate(CONTROLS).splitlines(), 1):
        line = raw.rpartition("{4:")[2] if "{4:" in raw else raw
        match = TAG.fullmatch(line)
        if match and is_inside and _is_text(match[1], fields):
            match = None
        if match and match[1] == "20":
            if fields:
                yield fields
            fields, is_inside = [], True
        if not is_inside or not line.strip():
            continue
        if match:
            fields.append(_Field(match[1], (match[2],), number))
        elif line.rstrip() == "-" or line.startswith(("-}", "{")):
            is_inside = False
        else:
            fields[-1] = fields[-1]._replace(lines=(*fields[-1].lines, line))
    if fields:
        yield fields


def _is_text(tag: str, fields: list[_Field]) -> bool:
    """Return whether what looks like a tag is the text of an entry, such as the rest of a time that the bank wrapped: :30:45."""
    return fields[-1].tag in ("61", "86") and tag.isdecimal() and len(tag) == 2 and tag not in AFTER_ENTRIES  # noqa: PLR2004


def _read_page(fields: list[_Field], place: str) -> Page:
    tags = [field.tag for field in fields]
    if "34F" in tags:
        raise BankFileError(f"{place} is an interim report (MT942), whose entries come again in the statement; expected MT940")
    account = re.sub(r"\s", "", _only(fields, ("25", "25P"), place).lines[0])
    opening_field, closing_field = _only(fields, ("60F", "60M"), place), _only(fields, ("62F", "62M"), place)
    opening, closing = _read_balance(opening_field, place), _read_balance(closing_field, place)
    if opening.currency != closing.currency:
        raise BankFileError(f"{place} opens and closes in different currencies, which cannot be added up")
    if not account:
        raise BankFileError(f"{place} names no account (:25: is empty)")
    number, page_number = _read_number(_only(fields, ("28", "28C"), place).text)
    is_first = opening_field.tag == "60F"
    own_number = f"{number}/{page_number}" if number and is_first and (page_number or 1) > 1 else None
    movements, notes = _read_movements(fields, place)
    return Page(
        place, account.removesuffix(opening.currency) or account, opening.currency, number,
        is_first, closing_field.tag == "62F", opening, closing, tuple(movements), "\n".join(notes) or None,
        page_number=page_number, own_number=own_number, sequence=read_sequence(number),
    )  # fmt: skip


def _read_number(text: str) -> tuple[str | None, int | None]:
    """Return number and page of a statement (:28C:5/1), None where the bank gives none, or 0 for all."""
    number, _, page = (part.strip() for part in text.partition("/"))
    return number if number.strip("0") else None, int(page) or None if PAGE.fullmatch(page) else None


def _only(fields: list[_Field], tags: tuple[str, ...], place: str) -> _Field:
    found = [field for field in fields if field.tag in tags]
    if len(found) != 1:
        raise BankFileError(f"{place} has {len(found) or 'no'} lines :{tags[-1]}:; {ORDER}. Was it cut off?")
    return found[0]


def _read_balance(field: _Field, place: str) -> Balance:
    match = BALANCE.fullmatch(field.text)
    day = _read_date(match[2]) if match else None
    if match is None or day is None:
        raise BankFileError(f"line {field.line_number}, :{field.tag}: of {place}, is no balance; expected one such as C261120EUR1234,56")
    amount = _read_amount(match[4])
    return Balance(-amount if match[1] == "D" else amount, match[3], day.day)


def _read_movements(fields: list[_Field], place: str) -> tuple[list[Movement], list[str]]:
    """Return the entries with the :86: lines that follow them, and the :86: lines after the closing balance, which are the statement's."""
    entries: list[tuple[_Field, list[_Field]]] = []
    notes: list[str] = []
    is_closed = False
    for field in fields:
        is_closed = is_closed or field.tag in ("62F", "62M")
        if field.tag == "61":
            if is_closed:
                raise BankFileError(f"line {field.line_number} of {place} is an entry after the closing balance; {ORDER}")
            entries.append((field, []))
        elif field.tag == "86" and (is_closed or not entries):
            notes += field.lines
        elif field.tag == "86":
            entries[-1][1].append(field)
    return [_read_entry(entry, details, place) for entry, details in entries], notes


def _read_entry(field: _Field, details: list[_Field], place: str) -> Movement:
    line, extra = field.lines[0], field.lines[1:]
    match = ENTRY.fullmatch(line)
    value = _read_date(match["value"]) if match else None
    booking = _read_entry_date((match["entry"] or "").strip(), value) if match and value else None
    if match is None or value is None or booking is None:
        hint = "EC and ED are not booked yet, and belong in no MT940" if EXPECTED_MARKS.match(line) else f"expected one such as {EXAMPLE}"
        raise BankFileError(f"line {field.line_number}, :61: of {place}, cannot be read as an entry; {hint}")
    reference, _, bank_reference = match["references"].partition("//")
    amount = _read_amount(match["amount"])
    subfields = _read_details("".join(detail.text for detail in details))
    text = "\n".join(part for part in (*extra, *(line for detail in details for line in detail.lines)) if part.strip())
    code = "-".join(part for part in ((match["type"] or "").strip(), subfields.code) if part)
    return Movement(
        amount=-amount if match["mark"] in DEBITS else amount,
        booking=booking,
        value=value,
        is_reversal=match["mark"].startswith("R"),
        code=code or None,
        reference=_reference(reference),
        bank_reference=_reference(bank_reference),
        end_to_end_id=_reference(subfields.end_to_end_id),
        counterparty=subfields.name.strip() or None,
        counterparty_account=subfields.account.strip() or None,
        remittance=subfields.remittance.strip() or None,
        text=text or None,
    )


def _read_entry_date(text: str, value: BankDate) -> BankDate | None:
    """Return the entry date, which has no year: the one nearest to the value date. Without an entry date it is the value date."""
    if not text:
        return value
    dates = (clamp_date(year, int(text[:2]), int(text[2:]), text) for year in range(value.day.year - 1, value.day.year + 2))
    return min((found for found in dates if found), key=lambda found: abs(found.day - value.day), default=None)


def _read_date(text: str) -> BankDate | None:
    year = int(text[:2])
    return clamp_date(year + (1900 if year >= CENTURY else 2000), int(text[2:4]), int(text[4:]), text)


def _read_amount(text: str) -> Decimal:
    return Decimal(text.replace(",", "."))


def _reference(text: str) -> str | None:
    return text.strip() if text.strip() not in NO_REFERENCE else None


class _Details(NamedTuple):
    code: str = ""
    end_to_end_id: str = ""
    name: str = ""
    account: str = ""
    remittance: str = ""


def _read_details(text: str) -> _Details:
    """Return the subfields of :86:, empty where it is free text: German (166?00...?20...) or Dutch (/EREF/.../NAME/..., //CNTP/...)."""
    if match := STRUCTURED.match(text):
        parts = text[match.end(2) :].split(match[2])
        found: dict[str, str] = {}
        for part in parts:
            key, rest = part[:2], part[2:]
            if not key.isdecimal():  # the separator itself in a text
                key, rest = next(reversed(found), "20"), match[2] + part
            found[key] = found.get(key, "") + rest
        purpose = "".join(found.get(key, "") for key in PURPOSE)
        keys = _split_keys(SEPA_KEY, purpose)
        return _Details(
            match[1], keys.get("EREF", ""), found.get("32", "") + found.get("33", ""), found.get("31", ""), keys.get("SVWZ", purpose)
        )
    keys = {key: value.removeprefix("/").removesuffix("/") for key, value in _split_keys(SLASH_KEY, text).items()}
    account, _, name, *_ = [*keys.get("CNTP", "").split("/"), "", ""]  # between them is the BIC, and a city may follow
    # /REMI/USTD//text/ or /REMI/STRD/CUR/reference/
    remittance = keys.get("REMI") or keys.get("USTD", "").removeprefix("/") or keys.get("STRD", "").rpartition("/")[2]
    return _Details("", keys.get("EREF", ""), keys.get("NAME") or name, keys.get("IBAN") or account, remittance)


def _split_keys(pattern: re.Pattern[str], text: str) -> dict[str, str]:
    """Return the first text after each key."""
    parts = pattern.split(text)
    found: dict[str, str] = {}
    for key, value in zip(parts[1::2], parts[2::2], strict=True):
        found.setdefault(key, value)
    return found
