"""Old versions expire by the retention of the contract: what may be asked stays, also next to other jobs and if it is killed."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from click.testing import CliRunner
from jobkit import expired_commits
from jobkit.commit_log import CommitLog
from jobkit.errors import DamagedError, NewerFormatError, TemporaryError, UsageError
from jobkit.formats import EXPIRED
from jobkit.lake import CommitDraft, Lake, SourceMetadata
from jobkit.stores import FileStore

import finelt
from finelt import lake as lake_command
from finelt import lake_deletion, retention
from finelt.retention import Policy, select_expired
from jobs.catalogue import catalogue
from tests.warehouse import samples

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixtures_postgres import Warehouse

DATASET, PART = "prices", "ticker=AAPL/year=2012"
NOW = datetime(2026, 11, 29, tzinfo=UTC)
POLICY = Policy(2)
DAYS = [datetime(2023, 1, 2, 12, tzinfo=UTC) + timedelta(days=9 * number) for number in range(8)]  # 2 January to 6 March 2023
KEPT = [4, 7, 8]  # of January, of February, and the newest


def answer(known: list[tuple[int, datetime]], moment: datetime) -> int | None:
    return next((number for number, begin in reversed(known) if begin <= moment), None)


def correct(known: list[tuple[int, datetime]]) -> list[tuple[int, datetime]]:
    """Date each commit after the one before it, as the warehouse does where a writer's clock was behind."""
    corrected: list[tuple[int, datetime]] = []
    for number, moment in known:
        corrected.append((number, max(moment, corrected[-1][1] + retention.TICK) if corrected else moment))
    return corrected


