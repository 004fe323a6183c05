"""finelt.contracts: every contract is valid and agrees with dbt; a change is listed with the marts that it affects."""

from __future__ import annotations

import shutil
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from jobkit import column_types, contracts
from load_warehouse import parquet, types

from finelt.contracts import main
from finelt.contracts.changes import Change, describe_changes, find_changes
from finelt.contracts.dbt_project import DBT, DbtProject
from finelt.contracts.lint import contract_files, find_problems

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WRITTEN = {path.name.removesuffix(".odcs.yaml") for path in contract_files()}
TIINGO = next(path for path in contract_files() if path.name == "tiingo_prices.odcs.yaml")


def test_every_contract_is_valid() -> None:
    result = CliRunner().invoke(main, ["lint"])
    assert (result.exit_code, result.output) == (0, f"{len(contract_files())} contracts are valid\n")


def test_the_column_types_of_dbt_sources_are_those_of_the_loader() -> None:
    for kind in (*column_types.TYPES, column_types.TIMESTAMP, "decimal(18,6)"):
        loaded = types.strip_collation(str(types.sql_type(parquet.type_name(contracts.arrow_type(kind)))))
        assert loaded == column_types.postgres_type(kind)
    assert column_types.postgres_type("text") is None


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        ("id: tiingo_prices", "id: prices", "its id is 'prices'"),
        ("version: 1.2.0", "version: soon", "not of the form 1.2.3"),
        ("value: year(date)", "value: year(day)", "the leaf names 'day'"),
        ("low <= close", "low <= clothes", "a rule names 'clothes'"),
        ("low <= close", "low is close", "is not a rule"),
        ('close, logicalType: number, physicalType: "decimal(18,6)"', "close, logicalType: number, physicalType: money", "is unknown"),
        ("name: volume, logicalType: integer", "name: volume, logicalType: string", "does not go with"),
        ("name: adjVolume", "name: adjustedVolume", "look at adjVolume, adjustedVolume"),
        ("volume, logicalType: integer, physicalType: long", "volume, logicalType: integer, physicalType: int", "look at volume"),
        ("property: latency, value: 5", "property: latency, value: 9", "latency is 9 days"),
        ("minimum: 0.000001", "minimum: 2, maximum: 1", "above its maximum"),
        ("rounding, value: noise", "rounding, value: sometimes", "rounding"),
        ("logicalType: date", "logicalType: day", "not valid by the Open Data Contract Standard: $.schema[0].properties[1].logicalType"),
        ("status: active", "tags: active", "not valid by the Open Data Contract Standard: $"),
        ("      - {property: classification, value: internal}\n", "", "states no classification"),
        ("redistribution, value: internal-use-only", "redistribution, value: allowed", "make them equal"),
        ("needs a licence of its own", "needs nothing", "make them equal"),
    ],
)  # fmt: skip
def test_each_problem_is_described_in_one_sentence(tmp_path: Path, was: str, now: str, message: str) -> None:
    text = TIINGO.read_text()
    assert was in text
    broken = tmp_path / TIINGO.name
    broken.write_text(text.replace(was, now, 1))
    problems = find_problems([broken], DbtProject(), {"tiingo_prices"})
    assert any(message in problem for problem in problems), problems
    assert all("tiingo_prices" in problem for problem in problems)


def test_a_dataset_has_a_contract_a_writer_and_a_source(tmp_path: Path) -> None:
    assert find_problems(contract_files(), DbtProject(), WRITTEN | {"prices"}) == [
        "raw/prices is written without a contract; add prices.odcs.yaml next to its extractor"
    ]
    assert "no job declares to write raw/tiingo_prices" in find_problems([TIINGO], DbtProject(), set())[0]
    shutil.copytree(DBT / "models", tmp_path / "models")
    (tmp_path / "models" / "staging" / "tiingo" / "_tiingo__sources.yml").write_text("models: []")
    assert "dbt declares no source table" in find_problems([TIINGO], DbtProject(tmp_path), {"tiingo_prices"})[0]


def test_no_mart_depends_on_a_confidential_dataset(tmp_path: Path) -> None:
    custodian = next(path for path in contract_files() if path.name == "custodian_positions.odcs.yaml")
    shutil.copytree(DBT / "models", tmp_path / "models")
    mart = tmp_path / "models" / "marts" / "fct_position.sql"
    mart.write_text("select * from {{ ref('stg_custodian__positions') }}", encoding="utf-8")
    (problem,) = find_problems([custodian], DbtProject(tmp_path), {"custodian_positions"})
    assert "it is confidential and must not reach a mart, but fct_position depends on it" in problem


