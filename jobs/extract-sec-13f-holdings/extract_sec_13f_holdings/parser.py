"""Parse a filing of Form 13F: one row per line of its information table.

The unit of `value` is not stated. It is thousands of dollars up to 2022 and dollars since 2023-01-03, but filings after that day are in
thousands, too (0001790837-23-000002). So it is decided per filing, by what a share would be worth; where that does not settle it, the unit
is null. The values stay as filed. Source: SEC, Frequently Asked Questions About Form 13F.
"""

from __future__ import annotations

import re
from decimal import Decimal
from statistics import median
from typing import TYPE_CHECKING

from jobkit.edgar.submission import Submission, find_text, iter_children, open_submission, to_day
from jobkit.errors import BadDataError
from jobkit.xml_documents import to_digits

from extract_sec_13f_holdings.source import FILINGS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from xml.etree.ElementTree import Element

    from jobkit.contracts import Columns
    from jobkit.requests import Request

AMENDMENTS = {"RESTATEMENT": "RESTATEMENT", "NEW HOLDINGS": "NEW HOLDINGS"}
DOLLARS_FROM = "20230103"  # filings since then have to be in dollars
SEVERAL = 10  # shares
LOW, HIGH = Decimal("0.5"), Decimal(10)  # the median share of a portfolio is worth more than 0.5 and less than 10,000 dollars
NUMBER = re.compile(r"[+-]?(?:\d{1,20}\.?\d{0,10}|\.\d{1,10})", re.ASCII)
CHEAP = re.compile(r"\*W|\b(?:WTS?|WARRANTS?|RTS?|RIGHTS?)\b", re.IGNORECASE)  # classes that are worth a fraction of a share
MAX_TAGS, MAX_LINES = 4_000_000, 120_000  # entries take more memory than their bytes; as many as a file of the largest size has in practice
REQUIRED = ("name_of_issuer", "cusip", "value", "amount", "amount_type")  # of each line but 0
NUMBERS = {"value", "amount", "voting_sole", "voting_shared", "voting_none"}
LINE = {
    "name_of_issuer": ("nameOfIssuer",),
    "title_of_class": ("titleOfClass",),
    "cusip": ("cusip",),
    "figi": ("figi",),
    "value": ("value",),
    "amount": ("shrsOrPrnAmt", "sshPrnamt"),
    "amount_type": ("shrsOrPrnAmt", "sshPrnamtType"),
    "put_call": ("putCall",),
    "investment_discretion": ("investmentDiscretion",),
    "other_manager": ("otherManager",),
    "voting_sole": ("votingAuthority", "Sole"),
    "voting_shared": ("votingAuthority", "Shared"),
    "voting_none": ("votingAuthority", "None"),
}


def parse(body: bytes, request: Request) -> dict[str, Columns]:
    """Return the lines of a filing's information table, in its order; for a table without entries one line 0, which has no holding.

    Raises BadDataError (exit code 65) if the filing is another, if its table does not have the number of entries and the total value that
    its summary states, if a line lacks what each must have, or if an amendment does not say what it amends.
    """
    (partition,) = request.partitions
    cik, accession = (part.partition("=")[2] for part in partition.split("/"))
    what = f"the filing {accession}"
    filing = open_submission(body, what)
    if filing.accession != accession or filing.form not in FILINGS.forms:
        raise BadDataError(f"{what} is {filing.form} {filing.accession}; expected {' or '.join(FILINGS.forms)} with this number")
    cover = filing.read_xml(filing.form, what)
    lines = _read_table(filing, cover, what)
    columns: Columns = {name: [_read(line, name) for line in lines] for name in LINE}
    if missing := [name for name in REQUIRED if not all(columns[name])]:
        raise BadDataError(f"{what} has a line without {' and '.join(missing)}; nothing of it is taken")
    ratios = _list_values_per_share(columns)
    once = {
        "cik": cik.lstrip("0"),
        "accession": accession,
        "form": filing.form,
        "period": to_day(filing.period),
        "filed": to_day(filing.filed),
        "accepted_at": filing.accepted_at.isoformat(),
        "amendment_type": _read_amendment(cover, filing.form, what),
        "amendment_number": _find(cover, "coverPage", "amendmentNo"),
        "report_type": _find(cover, "coverPage", "reportType"),
        "value_unit": _decide_unit(ratios, filing.filed),
        "value_per_share": format(round(median(ratios), 6), "f") if ratios else None,
    }
    numbers = range(1, len(lines) + 1)
    if not lines:
        numbers, columns = range(1), {name: [None] for name in LINE}
    return {partition: {**{name: [text] * len(numbers) for name, text in once.items()}, "line": list(numbers), **columns}}


