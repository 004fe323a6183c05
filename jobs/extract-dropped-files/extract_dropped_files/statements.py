"""Bank statements: pages become whole statements whose balances are checked, and statements become the rows of two datasets.

A statement closes: opening balance + movements = closing balance, exactly. So it proves that it is complete, and one that does not close
is refused with its file. Amounts are Decimal, positive for money that comes in. Pure: no clock, no network, no lake.
"""

from __future__ import annotations

import calendar
import hashlib
import re
from collections import Counter
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit.errors import BadDataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jobkit.contracts import Columns

ID_CHARS = 32  # of a digest that names a movement
ISO_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
SEQUENCE = re.compile(r"[0-9]{1,9}")
MONTHS, LAST_DAY = 12, 31


class BankFileError(BadDataError):
    """A bank file cannot be used. The message has no value of the file; `reason` has, and is for whoever dropped it."""

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or message


class BankDate(NamedTuple):
    """A date of a bank. `as_sent` is the date's text if there is no such day: German accounts have a 30 February (30/360)."""

    day: date
    as_sent: str | None = None


class Balance(NamedTuple):
    """A balance at the close of a day, negative if overdrawn."""

    amount: Decimal
    currency: str
    day: date


class Movement(NamedTuple):
    """A booked entry. `amount` is what it adds to the balance, so a cancelled credit is negative; `details` are the payments in a batch."""

    amount: Decimal
    booking: BankDate
    value: BankDate | None = None
    is_reversal: bool = False
    code: str | None = None
    reference: str | None = None
    bank_reference: str | None = None
    end_to_end_id: str | None = None
    counterparty: str | None = None
    counterparty_account: str | None = None
    remittance: str | None = None
    text: str | None = None
    details: int = 0


class Page(NamedTuple):
    """A page of a statement. `number` is the bank's name of the statement, `page_number` that of the page in it, None without one.

    `own_number` is that of a statement which begins on a later page: of two parts of a day in MT940, 5/1 and 5/2, the second. `sequence` is
    the place of the statement among those of the account, where the bank counts them. Interim balances may be missing.
    """

    place: str
    account: str
    currency: str
    number: str | None
    is_first: bool
    is_last: bool
    opening: Balance | None
    closing: Balance | None
    movements: tuple[Movement, ...]
    text: str | None = None
    created: str | None = None
    page_number: int | None = None
    own_number: str | None = None
    sequence: str | None = None


class Statement(NamedTuple):
    """A whole statement that closes. `statement_id` is the bank's name of it, or its opening balance if the bank gives none."""

    place: str
    account: str
    currency: str
    statement_id: str
    opening: Balance
    closing: Balance
    movements: tuple[Movement, ...]
    text: str | None
    created: str | None
    sequence: str | None

    @property
    def content_sha256(self) -> str:
        """The digest of balances and movements: the same for a statement that is sent again, under whatever number and message."""
        balances = tuple(map(_text, (*self.opening, *self.closing)))
        movements = sorted(map(_identify, self.movements))
        return hashlib.sha256(repr((self.account, self.currency, balances, movements)).encode()).hexdigest()


def read_sequence(text: str | None) -> str | None:
    """Return a number of up to nine digits without leading zeros; None for zero, which is no number, and for another text."""
    return str(int(text)) if text and SEQUENCE.fullmatch(text) and int(text) else None


def read_iso_date(text: str) -> BankDate | None:
    """Return the date at the beginning of a text, None if there is none. The bank's own day counts: a time is not moved to another zone."""
    match = ISO_DATE.match(text)
    return clamp_date(int(match[1]), int(match[2]), int(match[3]), text) if match else None


def clamp_date(year: int, month: int, day: int, text: str) -> BankDate | None:
    """Return the date, or the last day of the month if that has no such day; None if no calendar has it, 30/360 included."""
    if not (1 <= month <= MONTHS and 1 <= day <= LAST_DAY and year):
        return None
    last = calendar.monthrange(year, month)[1]
    return BankDate(date(year, month, min(day, last)), text if day > last else None)


def join_pages(pages: Iterable[Page]) -> list[Statement]:
    """Join pages to statements, in the order of their last pages. The numbered pages of a statement may come in any order.

    Raises BankFileError if a page is missing or doubled, or if balances and movements of a page or a statement do not add up.
    """
    chains: dict[tuple[str, str], list[Page]] = {}
    statements = []
    for page in _sort(pages):
        chain = chains.setdefault((page.account, page.currency), [])
        _check_follows(page, chain)
        _check_sum(page.place, page.opening, page.movements, page.closing)
        chain.append(page)
        if page.is_last:
            statements.append(_join(chain))
            chain.clear()
    for chain in chains.values():
        if chain:
            raise BankFileError(f"{chain[-1].place} has an interim closing balance, and its next page is not in the file; {ALL_PAGES}")
    return statements


ALL_PAGES = "put all pages of a statement into one file, or into one .zip"


def _sort(pages: Iterable[Page]) -> list[Page]:
    """Put the numbered pages of each statement in order, in the places that they have among the others.

    Pages with one number, such as those of number 7 of two years, stay in the order in which they came.
    """
    found = list(pages)
    places: dict[tuple[str, str, str], list[int]] = {}
    for place, page in enumerate(found):
        if page.number and page.page_number:
            places.setdefault((page.account, page.currency, page.number), []).append(place)
    for taken in places.values():
        by_number = {found[place].page_number or 0: found[place] for place in taken}
        if len(by_number) == len(taken):
            for place, (_, page) in zip(taken, sorted(by_number.items()), strict=True):
                found[place] = page
    return found


