"""Run the job end to end: from a real Postgres to a site on disk and in S3."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from jobkit import launchers, logs, receipt, stores
from jobkit.command import Job
from jobkit.declaration import read_package
from jobkit.errors import NewerFormatError, TemporaryError
from moto import mock_aws
from publish_marts import export, publication
from publish_marts.__main__ import run
from publish_marts.warehouse import open_snapshot

from tests import forks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixtures_postgres import Warehouse

LINEAGE = {
    "marts": {
        "fct_yield": {"made_of": ["treasury_par_yields"], "published_by": None},
        "dim_security": {"made_of": ["tiingo_prices", "ticker_history"], "published_by": None},
        "fct_quarantine": {"made_of": ["raw._quarantine"], "published_by": "dataset"},
    },
    "datasets": {
        "treasury_par_yields": {
            "kind": "dataset", "classification": "public", "redistribution": "allowed", "licence": "public domain", "source": "US Treasury."
        },
        "tiingo_prices": {
            "kind": "dataset", "classification": "internal", "redistribution": "internal-use-only", "licence": "terms", "source": "Tiingo."
        },
        "custodian_positions": {"kind": "dataset", "classification": "confidential", "redistribution": "internal-use-only"},
        "ticker_history": {"kind": "seed", "classification": "public", "redistribution": "allowed"},
        "raw._quarantine": {"kind": "every dataset"},
    },
}  # fmt: skip
MARTS = f"""
create schema marts; create schema ops; create schema raw;
create table marts.fct_yield (curve_date date, tenor text, yield_pct numeric(8,4), unique (curve_date, tenor));
insert into marts.fct_yield values ('2012-12-31', '2Y', 0.25), ('2012-12-31', '10Y', 1.78), ('2012-12-28', '10Y', 1.73);
create table marts.dim_security (ticker text, name text, cik bigint, valid_to date);
insert into marts.dim_security values ('AAPL', 'Apple Inc.', 320193, 'infinity');
create table ops.transforms (transform_id int, fingerprint text, as_of timestamptz, ended_at timestamptz,
    lineage jsonb default '{json.dumps(LINEAGE)}');
insert into ops.transforms values (1, 'one', null, now());
"""
QUARANTINE = """
create table marts.fct_quarantine (
    dataset text, lake_partition text, row_number integer, reasons text, raw_row text, unique (dataset, lake_partition, row_number)
);
insert into marts.fct_quarantine values
    ('treasury_par_yields', 'year=2012', 7, '10 Yr is 99, above 50', '{"10 Yr": "99"}'),
    ('tiingo_prices', 'year=2012', 8, 'close is 0, below 0.01', '{"close": "0"}'),
    ('custodian_positions', 'file=bank', 1, 'values withheld: quantity is not a number', null),
    ('foreign_rates', 'all', 2, 'values withheld: rate is not a number', null);
