"""What was published can be taken back: nothing of it stays, and what stays is consistent, whenever a withdrawal is killed."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from click.testing import CliRunner
from jobkit.errors import AuthError, TemporaryError, UsageError
from jobkit.store import open_store
from moto import mock_aws
from publish_marts import publication, site, withdrawal
from publish_marts.export import Column, Exported, File, Mart
from publish_marts.row_changes import Changes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jobkit.store import Store

CANARY = "Zq7-canary"
NOTHING = Changes(0, 0, 0)


def publish(store: Store, folder: Path, version: str, day: str, marts: tuple[str, ...] = ("fct_secret", "fct_yield")) -> None:
    """A version of these marts as the job writes it; fct_secret and the page that shows it hold the canary."""
    folder.mkdir(exist_ok=True)
    exported = []
    for name in marts:
        files = []
        for format_ in ("parquet", "csv", "json"):
            path = folder / f"{name}.{format_}"
            path.write_text(f"{name} of {version}" + (f" {CANARY}" if name == "fct_secret" else ""), encoding="utf-8")
            files.append(File(format_, path, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()))
        exported.append(Exported(Mart(name, "One row per day.", (Column("a", "text", ""),), ("a",)), 1, tuple(files)))
    shown = f"shows {CANARY}" if "fct_secret" in marts else "shows rates"
    pages = {
        "index.html": shown.encode(),
        **{f"marts/{name}.html": f"{name} {CANARY if name == 'fct_secret' else ''}".encode() for name in marts},
    }
    pointer, tag = publication.current(store)
    about = publication.About("internal", {}, [])
    document = publication.describe(version, pointer.version if pointer else None, exported, dict.fromkeys(marts, NOTHING), about)
    publication.declare(store, "internal")
    publication.begin(store, version, "internal", f"{day}T08:00:00+00:00")
    publication.write(store, version, exported, pages, document, b"docs")
    publication.check_begun(store, version)
    publication.point(store, publication.Pointer(version, f"content of {version}", "inputs", f"{day}T08:00:00+00:00"), tag)
    publication.lead(store)


def site_of_three(store: Store, folder: Path) -> None:
    publish(store, folder, "one", "2026-01-05")
    publish(store, folder, "two", "2026-02-05", ("fct_yield",))
    publish(store, folder, "three", "2026-03-05")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = open_store(str(tmp_path / "site"))
    site_of_three(found, tmp_path / "made")
    return found


def contents(store: Store) -> dict[str, bytes]:
    return {key: store.get(key) for key in store.list("")}


def check_consistent(store: Store) -> None:
    """Each catalogue lists files that are there with their digests, and each file is listed; the pointer and the landing page agree."""
    for version in withdrawal.versions(store):
        assert version.document is not None
        assert version.published_at is not None
        files = {file["path"]: file["sha256"] for mart in version.document["marts"].values() for file in mart["files"].values()}
        there = [key.removeprefix(f"v/{version.name}/") for key in version.keys]
        data = [name for name in there if name.startswith("marts/") and not name.endswith(".html")]
        assert {name: hashlib.sha256(store.get(f"v/{version.name}/{name}")).hexdigest() for name in data} == files
        sums = store.get(f"v/{version.name}/SHA256SUMS").decode().splitlines()
        assert {line.split("  ")[1]: line.split("  ")[0] for line in sums} == files
        assert {name for name in there if name.endswith(".html")} - {"index.html", "docs.html"} == {
            f"marts/{mart}.html" for mart in version.document["marts"]
        }
    pointer, _ = publication.current(store)
    assert store.exists("index.html") == (pointer is not None)
    if pointer:
        page = store.get(f"v/{pointer.version}/index.html")
        assert store.get("index.html") == publication.landing(page, pointer.version)


def names(store: Store) -> list[str]:
    return [version.name for version in withdrawal.versions(store)]


def test_all_versions_go_and_the_next_publication_begins_anew(store: Store, tmp_path: Path) -> None:
    done = withdrawal.withdraw(store, (), None)
    assert (done.removed, done.changed, done.kept) == (("one", "three", "two"), (), ())
    assert set(contents(store)) == {"site.json"}
    assert [path.name for path in (tmp_path / "site").iterdir() if not path.name.startswith(".")] == ["site.json"]
    assert withdrawal.withdraw(store, (), None) == withdrawal.Withdrawn((), (), ())
    publish(store, tmp_path / "made", "four", "2026-04-05")
    assert names(store) == ["four"]
    check_consistent(store)


@pytest.mark.parametrize(
    ("before", "left"),
    [("2026-01-05", ["one", "two", "three"]), ("2026-01-06", ["two", "three"]), ("2026-03-05", ["three"]), ("2026-03-06", [])],
)
def test_versions_before_a_day_go_and_others_stay_as_they_are(store: Store, before: str, left: list[str]) -> None:
    old = contents(store)
    withdrawal.withdraw(store, (), date.fromisoformat(before))
    assert names(store) == left
    new = contents(store)
    assert new.items() <= old.items()
    assert ("latest.json" in new) == ("three" in left)
    check_consistent(store)


def test_a_version_that_has_no_date_is_older_than_any_day(store: Store) -> None:
    store.erase("v/two/published.json", lambda _: True)
    withdrawal.withdraw(store, (), date(2026, 1, 1))
    assert names(store) == ["one", "three"]


def test_a_mart_goes_from_every_version_with_the_figures_that_pages_drew_from_it(store: Store) -> None:
    done = withdrawal.withdraw(store, ["fct_secret"], None)
    assert (done.removed, done.changed, done.kept) == ((), ("one", "three"), ("two",))
    assert not [key for key, data in contents(store).items() if CANARY.encode() in data]
    check_consistent(store)
    document = publication.catalogue(store, "three")
    assert (list(document["marts"]), document["withdrawn"]) == (["fct_yield"], ["fct_secret"])
    assert b"fct_secret" in store.get("index.html")
    pointer, _ = publication.current(store)
    assert pointer
    assert (pointer.version, pointer.content, pointer.inputs) == ("three", "", None)  # so that the next run publishes
    again = contents(store)
    assert withdrawal.withdraw(store, ["fct_secret"], None).changed == ()
    assert contents(store) == again


def test_a_mart_goes_from_versions_before_a_day_only(store: Store) -> None:
    withdrawal.withdraw(store, ["fct_secret"], date(2026, 2, 1))
    assert {key.split("/")[1] for key, data in contents(store).items() if CANARY.encode() in data and key.startswith("v/")} == {"three"}
    assert CANARY.encode() in store.get("index.html")
    check_consistent(store)


def test_a_name_that_no_version_knows_is_refused(store: Store) -> None:
    before = contents(store)
    with pytest.raises(UsageError, match="has or had the mart fct_secrt; there are fct_secret, fct_yield"):
        withdrawal.withdraw(store, ["fct_secrt"], None)
    assert contents(store) == before


class KilledError(BaseException):
    """The process ends here."""


def killed_after(store: Store, writes: int) -> None:
    """Let so many writes and deletions through, each of them once more counted, and then none."""
    left = [writes]

    def limited(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise KilledError
            return method(*words, **more)

        return call

    for name in ("put", "put_if_absent", "put_if_match", "delete_if_match"):
        setattr(store, name, limited(getattr(store, name)))
    erase = store.erase

    def one_by_one(prefix: str, wanted: Callable[[str], bool]) -> list[str]:
        found = []
        for key in [prefix] if store.exists(prefix) else store.list(prefix):
            if wanted(key):
                found += limited(erase)(key, lambda _: True)
        return found

    store.erase = one_by_one  # type: ignore[method-assign]


@pytest.mark.parametrize("marts", [(), ("fct_secret",)], ids=["whole versions", "one mart"])
@pytest.mark.parametrize("before", [None, date(2026, 2, 1)], ids=["all", "before"])
def test_killed_at_any_step_and_run_again_it_ends_as_if_undisturbed(tmp_path: Path, marts: tuple[str, ...], before: date | None) -> None:
    undisturbed = open_store(str(tmp_path / "undisturbed"))
    site_of_three(undisturbed, tmp_path / "made")
    withdrawal.withdraw(undisturbed, marts, before)
    kills = 0
    while True:
        url = str(tmp_path / f"killed-{kills}")
        site_of_three(open_store(url), tmp_path / "made")
        doomed = open_store(url)
        killed_after(doomed, kills)
        try:
            withdrawal.withdraw(doomed, marts, before)
        except KilledError:
            kills += 1
        else:
            break
        withdrawal.withdraw(open_store(url), marts, before)
        assert contents(open_store(url)) == contents(undisturbed), kills
        check_consistent(open_store(url))
    assert kills > 5


def test_a_version_that_is_withdrawn_while_it_is_written_never_becomes_current(store: Store) -> None:
    publication.begin(store, "four", "internal", "2026-04-05T08:00:00+00:00")
    withdrawal.withdraw(store, (), None)
    store.put("v/four/index.html", CANARY.encode())
    with pytest.raises(TemporaryError, match="was withdrawn while it was written"):
        publication.check_begun(store, "four")
    withdrawal.withdraw(store, (), None)
    assert set(contents(store)) == {"site.json"}


def test_a_publication_that_comes_in_between_is_withdrawn_too(store: Store, tmp_path: Path) -> None:
    erase, came = store.erase, []

    def publish_once(prefix: str, wanted: Callable[[str], bool]) -> Any:
        if not came:
            came.append(True)
            publish(open_store(store.url), tmp_path / "more", "four", "2026-04-05")
        return erase(prefix, wanted)

    store.erase = publish_once  # type: ignore[method-assign]
    withdrawal.withdraw(store, (), None)
    assert set(contents(store)) == {"site.json"}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="shelf", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield client


def kept_versions(client: Any) -> list[bytes]:
    """Every object and every earlier version that the bucket still has."""
    listed = client.list_object_versions(Bucket="shelf").get("Versions", ())
    return [client.get_object(Bucket="shelf", Key=one["Key"], VersionId=one["VersionId"])["Body"].read() for one in listed]


@pytest.mark.parametrize("status", ["Enabled", None])
@pytest.mark.parametrize("marts", [(), ("fct_secret",)], ids=["whole versions", "one mart"])
def test_a_bucket_keeps_no_earlier_version_of_what_was_withdrawn(
    bucket: Any, tmp_path: Path, status: str | None, marts: tuple[str, ...]
) -> None:
    if status:
        bucket.put_bucket_versioning(Bucket="shelf", VersioningConfiguration={"Status": status})
    bucket.put_object(Bucket="shelf", Key="site/other/kept", Body=b"somebody else's")
    bucket.put_object(Bucket="shelf", Key="elsewhere", Body=CANARY.encode())
    store = open_store("s3://shelf/site")
    site_of_three(store, tmp_path / "made")
    store.put("v/one/marts/fct_secret.csv", b"replaced")
    for key in ("one/marts/fct_secret.json", *(name.removeprefix("v/") for name in store.list("v/two/"))):  # by hand, whose versions stay
        bucket.delete_object(Bucket="shelf", Key=f"site/v/{key}")
    withdrawal.withdraw(store, marts, None)
    assert [data for data in kept_versions(bucket) if CANARY.encode() in data] == [CANARY.encode()]  # elsewhere
    assert store.get("other/kept") == b"somebody else's"
    assert withdrawal.withdraw(store, marts, None).removed == ()
    if not marts:
        assert set(store.list("")) == {"site.json", "other/kept"}


@pytest.mark.usefixtures("bucket")
def test_who_may_not_delete_versions_is_told_which_right_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store: Any = open_store("s3://shelf/site")
    site_of_three(store, tmp_path / "made")
    error = {"Key": "site/v/one/index.html", "Code": "AccessDenied", "Message": "no"}
    monkeypatch.setattr(store._client, "delete_objects", lambda **_: {"Errors": [error]})
    with pytest.raises(AuthError, match="s3:ListBucketVersions and s3:DeleteObjectVersion"):
        withdrawal.withdraw(store, (), None)
    error["Code"] = "InternalError"
    with pytest.raises(TemporaryError, match="run again"):
        withdrawal.withdraw(store, (), None)


def command(*words: str) -> tuple[int, str]:
    ended = CliRunner().invoke(site.main, words)
    return ended.exit_code, ended.output


def test_the_command_says_what_it_did(store: Store) -> None:
    url = store.url
    assert command("withdraw", "--site", url)[0] == command("withdraw", "--site", url, "--all", "--before", "2026-01-01")[0] == 2
    code, said = command("ls", "--site", url)
    assert (code, said.splitlines()[0]) == (0, "audience internal")
    assert "* three  2026-03-05T08:00:00+00:00  fct_secret, fct_yield" in said
    code, said = command("withdraw", "--site", url, "--mart", "fct_secret", "--before", "2026-02-01")
    assert (code, said.splitlines()[:3]) == (0, ["changed one", "kept    three", "kept    two"])
    code, said = command("declare", "--site", url, "--audience", "public")
    assert (code, "withdraw them first" in said) == (2, True)
    assert "empty it" in command("withdraw", "--site", url, "--all")[1]
    assert "nothing to withdraw" in command("withdraw", "--site", url, "--all")[1]
    assert command("declare", "--site", url, "--audience", "public")[0] == 0
    assert json.loads(store.get("site.json")) == {"audience": "public"}
    publication.check_audience(store, "public")
