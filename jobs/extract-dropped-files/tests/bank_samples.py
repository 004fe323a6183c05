"""Bank files with invented accounts and figures: the shapes are those of real banks."""

from __future__ import annotations

from textwrap import dedent
from typing import NamedTuple

IBAN = "DE89370400440532013000"


class Entry(NamedTuple):
    """An entry of a camt.053 statement; `more` is XML inside it."""

    amount: str
    direction: str = "CRDT"
    day: str = "2026-11-20"
    status: str = "BOOK"
    more: str = ""
    currency: str = "EUR"


def camt(*statements: str, version: str = "08", message: str = "M1") -> str:
    """A camt.053 file of a version with these statements."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version}"><BkToCstmrStmt>'
        f"<GrpHdr><MsgId>{message}</MsgId><CreDtTm>2026-11-21T06:00:00.123456789+01:00</CreDtTm></GrpHdr>{''.join(statements)}"
        "</BkToCstmrStmt></Document>"
    )


def statement(
    opening: str,
    closing: str,
    *entries: Entry,
    name: str = "S1",
    days: tuple[str, str] = ("2026-11-20", "2026-11-20"),
    version: str = "08",
    codes: tuple[str, str] = ("OPBD", "CLBD"),
    currencies: tuple[str, str] = ("EUR", "EUR"),
    more: str = "",
    account: str = IBAN,
    created: str = "2026-11-21T06:00:00.123456789+01:00",
) -> str:
    """A statement of a camt.053 file."""
    balances = "".join(map(_balance, codes, (opening, closing), currencies, days))
    booked = "".join(_entry(entry, version) for entry in entries)
    return f"<Stmt><Id>{name}</Id>{more}<CreDtTm>{created}</CreDtTm><Acct><Id><IBAN>{account}</IBAN></Id></Acct>{balances}{booked}</Stmt>"


def _balance(code: str, amount: str, currency: str, day: str) -> str:
    direction = "DBIT" if amount.startswith("-") else "CRDT"
    return (
        f'<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp><Amt Ccy="{currency}">{amount.removeprefix("-")}</Amt>'
        f"<CdtDbtInd>{direction}</CdtDbtInd><Dt><Dt>{day}</Dt></Dt></Bal>"
    )


def _entry(entry: Entry, version: str) -> str:
    status = entry.status if version in ("02", "04") else f"<Cd>{entry.status}</Cd>"
    return (
        f'<Ntry><Amt Ccy="{entry.currency}">{entry.amount}</Amt><CdtDbtInd>{entry.direction}</CdtDbtInd>{entry.more}'
        f"<Sts>{status}</Sts><BookgDt><Dt>{entry.day}</Dt></BookgDt><ValDt><Dt>{entry.day}</Dt></ValDt></Ntry>"
    )


def mt940(*lines: str, number: str = "7/1", opening: str = "F:C261119EUR100,00", closing: str = "F:C261120EUR100,00") -> str:
    """An MT940 message with these lines between its balances."""
    middle = "".join(f"{line}\n" for line in lines)
    return f":20:STARTUMS\n:25:37040044/532013000\n:28C:{number}\n:60{opening}\n{middle}:62{closing}\n-\n"


GERMAN = dedent("""\
    :61:2611201120DR12,35NDDTKREF+//2026112012345
    /OCMT/EUR11,85//CHGS/EUR0,50/
    :86:105?00LASTSCHRIFT?20EREF+A1.200080779.400143254?21.4961336 MREF+M?
    22AND-1 SVWZ+Rechnung 500?2306875 Vertr
    ag 7?30COBADEFFXXX?31DE89370400440532013000?32MUSTER?33 AG
    :61:261120C5,00NTRFNONREF
    :86:/EREF/E-77/NAME/J DOE/REMI/Reference 77/ISDT/2026-11-20""").splitlines()