"""


@dataclass(frozen=True)
class Result:
    code: int
    receipt: dict[str, Any]
    stderr: str

    @property
    def outcomes(self) -> dict[str, str]:
        return {partition["dataset"]: partition["outcome"] for partition in self.receipt["partitions"]}


@dataclass(frozen=True)
class Publisher:
    """Run the job as a command."""

    warehouse: Warehouse
    site: Path

    def __call__(self, *more: str, verb: str = "run", **environment: str) -> Result:
        options = {"FINELT_WAREHOUSE": self.warehouse.url, "FINELT_WAREHOUSE_PASSWORD": self.warehouse.password_reference}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FINELT_")}
        env = {**inherited, **options, **environment}
        command = [sys.executable, "-m", "publish_marts", verb, "--site", str(self.site), *more]
        if any(name.startswith("PYTHON") for name in environment):  # the interpreter reads these when it starts
            process = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        else:
            process = forks.run(command, env, timeout=60)
        return Result(process.returncode, json.loads(process.stdout or "{}"), process.stderr)

    def sql(self, text: str) -> None:
        with self.warehouse.connect() as connection:
            connection.execute(text.encode())

    @property
    def pointer(self) -> dict[str, Any]:
        document = json.loads((self.site / "latest.json").read_text(encoding="utf-8"))
        assert isinstance(document, dict)
        return document

    @property
    def version(self) -> Path:
        return self.site / "v" / str(self.pointer["version"])

    def files(self) -> dict[str, str]:
        paths = [path for path in self.site.rglob("*") if path.is_file() and not path.name.startswith(".")]
        return {str(path.relative_to(self.site)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture
def publish(warehouse: Warehouse, tmp_path: Path) -> Publisher:
    publisher = Publisher(warehouse, tmp_path / "site")
    publisher.sql(MARTS)
    return publisher


def test_a_publication_is_complete_and_its_checksums_are_right(publish: Publisher) -> None:
    result = publish()
    assert (result.code, result.outcomes) == (0, {"site/dim_security": "committed", "site/fct_yield": "committed"})
    assert result.receipt["details"]["site"] == (publish.site / "index.html").as_uri()
    catalogue = json.loads((publish.version / "catalogue.json").read_text(encoding="utf-8"))
    for partition in result.receipt["partitions"]:
        mart = catalogue["marts"][partition["dataset"].removeprefix("site/")]
        for file in mart["files"].values():
            data = (publish.version / file["path"]).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
        assert (partition["rows"], partition["sha256"]) == (mart["rows"], mart["files"]["parquet"]["sha256"])
    sums = (publish.version / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in sums)}
    offered = [path for path in (publish.version / "marts").iterdir() if path.suffix != ".html"]
    assert listed == {f"marts/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in offered}
    assert f'href="v/{publish.pointer["version"]}/marts/fct_yield.parquet"' in (publish.site / "index.html").read_text(encoding="utf-8")


def test_a_rerun_changes_nothing(publish: Publisher) -> None:
    first, before = publish(), publish.files()
    rerun = publish()
    assert rerun.code == 0
    assert rerun.receipt["status"] == "unchanged"
    assert set(rerun.outcomes.values()) == {"unchanged"}
    assert rerun.receipt["details"] == first.receipt["details"]
    assert publish.files() == before


def test_an_unchanged_run_neither_imports_pandas_nor_reads_a_mart(publish: Publisher) -> None:
    publish()
    publish.sql("drop table marts.fct_yield")  # an unchanged fingerprint means that no mart is read
    assert publish(PYTHONPROFILEIMPORTTIME="1").receipt["status"] == "unchanged"
    loaded = publish(PYTHONPROFILEIMPORTTIME="1").stderr
    assert "adbc_driver_manager" in loaded
    assert " pandas" not in loaded
    assert " arro3.io" not in loaded


def test_a_new_transform_with_the_same_rows_only_updates_the_pointer(publish: Publisher) -> None:
    publish()
    version = publish.pointer["version"]
    publish.sql("insert into ops.transforms values (2, 'two', null, now())")
    before = publish.pointer
    assert publish().receipt["status"] == "unchanged"
    assert publish.pointer["version"] == version
    assert publish.pointer["inputs"] != before["inputs"]


def test_a_mart_without_a_changed_row_is_not_exported_again(publish: Publisher) -> None:
    publish()
    old = publish.version
    publish.sql(
        "update marts.fct_yield set yield_pct = 1.79 where tenor = '10Y' and curve_date = '2012-12-31';"
        "insert into ops.transforms values (2, 'two', null, now())"
    )
    (publish.site.parent / "sitecustomize.py").write_text(
        "from publish_marts import export\nexport_mart = export.export_mart\n"
        "def export_only_yields(snapshot, mart, *more):\n"
        "    assert mart.name == 'fct_yield'\n    return export_mart(snapshot, mart, *more)\n"
        "export.export_mart = export_only_yields\n",
        encoding="utf-8",
    )
    assert publish(PYTHONPATH=str(publish.site.parent)).receipt["status"] == "done"
    for format_ in ("parquet", "csv", "json"):
        assert (publish.version / "marts" / f"dim_security.{format_}").read_bytes() == (
            old / "marts" / f"dim_security.{format_}"
        ).read_bytes()
    assert "1.79" in (publish.version / "marts" / "fct_yield.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "statement",
    [
        "insert into marts.fct_yield values ('2013-01-02', '2Y', 0.27)",
        "update marts.fct_yield set yield_pct = yield_pct",
        "delete from marts.fct_yield where tenor = '2Y'",
        "alter table marts.fct_yield alter yield_pct type numeric(9,4)",
        "create table marts.new as select * from marts.fct_yield; drop table marts.fct_yield; alter table marts.new rename to fct_yield",
    ],
)
def test_the_state_of_a_mart_changes_with_each_row(publish: Publisher, statement: str) -> None:
    def read_state() -> str:
        with open_snapshot(publish.warehouse.url, publish.warehouse.password) as snapshot:
            (mart,) = export.list_marts(snapshot, ["fct_yield"])
            return export.read_state(snapshot, mart)

    before = read_state()
    assert read_state() == before
    publish.sql(statement)
    assert read_state() != before


def test_a_damaged_file_of_an_unchanged_mart_is_not_published_again(publish: Publisher) -> None:
    publish()
    (publish.version / "marts" / "dim_security.csv").write_text("other\n", encoding="utf-8")
    publish.sql("delete from marts.fct_yield where tenor = '2Y'; insert into ops.transforms values (2, 'two', null, now())")
    result = publish()
    assert (result.code, "is not the file that was published" in result.receipt["error"]) == (65, True)


@pytest.mark.parametrize(
    "change", ["drop schema ops cascade", "update ops.transforms set lineage = null", "alter table ops.transforms drop lineage"]
)
def test_marts_without_lineage_are_not_published(publish: Publisher, change: str) -> None:
    publish.sql(change)
    for verb in ("run", "check", "plan"):
        result = publish(verb=verb)
        assert (result.code, "run transform-warehouse first" in result.receipt["error"]) == (78, True)
    assert not publish.site.exists()


def test_a_mart_is_published_only_to_audiences_that_its_datasets_allow(publish: Publisher) -> None:
    publish.sql(QUARANTINE)
    internal = publish()
    assert internal.code == 0
    assert set(internal.outcomes.values()) == {"committed"}
    details = internal.receipt["details"]
    assert (details["audience"], set(details["left_out"])) == (
        "internal",
        {"fct_quarantine, rows of custodian_positions", "fct_quarantine, rows of foreign_rates"},
    )
    assert details["left_out"]["fct_quarantine, rows of custodian_positions"] == "custodian_positions is confidential"
    public = Publisher(publish.warehouse, publish.site.parent / "public")
    planned = public("--audience", "public", verb="plan").receipt["details"]["plan"]
    assert {step["dataset"]: step["action"].partition(":")[0] for step in planned} == {
        "site/dim_security": "skip",
        "site/fct_quarantine": "export and compare",
        "site/fct_yield": "export and compare",
    }
    for outcome in ("committed", "unchanged"):
        result = public("--audience", "public")
        assert (result.code, result.outcomes) == (
            0,
            {"site/fct_quarantine": outcome, "site/fct_yield": outcome, "site/dim_security": "skipped"},
        )
        reason = result.receipt["details"]["left_out"]["dim_security"]
        assert reason == "tiingo_prices is internal"
        assert next(part for part in result.receipt["partitions"] if part["dataset"] == "site/dim_security")["reason"] == reason
        assert result.stderr.count('"not published"') == 4
    for site, marts in ((publish, 3), (public, 2)):
        page = (site.site / "index.html").read_text(encoding="utf-8")
        files = {path: path.read_bytes() for path in site.version.rglob("*") if path.is_file()}
        assert len([path for path in files if path.suffix == ".parquet"]) == marts
        assert "custodian_positions is confidential" in page
        assert "Sources: " in page
        assert ("Tiingo" in page) == (site is publish)
        rows = json.loads((site.version / "marts" / "fct_quarantine.json").read_text(encoding="utf-8"))
        assert {row["dataset"] for row in rows} == {"treasury_par_yields"} | ({"tiingo_prices"} if site is publish else set())
        assert not [path for path, data in files.items() if b"file=bank" in data]
    assert "tiingo_prices is internal" in (public.site / "index.html").read_text(encoding="utf-8")


def test_if_no_mart_may_be_published_the_error_says_why(publish: Publisher) -> None:
    publish.sql("""update ops.transforms set lineage = lineage #- '{datasets,treasury_par_yields,redistribution}'""")
    for verb in ("run", "check", "plan"):
        result = publish("--marts", "fct_yield", verb=verb)
        assert result.code == 78
        assert (
            "nothing may be published for the audience internal (fct_yield: treasury_par_yields states no redistribution)"
            in result.receipt["error"]
        )
    assert not publish.site.exists()
    publish.sql("""update ops.transforms set lineage = '{"marts": {}, "datasets": {}}'""")
    assert "its lineage is not recorded" in publish().receipt["error"]


