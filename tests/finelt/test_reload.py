"""`finelt reload`: what differs, whether every commit can be loaded again, and then the reload."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from jobkit import contracts

from finelt import cli, job_process, reload
from finelt.contracts.lint import contract_files
from tests import forks
from tests.warehouse import samples
from tests.warehouse.samples import PRICES, commit, price

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from tests.fixtures_postgres import Warehouse


@pytest.fixture(autouse=True)
def _forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_process.subprocess, "run", lambda command, **_: forks.run(command))


def call(lake: Path, warehouse: Warehouse, *words: str) -> Result:
    place = ["--lake", str(lake), "--warehouse", warehouse.url, "--password", warehouse.password_reference]
    return CliRunner().invoke(cli.finelt, ["reload", "prices", *place, *words])


def test_the_preview_changes_nothing_and_apply_reloads(tmp_path: Path, warehouse: Warehouse) -> None:
    commit(tmp_path, [price("2012-01-03", "1.25")])
    samples.load(tmp_path, warehouse)
    same = call(tmp_path, warehouse)
    assert (same.exit_code, same.output) == (0, "raw.prices has the types, the key and the leaf of the newest commit; nothing to reload\n")
    commit(tmp_path, [price("2012-01-03", "1.2")], columns={**PRICES, "close": samples.DataType.decimal128(18, 1)})
    refused = call(tmp_path, warehouse, "--apply")
    assert refused.exit_code == 65
    assert "PROBLEM prices/ticker=AAPL/year=2012 commit 1: column 'close' is numeric(18,6) there and numeric(18,1)" in refused.output
    assert "1 problems keep raw.prices from being reloaded; nothing was changed" in refused.output
    commit(tmp_path, [price("2012-01-03", "1.2")], columns={**PRICES, "close": samples.DataType.decimal128(18, 2)})
    preview = call(tmp_path, warehouse)
    assert preview.exit_code == 0
    assert preview.output.splitlines() == [
        "raw.prices differs from prices/ticker=AAPL/year=2012 commit 3, the newest:",
        "  column close: numeric(18,6) -> numeric(18,2)",
        "3 commits with 3 rows were checked",
        "nothing was changed; --apply reloads the table",
    ]
    assert warehouse.rows("select close::text from raw.prices") == [("1.250000",)]
    applied = call(tmp_path, warehouse, "--apply")
    assert applied.exit_code == 0, applied.output
    assert "raw.prices is reloaded; marts and views show the former table until transform-warehouse has run" in applied.output
    assert warehouse.rows("select close::text from raw.prices order by known_from") == [("1.25",), ("1.20",)]


def test_a_contract_that_is_newer_than_every_commit_is_named(tmp_path: Path) -> None:
    """The lake decides the shape, so somebody who changed the contract alone is told what comes first."""
    path = next(path for path in contract_files() if path.name.startswith("treasury_par_yields."))
    contract = contracts.load(path)
    columns: dict[str, Any] = {field.name: contracts.arrow_type(field.type) for field in contract.fields}
    made = commit(tmp_path, [], dataset=contract.dataset, partition="year=2012", columns=columns, key=contract.key, leaf=contract.leaf)
    data = (tmp_path / made.data.path).read_bytes()
    assert reload.compare_contract(contract, made, data) == []
    assert reload.describe_contract(reload.open_lake(str(tmp_path)), contract.dataset) == []
    changed = replace(contract, fields=(replace(contract.fields[0], type="string"), *contract.fields[1:]), leaf="hash(x, 2)")
    assert reload.compare_contract(changed, made, data) == [f"column {contract.fields[0].name}: string", "leaf: hash(x, 2)"]
    commit(tmp_path, [], dataset=contract.dataset, partition="year=2012", columns=columns, key=("other",), leaf=contract.leaf)
    assert reload.describe_contract(reload.open_lake(str(tmp_path)), contract.dataset) == []
