"""Bank accounts as of any day: what the models say is what the banks' bytes said by then, recomputed here from the bytes alone."""

from __future__ import annotations

import random
import re
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import pytest
from extract_dropped_files import bank_files, runner
from jobkit.lake import Lake
from jobkit.stores import open_store

from tests import recorded_lake
from tests.small_project import copy_small_project
from tests.test_custodian_positions import Job
from tests.warehouse.samples import load

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.fixtures_postgres import Warehouse

QUESTIONS = 500
FIRST = date(2026, 11, 2)
ACCOUNTS = ("DE89370400440532013000", "NL26VAYB9589572280")
GAPS = """
select number, previous_date::text, missing_amount, missing_statements
from unnest(%s::text[], %s::date[], %s::timestamptz[]) with ordinality as question (account, day, moment, number)
inner join intermediate.int_bank_statement_gaps as mart
    on mart.account = question.account and balance_date = question.day and known_at <= question.moment and known_to > question.moment
"""
MOVEMENTS = """
select number, amount from unnest(%s::text[], %s::date[], %s::timestamptz[]) with ordinality as question (account, day, moment, number)
inner join staging.stg_bank__movement_versions as mart
    on mart.account = question.account and booking_date = question.day and known_at <= question.moment and known_to > question.moment
"""
BALANCES = """
select number, opening_balance, closing_balance, statement_count
from unnest(%s::text[], %s::date[], %s::timestamptz[]) with ordinality as question (account, day, moment, number)
inner join staging.stg_bank__balance_versions as mart
    on mart.account = question.account and balance_date = question.day and known_at <= question.moment and known_to > question.moment
"""


class Delivery(NamedTuple):
    """A file, and the moments right before it came and at which all of it was known."""

    text: str
    name: str
    known: str


def write_statement(account: str, day: date, name: str, opening: Decimal, amounts: list[Decimal], created: int) -> str:
    """A camt.053 statement of a day."""

    def money(amount: Decimal) -> str:
        return f'<Amt Ccy="EUR">{abs(amount)}</Amt><CdtDbtInd>{"DBIT" if amount < 0 else "CRDT"}</CdtDbtInd>'

    balances = "".join(
        f"<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp>{money(amount)}<Dt><Dt>{day}</Dt></Dt></Bal>"
        for code, amount in (("OPBD", opening), ("CLBD", opening + sum(amounts, Decimal(0))))
    )
    entries = "".join(f"<Ntry>{money(amount)}<Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>{day}</Dt></BookgDt></Ntry>" for amount in amounts)
    return (
        f"<Stmt><Id>{name}</Id><CreDtTm>2026-12-{created + 1:02}T06:00:00Z</CreDtTm><Acct><Id><IBAN>{account}</IBAN></Id></Acct>"
        f"{balances}{entries}</Stmt>"
    )


def write_story(rng: random.Random) -> list[list[str]]:
    """The statements of each delivery: days, some with two statements; what comes late of them; corrections; what is sent again.

    The last day ends with the balance with which it begins, in two statements, of which the tenth is after the ninth.
    """
    first: list[str] = []
    later: list[list[str]] = [[], [], []]
    for account in ACCOUNTS:
        balance = Decimal(100)
        for offset in range(12):
            day, is_late = FIRST + timedelta(days=offset), offset % 4 == 2
            for part in range(rng.choice((0, 1, 1, 2))):
                name = f"{offset}-{part}"
                amounts = [Decimal(rng.choice((-250, -250, 199, 1000, 33))) / 100 for _ in range(rng.randrange(1, 5))]
                delivery = later[0] if is_late or (part and sum(amounts)) else first  # the second of a day comes later
                created = 0 if delivery is first else 1
                delivery.append(write_statement(account, day, name, balance, amounts, created))
                if rng.random() < 0.3 and not part:
                    wrong = [*amounts[:-1], amounts[-1] - 1, Decimal(1)]  # a payment was booked in two parts
                    delivery[-1] = write_statement(account, day, name, balance, wrong, created)
                    later[1].append(write_statement(account, day, name, balance, amounts, 2))
                elif rng.random() < 0.3:
                    later[2].append(write_statement(account, day, f"again-{name}", balance, amounts, 3))
                balance += sum(amounts)
        for number, amount in ((9, Decimal(500)), (10, Decimal(-500))):
            first.append(write_statement(account, FIRST + timedelta(days=12), f"12-{number}", balance, [amount], 0))
            balance += amount
    return [first, *later]


