"""The datasets behind each mart, and that no confidential value reaches marts or messages."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from transform_warehouse import build_log, lineage
from transform_warehouse.lineage import Relation

from tests import forks
from tests.small_project import copy_small_project

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixtures_postgres import Warehouse

QUARANTINE = """
    create schema raw;
    create table raw._ledger (
        load_id bigint generated always as identity, dataset text, partition text, commit integer, sha256 text, rows bigint,
        known_at timestamptz, loaded_at timestamptz default now()
    );
    create table raw._quarantine (
        dataset text, partition text, commit integer, row_number integer, raw_row json, reasons text,
        known_from timestamptz, known_to timestamptz
    );
    insert into raw._quarantine values
        ('custodian_positions', 'file=a', 1, 1, '{"account": "ACCT-7", "date": "2012-12-28"}', 'account is ''ACCT-7'', not text',
            '2013-01-01', 'infinity'),
        ('custodian_positions', 'file=b', 1, 2, '{"account": "ACCT-8"}', 'values withheld: quantity is above 5', '2013-01-01', 'infinity'),
        ('treasury_par_yields', 'year=2012', 1, 3, '{"Date": "2012-12-31", "10 Yr": "99"}', '10 Yr is 99, above 50',
            '2013-01-01', 'infinity'),
        ('foreign_rates', 'all', 1, 4, '{"rate": "ACCT-9"}', 'rate is ''ACCT-9'', not a number', '2013-01-01', 'infinity');
    create table raw.custodian_positions (
        position_date date, custodian text, account text, isin text, quantity numeric(24,6), price numeric(18,6),
        market_value numeric(24,4), currency text, _row_number integer, _load_id bigint, known_from timestamptz, known_to timestamptz
    );
    insert into raw.custodian_positions values
        ('2012-12-31', 'bank', 'ACCT-1', 'US0378331005', 1, 1, 1, 'USD', 1, 1, '2013-01-01', 'infinity'),
        ('2012-12-31', 'bank', 'ACCT-1', 'US0378331005', 1, 1, 1, 'USD', 2, 1, '2013-01-01', 'infinity');
    create table raw.spare (account text);