def test_what_may_be_asked_never_expires() -> None:
    """For any history and cutoff: each moment from the cutoff on, and each end of a month, has the same version as before.

    Also if a clock was behind, and the warehouse is rebuilt from what is left.
    """
    rng = random.Random(24)  # noqa: S311  the same histories every time
    for _ in range(300):
        start, hours = datetime(2023, 1, 1, tzinfo=UTC), 0
        known: list[tuple[int, datetime]] = []
        for number in range(1, rng.randint(2, 12)):
            known.append((number, start + timedelta(hours=hours)))
            hours += rng.choice((1, 20, 400, 2000, -30))
        cutoff = start + timedelta(hours=rng.randint(0, max(hours, 0)))
        expired = set(select_expired(dict(known), cutoff))
        kept = correct([item for item in known if item[0] not in expired])
        known = correct(known)
        ends = [datetime(2023 + month // 12, month % 12 + 1, 1, tzinfo=UTC) - timedelta(microseconds=1) for month in range(1, 40)]
        later = [
            cutoff,
            *(begin + step for _, begin in known for step in (timedelta(), -timedelta(microseconds=1)) if begin + step >= cutoff),
        ]
        assert [answer(kept, moment) for moment in ends + later] == [answer(known, moment) for moment in ends + later]
        assert kept[-1] == known[-1]


def test_a_promise_of_as_of_moments_keeps_what_the_years_alone_would_not() -> None:
    assert Policy(2).cutoff(datetime(2028, 2, 29, tzinfo=UTC)) == datetime(2026, 2, 28, tzinfo=UTC)
    assert Policy(2, date(2023, 2, 1)).cutoff(NOW) == datetime(2023, 2, 1, tzinfo=UTC)
    assert Policy(9, date(2023, 2, 1)).cutoff(NOW) == datetime(2017, 11, 29, tzinfo=UTC)
    assert select_expired(dict(enumerate(DAYS, start=1)), Policy(2).cutoff(NOW)) == [1, 2, 3, 5, 6]
    assert select_expired(dict(enumerate(DAYS, start=1)), Policy(2, date(2023, 2, 1)).cutoff(NOW)) == [1, 2, 3]


def draft(lake: Lake, close: str, body: bytes) -> CommitDraft:
    about = SourceMetadata("https://vendor.example/", "text/csv", None, None)
    data = samples.parquet([samples.price("2012-01-03", close)])
    return CommitDraft(
        data, 1, None, 0, lambda: (lake.store_source(DATASET, body, about),), samples.KEY, samples.LEAF, {"job": "test", "version": "0"}
    )


def commit(url: str, close: str, moment: datetime, partition: str = PART) -> None:
    """Commit a close of a day. Closes of one parity come from the same response of the vendor."""
    lake = Lake(url, received_at=moment)
    assert lake.commit(DATASET, partition, draft(lake, close, f"response {int(close) % 4}".encode()))[1]


def fill(url: str) -> Lake:
    for number, day in enumerate(DAYS):
        commit(url, str(number), day)
    return Lake(url)


def expire(lake: Lake, *, is_dry_run: bool = False) -> retention.Expiry:
    return retention.expire(lake, DATASET, POLICY, NOW, is_dry_run=is_dry_run)


def content(lake: Lake) -> dict[str, bytes]:
    """Every object but the log, whose entries have random ids."""
    return {key: lake.store.get(key) for key in lake.store.list_keys("") if "/_log/" not in key}


def test_expired_versions_are_gone_with_their_files_and_the_rest_is_intact(url: str) -> None:
    lake = fill(url)
    before = content(lake)
    preview = expire(lake, is_dry_run=True)
    assert (content(lake), preview.partitions, preview.commits) == (before, 1, 5)
    done = expire(lake)
    assert done == preview
    assert lake.commit_numbers(DATASET, PART) == KEPT
    left = content(Lake(url))
    assert before.keys() - left.keys() == {*preview.files, *(lake.commit_key(DATASET, PART, number) for number in (1, 2, 3, 5, 6))}
    assert len(preview.files) == 5 + 2  # five Parquet files, and the two responses of the vendor that no other commit came from
    verification = lake_command.verify(Lake(url))
    assert (verification.findings, verification.commits, verification.files) == ([], 3, 5)
    assert expire(lake).commits == 0
    assert content(lake) == left
    if url.startswith("s3"):
        versions = boto3.client("s3").list_object_versions(Bucket="a-lake")
        assert "DeleteMarkers" not in versions
        assert not {f"x/{path}" for path in preview.files} & {version["Key"] for version in versions["Versions"]}


def test_what_was_deleted_by_mistake_is_restored_but_not_what_has_expired(url: str) -> None:
    """Somebody deletes the folder of a dataset: the bucket keeps its versions, a directory keeps nothing."""

    def restore(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(lake_command.main, ["restore", "--lake", url, *words])
        return done.exit_code, done.output

    lake = fill(url)
    expire(lake)
    if not url.startswith("s3"):
        code, output = restore()
        assert (code, "restore it from a backup" in output) == (2, True)
        return
    before, client = content(lake), boto3.client("s3")
    for key in before:
        client.delete_object(Bucket="a-lake", Key=f"x/{key}")
        client.delete_object(Bucket="a-lake", Key=f"x/{key}")
    assert not content(lake)
    assert restore() == (0, f"prices: {len(before)} objects to restore\n")
    assert not content(lake)
    assert restore("--apply") == (0, f"prices: {len(before)} objects restored\n")
    assert content(lake) == before
    assert lake_command.verify(Lake(url)).findings == []
    assert restore("--apply") == (0, "no object was deleted whose last version the bucket still has\n")


def test_the_policy_is_that_of_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = next(spec for spec in catalogue() if "raw/treasury_par_yields" in spec.writes)
    text = (spec.folder / spec.package / "treasury_par_yields.odcs.yaml").read_text(encoding="utf-8")
    text = text.replace("slaProperties:\n", "slaProperties:\n  - {property: retention, value: 7, unit: y}\n")
    text = text.replace("customProperties:\n", 'customProperties:\n      - {property: asOfFrom, value: "2024-01-01"}\n', 1)
    (tmp_path / "job" / "package").mkdir(parents=True)
    (tmp_path / "job" / "package" / "treasury_par_yields.odcs.yaml").write_text(text, encoding="utf-8")
    lake = fill(str(tmp_path / "lake"))
    lake.store.put("raw/treasury_par_yields/_check", b"")
    monkeypatch.setattr(retention, "catalogue", lambda: (replace(spec, folder=tmp_path / "job"),))
    assert retention.find_policies(lake, ()) == {"treasury_par_yields": Policy(7, date(2024, 1, 1))}


def test_a_moment_that_has_expired_is_refused_and_others_are_answered(tmp_path: Path) -> None:
    lake = fill(str(tmp_path))
    moments = [datetime(2023, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC), datetime(2023, 2, 28, 23, tzinfo=UTC), DAYS[-1], NOW]

    def closes() -> list[str]:
        return [str(finelt.read(DATASET, tmp_path, as_of=moment.isoformat())["close"][0]) for moment in moments]

    before = closes()
    expire(lake)
    assert closes() == before
    with pytest.raises(UsageError, match=r"as of 2023-01-12T00:00Z has expired by the retention .*ask as of the end of a month"):
        finelt.read(DATASET, tmp_path, as_of="2023-01-12")


def test_a_warehouse_loads_what_is_left_without_gaps(tmp_path: Path, warehouse: Warehouse) -> None:
    """A lost commit is still reported; a record that cannot be read is damage, never a reason to call commits lost or expired."""
    lake = fill(str(tmp_path))
    expire(lake)
    job = samples.load(tmp_path, warehouse)
    assert (job.outcomes, "gaps" in job.details[0]) == ([(DATASET, PART, "committed")], False)
    assert [row[2] for row in samples.versions(warehouse)] == ["3.000000", "6.000000", "7.000000"]
    lake.store.erase(lake.commit_key(DATASET, PART, 7), lambda _: True)
    assert lake.examine(DATASET, PART).missing == ((7, 7),)
    lake.store.put(f"raw/{DATASET}/{PART}/_commits/{expired_commits.NAME}", b"nonsense")
    with pytest.raises(DamagedError, match=r"expired.json is damaged"):
        lake.examine(DATASET, PART)
    newer = {"format": EXPIRED + 1, "commits": []}
    lake.store.put(f"raw/{DATASET}/{PART}/_commits/{expired_commits.NAME}", json.dumps(newer).encode())
    with pytest.raises(NewerFormatError, match=rf"expired.json is of format {EXPIRED + 1}, and .* upgrade finelt"):
        lake.examine(DATASET, PART)


def test_a_file_that_another_commit_names_stays(tmp_path: Path) -> None:
    """The first close returns in the newest commit, and another partition came from a response of an expired one."""
    lake = fill(str(tmp_path))
    commit(str(tmp_path), "0", DAYS[-1] + timedelta(days=1))
    commit(str(tmp_path), "2", DAYS[-1], "ticker=GOOG/year=2012")
    expire(lake)
    assert lake_command.verify(lake).wrong == []


class KilledError(BaseException):
    """Stands for SIGKILL."""


def kill_after(monkeypatch: pytest.MonkeyPatch, operations: int) -> None:
    """Let that many changes of the store pass; the next one is the last thing that happens, or does not happen."""
    left = [operations]

    def watch(name: str) -> None:
        method = getattr(FileStore, name)

        def call(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0] == -1:
                raise KilledError
            return method(*arguments)

        monkeypatch.setattr(FileStore, name, call)

    for name in ("put", "put_if_match", "erase"):
        watch(name)


def test_killed_at_any_step_it_completes_when_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fill(str(tmp_path / "undisturbed"))
    expire(expected)
    for kills in range(100):
        lake = fill(str(tmp_path / f"killed-{kills}"))
        with monkeypatch.context() as patched:
            kill_after(patched, kills)
            try:
                expire(lake)
            except KilledError:
                assert lake_command.verify(lake).wrong == []
            else:
                break
        expire(lake)
        assert content(lake) == content(expected), kills
    assert kills > 8


def commit_close_of_the_past(url: str) -> None:
    """The vendor returns to figures that expire at this moment, in the same response: the commit names two files that are being deleted."""
    writer = Lake(url)
    assert writer.commit(DATASET, PART, draft(writer, "1", b"response 1"))[1]


def check_head(url: str) -> None:
    head = Lake(url).head(DATASET, PART)
    assert head
    assert (head.number, [Lake(url).find_problem(file) for file in head.files]) == (9, [None, None])


def test_a_writer_restores_what_expires_between_its_check_and_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, put_if_absent = fill(str(tmp_path)), FileStore.put_if_absent

    def put_late(self: FileStore, key: str, data: bytes, content_type: str | None = None) -> bool:
        if "/_commits/" in key:
            monkeypatch.setattr(FileStore, "put_if_absent", put_if_absent)
            assert len(expire(lake).files) == 7
        return put_if_absent(self, key, data, content_type)

    monkeypatch.setattr(FileStore, "put_if_absent", put_late)
    commit_close_of_the_past(str(tmp_path))
    check_head(str(tmp_path))


def test_a_writer_restores_what_it_wrote_and_an_expiry_deletes_that_was_killed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files were deleted, but are still in the record; the writer writes them, and the next expiry deletes them before the commit."""
    lake, put_if_absent = fill(str(tmp_path)), FileStore.put_if_absent
    with monkeypatch.context() as patched:
        patched.setattr(retention, "_forget_files", lambda *_: None)
        expire(lake)

    def put_late(self: FileStore, key: str, data: bytes, content_type: str | None = None) -> bool:
        if "/_commits/" in key:
            monkeypatch.setattr(FileStore, "put_if_absent", put_if_absent)
            expire(lake)
        return put_if_absent(self, key, data, content_type)

    monkeypatch.setattr(FileStore, "put_if_absent", put_late)
    commit_close_of_the_past(str(tmp_path))
    check_head(str(tmp_path))


def test_a_commit_that_was_announced_before_the_expiry_keeps_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow writer: its commit comes after the partition was listed, and the deletion after the writer looked at its files."""
    lake, erase = fill(str(tmp_path)), FileStore.erase
    lake.log.announce(DATASET, PART, 9)

    def commit_and_erase(self: FileStore, prefix: str, matches: Any) -> Any:
        monkeypatch.setattr(FileStore, "erase", erase)
        monkeypatch.setattr(CommitLog, "announce", lambda *_: 0)
        commit_close_of_the_past(str(tmp_path))
        return erase(self, prefix, matches)

    monkeypatch.setattr(FileStore, "erase", commit_and_erase)
    expire(lake)
    check_head(str(tmp_path))


def test_a_file_that_was_named_again_meanwhile_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, erase, erased = fill(str(tmp_path)), FileStore.erase, list[str]()

    def erase_and_commit(self: FileStore, prefix: str, matches: Any) -> Any:
        erased.append(prefix)
        if len(erased) == 1:
            commit_close_of_the_past(str(tmp_path))
        return erase(self, prefix, matches)

    named = {file.path for file in lake.read_commit(DATASET, PART, 2).files}
    monkeypatch.setattr(FileStore, "erase", erase_and_commit)
    expire(lake)
    assert erased
    assert not named & set(erased)
    check_head(str(tmp_path))


@pytest.mark.parametrize("index", [0, 1])  # the Parquet file, the vendor's bytes
@pytest.mark.parametrize("is_before", [True, False])
def test_a_commit_next_to_a_deletion_keeps_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: int, *, is_before: bool
) -> None:
    lake, erase = fill(str(tmp_path)), FileStore.erase
    path = lake.read_commit(DATASET, PART, 2).files[index].path

    def erase_late(self: FileStore, prefix: str, matches: Any) -> Any:
        if prefix != path:
            return erase(self, prefix, matches)
        monkeypatch.setattr(FileStore, "erase", erase)
        deleted = None if is_before else erase(self, prefix, matches)
        commit_close_of_the_past(str(tmp_path))
        return erase(self, prefix, matches) if is_before else deleted

    monkeypatch.setattr(FileStore, "erase", erase_late)
    expire(lake)
    check_head(str(tmp_path))


def test_a_file_is_written_again_if_the_log_cannot_be_read_after_its_deletion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, list_new_files, calls = fill(str(tmp_path)), lake_deletion._list_new_files, list[str]()

    def fail(*arguments: Any) -> set[str]:
        calls.append("")
        if len(calls) == 2:
            raise TemporaryError("S3 is busy")
        return list_new_files(*arguments)

    before = {key for key in content(lake) if key.endswith((".parquet", ".zst"))}
    with monkeypatch.context() as patched:
        patched.setattr(lake_deletion, "_list_new_files", fail)
        with pytest.raises(TemporaryError):
            expire(lake)
    assert before <= content(lake).keys()
    expire(lake)
    assert len(before - content(lake).keys()) == 7


def test_the_command_shows_first_and_deletes_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = fill(str(tmp_path))
    run = CliRunner().invoke
    assert (
        "no dataset of the lake has a retention in its contract, so none of its versions expires"
        in run(lake_command.main, ["expire", "--lake", str(tmp_path)]).output
    )
    refused = run(lake_command.main, ["expire", "--lake", str(tmp_path), "--dataset", DATASET])
    assert (refused.exit_code, "the contract of prices has no retention" in refused.output) == (2, True)
    monkeypatch.setattr(retention, "find_policies", lambda *_: {DATASET: Policy(2, date(2026, 1, 1))})
    preview = run(lake_command.main, ["expire", "--lake", str(tmp_path)])
    assert "prices: to delete 5 commits of 1 partitions, 7 files" in preview.output
    assert len(lake.commit_numbers(DATASET, PART)) == 8
    done = run(lake_command.main, ["expire", "--lake", str(tmp_path), "--apply"])
    assert "prices: deleted 5 commits of 1 partitions, 7 files" in done.output
    assert lake.commit_numbers(DATASET, PART) == KEPT
