"""Upgrades of the lake and the warehouse that version 0.1.0 wrote (commit 655c508: four runs on five days of yields)."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from click.testing import CliRunner
from jobkit import migrations
from jobkit.errors import NewerFormatError
from jobkit.lake import CommitDraft, Lake
from jobkit.migrations import OPS, RAW, Migration, Schema
from publish_marts.warehouse import open_snapshot
from transform_warehouse.build_log import open_build_log

from finelt import upgrade
from tests.warehouse import samples

if TYPE_CHECKING:
    from tests.fixtures_postgres import Warehouse

OLD = Path(__file__).with_name("version_0_1_0")
VERSIONS = 'select "Date"::text, "10 Yr"::text, known_to = \'infinity\' from raw.treasury_par_yields order by 1, known_from'
OLD_VERSIONS = [
    ("2012-12-27", "1.7400", True),
    ("2012-12-28", "1.7300", False),
    ("2012-12-28", "1.7200", True),
    ("2012-12-31", "1.7800", True),
    ("2013-01-02", "1.8600", True),
    ("2013-01-03", "1.9200", True),
]
APPLIED = "select number, title from {}._migrations order by number"


@pytest.fixture
def old(warehouse: Warehouse) -> Warehouse:
    """The warehouse of version 0.1.0: a ledger, no quarantine, and a build log with one build."""
    warehouse.run((OLD / "warehouse.sql").read_text(encoding="utf-8"))
    return warehouse


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD / "lake", tmp_path / "lake"))


def numbered(schema: Schema) -> list[tuple[int, str]]:
    return [(migration.number, migration.title) for migration in schema.migrations]


def test_a_newer_program_reads_what_0_1_0_wrote_and_goes_on_from_there(old: Warehouse, lake: Path) -> None:
    """The lake's commits of format 1, the rows and the ledger stay; a correction closes the row that 0.1.0 wrote."""
    assert sorted(samples.load(lake, old).outcomes) == [("treasury_par_yields", f"year={year}", "unchanged") for year in (2012, 2013)]
    assert old.rows(APPLIED.format("raw")) == numbered(RAW)
    assert old.rows(VERSIONS) == OLD_VERSIONS
    store = Lake(str(lake))
    head = store.head("treasury_par_yields", "year=2012")
    first = store.read_commit("treasury_par_yields", "year=2012", 1)
    assert head
    draft = CommitDraft(store.read(first.data), 3, None, 0, lambda: head.source, head.key, head.leaf, {"job": "test", "version": "0"})
    store.commit("treasury_par_yields", "year=2012", draft)  # the vendor takes its correction back
    samples.load(lake, old)
    corrected = [("2012-12-28", "1.7200", False), ("2012-12-28", "1.7300", True)]
    assert old.rows(VERSIONS) == [*OLD_VERSIONS[:2], *corrected, *OLD_VERSIONS[3:]]
    with open_build_log(old.url, old.password) as build_log:
        with build_log.record_transform("run", "made of", None, "made so", ()) as changes_only:
            assert not changes_only  # the marts of 0.1.0 are built anew, from every load
            build_log.record_lineage("run", {"marts": {}})
            build_log.record_results("run", {})
        assert build_log.is_current("made of", ())
    assert old.rows(APPLIED.format("ops")) == numbered(OPS)
    assert old.rows("select count(*), count(lineage), count(ended_at) from ops.transforms") == [(2, 1, 2)]
    assert old.rows("select count(*) from ops.transformed_loads") == [(4,)]


def run_upgrade(lake: Path, warehouse: Warehouse, *words: str) -> Any:
    access = ["--warehouse", warehouse.url, "--password", warehouse.password_reference]
    return CliRunner().invoke(upgrade.main, ["--lake", str(lake), *access, *words])


