"""Bank files: read the statements of a camt.053 or MT940 file, and tell a statement that is sent again from a new one.

A file fills two datasets, `bank_statement` and `bank_movement`, with one partition of each per statement. A statement is found again by
its account, closing day and the bank's name of it (Stmt/Id, :28C:), or, under another name, by its content. Any other statement of days
that the lake has would count movements twice, and is refused.

A format of this job and no job of its own, because everything around it is the same: drop, archives, reasons for the sender, unpacking, the
event of an object, rights. Only the rows differ: they come from a document and not from a sheet.
"""

from __future__ import annotations

import io
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from jobkit import contracts
from jobkit.errors import BadDataError

from extract_dropped_files import camt053, delivery, mt940, parser, statements
from extract_dropped_files.statements import BankFileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date
    from decimal import Decimal

    from jobkit.contracts import Contract
    from jobkit.lake import Lake

    from extract_dropped_files.statements import Page, Statement

STATEMENTS, MOVEMENTS = "bank_statement", "bank_movement"
HEAD_BYTES = 1024
# What people drop besides statements. A workbook begins as a zip file or, until 2003, as an OLE container.
OTHERS = {
    "an OFX file": (b"OFXHEADER", b"<OFX>"),
    "an Excel workbook or an archive": (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    "a QIF file": (b"!Type:",),
}
MAX_ENTRIES = 500_000  # of an MT940 file; they take more memory than their bytes


class KnownStatement(NamedTuple):
    """What identifies a statement that the lake has, or that the same file has before."""

    statement_id: str
    opening_date: date
    closing_date: date
    opening_balance: Decimal
    closing_balance: Decimal
    content_sha256: str
    text: str | None
    created_at: str | None
    sequence_number: int | None


def read(rules: Contract, data: bytes, name: str) -> list[Statement]:
    """Return the statements of a file, or of all files in a zip in the order of their names.

    Raises BadDataError (65) if one of them is not whole.
    """
    members = sorted(parser.unpack(data, name), key=lambda member: member[1])
    if not members:
        raise BankFileError(f"{name} holds no file; expected camt.053 or MT940")
    # the names inside a zip come from outside, and may have an account's number
    labels = [name] if len(members) == 1 else [f"file {number} of {name}" for number in range(1, len(members) + 1)]
    pages = [page for (content, _), label in zip(members, labels, strict=True) for page in _read_pages(rules, content, label)]
    return statements.join_pages(pages)


def _read_pages(rules: Contract, data: bytes, name: str) -> list[Page]:
    if not data.strip():
        raise BankFileError(f"{name} is empty; was it sent before it was written?")
    if other := next((kind for kind, marks in OTHERS.items() if any(mark in data[:HEAD_BYTES] for mark in marks)), None):
        raise BankFileError(f"{name} is {other}; ask the bank for camt.053 or MT940, whose balances prove that they are whole")
    if data.lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n").startswith(b"<"):
        return camt053.read_pages(data, name)
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode(rules.layout.encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BankFileError(
            f"line {line} of {name} is not {rules.layout.encoding}; drop it into a folder whose contract names its encoding"
        ) from None
    if text.count("\n:61:") > MAX_ENTRIES:
        raise BankFileError(f"{name} has more than {MAX_ENTRIES:,} entries; split it between two statements")
    return mt940.read_pages(text, name)


def reconcile(found: Sequence[Statement], known: Sequence[KnownStatement]) -> list[Statement]:
    """Return the statements of one account, each once, under the names that the lake has for them.

    Raises BankFileError if a statement is of days that another one is of, unless it continues the balances of that day.
    """
    named: dict[tuple[date, str], tuple[Statement, KnownStatement]] = {}
    contents = {one.content_sha256: one for one in known}
    versions = {_name(one): one for one in known}
    for statement in found:
        one = _describe(statement)
        if same := contents.get(one.content_sha256):  # whatever message it came in, the lake's row stays as it is
            statement = _keep_names(statement, same)  # noqa: PLW2901
            one = same
        _, earlier = named.setdefault(_name(one), (statement, one))
        for other in (earlier, versions.get(_name(one), earlier)):
            _check_version(statement, one, other)
        if earlier.content_sha256 != one.content_sha256:
            raise BankFileError(f"{statement.place} is in the file twice, with different content; send the right one alone")
    waiting = [(statement, one) for statement, one in named.values() if one.content_sha256 not in contents]
    replaced = {_name(one) for _, one in waiting}
    placed = [one for one in known if _name(one) not in replaced]
    while waiting:  # in the order in which their balances continue each other, which need not be that of the file
        index = next((index for index, (_, one) in enumerate(waiting) if _fits(one, placed)), None)
        if index is None:
            raise _refuse_overlap(*waiting[0], placed)
        placed.append(waiting.pop(index)[1])
    return [statement for statement, _ in named.values()]


def _keep_names(statement: Statement, known: KnownStatement) -> Statement:
    """Return a statement that is sent again as the lake has it."""
    sequence = None if known.sequence_number is None else str(known.sequence_number)
    return statement._replace(statement_id=known.statement_id, text=known.text, created=known.created_at, sequence=sequence)


def _refuse_overlap(statement: Statement, one: KnownStatement, placed: Sequence[KnownStatement]) -> BankFileError:
    other = next(other for other in placed if _is_within(one, other) or _share_day(one, other))
    return BankFileError(
        f"{statement.place} is of days of which the lake has another statement, so that movements would be there twice; {REMEDY}",
        f"{statement.place} ({one.opening_date} to {one.closing_date}, opening {one.opening_balance:,f}) is of days of which there "
        f"is another statement: {other.statement_id!r}, {other.opening_date} to {other.closing_date}, opening "
        f"{other.opening_balance:,f}; movements would be there twice. {REMEDY}",
    )


REMEDY = "drop one kind of statement per account, and a correction under the number of the statement that it corrects"


def _check_version(statement: Statement, one: KnownStatement, known: KnownStatement) -> None:
    """Raise BankFileError if the statement is no correction of the known one of its name: if it continues its balance, or is older.

    MT940 does not say when a statement was made.
    """
    follows, precedes = one.opening_balance == known.closing_balance, one.closing_balance == known.opening_balance
    if (follows or precedes) and one.opening_balance != known.opening_balance:
        raise BankFileError(
            f"{statement.place} continues another statement of its day under the same number, so it is no correction of it; "
            "ask the bank for numbers that differ, or for one statement of the day"
        )
    made, known_made = _read_time(statement.created), _read_time(known.created_at)
    if made and known_made and made < known_made:
        raise BankFileError(
            f"{statement.place} was made at {statement.created}, and the lake has a version of it that was made later; it stays"
        )


def _read_time(text: str | None) -> datetime | None:
    """Return a creation time, None without one. One without a zone is compared as UTC: a bank writes all its times alike."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _name(statement: KnownStatement) -> tuple[date, str]:
    return statement.closing_date, statement.statement_id


def _describe(statement: Statement) -> KnownStatement:
    opening, closing = statement.opening, statement.closing
    return KnownStatement(
        statement.statement_id, opening.day, closing.day, opening.amount, closing.amount, statement.content_sha256, statement.text,
        statement.created, None if statement.sequence is None else int(statement.sequence),
    )  # fmt: skip


def _fits(one: KnownStatement, placed: Sequence[KnownStatement]) -> bool:
    """Return whether no movement of a statement can be in one of the others.

    Banks date an opening balance on the day before the movements (MT940) or on their day (camt.053), so two statements may share a day
    that ends one and begins the other. Statements of a day are apart if they are a chain, each opening with the balance with which
    another closes: a new one has to continue one of them, and may begin no second chain.
    """
    if any(_is_within(one, other) for other in placed):
        return False
    sharing = [other for other in placed if _share_day(one, other)]
    if not sharing:
        return True
    return any(_continues(one, other) for other in sharing) and _count_chains([*sharing, one]) <= _count_chains(sharing)


def _is_within(one: KnownStatement, other: KnownStatement) -> bool:
    """Return whether two statements of different days have more than a day in common that ends one and begins the other."""
    first, second = sorted((one, other), key=_days)
    return _days(one) != _days(other) and first.closing_date > second.opening_date


def _share_day(one: KnownStatement, other: KnownStatement) -> bool:
    """Return whether the movements of two statements may be of one day."""
    if one.closing_date < other.opening_date or other.closing_date < one.opening_date:
        return False
    return one.opening_date == other.opening_date or one.closing_date == other.closing_date


def _continues(one: KnownStatement, other: KnownStatement) -> bool:
    first, second = sorted((one, other), key=_days)
    is_next = first.closing_balance == second.opening_balance
    return is_next or (_days(one) == _days(other) and second.closing_balance == first.opening_balance)


def _count_chains(group: Sequence[KnownStatement]) -> int:
    """Return into how many chains statements fall: how often a balance opens one more often than it closes one, at least once."""
    ends = Counter(one.opening_balance for one in group)
    ends.subtract(one.closing_balance for one in group)
    return max(1, sum(count for count in ends.values() if count > 0))


def _days(statement: KnownStatement) -> tuple[date, date]:
    return statement.opening_date, statement.closing_date


def reconcile_with_lake(rules: Contract, found: Sequence[Statement], lake: Lake) -> list[Statement]:
    """Reconcile the statements of a file with those in the lake."""
    accounts: dict[tuple[str, str], list[Statement]] = {}
    for statement in found:
        accounts.setdefault((statement.account, statement.currency), []).append(statement)
    return [
        one
        for account, group in accounts.items()
        for one in reconcile(group, list(_read_known(rules, lake, account, min(statement.opening.day for statement in group))))
    ]


def _read_known(rules: Contract, lake: Lake, account: tuple[str, str], since: date) -> Iterator[KnownStatement]:
    """Yield the account's statements in the lake that close on a day or later. Only these are read; a partition's name has its day."""
    from arro3.io import read_parquet  # noqa: PLC0415  heavy; only extracting needs it

    folder, _, _ = delivery.format_partition(rules, [*account, since.isoformat(), ""]).partition(f"/{rules.partition[2]}=")
    for partition, _ in lake.iter_latest_numbers(rules.dataset, below=folder):
        day = partition.removeprefix(f"{folder}/{rules.partition[2]}=").partition("/")[0]
        head = lake.read_state(rules.dataset, partition).head if day >= since.isoformat() else None
        if head:
            table = read_parquet(io.BytesIO(lake.read(head.data))).read_all()
            missing = [None] * table.num_rows  # in a commit from before the column
            columns = [table.column(name).to_pylist() if name in table.schema.names else missing for name in KnownStatement._fields]
            yield from (KnownStatement(*row) for row in zip(*columns, strict=True))


def build_parts(rules: Contract, movement_rules: Contract, found: Sequence[Statement]) -> Iterator[delivery.Part]:
    """Yield the partitions that statements fill: movements first, so that no statement is seen without its movements.

    Raises BadDataError (65) if a row breaks its contract.
    """
    for contract, build in ((movement_rules, statements.build_movement_rows), (rules, statements.build_statement_row)):
        for one in found:
            cells = [one.account, one.currency, one.closing.day.isoformat(), one.statement_id]
            try:
                result = contracts.validate(contract, build(one))
            except BadDataError as error:
                raise BankFileError(f"{one.place}: {error}") from None
            yield delivery.Part(contract, delivery.format_partition(contract, cells), result)