def test_changed_terms_make_a_new_version_without_changed_rows(publish: Publisher) -> None:
    publish()
    old = publish.version
    publish.sql(
        """insert into ops.transforms (transform_id, fingerprint, ended_at, lineage)
        select 2, 'two', now(), jsonb_set(lineage, '{datasets,tiingo_prices,classification}', '"confidential"') from ops.transforms"""
    )
    result = publish()
    assert result.outcomes == {"site/fct_yield": "committed", "site/dim_security": "skipped"}
    assert not (publish.version / "marts" / "dim_security.csv").exists()
    assert (old / "marts" / "dim_security.csv").exists()


def test_a_site_has_one_audience(publish: Publisher) -> None:
    publish()
    before = publish.files()
    for verb in ("run", "check", "plan"):
        result = publish("--audience", "public", verb=verb)
        assert (result.code, "--audience is public" in result.receipt["error"]) == (78, True)
    assert publish.files() == before
    public = Publisher(publish.warehouse, publish.site.parent / "public")
    assert public("--audience", "public").code == 0
    assert "--audience is internal" in public().receipt["error"]


def test_a_site_from_before_audiences_is_internal(publish: Publisher) -> None:
    publish()
    (publish.site / "site.json").unlink()
    (publish.version / "published.json").unlink()
    assert publish("--audience", "public").code == 78
    assert publish().receipt["status"] == "unchanged"
    assert json.loads((publish.site / "site.json").read_text(encoding="utf-8")) == {"audience": "internal"}
    (publish.site / "site.json").write_text("[]", encoding="utf-8")
    assert publish().code == 65