@pytest.fixture(scope="module")
def deliveries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Delivery]]:
    """A lake with the story's files, one delivery after another."""
    folder, made = tmp_path_factory.mktemp("bank"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("extract_dropped_files.source.SETTLE_S", 0.0)
        for number, statements in enumerate(write_story(random.Random(25))):  # noqa: S311  the same story every time
            text = (
                f'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><GrpHdr><MsgId>M{number}</MsgId></GrpHdr>'
                f"{''.join(statements)}</BkToCstmrStmt></Document>"
            )
            open_store(str(folder / "drop")).put(f"bank_statement/{number}.xml", text.encode())
            runner.run(Job(), str(folder / "lake"), str(folder / "drop"), None)  # type: ignore[arg-type]
            lake = Lake(str(folder / "lake"))
            commits = [
                commit.known_at
                for dataset in (bank_files.STATEMENTS, bank_files.MOVEMENTS)
                for partition in lake.partitions(dataset)
                for commit in lake.history(dataset, partition)
            ]
            made.append(Delivery(text, f"{number}.xml", max(commits)))
    return folder, made


class Stated(NamedTuple):
    """What the bytes state in one statement, by pattern and not by the job's parser."""

    account: str
    name: str
    day: str
    opening: Decimal
    closing: Decimal
    amounts: tuple[Decimal, ...]


def read_bytes(text: str) -> list[Stated]:
    found = []
    for body in re.findall(r"<Stmt>(.*?)</Stmt>", text):
        signed = [
            Decimal(f"{'-' if mark == 'DBIT' else ''}{amount}") for amount, mark in re.findall(r">([\d.]+)</Amt><CdtDbtInd>(\w+)", body)
        ]
        (account,), (name,), day = (
            re.findall("<IBAN>(.*?)<", body),
            re.findall("<Id>([^<]+)</Id>", body),
            re.findall("<Dt>([^<]+)<", body)[0],
        )
        found.append(Stated(account, name.removeprefix("again-"), day, signed[0], signed[1], tuple(signed[2:])))
    return found


def known_statements(deliveries: list[Delivery], count: int) -> dict[tuple[str, str, str], Stated]:
    """What is known after the first deliveries: the last version of each statement by account, day and name."""
    return {(one.account, one.day, one.name): one for delivery in deliveries[:count] for one in read_bytes(delivery.text)}


def find_gap(known: Iterable[Stated], account: str, day: str) -> list[object] | None:
    """What is missing between the statements of a day and those of the last day before it; the story numbers no statements."""

    def sort(found: list[Stated]) -> list[Stated]:
        return sorted(found, key=lambda one: int(one.name.partition("-")[2]))

    days: dict[str, list[Stated]] = {}
    for one in known:
        if one.account == account:
            days.setdefault(one.day, []).append(one)
    earlier = max((other for other in days if other < day), default=None)
    if day not in days or earlier is None:
        return None
    amount = sort(days[day])[0].opening - sort(days[earlier])[-1].closing
    return [earlier, amount, None] if amount else None


def test_movements_and_balances_as_of_any_moment_are_those_in_the_bytes(
    deliveries: tuple[Path, list[Delivery]], warehouse: Warehouse, tmp_path: Path
) -> None:
    folder, made = deliveries
    load(folder / "lake", warehouse)
    project = copy_small_project(tmp_path / "dbt", "stg_bank__movement_versions", "int_bank_statement_gaps")
    recorded_lake.transform(warehouse, "--project", str(project))
    rng = random.Random(26)  # noqa: S311  the same questions every time
    known = [known_statements(made, count) for count in range(len(made) + 1)]
    questions = [
        (rng.choice(ACCOUNTS), str(FIRST + timedelta(days=rng.randrange(-1, 13))), rng.randrange(len(made) + 1)) for _ in range(QUESTIONS)
    ]
    moments = ["2000-01-01T00:00:00Z", *(delivery.known for delivery in made)]
    asked = [list(column) for column in zip(*((account, day, moments[count]) for account, day, count in questions), strict=True)]
    with warehouse.connect() as connection:
        movements, balances, gaps = (connection.execute(sql, asked).fetchall() for sql in (MOVEMENTS, BALANCES, GAPS))
    amounts: dict[int, list[Decimal]] = {}
    for number, amount in movements:
        amounts.setdefault(number, []).append(amount)
    stated = {number: rest for number, *rest in balances}
    assert len(stated) == len(balances)
    missing = {number: rest for number, *rest in gaps}
    assert len(missing) == len(gaps)
    for number, (account, day, count) in enumerate(questions, 1):
        of_day = [one for one in known[count].values() if (one.account, one.day) == (account, day)]
        expected = sorted(amount for one in of_day for amount in one.amounts)
        assert sorted(amounts.get(number, [])) == expected, (account, day, count)
        in_order = sorted(of_day, key=lambda one: int(one.name.partition("-")[2]))
        first, last = (in_order[0], in_order[-1]) if in_order else (None, None)
        assert missing.get(number) == find_gap(known[count].values(), account, day), (account, day, count)
        assert stated.get(number) == ([first.opening, last.closing, len(of_day)] if first and last else None), (account, day, count)
    assert QUESTIONS / 4 < len(stated) < QUESTIONS
    assert {question[2] for number, question in enumerate(questions, 1) if number in missing} == {1}  # the second delivery closes all gaps
    changed = [known[1][key].amounts != known[-1][key].amounts for key in known[1]]
    assert any(changed)
    assert max(len([one for one in known[-1].values() if (one.account, one.day) == (account, day)]) for account, day, _ in questions) == 2
    versions, currents = warehouse.rows(
        "select count(*) from staging.stg_bank__movement_versions union all"
        " select count(*) from staging.stg_bank__movement_versions where known_to = '9999-12-31 00:00Z'"
    )
    assert versions > currents
    assert currents == (sum(len(one.amounts) for one in known[-1].values()),)