def dump(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    return warehouse.rows(
        "select table_schema, table_name, column_name from information_schema.columns where table_schema in ('raw', 'ops') order by 1, 2, 3"
    )


def test_upgrade_previews_without_a_change_and_applies_on_request(old: Warehouse, lake: Path) -> None:
    before = dump(old)
    preview = run_upgrade(lake, old)
    assert (preview.exit_code, dump(old)) == (0, before)
    assert "3 commits of format 1; they are read as they are" in preview.output
    assert "the log of treasury_par_yields: pending" in preview.output
    assert not (lake / "raw/treasury_par_yields/_log").exists()
    assert "warehouse raw   format 0, to be migrated to 3" in preview.output
    assert "2 the quarantine: pending" in preview.output
    assert "4 the results of each build: pending" in preview.output
    applied = run_upgrade(lake, old, "--apply")
    assert (applied.exit_code, applied.output.count(": migrated"), applied.output.count("pending")) == (0, 7, 0)
    assert [old.rows(APPLIED.format(schema.name)) for schema in (RAW, OPS)] == [numbered(RAW), numbered(OPS)]
    assert old.rows(VERSIONS) == OLD_VERSIONS
    assert Lake(str(lake)).log.read("treasury_par_yields", 1)
    assert "warehouse ops   format 4, the newest" in run_upgrade(lake, old).output


def test_migrations_run_once_and_all_or_none(old: Warehouse) -> None:
    """Two programs that start at the same time wait for each other; a step that fails leaves the schema as it was."""
    counting = Schema("raw", (*RAW.migrations, Migration(4, "a counter", "create table raw.counted (n int); select pg_sleep(0.2)")))
    broken = Schema("raw", (*counting.migrations, Migration(5, "an error", "select 1 / 0")))

    def migrate(schema: Schema) -> int:
        with old.connect(autocommit=False) as connection:
            return len(migrations.migrate(partial(upgrade._fetch_tuples, connection), schema, "the warehouse"))

    with pytest.raises(Exception, match="division by zero"):
        migrate(broken)
    assert old.rows("select to_regclass('raw._migrations')::text, to_regclass('raw.counted')::text") == [(None, None)]
    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(migrate, [counting] * 3)) == [0, 0, 4]
    assert old.rows(APPLIED.format("raw")) == numbered(counting)


def test_an_older_program_refuses_a_newer_warehouse_by_name(old: Warehouse, lake: Path) -> None:
    """The loader, the transform, the publication and `finelt upgrade` name schema, table, format, what they read, and what to do."""
    samples.load(lake, old)
    old.run(f"insert into raw._migrations (number, title) values ({RAW.format + 1}, 'of tomorrow')")
    expected = rf"the schema raw \(raw._migrations\) is of format 4, and this version reads formats up to {RAW.format}; upgrade finelt"
    with pytest.raises(NewerFormatError, match=expected):
        samples.load(lake, old)
    with open_build_log(old.url, old.password) as build_log, pytest.raises(NewerFormatError, match=expected):
        build_log.check_formats()
    with open_snapshot(old.url, old.password) as snapshot, pytest.raises(NewerFormatError, match=expected):
        snapshot.read_last_transform()
    refused = run_upgrade(lake, old, "--apply")
    assert (refused.exit_code, "is of format 4" in refused.output) == (78, True)


def test_upgrade_names_a_commit_of_a_newer_format(tmp_path: Path) -> None:
    made = samples.commit(tmp_path, [samples.price("2012-01-03")])
    store = Lake(str(tmp_path)).store
    document = msgspec.json.decode(store.get(key := "raw/prices/ticker=AAPL/year=2012/_commits/000001.json"))
    store.put(key, msgspec.json.encode({**document, "format": 9}))
    refused = CliRunner().invoke(upgrade.main, ["--lake", str(tmp_path)])
    assert (made.number, refused.exit_code) == (1, 78)
    assert f"{key} is of format 9, and this version reads formats up to 3; upgrade finelt" in refused.output