def test_changes_are_counted_and_the_old_version_is_unchanged(publish: Publisher) -> None:
    publish()
    old, before = publish.version, publish.files()
    publish.sql(
        "update marts.fct_yield set yield_pct = 1.79 where tenor = '10Y' and curve_date = '2012-12-31';"
        "delete from marts.fct_yield where curve_date = '2012-12-28';"
        "insert into marts.fct_yield values ('2013-01-02', '2Y', 0.27), ('2013-01-02', '10Y', 1.86);"
        "insert into ops.transforms values (2, 'two', null, now())"
    )
    result = publish()
    (yields,) = [partition for partition in result.receipt["partitions"] if partition["dataset"] == "site/fct_yield"]
    assert (yields["added"], yields["removed"], yields["changed"]) == (2, 1, 1)
    assert publish.version != old
    after = publish.files()
    assert {name: digest for name, digest in before.items() if name.startswith("v/")}.items() <= after.items()
    page = (publish.site / "index.html").read_text(encoding="utf-8")
    assert f"Compared with version {old.name}." in page
    assert f"v/{old.name}/" not in page


def test_a_crash_before_the_pointer_leaves_the_old_site_and_a_rerun_completes_it(publish: Publisher) -> None:
    publish()
    before = publish.files()
    publish.sql("insert into marts.fct_yield values ('2013-01-02', '2Y', 0.27); insert into ops.transforms values (2, 'two', null, now())")
    lines = "import os\nfrom publish_marts import publication\npublication.set_current = lambda *_: os._exit(9)\n"
    (publish.site.parent / "sitecustomize.py").write_text(lines, encoding="utf-8")
    assert publish(PYTHONPATH=str(publish.site.parent)).code == 9
    crashed = publish.files()
    assert {name: crashed[name] for name in before} == before
    assert publish().receipt["status"] == "done"
    assert set(publish.files()) == set(crashed)


