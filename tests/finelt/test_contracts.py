"""scripts/contracts: every contract is valid and agrees with dbt, and a change is reported with its dependants."""

from __future__ import annotations

import shutil
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from jobkit import column_types
from jobkit import contract as contracts
from load_warehouse import parquet, types

from finelt import contracts as looked_after
from finelt.contracts import DBT, Change, Project, diff, files, lint, report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WRITTEN = {path.name.removesuffix(".odcs.yaml") for path in files()}
TIINGO = next(path for path in files() if path.name == "tiingo_prices.odcs.yaml")


def test_every_contract_is_valid() -> None:
    told = CliRunner().invoke(looked_after.main, ["lint"])
    assert (told.exit_code, told.output) == (0, f"{len(files())} contracts are sound\n")


def test_the_column_types_of_dbt_sources_are_those_of_the_loader() -> None:
    for kind in (*column_types.TYPES, column_types.TIMESTAMP, "decimal(18,6)"):
        loaded = types.strip_collation(str(types.sql_type(parquet.type_name(contracts.arrow_type(kind)))))
        assert loaded == column_types.postgres_type(kind)
    assert column_types.postgres_type("text") is None


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ("id: tiingo_prices", "id: prices", "its id is 'prices'"),
        ("version: 1.2.0", "version: soon", "not of the form 1.2.3"),
        ("value: year(date)", "value: year(day)", "the leaf names 'day'"),
        ("low <= close", "low <= clothes", "a rule names 'clothes'"),
        ("low <= close", "low is close", "is no rule"),
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
def test_each_defect_of_a_contract_is_reported(tmp_path: Path, was: str, now: str, told: str) -> None:
    text = TIINGO.read_text()
    assert was in text
    broken = tmp_path / TIINGO.name
    broken.write_text(text.replace(was, now, 1))
    problems = lint([broken], Project(), {"tiingo_prices"})
    assert any(told in problem for problem in problems), problems
    assert all("tiingo_prices" in problem for problem in problems)


def test_a_dataset_has_a_contract_a_writer_and_a_source(tmp_path: Path) -> None:
    assert lint(files(), Project(), WRITTEN | {"prices"}) == [
        "raw/prices is written without a contract; add prices.odcs.yaml beside its extractor"
    ]
    assert "no job declares to write raw/tiingo_prices" in lint([TIINGO], Project(), set())[0]
    shutil.copytree(DBT / "models", tmp_path / "models")
    (tmp_path / "models" / "staging" / "tiingo" / "_tiingo.yml").write_text("models: []")
    assert "dbt declares no source table" in lint([TIINGO], Project(tmp_path), {"tiingo_prices"})[0]


def test_no_mart_reads_a_confidential_dataset(tmp_path: Path) -> None:
    custodian = next(path for path in files() if path.name == "custodian_positions.odcs.yaml")
    shutil.copytree(DBT / "models", tmp_path / "models")
    mart = tmp_path / "models" / "marts" / "fct_position.sql"
    mart.write_text("select * from {{ ref('stg_custodian__positions') }}", encoding="utf-8")
    (problem,) = lint([custodian], Project(tmp_path), {"custodian_positions"})
    assert "its rows may be in no mart, as it is confidential, and fct_position stands on it" in problem


def test_a_contract_conforms_to_the_standard_and_its_licence_is_complete() -> None:
    licences = {contracts.load(path).licence for path in files()}
    assert "US government work, public domain" in licences
    assert not any(problem for problem in lint(files(), Project(), WRITTEN))


def changed(edit: Callable[[contracts.Field], contracts.Field | None]) -> list[Change]:
    """Return the difference that an edit of the column close makes."""
    old = contracts.load(TIINGO)
    edited = ((field if field.name != "close" else edit(field)) for field in old.fields)
    return diff(old, replace(old, fields=tuple(field for field in edited if field)))


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
def test_a_change_of_a_column_is_classified(edit: Callable[[contracts.Field], contracts.Field | None], weight: str) -> None:
    assert [(change.weight, change.column) for change in changed(edit)] == [(weight, "close")]


def test_a_change_names_the_marts_that_depend_on_it() -> None:
    old = contracts.load(TIINGO)
    new = replace(old, fields=tuple(field for field in old.fields if field.name not in ("close", "adjHigh")))
    lines, unadmitted = report(old, new, Project())
    assert unadmitted
    assert "close: is gone" in lines[0]
    assert "read by stg_tiingo__prices" in lines[0]
    assert {"fct_price_daily", "fct_return_daily", "fct_valuation_daily"} <= set(lines[0].rpartition(": ")[2].split(", "))
    assert "read by" not in lines[1]
    assert report(old, replace(new, version="2.0.0"), Project())[1] is False


def test_key_leaf_and_evolution_are_part_of_the_contract() -> None:
    old = contracts.load(TIINGO)
    new = replace(old, key=("ticker",), leaf="month(date)", new_fields="freeze", fields=(*old.fields, contracts.Field("note", "string")))
    assert [(change.weight, change.column) for change in diff(old, new)] == [("breaks", None)] * 3 + [("fine", "note")]
    assert diff(old, old) == []
    told = diff(old, replace(old, classification="confidential", redistribution=None, unique=(("close",),)))
    assert [change.weight for change in told] == ["watch"] * 3
    assert any("classification: internal -> confidential" in change.text for change in told)
    assert diff(old, replace(old, max_missing_rows=0.1)) == [Change("watch", None, "rows an answer may leave out: 0.00% -> 10.00%")]


def test_diff_exits_with_65_on_a_breaking_change(tmp_path: Path) -> None:
    edited = tmp_path / "new.odcs.yaml"
    edited.write_text(TIINGO.read_text().replace("name: divCash,", "name: dividend,"))
    ended = CliRunner().invoke(looked_after.main, ["diff", str(TIINGO), str(edited)])
    assert ended.exit_code == 65
    assert "breaks  divCash: is gone" in ended.output
    assert CliRunner().invoke(looked_after.main, ["diff", str(TIINGO), str(TIINGO)]).output == "nothing changes\n"
    edited.write_text("kind: none")
    assert CliRunner().invoke(looked_after.main, ["diff", str(TIINGO), str(edited)]).exit_code == 65