"""


def node(kind: str, name: str, schema: str, above: tuple[str, ...] = (), *, materialized: str = "table", sql: str = "", **meta: Any) -> Any:
    return SimpleNamespace(
        unique_id=f"{kind}.{name}",
        resource_type=kind,
        name=name,
        alias=name,
        identifier=name,
        schema=schema,
        depends_on_nodes=list(above),
        raw_code=sql,
        config=SimpleNamespace(meta=meta, materialized="test" if kind == "test" else materialized),
        source_description=f"about {name}",
    )


def manifest(*nodes: Any) -> Any:
    sources = {one.unique_id: one for one in nodes if one.resource_type == "source"}
    return SimpleNamespace(nodes={one.unique_id: one for one in nodes if one.unique_id not in sources}, sources=sources)


RATES = node("source", "rates", "raw", classification="public", redistribution="allowed", licence="free")
HOLDINGS = node("source", "holdings", "raw", classification="confidential")
LEDGER = node("source", "_ledger", "raw", rows_of="every dataset")
CODES = node("seed", "codes", "intermediate")
SECRET_CODES = node("seed", "secret_codes", "intermediate", classification="confidential")


def find_origins(*nodes: Any, compiled: dict[str, str] | None = None, tables: tuple[str, ...] = ()) -> dict[str, Any]:
    """The origins of the mart m with their kinds."""
    found = lineage.describe_lineage(
        manifest(RATES, HOLDINGS, LEDGER, CODES, SECRET_CODES, *nodes), compiled or {}, [Relation("raw", name) for name in tables]
    )
    return {name: found["datasets"][name]["kind"] for name in found["marts"]["m"]["made_of"]}


def test_everything_upstream_is_an_origin_of_a_mart() -> None:
    chain = (node("model", "a", "staging", ("source.rates",)), node("model", "b", "intermediate", ("model.a", "seed.codes", "model.c")))
    loop = (node("model", "c", "intermediate", ("model.b", "source.holdings")), node("model", "m", "marts", ("model.b",)))
    assert find_origins(*chain, *loop) == {"codes": "seed", "holdings": "dataset", "rates": "dataset"}
    assert find_origins(node("snapshot", "s", "snapshots", ("source.holdings",)), node("model", "m", "marts", ("snapshot.s",))) == {
        "holdings": "dataset"
    }
    assert find_origins(node("model", "m", "marts", ("model.gone",))) == {"model.gone": "unknown"}
    assert find_origins(node("model", "m", "marts", ("source._ledger",))) == {"raw._ledger": "every dataset"}
    assert find_origins(node("model", "m", "marts")) == {}


def test_a_model_that_adds_no_values_is_no_origin() -> None:
    updates = node("model", "updates", "staging", ("source.holdings",), adds_no_values=True)
    mart = node("model", "m", "marts", ("model.updates", "source.rates"))
    assert find_origins(updates, mart) == {"rates": "dataset"}
    described = lineage.describe_lineage(manifest(RATES, HOLDINGS, updates, mart), {}, ())
    assert described["parents"] == {"m": ["rates"], "updates": ["holdings"]}


def test_a_dataset_is_late_by_the_freshness_of_its_source() -> None:
    source = node("source", "rates", "raw", classification="public")
    source.freshness = SimpleNamespace(warn_after=SimpleNamespace(count=5, period="day"))
    described = lineage.describe_lineage(manifest(source, HOLDINGS), {}, ())
    assert described["datasets"]["rates"]["latency_days"] == 5
    assert "latency_days" not in described["datasets"]["holdings"]


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ('select * from "db"."raw"."holdings"', {"holdings": "dataset"}),
        ("select 1 from RAW.Holdings", {"holdings": "dataset"}),
        ("select 1 from x join only raw.holdings on true", {"holdings": "dataset"}),
        ('select 1 from "as_of"."holdings"', {"holdings": "dataset"}),
        ("select 1 from raw.spare", {"raw.spare": "unknown"}),
        ("select 1 from one, raw.spare", {"raw.spare": "unknown"}),
        ("with raw as (select 1) select raw.close from raw", {}),
        ("select 1 from raw.no_such_table", {}),
    ],
)
def test_a_table_named_without_source_is_an_origin(sql: str, found: dict[str, str]) -> None:
    assert find_origins(node("model", "m", "marts"), compiled={"model.m": sql}, tables=("spare",)) == found


def test_an_incremental_build_keeps_the_lineage_of_the_full_build() -> None:
    full = {"marts": {"m": {"made_of": ["holdings", "rates"], "published_by": None}}, "datasets": {"rates": {"kind": "unknown"}}}
    changes = {"marts": {"m": {"made_of": ["raw.spare"], "published_by": "dataset"}}, "datasets": {"rates": {"kind": "dataset"}}}
    assert lineage.merge_lineages(full, changes) == {
        "marts": {"m": {"made_of": ["holdings", "rates", "raw.spare"], "published_by": "dataset"}},
        "parents": {},
        "fields": {},
        "datasets": {"rates": {"kind": "dataset"}},
    }


@pytest.mark.parametrize(
    ("datasets", "names"),
    [
        ({"rates"}, ["by_day", "fct_load", "fct_rate", "fct_spare", "last_day", "rates_are_positive", "updates"]),
        ({"holdings"}, ["fct_holding", "fct_load", "fct_spare", "holdings_have_a_key", "updates"]),
        (set(), ["fct_load", "fct_spare", "updates"]),
    ],
)
def test_new_loads_run_the_models_that_read_their_dataset(datasets: set[str], names: list[str]) -> None:
    nodes = manifest(
        RATES,
        HOLDINGS,
        LEDGER,
        CODES,
        node("model", "updates", "staging", ("source.rates", "source.holdings"), adds_no_values=True),
        node("model", "stg_rates", "staging", ("source.rates",), materialized="view"),
        node("model", "by_day", "intermediate", ("model.stg_rates", "model.updates")),
        node("model", "last_day", "intermediate", ("model.by_day",), materialized="view"),
        node("model", "fct_rate", "marts", ("model.last_day",), materialized="incremental"),
        node("model", "fct_holding", "marts", ("source.holdings", "model.updates"), materialized="incremental"),
        node("model", "holdings_now", "intermediate", ("model.fct_holding",), materialized="view"),
        node("model", "dim_code", "marts", ("seed.codes",)),
        node("model", "fct_load", "marts", ("source._ledger",)),
        node("model", "fct_spare", "marts", sql="select * from raw.spare"),
        node("test", "rates_are_positive", "t", ("model.stg_rates",)),
        node("test", "holdings_have_a_key", "t", ("model.fct_holding", "model.updates")),
    )
    assert lineage.select_changed(nodes, datasets, [Relation("raw", "spare")]) == names


def test_a_seed_is_public_unless_its_meta_says_otherwise() -> None:
    found = lineage.describe_lineage(
        manifest(CODES, SECRET_CODES, node("model", "m", "marts", ("seed.codes", "seed.secret_codes"))), {}, ()
    )
    assert found["datasets"]["codes"] == {"kind": "seed", "classification": "public", "redistribution": "allowed"}
    assert found["datasets"]["secret_codes"]["classification"] == "confidential"


def test_messages_show_rows_only_if_all_their_origins_may_be_shown() -> None:
    nodes = manifest(RATES, HOLDINGS, LEDGER, *(node("test", name, "t", (f"source.{name}",)) for name in ("rates", "holdings", "_ledger")))
    assert [lineage.may_show_values(nodes, f"test.{name}") for name in ("rates", "holdings", "_ledger")] == [True, False, False]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of the project with a mart that reads positions without source(), and a test that fails on them."""
    copy = copy_small_project(tmp_path_factory.mktemp("image") / "dbt", "fct_quarantine", "stg_custodian__positions")
    sql = "{{ config(contract={'enforced': false}) }} select count(*) as positions from raw.custodian_positions, raw.spare"
    (copy / "models" / "marts" / "fct_behind.sql").write_text(sql, encoding="utf-8")
    test = "select account from {{ source('custodian', 'custodian_positions') }}"
    (copy / "tests" / "no_account.sql").write_text(f"{{{{ config(enabled=var('strict', false)) }}}} {test}", encoding="utf-8")
    return copy


