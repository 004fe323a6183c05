"""Files as banks write them: read as their contract says, or refused in words that help whoever dropped them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from arro3.io import read_parquet
from extract_dropped_files import delivery, notation, parser, work
from extract_dropped_files.source import Drop
from hypothesis import given
from hypothesis import strategies as st
from jobkit import contract as contracts
from jobkit.contract import Contract, Field, Layout
from jobkit.errors import BadDataError, MisconfiguredError
from jobkit.lake import Lake

from .test_dropped_files import DATASET, HEADER, RULES, Job
from .workbooks import Raw, workbook

EXAMPLES = Path(__file__).parents[3] / "docs" / "custodians"
LIVE = Path(work.__file__).parent
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
        work.run(job, str(self.lake.store.url), str(self.drop.store.url), None)  # type: ignore[arg-type]
        return job.outcomes

    def refused(self, key: str, content: str | bytes) -> str:
        """The sentence that a file is refused with; nothing of it is in the lake, and it lies aside with its reasons."""
        before = {name: self.lake.latest_numbers(name) for name in self.lake.datasets()}
        with pytest.raises(BadDataError) as error:
            self.take((key, content))
        assert {name: self.lake.latest_numbers(name) for name in self.lake.datasets()} == before
        assert f"rejected/{key}.reasons.json" in self.drop.store.list_keys("")
        return str(error.value)

    def reasons(self, key: str) -> list[str]:
        """What lies beside a refused file."""
        found: list[str] = json.loads(self.drop.store.get(f"rejected/{key}.reasons.json"))["reasons"]
        return found

    def rows(self, dataset: str = DATASET, *names: str) -> list[tuple[Any, ...]]:
        """The current rows of all partitions."""
        found = []
        for partition in self.lake.partitions(dataset):
            head = self.lake.head(dataset, partition)
            assert head is not None
            table = read_parquet(io.BytesIO(self.lake.read(head.data))).read_all()
            found += list(zip(*(table.column(name).to_pylist() for name in names), strict=True))
        return found


def partition(bank: str) -> str:
    return delivery.partition(RULES, [bank, "2013-06-28"])


def load_contract(_package: str, name: str) -> Contract:
    path = EXAMPLES / f"{name}.odcs.yaml"
    return contracts.load(path if path.exists() else LIVE / f"{name}.odcs.yaml")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(contracts, "load_packaged", load_contract)
    monkeypatch.setattr(work, "folders", lambda: ["bank_muster", "custodian_lots", "custodian_positions", "example_trust"])
    return Desk(tmp_path)


MUSTER = f"""Bank Muster AG;Zürich
Depotbestand
Stichtag;Depot;ISIN;Bezeichnung;Stück/Nominal;Kurs;Kurswert;Währung;Verwahrart
28.06.2013;0001001;{APPLE};Apple;1.500;270,50;405.750,00;USD;GS
28.06.2013;0001002;{BAYER};Bayer;-12;81,935;-983,22;EUR;GS
Summe;;;;;;404.766,78;;
"""


def test_a_european_bank_is_read_as_its_contract_says(desk: Desk) -> None:
    assert desk.take(("bank_muster/Depotbestand_20130628.csv", MUSTER.encode("cp1252"))) == [(partition("Bank Muster"), "committed")]
    assert desk.rows(DATASET, "position_date", "custodian", "account", "quantity", "price", "market_value", "currency") == [
        (date(2013, 6, 28), "Bank Muster", "0001001", Decimal(1500), Decimal("270.5"), Decimal(405750), "USD"),
        (date(2013, 6, 28), "Bank Muster", "0001002", Decimal(-12), Decimal("81.935"), Decimal("-983.22"), "EUR"),
    ]


@pytest.mark.parametrize(
    ("was", "is_now", "told"),
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
def test_what_is_written_otherwise_is_refused_with_line_and_column(desk: Desk, was: str, is_now: str, told: str) -> None:
    key = "bank_muster/Depotbestand_20130628.csv"
    sentence = desk.refused(key, MUSTER.replace(was, is_now).encode("cp1252"))
    for part in told.split(".*"):
        assert part.strip() in sentence
    for value in ("404", "405", "1500", "US0378331006", "0001001"):
        assert value not in sentence.replace("20130628", "")


def test_the_reasons_beside_a_refused_file_say_what_was_found_and_expected(desk: Desk) -> None:
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
    ("sheets", "told"),
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
def test_what_an_excel_file_hides_is_refused_by_its_cell(desk: Desk, sheets: dict[str, Any], told: str) -> None:
    assert told in desk.refused("example_trust/holdings-2013-06-28.xlsx", workbook(sheets))


def test_the_value_of_a_formula_is_read_as_it_was_saved(desk: Desk) -> None:
    desk.take(("example_trust/h.xlsx", workbook({"Holdings": changed(1, 6, Raw("|<f>E2*F2</f><v>39653</v>"))})))
    assert desk.rows("custodian_lots", "market_value")[0] == (Decimal(39653),)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (workbook({"a": [["x"]], "b": [["y"]]}), "has 2 sheets that hold something ('a', 'b'); have its contract say which"),
        (workbook({"a": [], "b": []}), "has 0 sheets"),
        (workbook({"a": [["h"], ["x"]]}, merged="A2:B2"), "cell A2 of the sheet 'a' is merged with others down to B2"),
        (b"PK\x03\x04 no zip", "no Excel file (.xlsx) that can be read"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "is it protected by a password, or an older .xls?"),
        (workbook({"a": [["h"], [Raw('t="n"|<v>1</v>')]]}).replace(b"PK\x05\x06", b"PK\x05\x07"), "no Excel file"),
    ],
)
def test_an_excel_file_that_says_not_enough_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(BadDataError) as error:
        parser.parse(data, "a.xlsx")
    assert told in str(error.value)


def test_a_hidden_sheet_is_not_the_one_that_is_meant() -> None:
    sheet = parser.parse(workbook({"a": [["h"], ["x"]], "b": [["y"]]}, hidden=["b"]), "a.xlsx")
    assert (sheet.columns, sheet.place(1)) == ({"h": ["x"]}, "row 2")


def test_a_cell_far_out_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extract_dropped_files.excel.MOST_CELLS", 100)
    with pytest.raises(BadDataError, match=r"reach over a rectangle of 303, more than 100"):
        parser.parse(workbook({"a": [["h", None, "x"], *[[] for _ in range(99)], ["y"]]}), "a.xlsx")


def test_a_document_type_in_an_excel_file_is_refused() -> None:
    data = workbook({"a": [["h"]]})
    with pytest.raises(BadDataError, match="declares a document type"):
        parser.parse(repacked(data, "xl/worksheets/s0.xml", b"<!DOCTYPE x><worksheet/>"), "a.xlsx")


def repacked(data: bytes, name: str, content: bytes) -> bytes:
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))
    return file.getvalue()


ROW = "2013-06-28,Bank C,C-{number},US0378331005,{quantity},2,{value},USD\n"


def positions(*quantities: int, bank: str = "Bank C") -> str:
    return HEADER + "".join(
        ROW.format(number=number, quantity=quantity, value=2 * quantity).replace("Bank C", bank)
        for number, quantity in enumerate(quantities)
    )


@pytest.mark.parametrize("name", ["c_v2.csv", "corrected.csv.gz", "c.csv"])
def test_a_correction_replaces_the_positions_whatever_it_is_called(desk: Desk, name: str) -> None:
    import gzip

    desk.take((f"{DATASET}/c.csv", positions(100, 5)))
    body = positions(110, 5).encode()
    assert desk.take((f"{DATASET}/{name}", gzip.compress(body) if name.endswith("gz") else body)) == [(partition("Bank C"), "committed")]
    assert desk.rows(DATASET, "quantity") == [(110,), (5,)]


def test_corrections_that_wait_together_are_taken_in_their_order(desk: Desk) -> None:
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
    assert delivery.partition(shown, ["Bänk C", "2013-06-28"]) == "custodian=B_C3_A4nk_20C/position_date=2013-06-28"


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_two_values_have_one_partition(one: str, other: str) -> None:
    rules = load_contract("", DATASET)
    for shown in (rules, replace(rules, classification="internal")):
        paths = [delivery.partition(shown, [text, "2013-06-28"]).partition("/")[0] for text in (one, other)]
        assert (paths[0] == paths[1]) == (one == other)
        assert all(character in "=_" or (character.isascii() and (character.isalnum() or character == "-")) for character in paths[0])


def test_rows_of_a_small_and_a_large_file_with_totals_are_taken_alike(desk: Desk) -> None:
    for count in (1, 120):
        text = positions(*[7] * count, bank=f"Bank {count}")
        desk.take((f"{DATASET}/{count}.csv", f"{text}Total,,,,,,{14 * count},\n"))
        assert len([row for row in desk.rows(DATASET, "custodian") if row == (f"Bank {count}",)]) == count
        told = desk.refused(f"{DATASET}/wrong{count}.csv", f"{text}Total,,,,,,{14 * count + 1},\n")
        assert f"the total of 'market_value' in line {count + 2} is not the sum of its rows" in told
        assert "custodian is missing; account is missing" in desk.refused(f"{DATASET}/sum{count}.csv", f"{text}Summe,,,,,,{14 * count},\n")


@pytest.mark.parametrize("count", [1, 120])
@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("US0378331005", "US0378331006", "isin is not an ISIN"),
        ("USD", "usx", "currency is not a currency"),
        ("Bank C", "", "custodian is missing"),
    ],
)
def test_the_size_of_a_file_does_not_decide_whether_a_position_may_be_missing(
    desk: Desk, count: int, column: str, value: str, told: str
) -> None:
    *rows, last = positions(*[7] * count).splitlines(keepends=True)
    assert told in desk.refused(f"{DATASET}/c.csv", "".join([*rows, last.replace(column, value)]))


def test_texts_are_trimmed_and_cased_as_the_contract_says(desk: Desk) -> None:
    desk.take((f"{DATASET}/c.csv", positions(1).replace("USD", " usd ").replace("US0378", " us0378").replace("Bank C", "\u00a0Bank C ")))
    assert desk.rows(DATASET, "custodian", "isin", "currency") == [("Bank C", APPLE, "USD")]


def test_bytes_that_are_no_text_are_their_rows_fault(desk: Desk) -> None:
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


def test_a_file_without_rows_empties_nothing(desk: Desk) -> None:
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
    assert desk.drop.store.list_keys("") == ["bank_muster/a.csv"]


grouped = st.tuples(
    st.decimals(-(10**12), 10**12, places=4),
    st.sampled_from([(".", ","), (",", "."), (".", "'"), (",", " "), (".", ""), (",", "")]),
    st.sampled_from(["-1", "1-", "(1)"]),
)


@given(grouped)
def test_a_number_in_any_declared_notation_is_the_number(given_: tuple[Decimal, tuple[str, str], str]) -> None:
    value, (decimal, thousands), negative = given_
    body = f"{abs(value):,.4f}".replace(",", "_").replace(".", decimal).replace("_", thousands)
    written = {"-1": f"-{body}", "1-": f"{body}-", "(1)": f"({body})"}[negative] if value < 0 else body
    layout = Layout(decimal=decimal, thousands=thousands, negative=(negative,))
    assert Decimal(notation.number(written, layout)) == value
    plain = Layout(decimal="," if decimal == "." else ".", thousands="")
    with pytest.raises(notation.NotationError):
        notation.number(written, plain)


@pytest.mark.parametrize(
    ("text", "layout", "plain"),
    [
        ("1\u2019234.50", Layout(thousands="'"), "1234.50"),
        ("1\u202f234,5", Layout(decimal=",", thousands=" "), "1234.5"),
        ("1\u00a0234", Layout(decimal=",", thousands=" "), "1234"),
        ("1234", Layout(thousands=","), "1234"),
        ("12,34", Layout(thousands=","), None),
        ("1,234,56", Layout(thousands=","), None),
        ("1.234.567", Layout(), None),
        (".5", Layout(), None),
        ("1.", Layout(), None),
        ("+1", Layout(), None),
        ("--1", Layout(), None),
        ("(-1)", Layout(negative=("-1", "(1)")), None),
        ("\u22121", Layout(), None),
        ("$1", Layout(), None),
        ("1 000", Layout(), None),
        ("\u0661", Layout(), None),
    ],
)
def test_numbers_at_the_edge_of_a_notation(text: str, layout: Layout, plain: str | None) -> None:
    if plain is None:
        with pytest.raises(notation.NotationError):
            notation.number(text, layout)
    else:
        assert notation.number(text, layout) == plain


def test_percent_is_a_hundredth_where_it_is_declared() -> None:
    assert notation.number("12,5 %", Layout(decimal=","), percent=True) == "0.125"
    for text, percent in (("12.5", True), ("12.5%", False)):
        with pytest.raises(notation.NotationError):
            notation.number(text, Layout(), percent=percent)


@given(st.dates(date(1000, 1, 1)), st.sampled_from(["dd.MM.yyyy", "MM/dd/yyyy", "yyyyMMdd", "d.M.yyyy", "dd-MMM-yyyy"]))
def test_a_date_in_any_declared_form_is_the_date(day: date, form: str) -> None:
    parts = {
        "yyyy": f"{day.year}",
        "MMM": notation.MONTHS[day.month - 1].title(),
        "MM": f"{day.month:02}",
        "dd": f"{day.day:02}",
        "M": f"{day.month}",
        "d": f"{day.day}",
    }
    written = form
    for token in ("yyyy", "dd", "MMM", "MM", "M", "d") if "MMM" in form or "MM" in form else ("yyyy", "M", "d"):
        if token in written and written.count(token[0]) == form.count(token[0]):
            written = written.replace(token, parts[token])
            if token == "MMM":
                break
    assert notation.day(written, form) == day.isoformat()


def test_typed_cells_are_values_and_not_what_they_print_as() -> None:
    day = notation.reader(Field("d", "date"), Layout())
    assert day(datetime(2013, 6, 28)) == "2013-06-28"  # noqa: DTZ001  a midnight without zone
    assert day(datetime(2013, 6, 28, 15, 30)) == "2013-06-28T15:30:00"  # noqa: DTZ001
    text = notation.reader(Field("t", "string"), Layout())
    assert [text(value) for value in (1002.0, 1002, 0.5, True, None, "")] == ["1002", "1002", "0.5", "true", None, None]
    amount = notation.reader(Field("n", "decimal(8,2)"), Layout(decimal=","))
    assert [amount(value) for value in (1.5, 10, Decimal("2.50"), "2,50")] == ["1.5", "10", "2.50", "2.50"]


@pytest.mark.parametrize("text", ["GBp", " GBp ", "ZAc", "ILa"])
def test_pence_never_become_pounds_by_capitals(text: str) -> None:
    read = notation.reader(Field("currency", "string", format="currency", trim=True, case="upper"), Layout())
    with pytest.raises(notation.NotationError, match="a hundredth of"):
        read(text)
    assert read(" gbp ") == "GBP"