def _check_follows(page: Page, chain: Sequence[Page]) -> None:
    """Raise BankFileError unless the page continues the chain, or begins one if that is empty."""
    if page.is_first and chain:
        raise BankFileError(f"{chain[-1].place} has an interim closing balance, but {page.place} begins another statement; {ALL_PAGES}")
    if page.is_first:
        return
    if not chain:
        raise BankFileError(f"{page.place} has an interim opening balance, and its previous page is not in the file; {ALL_PAGES}")
    before = chain[-1]
    if page.number != before.number:
        raise BankFileError(f"{page.place} continues another statement than {before.place} began; {ALL_PAGES}")
    if page.page_number and before.page_number and page.page_number != before.page_number + 1:
        raise BankFileError(
            f"{page.place} is page {page.page_number} of its statement, but {before.place} before it is page {before.page_number}; "
            f"{ALL_PAGES}, each once"
        )
    if page.opening and before.closing and page.opening.amount != before.closing.amount:
        raise BankFileError(
            f"{page.place} does not begin with the balance that {before.place} ends with; {ALL_PAGES}, in their order",
            f"{page.place} opens with {page.opening.amount:,f}, but {before.place} closes with {before.closing.amount:,f}; "
            f"{ALL_PAGES}, in their order",
        )


def _check_sum(place: str, opening: Balance | None, movements: Iterable[Movement], closing: Balance | None) -> None:
    """Raise BankFileError, with the three figures in its reason, unless opening + movements is closing, or one of them is missing."""
    if opening is None or closing is None:
        return
    moved = sum((movement.amount for movement in movements), Decimal(0))
    total = opening.amount + moved
    if total != closing.amount:
        end = "ask the bank for the whole statement; nothing of the file was loaded"
        raise BankFileError(
            f"{place} does not close: opening balance and movements do not add up to the closing balance; {end}",
            f"{place} does not close: opening {opening.amount:,f} + movements {moved:,f} = {total:,f}, "
            f"but closing is {closing.amount:,f}; {end}",
        )


def _join(pages: Sequence[Page]) -> Statement:
    first, last = pages[0], pages[-1]
    for balance, name, page in ((first.opening, "opening", first), (last.closing, "closing", last)):
        if balance is None:
            raise BankFileError(f"{page.place} has no {name} balance, so that nothing proves that it is whole; is it a statement of a day?")
    assert first.opening  # noqa: S101  checked above
    assert last.closing  # noqa: S101
    movements = tuple(movement for page in pages for movement in page.movements)
    _check_sum(first.place, first.opening, movements, last.closing)
    if last.closing.day < first.opening.day:
        raise BankFileError(f"{last.place} closes on a day before it opens; are its dates right?")
    text = "\n".join(page.text for page in pages if page.text) or None
    name = first.own_number or first.number or f"{first.opening.day} {first.opening.amount:f}"
    return Statement(
        first.place, first.account, first.currency, name, first.opening, last.closing, movements, text, first.created, first.sequence
    )  # fmt: skip


def build_statement_row(statement: Statement) -> Columns:
    """Return the row of `bank_statement`, as text. It has no number of the message: a statement is the same in every message."""
    opening, closing = statement.opening, statement.closing
    row: dict[str, Any] = {
        "account": statement.account,
        "currency": statement.currency,
        "closing_date": closing.day.isoformat(),
        "statement_id": statement.statement_id,
        "opening_date": opening.day.isoformat(),
        "opening_balance": f"{opening.amount:f}",
        "closing_balance": f"{closing.amount:f}",
        "movement_count": str(len(statement.movements)),
        "text": statement.text,
        "created_at": statement.created,
        "sequence_number": statement.sequence,
        "content_sha256": statement.content_sha256,
    }
    return {name: [value] for name, value in row.items()}


def build_movement_rows(statement: Statement) -> Columns:
    """Return the rows of `bank_movement`, one per booked entry, as text.

    `movement_id` depends on the content of the entry and not on its place, so an entry that a correction adds changes no other row. Entries
    of one statement with the same content are all real (two coffees on one day), and are numbered.
    """
    seen: Counter[tuple[Any, ...]] = Counter()
    columns: Columns = {name: [] for name in (*STATEMENT_KEY, *MOVEMENT_COLUMNS)}
    for movement in statement.movements:
        identity = _identify(movement)
        seen[identity] += 1
        names = (statement.account, statement.currency, statement.closing.day.isoformat(), statement.statement_id)
        digest = hashlib.sha256(repr((*names, identity, seen[identity])).encode()).hexdigest()[:ID_CHARS]
        values = (
            *names, digest, movement.booking.day.isoformat(), movement.booking.as_sent,
            movement.value and movement.value.day.isoformat(), movement.value and movement.value.as_sent,
            f"{movement.amount:f}", str(movement.is_reversal).lower(), movement.code, movement.reference, movement.bank_reference,
            movement.end_to_end_id, movement.counterparty, movement.counterparty_account, movement.remittance, movement.text,
            str(movement.details),
        )  # fmt: skip
        for name, value in zip(columns, values, strict=True):
            columns[name].append(value)
    return columns


STATEMENT_KEY = ("account", "currency", "closing_date", "statement_id")
MOVEMENT_COLUMNS = (
    "movement_id", "booking_date", "booking_date_as_sent", "value_date", "value_date_as_sent", "amount", "is_reversal", "transaction_code",
    "reference", "bank_reference", "end_to_end_id", "counterparty", "counterparty_account", "remittance", "text", "detail_count",
)  # fmt: skip


def _identify(movement: Movement) -> tuple[Any, ...]:
    """Return what makes two movements the same entry. Amounts are compared as values: 8.850 is 8.85."""
    return tuple(_text(value) for value in movement)


def _text(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return "" if value is None else str(value)