def _read(line: Element, name: str) -> str | None:
    """Return the text of a column; a number with digits before its point, as contracts read it."""
    text = find_text(line, *LINE[name])
    return to_digits(text) if text and name in NUMBERS else text


def _find(cover: Element, *path: str) -> str | None:
    return find_text(cover, "formData", *path)


def _read_table(filing: Submission, cover: Element, what: str) -> list[Element]:
    """Return the entries of the information table. Raises BadDataError unless they are as many, and as valuable, as the summary states."""
    entries, total = (_find(cover, "summaryPage", name) for name in ("tableEntryTotal", "tableValueTotal"))
    tables = [body for name, body in filing.documents if name == "INFORMATION TABLE"]
    has_table = bool(tables)
    if sum(body.count(b"<") for body in tables) > MAX_TAGS:
        raise BadDataError(f"{what} has a table of more than {MAX_TAGS:,} tags, for which this job has no memory; is it a filing?")
    lines = list(iter_children(filing.read_xml("INFORMATION TABLE", what), "infoTable")) if has_table or entries != "0" else []
    if len(lines) > MAX_LINES:
        raise BadDataError(f"{what} has {len(lines):,} entries; expected at most {MAX_LINES:,}, for which this job has the memory")
    stated, values = _to_number(total), [_to_number(find_text(line, "value") or "0") for line in lines]
    if stated is None or None in values:
        raise BadDataError(
            f"{what} has values that are no numbers, or states no total; expected numbers, and {total!r:.40} to be their sum"
        )
    found = sum(filter(None, values), Decimal(0))
    if str(len(lines)) != (entries or "").lstrip("0").rjust(1, "0") or found != stated:
        raise BadDataError(f"{what} has {len(lines):,} entries worth {found:,}, and states {entries} worth {total}; nothing of it is taken")
    return lines


def _read_amendment(cover: Element, form: str, what: str) -> str | None:
    """Return RESTATEMENT or NEW HOLDINGS, None if the filing amends nothing. Raises BadDataError for an amendment of another type."""
    if not form.endswith("/A"):
        return None
    stated = _find(cover, "coverPage", "amendmentInfo", "amendmentType")
    kind = AMENDMENTS.get(" ".join((stated or "").upper().split()))
    if kind is None:
        raise BadDataError(f"{what} is an amendment of the type {stated!r}; expected RESTATEMENT or NEW HOLDINGS")
    return kind


def _to_number(text: str | None) -> Decimal | None:
    """Return a number without exponent; None for any other text."""
    return Decimal(text) if text and NUMBER.fullmatch(text) else None


def _list_values_per_share(columns: Columns) -> list[Decimal]:
    """Return value by shares, of the lines of shares that are no options, warrants or rights."""
    names = ("value", "amount", "amount_type", "put_call", "title_of_class")
    lines = zip(*(columns[name] for name in names), strict=True)
    amounts = [
        (_to_number(value), _to_number(shares))
        for value, shares, kind, option, title in lines
        if kind == "SH" and not option and not CHEAP.search(title or "")
    ]
    return [value / shares for value, shares in amounts if value is not None and shares]


def _decide_unit(ratios: Sequence[Decimal], filed: str) -> str | None:
    """Return USD or kUSD; None if the ratios of value to shares could be either.

    A median from 0.5 to 10 may be cheap shares in dollars or dear ones in thousands, which is settled for filings before 2023. A higher one
    in such a filing would be a portfolio of shares worth 10,000 dollars and more. Since then a low median shows thousands only in a
    portfolio of several shares, all of which would be worth less than 10 dollars: exchanges delist shares that stay below one dollar, but
    a few of them may be all that a manager holds.
    """
    if not ratios:
        return None
    ratio = median(ratios)
    if filed < DOLLARS_FROM:
        return "kUSD" if ratio < HIGH else None
    if ratio < LOW and max(ratios) < HIGH and len(ratios) >= SEVERAL:
        return "kUSD"
    return "USD" if ratio >= HIGH else None
