"""What is made of the lake expires by the same retention: versions of a site, and the files of `finelt lake-marts`."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from jobkit.errors import BadDataError, MisconfiguredError, NewerFormatError, UsageError
from jobkit.formats import SITE
from jobkit.stores import FileStore, open_store
from pyarrow import parquet
from pyiceberg.catalog import load_catalog

import finelt
from finelt import lake as lake_command
from finelt import retention, site_retention
from finelt.lake_marts import expiry, tables
from finelt.retention import Policy
from finelt.site_retention import SiteVersion, select_expired
from tests.finelt import test_retention as lakes
from tests.finelt.test_retention import KilledError

if TYPE_CHECKING:
    from pathlib import Path

    from pyiceberg.catalog import Catalog

NOW = datetime(2026, 11, 29, tzinfo=UTC)
PRICES, YIELDS = "tiingo_prices", "treasury_par_yields"
POLICIES = {PRICES: Policy(2), YIELDS: Policy(3)}  # cutoffs 2024-11-29 and 2023-11-29


def publish(folder: Path, name: str, previous: str | None, day: str, *datasets: str) -> None:
    """Publish a version as the job does, as far as readers look; its mart has the name of the version as its only value."""
    version = folder / "v" / name
    (version / "marts").mkdir(parents=True)
    path = version / "marts" / "fct_price.parquet"
    parquet.write_table(pa.table({"version": [name]}), path)
    file = {"path": "marts/fct_price.parquet", "bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    mart = {"description": "", "key": [], "columns": [], "rows": 1, "files": {"parquet": file}}
    catalogue = {"version": name, "previous": previous, "audience": "internal", "sources": [], "marts": {"fct_price": mart}}
    (version / "catalogue.json").write_text(json.dumps({**catalogue, "made_of": {"fct_price": list(datasets)}}))
    (version / "published.json").write_text(json.dumps({"published_at": f"{day}T08:00:00+00:00"}))
    (version / "index.html").write_text(name)
    pointer = {"version": name, "content": name, "inputs": None, "published_at": f"{day}T08:00:00+00:00", "format": SITE}
    (folder / "latest.json").write_text(json.dumps(pointer))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Versions of 2022, 2023, 2024 and 2026, and what a publication of 2022 left that was killed."""
    folder = tmp_path / "site"
    publish(folder, "killed", None, "2022-01-01", PRICES)
    (folder / "v" / "killed" / "catalogue.json").unlink()
    for name, previous, day in (("a", None, "2022-02-01"), ("b", "a", "2023-02-01"), ("c", "b", "2024-02-01"), ("d", "c", "2026-02-01")):
        publish(folder, name, previous, day, PRICES)
    monkeypatch.setattr(retention, "read_policies", lambda names: {name: POLICIES[name] for name in names if name in POLICIES})
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "v").iterdir())


def read(folder: Path, moment: str | None = None) -> str:
    return str(finelt.read("fct_price", folder, as_of=moment)["version"][0])


def expire(folder: Path, *, is_dry_run: bool = False) -> site_retention.SiteExpiry:
    return site_retention.expire(open_store(str(folder)), NOW, is_dry_run=is_dry_run)


def test_versions_of_a_site_expire_with_the_datasets_that_they_show(site: Path) -> None:
    """The version of the cutoff stays, so every moment from then on is answered as before, and an earlier one is refused."""
    moments = ["2024-11-29", "2025-06-01", "2026-02-02"]
    before = [read(site, moment) for moment in moments]
    assert expire(site, is_dry_run=True) == (("a", "b", "killed"), 5)
    assert names(site) == ["a", "b", "c", "d", "killed"]
    assert expire(site).expired == ("a", "b", "killed")
    assert names(site) == ["c", "d"]
    assert [read(site, moment) for moment in moments] == before == ["c", "c", "d"]
    with pytest.raises(UsageError, match=r"no version of 2023-06-01T00:00Z or before, its first is of 2024-02-01"):
        read(site, "2023-06-01")
    assert expire(site) == ((), 2)