def transform(warehouse: Warehouse, project: Path) -> tuple[int, str, str]:
    """Run the job; return exit code, receipt and log."""
    where = ["--warehouse", warehouse.url, "--warehouse-password", warehouse.password_reference, "--project", str(project)]
    done = forks.run([sys.executable, "-m", "transform_warehouse", "run", *where])
    return done.returncode, done.stdout, done.stderr


def test_confidential_values_are_in_no_mart_receipt_or_log(warehouse: Warehouse, project: Path) -> None:
    with warehouse.connect() as connection:
        connection.execute(QUARANTINE)
    code, receipt, log = transform(warehouse, project)
    assert code == 0, receipt
    rows = warehouse.rows("select dataset, reasons, raw_row, row_date from marts.fct_quarantine order by dataset, row_number")
    assert [row[0] for row in rows] == ["custodian_positions", "custodian_positions", "foreign_rates", "treasury_par_yields"]
    withheld = "values withheld: these reasons hold some; replay the partition for reasons without"
    assert [row[1:] for row in rows[:3]] == [
        (withheld, None, None),
        ("values withheld: quantity is above 5", None, None),
        (withheld, None, None),
    ]
    assert (rows[3][1], json.loads(rows[3][2])["10 Yr"], rows[3][3]) == ("10 Yr is 99, above 50", "99", "2012-12-31")
    [[found]] = warehouse.rows("select lineage from ops.transforms")
    assert found["marts"]["fct_behind"]["made_of"] == ["custodian_positions", "raw.spare"]
    assert found["marts"]["fct_quarantine"] == {"made_of": ["raw._quarantine"], "published_by": "dataset"}
    assert found["datasets"]["custodian_positions"]["classification"] == "confidential"

    test = project / "tests" / "no_account.sql"
    test.write_text(test.read_text(encoding="utf-8").replace("'strict', false", "'strict', true"), encoding="utf-8")
    code, receipt, failing_log = transform(warehouse, project)
    assert code == 65
    assert "test no_account failed on 2 rows, which may hold confidential values" in receipt
    [[results]] = warehouse.rows("select results from ops.transforms order by transform_id desc limit 1")
    failed = [test for test in results["tests"] if test["status"] == "fail"]
    assert [(test["name"], test["failures"], test["datasets"]) for test in failed] == [("no_account", 2, ["custodian_positions"])]
    assert {"name": "fct_quarantine", "status": "success"}.items() <= next(
        model.items() for model in results["models"] if model["name"] == "fct_quarantine"
    )
    assert "ACCT-" not in receipt + log + failing_log


def test_marts_without_recorded_lineage_are_rebuilt(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        connection.execute(
            "create schema ops; create schema marts; create table ops.transforms (transform_id int, fingerprint text, ended_at timestamptz)"
        )
        connection.execute("insert into ops.transforms values (1, 'same', now())")
        with build_log.open_build_log(warehouse.url, warehouse.password) as log:
            assert not log.is_current("same", [])
            connection.execute("alter table ops.transforms add column lineage jsonb")
            assert not log.is_current("same", [])
            connection.execute("update ops.transforms set lineage = '{}'")
            assert log.is_current("same", [])