def test_a_rerun_repairs_the_landing_page_after_a_crash(publish: Publisher) -> None:
    publish()
    page = publish.site / "index.html"
    expected = page.read_bytes()
    for damage in (page.unlink, lambda: page.write_text("the page of the previous version", encoding="utf-8")):
        damage()
        assert publish().receipt["status"] == "unchanged"
        assert page.read_bytes() == expected


def test_two_publishers_never_overwrite_each_other(publish: Publisher) -> None:
    publish()
    store = stores.open_store(str(publish.site))
    pointer, etag = publication.read_pointer(store)
    assert pointer
    other = publication.Pointer("theirs", "content", None, pointer.published_at)
    publication.set_current(store, other, etag)
    with pytest.raises(TemporaryError, match="another publication"):
        publication.set_current(store, publication.Pointer("ours", "content", None, pointer.published_at), etag)
    assert publication.read_pointer(store)[0] == other


def test_a_pointer_of_an_older_format_is_read_and_one_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    """latest.json of version 0.1.0 had no format. Nothing replaces a newer one."""
    store, pointer = stores.open_store(str(tmp_path)), publication.Pointer("one", "content", "inputs", "2026-11-24T08:00:00+00:00")
    written = json.loads(publication.serialise_pointer(pointer))
    for document in ({**written, "format": 1}, {name: value for name, value in written.items() if name != "format"}):
        store.put("latest.json", json.dumps(document).encode())
        assert publication.read_pointer(store)[0] == pointer
    store.put("latest.json", json.dumps({**written, "format": 3, "shards": []}).encode())
    with pytest.raises(NewerFormatError, match="latest.json is of format 3, and this version reads formats up to 2; upgrade finelt"):
        publication.read_pointer(store)


def test_only_the_requested_marts_are_published(publish: Publisher) -> None:
    assert publish("--marts", "fct_yield").outcomes == {"site/fct_yield": "committed"}
    assert publish("--marts", "fct_x").code == 78
    assert set(publish().outcomes) == {"site/fct_yield", "site/dim_security"}