def test_an_expiry_that_was_killed_completes_when_run_again(site: Path) -> None:
    """A withdrawal deletes the date first, then the other files in any order."""
    (site / "v" / "a" / "published.json").unlink()
    for name in ("published.json", "catalogue.json"):
        (site / "v" / "b" / name).unlink()
    assert read(site, "2025-01-01") == "c"
    assert set(expire(site).expired) == {"a", "b", "killed"}
    assert names(site) == ["c", "d"]


def test_a_version_of_a_site_stays_for_its_most_lasting_dataset_and_keeps_all_after_it() -> None:
    """Versions of 1, 2, 3 and 5 years ago; the oldest decides, because readers walk from one version to the one before it."""

    def expired(*made_of: set[str] | None, policies: dict[str, Policy] = POLICIES) -> list[str]:
        versions = {
            str(number): SiteVersion(
                str(number), datetime(year, 2, 1, tzinfo=UTC), str(number - 1), None if datasets is None else frozenset(datasets)
            )
            for number, (year, datasets) in enumerate(zip((2021, 2023, 2024, 2025), made_of, strict=True))
        }
        return select_expired(versions, "3", policies, NOW)

    assert expired({PRICES}, {PRICES}, {PRICES}, {PRICES}) == ["0", "1"]
    assert expired({PRICES}, {PRICES, YIELDS}, {PRICES}, {PRICES}) == ["0"]
    assert expired({YIELDS}, {PRICES}, {PRICES}, {PRICES}) == ["0", "1"]
    assert expired({PRICES, "without"}, {PRICES}, {PRICES}, {PRICES}) == []
    assert expired(None, {PRICES}, {PRICES}, {PRICES}) == []
    assert expired(set(), {PRICES}, {PRICES}, {PRICES}) == []
    assert expired(*[{PRICES}] * 4, policies={PRICES: Policy(2, datetime(2023, 6, 1, tzinfo=UTC).date())}) == ["0"]
    assert expired(*[{PRICES}] * 4, policies={}) == []


def test_what_is_being_published_stays_and_a_site_that_cannot_be_read_is_refused(site: Path) -> None:
    publish(site, "new", "d", "2026-11-28", PRICES)
    (site / "v" / "new" / "catalogue.json").unlink()
    pointer = json.loads((site / "latest.json").read_text()) | {"version": "d"}
    (site / "latest.json").write_text(json.dumps(pointer))
    assert "new" not in expire(site, is_dry_run=True).expired
    for text, error, message in (
        (json.dumps(pointer | {"format": SITE + 1}), NewerFormatError, f"latest.json is of format {SITE + 1}, and .* upgrade finelt"),
        ("{}", BadDataError, "latest.json is not a valid pointer.*; delete it and run publish-marts"),
    ):
        (site / "latest.json").write_text(text)
        with pytest.raises(error, match=message):
            expire(site)
    (site / "latest.json").unlink()
    with pytest.raises(MisconfiguredError, match="has no publication; check --site"):
        expire(site)


def build(folder: Path, catalog: Catalog, mart: str, number: int) -> None:
    """Build a mart of two files as `finelt lake-marts` does."""
    root = f"{tables.FOLDER}/{tables.MARTS}"
    uris = []
    for part in (0, 1):
        path = folder / root / "_files" / f"build-{number}" / mart / f"{part}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table({"number": [number, part]}), path)
        uris.append(path.as_uri())
    tables.replace_mart(catalog, (folder / root / mart).as_uri(), mart, uris, {})


def built_files(folder: Path) -> set[str]:
    return {path.relative_to(folder / "iceberg/marts/_files").as_posix() for path in folder.rglob("_files/*/*/*.parquet")}


