"""`finelt try` proposes a contract that finelt reads and that the file keeps, and says what it cannot know."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from extract_dropped_files import delivery, parser
from jobkit import contracts
from jobkit.errors import BadDataError, UsageError

from finelt import cli, singer_proposal
from finelt.contracts import lint
from finelt.csv_profile import profile_column
from finelt.proposal import choose_name, propose_contract

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jobkit.contracts import Contract

GOLD = b"Date,Price\n01/13/2024,2041.10\n01/02/2024,2064.40\n"
BANK = """Datum;ISIN;Kurs (EUR);St\u00fcck;Whrg
28.06.2013;US0378331005;1.234,56; 100;USD
28.06.2013;DE0007164600;2,50;(3);EUR
01.07.2013;DE0007164600;2,51;;EUR
"""


def propose(body: bytes) -> tuple[Contract, list[str]]:
    """Return the proposed contract, checked as `contracts lint` does without a job, and the doubts."""
    text, doubts = propose_contract(body, "file.csv", "acme_gold")
    document = contracts.parse_document(text)
    contract = contracts.read_contract(text)
    assert [*lint._check_standard(document), *lint._check_header(document, "acme_gold", "acme_gold")] == []
    assert [problem for problem in lint._check_columns(contract, document) if "no primaryKey" not in problem] == []
    assert all(f"# - {doubt}" in text for doubt in doubts)
    return contract, doubts


@pytest.mark.parametrize("body", [GOLD, BANK.encode(), BANK.encode("cp1252"), BANK.encode("utf-16"), b"\xef\xbb\xbf" + BANK.encode()])
def test_the_file_itself_is_read_by_the_proposed_contract(body: bytes) -> None:
    """With the reader of dropped files, as if somebody dropped it: all rows are valid."""
    contract, _ = propose(body)
    dropped = delivery.read(contract, parser.parse(body, "file.csv", contract.layout))
    result = contracts.validate(contract, dropped.columns, dropped.origin)
    assert (result.table.num_rows, result.quarantine) == (2 if body is GOLD else 3, None)


def test_types_key_limits_and_notation_come_from_the_cells() -> None:
    contract, _ = propose(BANK.encode())
    assert [(field.name, field.label, field.type, field.format, field.required, field.minimum) for field in contract.fields] == [
        ("Datum", "Datum", "date", "dd.MM.yyyy", True, "1970-01-01"),
        ("ISIN", "ISIN", "string", "isin", True, None),
        ("Kurs (EUR)", "Kurs (EUR)", "decimal(18,6)", None, True, 0),
        ("Stuck", "St\u00fcck", "long", None, False, None),
        ("Whrg", "Whrg", "string", "currency", True, None),
    ]
    assert (contract.key, contract.leaf) == (("Datum", "ISIN"), "year(Datum)")
    layout = contract.layout
    assert (layout.delimiter, layout.decimal, layout.thousands, layout.negative) == (";", ",", ".", ("-1", "(1)"))
    assert (contract.classification, contract.redistribution) == ("internal", "internal-use-only")


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-2", ""], "long"),
        (["9223372036854775808"], "decimal(21,0)"),
        (["0.1", "12"], "decimal(18,6)"),
        (["0.123456789"], "decimal(18,9)"),
        (["007", "8"], "string"),
        (["true", "false"], "boolean"),
        (["2024-01-02T10:00:00Z"], "timestamp"),
        (["2024-01-02 10:00:00"], "string"),
        (["20240102", "20241231"], "date"),
        (["20240102", "20241331"], "long"),
        (["31-DEC-2024"], "date"),
        (["2024-02-30"], "string"),
        (["1e5"], "string"),
        (["", ""], "string"),
    ],
)
def test_the_type_is_the_first_that_all_cells_have(cells: Sequence[str], kind: str) -> None:
    assert profile_column("it", cells, contracts.Layout()).type == kind


@pytest.mark.parametrize(
    ("body", "doubt"),
    [
        (b"day,x\n01/02/2024,1.5\n", "day: its dates may be written MM/dd/yyyy or dd/MM/yyyy; MM/dd/yyyy was taken"),
        (b"day,x\n2024-01-02,1.500\n", "x: 1.500 was read as 1.500; it may be 1500: check decimalSeparator and thousandsSeparator"),
        (b"day,x\n2024-01-02,0.5\n2024-01-03,2\n", "x: from 0.5 to 2; minimum 0 is proposed"),
        (b"day,x\n2024-01-02,-0.5\n", "x: from -0.5 to -0.5; no limit is proposed"),
        (b"a,b\n007,x\n", "a: it has leading zeros, so it was taken for text"),
        (b"a,b\nx,1.5\ny,2\nz,3\nv,4\nw,n/a\n", "b: most cells are numbers, but not 1 of 5 ('n/a'), so it was taken for text"),
        (b"a,b\nx,1\ny,2\nz,3\nv,abc\n", "b: most cells are numbers, but not 1 of 4 ('abc'), so it was taken for text"),
        (b"a,b\nx,1\ny,2\nz,3\nv,\nw,abc\n", "b: most cells are numbers, but not 1 of 4 ('abc'), so it was taken for text"),
        (
            b"a,b\nx,2024-01-31\ny,2024-02-29\nz,31/03/2024\n",
            "b: most cells are dates, but not 1 of 3 ('31/03/2024'), so it was taken for text",
        ),
        (b"a,b\nx,\n", "b: it is empty in each row, so it was taken for text"),
        (b"a,b\nx,y\n", "the key is a, but it may be b; no two rows of the file agree in any of these"),
        (b"a,b\n,1\n,1\n", "no 3 complete columns identify a row; find out what does, and mark it with primaryKey"),
        (b"a,b\nx,1\n", "the file has few rows (1), which prove little about types, key and limits"),
        (b"a,b\nx\xe9,1\n", "the encoding is a guess: the file is not UTF-8, and Windows-1252 reads any text"),
    ],
)
def test_what_a_file_cannot_tell_is_said(body: bytes, doubt: str) -> None:
    assert doubt in propose(body)[1]


def test_one_remark_among_empty_cells_is_no_exception_among_numbers() -> None:
    assert not [doubt for doubt in propose(b"a,b\nx,\ny,\nz,\nv,late\n")[1] if doubt.startswith("b:")]


def test_lines_may_end_in_carriage_returns_alone() -> None:
    contract, doubts = propose(b"day;x\r2024-01-02;1,5\r2024-01-03;2,5\r")
    assert ([field.name for field in contract.fields], contract.layout.delimiter) == (["day", "x"], ";")
    assert "the file has few rows (2), which prove little about types, key and limits" in doubts


def test_a_clear_file_leaves_only_the_terms_and_the_range() -> None:
    rows = "".join(f"2024-0{month}-{day:02},{day}.5\n" for month in range(1, 10) for day in range(1, 29))
    contract, doubts = propose(f"day,close\n{rows}".encode())
    assert (contract.key, [doubt.partition(":")[0] for doubt in doubts]) == (("day",), ["close", "the terms are a guess"])


def test_a_date_next_to_an_identifier_is_a_key_together_with_it_and_letters_with_accents_stay_readable() -> None:
    rows = "".join(f"{day:02}.01.2024;DE0005140008;{day}\n" for day in range(1, 5))
    contract, doubts = propose(f"Datum;ISIN;St\u00fcck\n{rows}".encode())
    assert (contract.key, [field.name for field in contract.fields]) == (("Datum", "ISIN"), ["Datum", "ISIN", "Stuck"])
    assert any(doubt.startswith("the key is Datum and ISIN, but it may be Datum or St") for doubt in doubts)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "file.csv is empty; expected a CSV file with a header and rows"),
        (b"PK\x03\x04\x00\x00", "file.csv is not text"),
        (b"a,b\n", "a header and no rows; expected at least one row"),
        (b"a,b\n1\n", "ragged rows: row 1 has 1 cells, its header 2"),
        (b"a,a\n1,2\n", "the column 'a' twice"),
        (b"a,,b\n1,2,3\n", "no name for column 2 in its header"),
    ],
)
def test_another_file_is_refused_in_one_sentence(body: bytes, problem: str) -> None:
    with pytest.raises(BadDataError, match=problem) as error:
        propose_contract(body, "file.csv", "acme_gold")
    assert "\n" not in str(error.value)


def test_a_header_that_csv_cannot_read_is_refused_in_one_sentence() -> None:
    limit = csv.field_size_limit(100)
    try:
        with pytest.raises(BadDataError, match=r"file\.csv is not CSV: field larger than field limit"):
            propose_contract(b"a," + b"b" * 200 + b"\n1,2\n", "file.csv", "acme_gold")
    finally:
        csv.field_size_limit(limit)


def test_the_name_comes_from_the_file_and_must_be_a_datasets_name(tmp_path: Path) -> None:
    assert choose_name(None, tmp_path / "Acme Gold.2024.csv") == "acme_gold"
    assert choose_name(None, tmp_path / "gold.csv") == "vendor_gold"
    for wanted, file in (("Gold", "x.csv"), (None, "1 2.csv"), ("acme_", "x.csv")):
        with pytest.raises(UsageError, match="expected vendor_things in lower case, such as acme_gold: set --name"):
            choose_name(wanted, tmp_path / file)


def test_the_contract_is_on_stdout_alone(tmp_path: Path) -> None:
    (tmp_path / "acme_gold.csv").write_bytes(GOLD)
    result = CliRunner().invoke(cli.finelt, ["try", str(tmp_path / "acme_gold.csv")])
    assert (result.exit_code, contracts.read_contract(result.stdout).dataset) == (0, "acme_gold")
    assert "points to decide" in result.stderr


def test_a_stream_of_a_tap_gets_a_contract_with_its_types_names_and_key() -> None:
    columns = {
        "Id": {"type": "integer"},
        "a:b": {"type": ["null", "number"]},
        "at": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": ["string", "null"]}]},
        "tags": {"type": ["null", "array"]},
        "_sdc_deleted_at": {"type": ["null", "string"]},
    }
    line = json.dumps({"type": "SCHEMA", "stream": "o", "schema": {"properties": columns}, "key_properties": ["Id"]})
    body = f'{{"type": "STATE", "value": {{}}}}\n{line}\n'.encode()
    assert singer_proposal.is_output(body)
    text, doubts = singer_proposal.propose_contract(body, "o.jsonl", "acme_orders", None)
    contract = contracts.read_contract(text)
    assert contract.key == ("Id",)
    assert [(one.name, one.label, one.type, one.required) for one in contract.fields] == [
        ("Id", "Id", "long", True),
        ("a_b", "a:b", "decimal(38,12)", False),
        ("at", "at", "timestamp", False),
        ("tags", "tags", "string", False),
    ]
    assert doubts[0] == "tags: text, as the tap says ['array']"
    with pytest.raises(BadDataError, match="has the streams 'o'; expected one"):
        singer_proposal.propose_contract(body, "o.jsonl", "acme_orders", "p")
