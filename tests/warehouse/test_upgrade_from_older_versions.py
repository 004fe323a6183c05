"""Upgrades of the lake and the warehouse that older versions wrote, each by runs on the same five days of yields.

0.1.0 is that of commit 655c508, with commits of format 1. 0.2.0 is that of commit 4945ed9, the last one before migrations had numbers, with
commits of format 2, a row in quarantine, and the loads of each build.
"""

from __future__ import annotations

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from click.testing import CliRunner
from jobkit import commits, formats, migrations
from jobkit.errors import NewerFormatError
from jobkit.lake import CommitDraft, Lake
from jobkit.migrations import OPS, RAW, Migration, Schema
from publish_marts.warehouse import open_snapshot
from transform_warehouse.build_log import open_build_log

import finelt
from finelt import upgrade
from tests.forks import ForkedJob
from tests.small_project import copy_small_project
from tests.warehouse import samples

if TYPE_CHECKING:
    from tests.fixtures_postgres import Warehouse

VERSIONS_OF_FINELT = ("0_1_0", "0_2_0")
BOTH = pytest.mark.parametrize("version", VERSIONS_OF_FINELT, indirect=True)
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


def locate(version: str) -> Path:
    return Path(__file__).with_name(f"version_{version}")


@pytest.fixture
def version(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "0_1_0"))


@pytest.fixture
def old(warehouse: Warehouse, version: str) -> Warehouse:
    """A warehouse with a ledger, and a build log with one build."""
    warehouse.run((locate(version) / "warehouse.sql").read_text(encoding="utf-8"))
    return warehouse


@pytest.fixture
def lake(tmp_path: Path, version: str) -> Path:
    return Path(shutil.copytree(locate(version) / "lake", tmp_path / "lake"))


def numbered(schema: Schema) -> list[tuple[int, str]]:
    return [(migration.number, migration.title) for migration in schema.migrations]


@BOTH
def test_a_newer_program_reads_what_an_older_one_wrote_and_goes_on_from_there(old: Warehouse, lake: Path) -> None:
    """The lake's commits, the rows and the ledger stay; a correction closes the row that the older version wrote."""
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
            assert not changes_only  # the older marts are built anew, from every load
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


@BOTH
def test_upgrade_previews_without_a_change_and_applies_on_request(old: Warehouse, lake: Path, version: str) -> None:
    before = dump(old)
    preview = run_upgrade(lake, old)
    assert (preview.exit_code, dump(old)) == (0, before)
    assert f"3 commits of format {1 + VERSIONS_OF_FINELT.index(version)}; they are read as they are" in preview.output
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


def test_marts_are_built_after_an_upgrade(warehouse: Warehouse, tmp_path: Path) -> None:
    """By the job, with a part of the project: all current yields, whichever version the raw rows are of."""
    project = copy_small_project(tmp_path / "dbt", "fct_yield")
    where = ["--warehouse", warehouse.url, "--warehouse-password", warehouse.password_reference, "--project", str(project)]
    for version in VERSIONS_OF_FINELT:
        warehouse.run((locate(version) / "warehouse.sql").read_text(encoding="utf-8"))
        assert run_upgrade(locate(version) / "lake", warehouse).exit_code == 0
        with ForkedJob([sys.executable, "-m", "transform_warehouse", "run", *where]) as process:
            stdout, stderr = process.communicate(timeout=600)
        assert json.loads(stdout)["exit_code"] == 0, stderr
        query = "select curve_date::text, yield_pct::text from marts.fct_yield where tenor = '10Y' order by 1"
        assert warehouse.rows(query) == [(day, rate) for day, rate, is_current in OLD_VERSIONS if is_current]
        warehouse.run("drop schema raw, ops, stage, marts, as_of, as_of_internal, staging, intermediate cascade")


