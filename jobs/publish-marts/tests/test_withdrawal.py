"""Withdraw published data completely, leaving the rest consistent, even if the withdrawal is killed at any step."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from click.testing import CliRunner
from jobkit.errors import AuthError, NewerFormatError, TemporaryError, UsageError
from jobkit.stores import open_store
from moto import mock_aws
from publish_marts import latest, publication, site, withdrawal
from publish_marts.export import Column, ExportedFile, ExportedMart, Mart
from publish_marts.row_changes import RowChanges

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jobkit.stores import Store

CANARY = "Zq7-canary"
NO_CHANGES = RowChanges(0, 0, 0)


def publish(store: Store, folder: Path, version: str, day: str, marts: tuple[str, ...] = ("fct_secret", "fct_yield")) -> None:
    """Publish a version of these marts as the job does. fct_secret and the page that shows it contain the canary."""
    folder.mkdir(exist_ok=True)
    exported = []
    for name in marts:
        files = []
        for format_ in ("parquet", "csv", "json"):
            path = folder / f"{name}.{format_}"
            path.write_text(f"{name} of {version}" + (f" {CANARY}" if name == "fct_secret" else ""), encoding="utf-8")
            files.append(ExportedFile(format_, path, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()))
        exported.append(ExportedMart(Mart(name, "One row per day.", (Column("a", "text", ""),), ("a",)), 1, tuple(files)))
    shown = f"shows {CANARY}" if "fct_secret" in marts else "shows rates"
    pages = {
        "index.html": shown.encode(),
        **{f"marts/{name}.html": f"{name} {CANARY if name == 'fct_secret' else ''}".encode() for name in marts},
    }
    if "fct_secret" in marts:
        pages |= dict.fromkeys(("securities/S.1.html", "charts/S.1-growth.csv", "charts/S.1-growth.js"), CANARY.encode())
    pointer, etag = publication.read_pointer(store)
    terms = publication.PublicationTerms("internal", {}, [])
    document = publication.build_catalogue(version, pointer.version if pointer else None, exported, dict.fromkeys(marts, NO_CHANGES), terms)
    publication.declare_audience(store, "internal")
    publication.begin_version(store, version, "internal", f"{day}T08:00:00+00:00")
    publication.write_version(store, version, exported, pages, document, b"docs")
    publication.check_not_withdrawn(store, version)
    publication.set_current(store, publication.Pointer(version, f"content of {version}", "inputs", f"{day}T08:00:00+00:00"), etag)
    publication.refresh_landing_page(store)
    latest.refresh_files(store)


def publish_three_versions(store: Store, folder: Path) -> None:
    publish(store, folder, "one", "2026-01-05")
    publish(store, folder, "two", "2026-02-05", ("fct_yield",))
    publish(store, folder, "three", "2026-03-05")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    site_store = open_store(str(tmp_path / "site"))
    publish_three_versions(site_store, tmp_path / "made")
    return site_store


def read_all(store: Store) -> dict[str, bytes]:
    return {key: store.get(key) for key in store.list_keys("")}


def check_consistent(store: Store) -> None:
    """Check that each catalogue lists exactly the existing files with their checksums, and that the landing page matches the pointer."""
    for version in withdrawal.list_versions(store):
        assert version.document is not None
        assert version.published_at is not None
        files = {file["path"]: file["sha256"] for mart in version.document["marts"].values() for file in mart["files"].values()}
        existing = [key.removeprefix(f"v/{version.name}/") for key in version.keys]
        data = [name for name in existing if name.startswith("marts/") and not name.endswith(".html")]
        assert {name: hashlib.sha256(store.get(f"v/{version.name}/{name}")).hexdigest() for name in data} == files
        sums = store.get(f"v/{version.name}/SHA256SUMS").decode().splitlines()
        assert {line.split("  ")[1]: line.split("  ")[0] for line in sums} == files
        assert {name for name in existing if name.endswith(".html")} - {"index.html", "docs.html", "securities/S.1.html"} == {
            f"marts/{mart}.html" for mart in version.document["marts"]
        }
    pointer, _ = publication.read_pointer(store)
    assert store.exists("index.html") == (pointer is not None)
    if pointer:
        page = store.get(f"v/{pointer.version}/index.html")
        assert store.get("index.html") == publication.rewrite_links(page, pointer.version)
    check_latest(store, pointer.version if pointer else None)


def check_latest(store: Store, version: str | None) -> None:
    """Check that latest/ has exactly the files of the current version, and that its manifest describes them."""
    found = {key: store.get(key) for key in store.list_keys("latest/")}
    if version is None:
        assert found == {}
        return
    manifest = json.loads(found.pop("latest/manifest.json"))
    files = [file for mart in manifest["marts"].values() for file in mart["files"].values()]
    assert manifest["version"] == version
    assert manifest["marts"].keys() == publication.read_catalogue(store, version)["marts"].keys()
    assert {f"latest/{file['path']}": file["sha256"] for file in files} == {
        key: hashlib.sha256(data).hexdigest() for key, data in found.items()
    }
    assert all(store.get(file["immutable_path"].removeprefix("../")) == found[f"latest/{file['path']}"] for file in files)


def list_names(store: Store) -> list[str]:
    return [version.name for version in withdrawal.list_versions(store)]


def test_all_versions_are_removed_and_publishing_starts_again(store: Store, tmp_path: Path) -> None:
    result = withdrawal.withdraw(store, (), None)
    assert (result.removed, result.changed, result.kept) == (("one", "three", "two"), (), ())
    assert set(read_all(store)) == {"site.json"}
    assert [path.name for path in (tmp_path / "site").iterdir() if not path.name.startswith(".")] == ["site.json"]
    assert withdrawal.withdraw(store, (), None) == withdrawal.WithdrawalResult((), (), ())
    publish(store, tmp_path / "made", "four", "2026-04-05")
    assert list_names(store) == ["four"]
    check_consistent(store)


@pytest.mark.parametrize(
    ("before", "remaining"),
    [("2026-01-05", ["one", "two", "three"]), ("2026-01-06", ["two", "three"]), ("2026-03-05", ["three"]), ("2026-03-06", [])],
)
def test_versions_before_a_date_are_removed_and_others_unchanged(store: Store, before: str, remaining: list[str]) -> None:
    old = read_all(store)
    withdrawal.withdraw(store, (), date.fromisoformat(before))
    assert list_names(store) == remaining
    new = read_all(store)
    assert new.items() <= old.items()
    assert ("latest.json" in new) == ("three" in remaining)
    check_consistent(store)


def test_a_version_without_a_date_counts_as_the_oldest(store: Store) -> None:
    store.erase("v/two/published.json", lambda _: True)
    withdrawal.withdraw(store, (), date(2026, 1, 1))
    assert list_names(store) == ["one", "three"]


def test_a_mart_is_removed_from_every_version_and_page(store: Store) -> None:
    result = withdrawal.withdraw(store, ["fct_secret"], None)
    assert (result.removed, result.changed, result.kept) == ((), ("one", "three"), ("two",))
    assert not [key for key, data in read_all(store).items() if CANARY.encode() in data]
    check_consistent(store)
    document = publication.read_catalogue(store, "three")
    assert (list(document["marts"]), document["withdrawn"]) == (["fct_yield"], ["fct_secret"])
    assert b"fct_secret" in store.get("index.html")
    pointer, _ = publication.read_pointer(store)
    assert pointer
    assert (pointer.version, pointer.content, pointer.inputs) == ("three", "", None)  # so that the next run publishes
    once = read_all(store)
    assert withdrawal.withdraw(store, ["fct_secret"], None).changed == ()
    assert read_all(store) == once


def test_a_mart_is_removed_only_from_versions_before_a_date(store: Store) -> None:
    withdrawal.withdraw(store, ["fct_secret"], date(2026, 2, 1))
    assert {key.split("/")[1] for key, data in read_all(store).items() if CANARY.encode() in data and key.startswith("v/")} == {"three"}
    assert CANARY.encode() in store.get("index.html")
    check_consistent(store)


def test_an_unknown_mart_is_rejected(store: Store) -> None:
    before = read_all(store)
    with pytest.raises(UsageError, match="has or had the mart fct_secrt; they have fct_secret, fct_yield"):
        withdrawal.withdraw(store, ["fct_secrt"], None)
    assert read_all(store) == before


class KilledError(BaseException):
    """Stands for the death of the process."""


def kill_after(store: Store, writes: int) -> None:
    """Let a number of writes and deletions through, then raise KilledError."""
    remaining = [writes]

    def limit(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            remaining[0] -= 1
            if remaining[0] < 0:
                raise KilledError
            return method(*args, **kwargs)

        return call

    for name in ("put", "put_if_absent", "put_if_match", "delete_if_match"):
        setattr(store, name, limit(getattr(store, name)))
    erase = store.erase

    def erase_one_by_one(prefix: str, select: Callable[[str], bool]) -> list[str]:
        erased = []
        for key in [prefix] if store.exists(prefix) else store.list_keys(prefix):
            if select(key):
                erased += limit(erase)(key, lambda _: True)
        return erased

    store.erase = erase_one_by_one  # type: ignore[method-assign]


@pytest.mark.parametrize("marts", [(), ("fct_secret",)], ids=["whole versions", "one mart"])
@pytest.mark.parametrize("before", [None, date(2026, 2, 1)], ids=["all", "before"])
def test_a_withdrawal_killed_at_any_step_completes_when_run_again(tmp_path: Path, marts: tuple[str, ...], before: date | None) -> None:
    undisturbed = open_store(str(tmp_path / "undisturbed"))
    publish_three_versions(undisturbed, tmp_path / "made")
    withdrawal.withdraw(undisturbed, marts, before)
    kills = 0
    while True:
        url = str(tmp_path / f"killed-{kills}")
        publish_three_versions(open_store(url), tmp_path / "made")
        doomed = open_store(url)
        kill_after(doomed, kills)
        try:
            withdrawal.withdraw(doomed, marts, before)
        except KilledError:
            kills += 1
        else:
            break
        withdrawal.withdraw(open_store(url), marts, before)
        assert read_all(open_store(url)) == read_all(undisturbed), kills
        check_consistent(open_store(url))
    assert kills > 5


def test_a_version_withdrawn_while_being_written_never_becomes_current(store: Store) -> None:
    publication.begin_version(store, "four", "internal", "2026-04-05T08:00:00+00:00")
    withdrawal.withdraw(store, (), None)
    store.put("v/four/index.html", CANARY.encode())
    with pytest.raises(TemporaryError, match="was withdrawn while it was being written"):
        publication.check_not_withdrawn(store, "four")
    withdrawal.withdraw(store, (), None)
    assert set(read_all(store)) == {"site.json"}


def test_a_publication_during_the_withdrawal_is_withdrawn_too(store: Store, tmp_path: Path) -> None:
    erase, published = store.erase, []

    def publish_once(prefix: str, select: Callable[[str], bool]) -> Any:
        if not published:
            published.append(True)
            publish(open_store(store.url), tmp_path / "more", "four", "2026-04-05")
        return erase(prefix, select)

    store.erase = publish_once  # type: ignore[method-assign]
    withdrawal.withdraw(store, (), None)
    assert set(read_all(store)) == {"site.json"}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="site-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield client


def list_object_versions(client: Any) -> list[bytes]:
    """Read every object and every earlier version in the bucket."""
    listed = client.list_object_versions(Bucket="site-bucket").get("Versions", ())
    return [
        client.get_object(Bucket="site-bucket", Key=version["Key"], VersionId=version["VersionId"])["Body"].read() for version in listed
    ]


@pytest.mark.parametrize("status", ["Enabled", None])
@pytest.mark.parametrize("marts", [(), ("fct_secret",)], ids=["whole versions", "one mart"])
def test_a_bucket_keeps_no_earlier_version_of_what_was_withdrawn(
    bucket: Any, tmp_path: Path, status: str | None, marts: tuple[str, ...]
) -> None:
    if status:
        bucket.put_bucket_versioning(Bucket="site-bucket", VersioningConfiguration={"Status": status})
    bucket.put_object(Bucket="site-bucket", Key="site/other/kept", Body=b"somebody else's")
    bucket.put_object(Bucket="site-bucket", Key="elsewhere", Body=CANARY.encode())
    store = open_store("s3://site-bucket/site")
    publish_three_versions(store, tmp_path / "made")
    store.put("v/one/marts/fct_secret.csv", b"replaced")
    deleted = ["one/marts/fct_secret.json", *(name.removeprefix("v/") for name in store.list_keys("v/two/"))]
    for key in deleted:  # by hand, so that their earlier versions stay
        bucket.delete_object(Bucket="site-bucket", Key=f"site/v/{key}")
    withdrawal.withdraw(store, marts, None)
    assert [data for data in list_object_versions(bucket) if CANARY.encode() in data] == [CANARY.encode()]  # elsewhere
    assert store.get("other/kept") == b"somebody else's"
    assert withdrawal.withdraw(store, marts, None).removed == ()
    if not marts:
        assert set(store.list_keys("")) == {"site.json", "other/kept"}


@pytest.mark.usefixtures("bucket")
def test_a_missing_permission_to_delete_versions_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store: Any = open_store("s3://site-bucket/site")
    publish_three_versions(store, tmp_path / "made")
    error = {"Key": "site/v/one/index.html", "Code": "AccessDenied", "Message": "no"}
    monkeypatch.setattr(store._client, "delete_objects", lambda **_: {"Errors": [error]})
    with pytest.raises(AuthError, match="s3:ListBucketVersions and s3:DeleteObjectVersion"):
        withdrawal.withdraw(store, (), None)
    error["Code"] = "InternalError"
    with pytest.raises(TemporaryError):
        withdrawal.withdraw(store, (), None)


def run_command(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(site.main, args)
    return result.exit_code, result.output


def test_the_command_reports_what_it_did(store: Store) -> None:
    url = store.url
    assert run_command("withdraw", "--site", url)[0] == run_command("withdraw", "--site", url, "--all", "--before", "2026-01-01")[0] == 2
    code, output = run_command("ls", "--site", url)
    assert (code, output.splitlines()[0]) == (0, "audience internal")
    assert "* three  2026-03-05T08:00:00+00:00  fct_secret, fct_yield" in output
    code, output = run_command("withdraw", "--site", url, "--mart", "fct_secret", "--before", "2026-02-01")
    assert (code, output.splitlines()[:3]) == (0, ["changed one", "kept    three", "kept    two"])
    code, output = run_command("declare", "--site", url, "--audience", "public")
    assert (code, "withdraw them first" in output) == (2, True)
    assert "Invalidate it" in run_command("withdraw", "--site", url, "--all")[1]
    assert "nothing to withdraw" in run_command("withdraw", "--site", url, "--all")[1]
    assert run_command("declare", "--site", url, "--audience", "public")[0] == 0
    assert json.loads(store.get("site.json")) == {"audience": "public"}
    publication.check_audience(store, "public")


def test_latest_is_completed_after_a_kill_and_lists_no_file_that_is_being_replaced(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []
    copy = store.copy

    def copy_or_die(key: str, to: str) -> None:
        copied.append(to)
        if len(copied) == 2:
            raise InterruptedError
        copy(key, to)

    monkeypatch.setattr(store, "copy", copy_or_die)
    with pytest.raises(InterruptedError):
        publish(store, tmp_path / "made", "four", "2026-04-05", ("fct_yield",))
    assert json.loads(store.get("latest/manifest.json"))["marts"] == {}
    latest.refresh_files(store)
    assert set(json.loads(store.get("latest/manifest.json"))["marts"]) == {"fct_yield"}
    assert copied == [f"latest/fct_yield.{name}" for name in ("parquet", "csv", "parquet", "csv", "json")]
    latest.refresh_files(store)
    assert len(copied) == 5
    withdrawal.withdraw(store, (), date(2026, 1, 1))  # a person's command also erases what is no longer current
    check_latest(store, "four")


def test_a_manifest_of_a_newer_format_is_not_replaced(store: Store) -> None:
    newer = json.dumps({"format": latest.FORMAT + 1}).encode()
    store.put(latest.MANIFEST, newer)
    with pytest.raises(NewerFormatError, match=f"manifest.json is of format {latest.FORMAT + 1}, and .* upgrade finelt"):
        latest.refresh_files(store)
    assert store.get(latest.MANIFEST) == newer


def test_the_manifest_of_latest_states_columns_rows_and_licences(store: Store) -> None:
    source = {"dataset": "rates", "source": "Bank", "licence": "Free", "redistribution": "allowed"}
    document = {**publication.read_catalogue(store, "three"), "sources": [source], "made_of": {"fct_yield": ["rates"]}}
    mart = latest.build_manifest(document, "2026-03-05T08:00:00+00:00")["marts"]["fct_yield"]
    assert (mart["rows"], mart["sources"]) == (1, [source])
    assert mart["columns"] == [{"name": "a", "type": "text", "description": ""}]