def test_files_of_lake_marts_expire_with_their_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old builds go with data and metadata, killed builds too; a running one, the current one and those after the cutoff stay.

    If the expiry is killed, the next one goes on.
    """
    (tmp_path / "iceberg").mkdir()
    catalog = load_catalog("finelt", type="sql", uri=f"sqlite:///{tmp_path}/iceberg/catalog.db", warehouse=f"file://{tmp_path}/iceberg")
    lake, mart = open_store(str(tmp_path)), "fct_price_daily"
    for number in range(4):
        build(tmp_path, catalog, mart, number)
    for name in ("killed", "running"):
        left = tmp_path / "iceberg/marts/_files" / name / mart / "0.parquet"
        left.parent.mkdir(parents=True)
        left.write_bytes(b"x")
    snapshots = catalog.load_table(("marts", mart)).snapshots()
    cutoff = datetime.fromtimestamp(snapshots[-3].timestamp_ms / 1000, UTC)  # when the third build was current
    now = datetime.now(UTC) + timedelta(days=8)
    os.utime(left, (now.timestamp() - 86400,) * 2)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    found = expiry.expire(lake, catalog, cutoff, now, is_dry_run=True)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
    assert expiry.expire(lake, catalog, cutoff, now, is_dry_run=False) == found
    assert built_files(tmp_path) == {
        *(f"build-{number}/{mart}/{part}.parquet" for number in (2, 3) for part in (0, 1)),
        f"running/{mart}/0.parquet",
    }
    table = catalog.load_table(("marts", mart))
    assert found.snapshots == len(snapshots) - len(table.snapshots())
    assert sorted(table.scan().to_arrow()["number"].to_pylist()) == [0, 1, 3, 3]
    assert sorted(table.scan(snapshot_id=table.snapshots()[0].snapshot_id).to_arrow()["number"].to_pylist()) == [0, 1, 2, 2]
    assert sum(".avro" in key for key in found.files) > 4
    assert expiry.expire(lake, catalog, cutoff, now, is_dry_run=False) == expiry.MartExpiry()
    build(tmp_path, catalog, mart, 4)

    erase, erased, later = FileStore.erase, list[str](), datetime.now(UTC) + timedelta(days=8)

    def erase_twice(self: FileStore, prefix: str, matches: Any) -> Any:
        erased.append(prefix)
        if len(erased) == 3:
            raise KilledError
        return erase(self, prefix, matches)

    with monkeypatch.context() as patched:
        patched.setattr(FileStore, "erase", erase_twice)
        with pytest.raises(KilledError):
            expiry.expire(lake, catalog, later, later, is_dry_run=False)
    assert expiry.expire(lake, catalog, later, later, is_dry_run=False).snapshots == 0
    assert built_files(tmp_path) == {*(f"build-4/{mart}/{part}.parquet" for part in (0, 1)), f"running/{mart}/0.parquet"}
    assert sorted(catalog.load_table(("marts", mart)).scan().to_arrow()["number"].to_pylist()) == [0, 1, 4, 4]

    (tmp_path / "iceberg/marts/_files/build-9/fct_return_daily").mkdir(parents=True)
    (tmp_path / "iceberg/marts/_files/build-9/fct_return_daily/0.parquet").write_bytes(b"x")  # its table may be in another catalogue
    assert expiry.expire(lake, catalog, now, now, is_dry_run=True).skipped == [
        "marts.fct_return_daily is not in the catalogue, so its files stay"
    ]


def test_one_command_expires_them_all_and_shows_first(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "lake"
    lakes.fill(str(folder))
    (folder / "iceberg").mkdir()
    catalog = load_catalog("finelt", type="sql", uri=f"sqlite:///{folder}/iceberg/catalog.db", warehouse=f"file://{folder}/iceberg")
    build(folder, catalog, "fct_price_daily", 0)
    monkeypatch.setattr(retention, "find_policies", lambda *_: {lakes.DATASET: Policy(2), PRICES: Policy(2)})

    def run(*words: str) -> Any:
        done = CliRunner().invoke(lake_command.main, ["expire", "--lake", str(folder), *words])
        return done.exit_code, done.output

    monkeypatch.setattr(retention, "expire", lambda _lake, name, *_, **__: retention.Expiry(name))
    code, preview = run("--site", str(site))
    assert (code, f"{site}: to delete 3 of 5 versions" in preview) == (0, True)
    assert "marts of lake-marts: to delete 0 snapshots, 0 files, 0.0 MB" in preview
    assert len(names(site)) == 5
    assert f"{site}: deleted 3 of 5 versions" in run("--site", str(site), "--apply")[1]
    assert len(names(site)) == 2
    code, output = run("--site", str(site), "--dataset", lakes.DATASET)
    assert (code, "--site and --dataset exclude each other" in output) == (2, True)