def copy_as_format_3(folder: Path) -> Path:
    """Copy the commits of 0.2.0 with the number of format 3, which has the same fields, and the files in the same places."""
    lake = Lake(str(shutil.copytree(locate("0_2_0") / "lake", folder)))
    for key in [key for key in lake.store.list_keys("raw/") if "/_commits/" in key]:
        document = {**msgspec.json.decode(lake.store.get(key)), "format": 3}
        del document["digest"]
        lake.store.put(key, msgspec.json.encode({**document, "digest": commits._digest(document)}))
    return folder


def copy_as_newest_format(folder: Path) -> Path:
    """Commit the rows of 0.2.0 by this version."""
    older = Lake(str(locate("0_2_0") / "lake"))
    for partition in older.partitions("treasury_par_yields"):
        for commit in older.history("treasury_par_yields", partition):
            draft = CommitDraft(older.read(commit.data), commit.data.rows, None, 0, lambda: (), commit.key, commit.leaf, commit.writer)
            Lake(str(folder)).commit("treasury_par_yields", partition, draft)
    return folder


def test_commits_of_every_format_have_the_same_rows(tmp_path: Path) -> None:
    """Format 1 is that of 0.1.0, format 2 that of 0.2.0. A new format fails this test until it is added here."""
    folders = [*(locate(version) / "lake" for version in VERSIONS_OF_FINELT), copy_as_format_3(tmp_path / "3")]
    lakes = [Lake(str(folder)) for folder in (*folders, copy_as_newest_format(tmp_path / "newest"))]
    written = [
        {msgspec.json.decode(lake.store.get(key)).get("format", 1) for key in lake.store.list_keys("raw/") if "/_commits/" in key}
        for lake in lakes
    ]
    assert written == [{number} for number in range(1, formats.COMMIT + 1)]
    rows = [finelt.read("treasury_par_yields", lake.store.url).sort_values("Date").to_csv(index=False) for lake in lakes]
    assert len(set(rows)) == 1
    histories = {tuple(commit.data.sha256 for commit in lake.history("treasury_par_yields", "year=2012")) for lake in lakes}
    assert len(histories) == 1
    assert len(histories.pop()) == 2


def with_password(warehouse: Warehouse) -> str:
    return warehouse.url.replace("@", f":{warehouse.password}@")


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
    """Loader, transform, publication, `finelt.read` and `finelt upgrade` name schema, table, format, what they read, and what to do."""
    samples.load(lake, old)
    old.run(f"insert into raw._migrations (number, title) values ({RAW.format + 1}, 'of tomorrow')")
    expected = rf"the schema raw \(raw._migrations\) is of format 4, and this version reads formats up to {RAW.format}; upgrade finelt"
    with pytest.raises(NewerFormatError, match=expected):
        samples.load(lake, old)
    with open_build_log(old.url, old.password) as build_log, pytest.raises(NewerFormatError, match=expected):
        build_log.check_formats()
    with open_snapshot(old.url, old.password) as snapshot, pytest.raises(NewerFormatError, match=expected):
        snapshot.read_last_transform()
    for name, moment in (("fct_yield", None), ("fct_yield", "2013-01-15"), ("no_mart", None)):
        with pytest.raises(NewerFormatError, match=expected):
            finelt.read(name, with_password(old), as_of=moment)
    refused = run_upgrade(lake, old, "--apply")
    assert (refused.exit_code, "is of format 4" in refused.output) == (78, True)


def test_upgrade_names_a_commit_of_a_newer_format(tmp_path: Path) -> None:
    made = samples.commit(tmp_path, [samples.price("2012-01-03")])
    store = Lake(str(tmp_path)).store
    document = msgspec.json.decode(store.get(key := "raw/prices/ticker=AAPL/year=2012/_commits/000001.json"))
    store.put(key, msgspec.json.encode({**document, "format": 9}))
    refused = CliRunner().invoke(upgrade.main, ["--lake", str(tmp_path)])
    assert (made.number, refused.exit_code) == (1, 78)
    assert f"{key} is of format 9, and this version reads formats up to {formats.COMMIT}; upgrade finelt" in refused.output