def test_a_licence_with_a_comma_is_read_completely() -> None:
    licences = {contracts.load(path).licence for path in contract_files()}
    assert "US government work, public domain" in licences
    assert not any(problem for problem in find_problems(contract_files(), DbtProject(), WRITTEN))


def change_close(edit: Callable[[contracts.Field], contracts.Field | None]) -> list[Change]:
    """The changes when the column close is edited."""
    old = contracts.load(TIINGO)
    edited = ((field if field.name != "close" else edit(field)) for field in old.fields)
    return find_changes(old, replace(old, fields=tuple(field for field in edited if field)))


@pytest.mark.parametrize(
    ("edit", "weight"),
    [
        (lambda _field: None, "breaks"),
        (lambda field: replace(field, type="double"), "breaks"),
        (lambda field: replace(field, unit="cent"), "breaks"),
        (lambda field: replace(field, required=False), "breaks"),
        (lambda field: replace(field, minimum=Decimal(1)), "watch"),
        (lambda field: replace(field, policy="drop"), "watch"),
        (lambda field: replace(field, multiple_of=Decimal("0.01")), "watch"),
        (lambda field: replace(field, values=(Decimal(1),)), "watch"),
        (lambda field: replace(field, evolution="freeze"), "watch"),
    ],
)
def test_a_change_of_a_column_has_its_weight(edit: Callable[[contracts.Field], contracts.Field | None], weight: str) -> None:
    assert [(change.weight, change.column) for change in change_close(edit)] == [(weight, "close")]


def test_a_change_names_the_marts_that_it_affects() -> None:
    old = contracts.load(TIINGO)
    new = replace(old, fields=tuple(field for field in old.fields if field.name not in ("close", "adjHigh")))
    lines, hides_break = describe_changes(old, new, DbtProject())
    assert hides_break
    assert "close: is gone" in lines[0]
    assert "read by stg_tiingo__prices" in lines[0]
    assert {"fct_price_daily", "fct_return_daily", "fct_valuation_daily"} <= set(lines[0].rpartition(": ")[2].split(", "))
    assert "read by" not in lines[1]
    assert describe_changes(old, replace(new, version="2.0.0"), DbtProject())[1] is False


def test_key_leaf_and_evolution_are_part_of_the_contract() -> None:
    old = contracts.load(TIINGO)
    new = replace(old, key=("ticker",), leaf="month(date)", new_fields="freeze", fields=(*old.fields, contracts.Field("note", "string")))
    assert [(change.weight, change.column) for change in find_changes(old, new)] == [("breaks", None)] * 3 + [("fine", "note")]
    typed = replace(old, fields=(*old.fields[:-1], replace(old.fields[-1], type="string")))
    advised = [change.text for change in [*find_changes(old, new)[:2], *find_changes(old, typed)]]
    assert len(advised) == 3
    assert all(text.endswith("after the first commit under the new contract, run `finelt reload tiingo_prices`") for text in advised)
    assert find_changes(old, old) == []
    changes = find_changes(old, replace(old, classification="confidential", redistribution=None, unique=(("close",),)))
    assert [change.weight for change in changes] == ["watch"] * 3
    assert any("classification: internal -> confidential" in change.text for change in changes)
    assert find_changes(old, replace(old, max_missing_rows=0.1)) == [
        Change("watch", None, "rows a response may leave out: 0.00% -> 10.00%")
    ]


def test_a_break_without_a_major_version_exits_with_65(tmp_path: Path) -> None:
    edited = tmp_path / "new.odcs.yaml"
    edited.write_text(TIINGO.read_text().replace("name: divCash,", "name: dividend,"))
    result = CliRunner().invoke(main, ["diff", str(TIINGO), str(edited)])
    assert result.exit_code == 65
    assert "breaks  divCash: is gone" in result.output
    assert CliRunner().invoke(main, ["diff", str(TIINGO), str(TIINGO)]).output == "no changes\n"
    edited.write_text("kind: none")
    assert CliRunner().invoke(main, ["diff", str(TIINGO), str(edited)]).exit_code == 65