def test_the_documentation_is_part_of_the_version(publish: Publisher, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    result = publish("--docs", str(docs))
    assert (result.code, "run transform-warehouse" in result.receipt["error"]) == (78, True)
    docs.mkdir()
    (docs / "index.html").write_text("<title>dbt</title>", encoding="utf-8")
    assert publish("--docs", str(docs)).code == 0
    assert (publish.version / "docs.html").read_text(encoding="utf-8") == "<title>dbt</title>"


def test_marts_of_an_unfinished_transform_are_not_published(publish: Publisher) -> None:
    publish.sql("insert into ops.transforms values (2, 'two', null, null)")
    result = publish()
    assert (result.code, result.receipt["partitions"]) == (75, [])
    assert "run transform-warehouse until it succeeds" in result.receipt["error"]
    assert not publish.site.exists()


@pytest.mark.parametrize("verb", ["run", "check", "plan"])
def test_without_marts_the_error_says_what_to_run_first(warehouse: Warehouse, tmp_path: Path, verb: str) -> None:
    result = Publisher(warehouse, tmp_path / "site")(verb=verb)
    assert (result.code, "run transform-warehouse first" in result.receipt["error"]) == (78, True)
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_wrong_password_is_refused_with_a_clear_message(publish: Publisher, verb: str) -> None:
    result = publish(verb=verb, FINELT_WAREHOUSE_PASSWORD="env://WRONG", WRONG="not-it")
    assert result.code == 77
    assert "refuses the login" in result.receipt["error"]
    assert "not-it" not in json.dumps(result.receipt) + result.stderr
    assert not publish.site.exists()


def test_a_missing_database_is_misconfigured(publish: Publisher) -> None:
    result = publish(FINELT_WAREHOUSE=publish.warehouse.url + "_not")
    assert (result.code, "does not exist" in result.receipt["error"]) == (78, True)


@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_site_that_cannot_be_written_is_misconfigured(publish: Publisher, tmp_path: Path, verb: str) -> None:
    (tmp_path / "file").write_text("not a directory", encoding="utf-8")
    result = publish("--site", str(tmp_path / "file" / "site"), verb=verb)
    assert (result.code, "Traceback" in result.stderr) == (78, False)


def test_check_and_plan_publish_nothing(publish: Publisher) -> None:
    assert publish(verb="check").code == 0
    assert set(publish.files()) == {"_check"}
    planned = publish(verb="plan").receipt["details"]["plan"]
    assert [(step["dataset"], step["action"]) for step in planned] == [
        ("site/dim_security", "export and compare"),
        ("site/fct_yield", "export and compare"),
    ]
    publish()
    assert {step["action"] for step in publish(verb="plan").receipt["details"]["plan"]} == {"none"}


def test_a_site_in_s3_is_the_same_site(publish: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in this process, because the S3 emulator does."""
    publish()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    options: dict[str, Any] = {"warehouse": publish.warehouse.url, "warehouse_password": publish.warehouse.password_reference}
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="site-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        for outcome in ("committed", "unchanged"):
            account = receipt.RunRecord(read_package("publish_marts"), "run")
            run(
                Job(account, launchers.ShellLauncher(), logs.set_up(lambda _: None)),
                site="s3://site-bucket/site",
                docs=None,
                marts=(),
                audience="internal",
                **options,
            )
            assert {partition["outcome"] for partition in account.partitions} == {outcome}
            assert account.details["site"] == "s3://site-bucket/site/index.html"
        keys = {item["Key"].removeprefix("site/"): item["Key"] for item in client.list_objects_v2(Bucket="site-bucket")["Contents"]}
        bodies = {name: client.get_object(Bucket="site-bucket", Key=key) for name, key in keys.items()}
        digests = {name: hashlib.sha256(response["Body"].read()).hexdigest() for name, response in bodies.items()}
        assert bodies["index.html"]["ContentType"] == "text/html; charset=utf-8"
    local = publish.files()
    for dated in ("latest.json", "latest/manifest.json", next(name for name in local if name.endswith("published.json"))):
        assert digests.pop(dated)
        assert local.pop(dated)
    assert digests == local


def test_sigterm_ends_a_wait_for_a_locked_mart(publish: Publisher) -> None:
    options = {"FINELT_WAREHOUSE": publish.warehouse.url, "FINELT_WAREHOUSE_PASSWORD": publish.warehouse.password_reference}
    command = [sys.executable, "-m", "publish_marts", "run", "--site", str(publish.site)]
    with publish.warehouse.connect(autocommit=False) as holder:
        holder.execute("lock table marts.fct_yield in access exclusive mode")
        with subprocess.Popen(command, env={**os.environ, **options}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            waiting = "select count(*) from pg_stat_activity where application_name = 'publish-marts' and wait_event_type = 'Lock'"
            while publish.warehouse.rows(waiting) == [(0,)]:
                assert process.poll() is None
                time.sleep(0.05)
            process.terminate()
            stdout, stderr = process.communicate(timeout=300)  # while the mart is locked
    assert (process.returncode, json.loads(stdout)["status"]) == (143, "stopped")
    assert "Traceback" not in stderr
    assert not publish.site.exists()
