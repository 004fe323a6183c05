"""Files of banks are read by their contracts, or refused with a message that helps whoever dropped them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from arro3.io import read_parquet
from extract_dropped_files import delivery, runner, validation
from extract_dropped_files.source import Drop
from hypothesis import given
from hypothesis import strategies as st
from jobkit import contracts
from jobkit.contracts import Contract
from jobkit.errors import BadDataError, MisconfiguredError
from jobkit.lake import Lake

from .drops import DATASET, HEADER, RULES, Job
from .workbooks import Raw, workbook

if TYPE_CHECKING:
    from jobkit.contracts import Contract

EXAMPLES = Path(__file__).parents[3] / "docs" / "custodians"
PACKAGE = Path(runner.__file__).parent
APPLE, BAYER, MICROSOFT = "US0378331005", "DE000BAY0017", "US5949181045"


class Desk:
    """A drop and a lake, with the contracts of the job and those of the documentation."""

    def __init__(self, folder: Path) -> None:
        self.lake, self.drop = Lake(str(folder / "lake")), Drop(str(folder / "drop"))

    def take(self, *files: tuple[str, str | bytes]) -> list[tuple[str, str]]:
        """Drop files and run the job on all that waits."""
        for key, content in files:
            self.drop.store.put(key, content.encode() if isinstance(content, str) else content)
        job = Job()
        runner.run(job, str(self.lake.store.url), str(self.drop.store.url), None)  # type: ignore[arg-type]
        return job.outcomes

    def refused(self, key: str, content: str | bytes) -> str:
        """Return the message with which a file is refused. Its rows are not in the lake; it is among the rejected with its reasons."""
        before = {name: self.lake.latest_numbers(name) for name in self.lake.datasets()}
        with pytest.raises(BadDataError) as error:
            self.take((key, content))
        assert {name: self.lake.latest_numbers(name) for name in self.lake.datasets()} == before
        assert f"rejected/{key}.reasons.json" in self.drop.store.list_keys("")
        return str(error.value)

    def reasons(self, key: str) -> list[str]:
        """Return the reasons of a refused file."""
        found: list[str] = json.loads(self.drop.store.get(f"rejected/{key}.reasons.json"))["reasons"]
        return found

    def rows(self, dataset: str = DATASET, *names: str) -> list[tuple[Any, ...]]:
        """Return the current rows of all partitions."""
        found = []
        for partition in self.lake.partitions(dataset):
            head = self.lake.head(dataset, partition)
            assert head is not None
            table = read_parquet(io.BytesIO(self.lake.read(head.data))).read_all()
            found += list(zip(*(table.column(name).to_pylist() for name in names), strict=True))
        return found


def partition(bank: str) -> str:
    return delivery.format_partition(RULES, [bank, "2013-06-28"])


def load_contract(_package: str, name: str) -> Contract:
    path = EXAMPLES / f"{name}.odcs.yaml"
    return contracts.load(path if path.exists() else PACKAGE / f"{name}.odcs.yaml")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(contracts, "load_packaged", load_contract)
    monkeypatch.setattr(validation, "list_folders", lambda: ["bank_muster", "custodian_lots", "custodian_positions", "example_trust"])
    return Desk(tmp_path)


MUSTER = f"""Bank Muster AG;Zürich
Depotbestand
Stichtag;Depot;ISIN;Bezeichnung;Stück/Nominal;Kurs;Kurswert;Währung;Verwahrart
28.06.2013;0001001;{APPLE};Apple;1.500;270,50;405.750,00;USD;GS
28.06.2013;0001002;{BAYER};Bayer;-12;81,935;-983,22;EUR;GS
Summe;;;;;;404.766,78;;
"""


def test_a_european_bank_is_read_by_its_contract(desk: Desk) -> None:
    assert desk.take(("bank_muster/Depotbestand_20130628.csv", MUSTER.encode("cp1252"))) == [(partition("Bank Muster"), "committed")]
    assert desk.rows(DATASET, "position_date", "custodian", "account", "quantity", "price", "market_value", "currency") == [
        (date(2013, 6, 28), "Bank Muster", "0001001", Decimal(1500), Decimal("270.5"), Decimal(405750), "USD"),
        (date(2013, 6, 28), "Bank Muster", "0001002", Decimal(-12), Decimal("81.935"), Decimal("-983.22"), "EUR"),
    ]


@pytest.mark.parametrize(
    ("was", "is_now", "message"),
    [
        ("404.766,78", "404.766,79", "the total of 'Kurswert' in line 6 is not the sum of its rows"),
        ("Summe;;;;;;404.766,78;;\n", "", "does not end with a line that begins with 'Summe', as its contract says; was it cut off"),
        ("1.500", "1500.00", "line 4: Stück/Nominal is not a number as the contract has them: , before decimals"),
        ("1.500", "1.50", "Stück/Nominal is not a number as the contract has them"),
        ("28.06.2013;0001001", "06/28/2013;0001001", "Stichtag is not a date written dd.MM.yyyy"),
        ("28.06.2013;0001001", "31.06.2013;0001001", "Stichtag is not a date written dd.MM.yyyy"),
        ("-12;", "12-;", "Stück/Nominal is not a number as the contract has them: .* -1 for minus one"),
        ("-12;", "(12);", "Stück/Nominal is not a number as the contract has them"),
        ("-12;", "12%;", "Stück/Nominal is not a number as the contract has them"),
        (APPLE, "US0378331006", "ISIN is not an ISIN: its check digit does not hold"),
        (APPLE, "3,78331E+11", "ISIN is not an ISIN but a number that a spreadsheet made of it"),
        ("1.500", "1,5E+03", "Stück/Nominal is a number that a spreadsheet shortened"),
        ("270,50", "#N/A", "Kurs is an error of a spreadsheet"),
        ("USD", "GBX", "Währung is not a currency of ISO 4217 but a hundredth of GBP"),
        ("0001001", "1001", "Depot is not of the form"),
        ("270,50", "370,50", "line 4: breaks market_value = quantity"),
        ("Stück/Nominal", "Stueck", "it lacks the column 'Stück/Nominal'"),
        ("Verwahrart", "Lagerstelle", "it has columns that its contract does not know: number 9"),
        ("0001002;" + BAYER, "0001001;" + APPLE, "line 5: repeats the key of line 4"),
        (";", ",", "line 3: the file has commas between columns, its contract has semicolons"),
    ],
)
def test_another_notation_is_refused_with_line_and_column(desk: Desk, was: str, is_now: str, message: str) -> None:
    key = "bank_muster/Depotbestand_20130628.csv"
    sentence = desk.refused(key, MUSTER.replace(was, is_now).encode("cp1252"))
    for part in message.split(".*"):
        assert part.strip() in sentence
    for value in ("404", "405", "1500", "US0378331006", "0001001"):
        assert value not in sentence.replace("20130628", "")


def test_the_reasons_of_a_refusal_say_what_was_found_and_expected(desk: Desk) -> None:
    key = "bank_muster/Depotbestand_20130628.csv"
    desk.refused(key, MUSTER.replace("1.500", "1500.00").replace("81,935", "81.9").encode("cp1252"))
    _, *rows = desk.reasons(key)
    expected = "not a number as the contract has them: , before decimals, . between thousands, -1 for minus one"
    assert rows == [f"line 4: Stück/Nominal is '1500.00', {expected}", f"line 5: Kurs is '81.9', {expected}"]


HOLDINGS: list[list[Any]] = [
    ["As Of", "Account", "ISIN", "Security Name", "Shares", "Price", "Market Value", "Ccy", "Trade Date"],
    [date(2013, 6, 28), " A-1 ", APPLE, "APPLE INC", 100, 396.53, 39653.0, "USD", date(2012, 1, 3)],
    ["28-Jun-2013", "A-1", APPLE, "APPLE INC", 250.0, 396.53, 99132.5, "USD", date(2012, 2, 3)],
    [date(2013, 6, 28), 1002, MICROSOFT, "MICROSOFT", "(1,000)", 34.54, "(34,540.00)", "USD", None],
    ["Total", None, None, None, None, None, 104245.5, None, None],
]


def test_an_american_bank_is_read_from_excel_and_its_lots_are_kept(desk: Desk) -> None:
    desk.take(("example_trust/holdings-2013-06-28.xlsx", workbook({"Cover": [["x"]], "Holdings": HOLDINGS})))
    assert desk.rows("custodian_lots", "position_date", "account", "lot", "quantity", "market_value") == [
        (date(2013, 6, 28), "A-1", "1", Decimal(100), Decimal(39653)),
        (date(2013, 6, 28), "A-1", "2", Decimal(250), Decimal("99132.5")),
        (date(2013, 6, 28), "1002", "1", Decimal(-1000), Decimal(-34540)),
    ]


def changed(row: int, column: int, value: object) -> list[list[Any]]:
    rows = [list(cells) for cells in HOLDINGS]
    rows[row][column] = value
    return rows


@pytest.mark.parametrize(
    ("sheets", "message"),
    [
        ({"Holdings": changed(1, 6, Raw('t="e"|<v>#N/A</v>'))}, "cell G2 of the sheet 'Holdings' holds the error #N/A"),
        ({"Holdings": changed(1, 6, Raw("|<f>E2*F2</f><v></v>"))}, "cell G2 of the sheet 'Holdings' holds a formula without its value"),
        ({"Holdings": changed(1, 0, 41453)}, "row 2: As Of is a number; format the column as a date"),
        ({"Holdings": changed(1, 0, datetime(2013, 6, 28, 12))}, "row 2: As Of is not a date"),  # noqa: DTZ001
        ({"Holdings": [*HOLDINGS[:2], HOLDINGS[1], *HOLDINGS[2:]]}, "row 3 is the same as row 2 in every column"),
        ({"Positions": HOLDINGS}, "has no sheet 'Holdings', which its contract names; it has 'Positions'"),
        ({"Holdings": changed(4, 6, 104245.6)}, "the total of 'Market Value' in row 5 is not the sum of its rows"),
        (
            {"Holdings": [HOLDINGS[0], *[["Total", "A-1", APPLE, "x", 1, 1, 1, "USD", None]]]},
            "is filled like a row; is it a position or a total",
        ),
    ],
)
def test_hidden_faults_of_an_excel_file_are_refused_by_cell(desk: Desk, sheets: dict[str, Any], message: str) -> None:
    assert message in desk.refused("example_trust/holdings-2013-06-28.xlsx", workbook(sheets))


def test_a_formula_is_read_as_its_saved_value(desk: Desk) -> None:
    desk.take(("example_trust/h.xlsx", workbook({"Holdings": changed(1, 6, Raw("|<f>E2*F2</f><v>39653</v>"))})))
    assert desk.rows("custodian_lots", "market_value")[0] == (Decimal(39653),)


ROW = "2013-06-28,Bank C,C-{number},US0378331005,{quantity},2,{value},USD\n"


def positions(*quantities: int, bank: str = "Bank C") -> str:
    return HEADER + "".join(
        ROW.format(number=number, quantity=quantity, value=2 * quantity).replace("Bank C", bank)
        for number, quantity in enumerate(quantities)
    )


@pytest.mark.parametrize("name", ["c_v2.csv", "corrected.csv.gz", "c.csv"])
def test_a_correction_replaces_the_positions_under_any_name(desk: Desk, name: str) -> None:
    import gzip

    desk.take((f"{DATASET}/c.csv", positions(100, 5)))
    body = positions(110, 5).encode()
    assert desk.take((f"{DATASET}/{name}", gzip.compress(body) if name.endswith("gz") else body)) == [(partition("Bank C"), "committed")]
    assert desk.rows(DATASET, "quantity") == [(110,), (5,)]


def test_waiting_corrections_are_taken_in_order(desk: Desk) -> None:
    files = {"c.csv": 100, "c_v2.csv": 120, "c_v10.csv": 1000}
    desk.take(*((f"{DATASET}/{name}", positions(quantity)) for name, quantity in files.items()))
    assert desk.rows(DATASET, "quantity") == [(1000,)]
    assert "it is number 2 of what the lake has in number 10, from c_v10.csv" in desk.refused(f"{DATASET}/c_v2.csv", positions(121))
    assert desk.rows(DATASET, "quantity") == [(1000,)]


def test_a_file_of_two_banks_fills_two_partitions(desk: Desk) -> None:
    text = positions(1, 2) + positions(3, bank="Bänk/D=.").removeprefix(HEADER)
    assert [partition for partition, _ in desk.take((f"{DATASET}/both.csv", text))] == [
        partition("Bank C"),
        partition("Bänk/D=."),
    ]
    assert sorted(desk.rows(DATASET, "custodian", "quantity")) == [("Bank C", 1), ("Bank C", 2), ("Bänk/D=.", 3)]
    text = positions(1, 4) + positions(3, bank="Bänk/D=.").removeprefix(HEADER)
    assert [outcome for _, outcome in desk.take((f"{DATASET}/both.csv", text))] == ["committed", "unchanged"]


def test_a_partition_shows_the_day_and_no_value_of_a_confidential_row() -> None:
    assert "Bank" not in partition("Bank C")
    assert partition("Bank C").endswith("/position_date=2013-06-28")
    shown = replace(RULES, classification="internal")
    assert delivery.format_partition(shown, ["Bänk C", "2013-06-28"]) == "custodian=B_C3_A4nk_20C/position_date=2013-06-28"


@given(st.text(max_size=20), st.text(max_size=20))
def test_different_values_have_different_partitions(one: str, other: str) -> None:
    rules = load_contract("", DATASET)
    for shown in (rules, replace(rules, classification="internal")):
        paths = [delivery.format_partition(shown, [text, "2013-06-28"]).partition("/")[0] for text in (one, other)]
        assert (paths[0] == paths[1]) == (one == other)
        assert all(character in "=_" or (character.isascii() and (character.isalnum() or character == "-")) for character in paths[0])


def test_totals_are_checked_in_small_and_large_files(desk: Desk) -> None:
    for count in (1, 120):
        text = positions(*[7] * count, bank=f"Bank {count}")
        desk.take((f"{DATASET}/{count}.csv", f"{text}Total,,,,,,{14 * count},\n"))
        assert len([row for row in desk.rows(DATASET, "custodian") if row == (f"Bank {count}",)]) == count
        message = desk.refused(f"{DATASET}/wrong{count}.csv", f"{text}Total,,,,,,{14 * count + 1},\n")
        assert f"the total of 'market_value' in line {count + 2} is not the sum of its rows" in message
        assert "custodian is missing; account is missing" in desk.refused(f"{DATASET}/sum{count}.csv", f"{text}Summe,,,,,,{14 * count},\n")


@pytest.mark.parametrize("count", [1, 120])
@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("US0378331005", "US0378331006", "isin is not an ISIN"),
        ("USD", "usx", "currency is not a currency"),
        ("Bank C", "", "custodian is missing"),
    ],
)
def test_a_bad_position_refuses_small_and_large_files(desk: Desk, count: int, column: str, value: str, message: str) -> None:
    *rows, last = positions(*[7] * count).splitlines(keepends=True)
    assert message in desk.refused(f"{DATASET}/c.csv", "".join([*rows, last.replace(column, value)]))


def test_texts_are_trimmed_and_cased_as_the_contract_says(desk: Desk) -> None:
    desk.take((f"{DATASET}/c.csv", positions(1).replace("USD", " usd ").replace("US0378", " us0378").replace("Bank C", "\u00a0Bank C ")))
    assert desk.rows(DATASET, "custodian", "isin", "currency") == [("Bank C", APPLE, "USD")]


def test_undecodable_bytes_quarantine_their_row(desk: Desk) -> None:
    good = positions(*range(1, 100)).encode()
    desk.take((f"{DATASET}/c.csv", good + ROW.format(number="x", quantity=1, value=2).replace("C-x", "K\xf6ln\0").encode("latin-1")))
    head = desk.lake.head(DATASET, partition("Bank C"))
    assert head is not None
    assert head.quarantine is not None
    assert (head.data.rows, head.quarantine.rows) == (99, 1)
    bad = read_parquet(io.BytesIO(desk.lake.read(head.quarantine))).read_all()
    assert bad.column("reasons").to_pylist() == [
        "values withheld: account is not text in utf-8; save the file in it, or have the contract say in what it is written"
    ]
    (raw,) = bad.column("raw_row").to_pylist()
    assert contracts.unescape_text(json.loads(raw)["account"]) == "K\udcf6ln\0"


def test_a_file_without_rows_changes_nothing(desk: Desk) -> None:
    desk.take((f"{DATASET}/c.csv", positions(1)))
    assert "it has a header and no rows, so that nothing says what it replaces; nothing was changed" in desk.refused(
        f"{DATASET}/c.csv", HEADER
    )
    assert desk.rows(DATASET, "quantity") == [(1,)]


def test_a_contract_that_does_not_fit_its_dataset_is_misconfigured(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(package: str, name: str) -> Contract:
        rules = load_contract(package, name)
        return replace(rules, key=("account",)) if name == "bank_muster" else rules

    monkeypatch.setattr(contracts, "load_packaged", other)
    with pytest.raises(
        MisconfiguredError, match="the contract bank_muster differs from custodian_positions, which its files fill, in: key"
    ):
        desk.take(("bank_muster/a.csv", MUSTER.encode("cp1252")))
    assert list(desk.drop.store.list_keys("")) == ["bank_muster/a.csv"]
