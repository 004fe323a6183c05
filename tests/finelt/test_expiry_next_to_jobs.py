"""Old versions expire while other jobs work: at each step of a reader, a load and a registration, one after the other."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import TYPE_CHECKING, Any

from jobkit.errors import TemporaryError
from jobkit.lake import Lake
from jobkit.stores import FileStore
from pyiceberg.catalog import load_catalog
from register_iceberg_tables import history, runner
from register_iceberg_tables.tables import IcebergTable

import finelt
from tests.finelt.test_retention import DATASET, DAYS, commit, expire
from tests.warehouse import samples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from tests.fixtures_postgres import Warehouse

VERSIONS = 4  # 2, 11, 20 and 29 January 2023: the first three expire
PROMISED = [DAYS[3] + timedelta(days=1), datetime(2023, 1, 31, 23, 59, tzinfo=UTC)]
MAX_STEPS = 60


def fill(folder: Path, versions: int = VERSIONS) -> Lake:
    for number in range(versions):
        commit(str(folder), str(number), DAYS[number])
    return Lake(str(folder))


class Interruption:
    """Expires the old versions of a lake just before the nth step of another job; `is_done` says whether the job got that far."""

    def __init__(self, lake: Lake, step: int) -> None:
        self.is_done, self._lake, self._left, self._lock = False, lake, step, RLock()

    def watch(self, monkeypatch: pytest.MonkeyPatch, *methods: tuple[type, str]) -> None:
        for owner, name in methods:
            monkeypatch.setattr(owner, name, self._wrap(getattr(owner, name)))

    def _wrap(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            with self._lock:
                self._left -= 1
                if self._left == -1:  # the steps of the expiry itself count on from here
                    assert expire(self._lake).commits > 0
                    self.is_done = True
            return method(*arguments, **options)

        return call


READS = ((FileStore, "get"), (FileStore, "list_keys"), (FileStore, "get_with_etag"))


def test_a_reader_of_a_promised_moment_has_its_answer_whenever_versions_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(MAX_STEPS):
        folder = tmp_path / str(step)
        interruption = Interruption(fill(folder, len(DAYS)), step)
        with monkeypatch.context() as patched:
            interruption.watch(patched, *READS)
            closes = [str(finelt.read(DATASET, folder, as_of=moment.isoformat())["close"][0]) for moment in PROMISED]
            closes.append(str(finelt.read(DATASET, folder)["close"][0]))
        assert [float(close) for close in closes] == [3, 3, 7], step
        if not interruption.is_done:
            break
    assert 20 < step < MAX_STEPS - 1


def test_a_load_is_whole_whenever_versions_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warehouse: Warehouse) -> None:
    """It loads an expired version or not, but what it loads is right, and what expired is no gap."""
    for step in range(MAX_STEPS):
        folder = tmp_path / str(step)
        interruption = Interruption(fill(folder), step)
        with monkeypatch.context() as patched:
            interruption.watch(patched, *READS)
            job = samples.load(folder, warehouse, workers=1)
        assert [(outcome, "gaps" in details) for (*_, outcome), details in zip(job.outcomes, job.details, strict=True)] == [
            ("committed", False)
        ], step
        found = {str(row[2]): row[-2:] for row in samples.versions(warehouse)}
        assert float(next(close for close, (_, until) in found.items() if str(until) == "infinity")) == VERSIONS - 1
        assert {outcome for *_, outcome in samples.load(folder, warehouse).outcomes} == {"unchanged"}
        warehouse.run("drop schema raw cascade; drop schema stage cascade")
        if not interruption.is_done:
            break
    assert 6 < step < MAX_STEPS - 1


def test_a_registration_is_right_whenever_versions_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends well or asks to be run again (75); then the table answers the promised moments as the lake does, and no moment wrongly."""
    for step in range(MAX_STEPS):
        folder = tmp_path / str(step)
        interruption = Interruption(fill(folder), step)
        with monkeypatch.context() as patched:
            interruption.watch(patched, *READS, (IcebergTable, "add_snapshot"))
            with suppress(TemporaryError):
                runner.run(samples.Recorder(), str(folder), (), "sqlite")  # type: ignore[arg-type]
        runner.run(samples.Recorder(), str(folder), (), "sqlite")  # type: ignore[arg-type]
        table = load_catalog("finelt", type="sql", uri=f"sqlite:///{folder}/iceberg/catalog.db").load_table(f"raw.{DATASET}")
        for moment in PROMISED:
            snapshot = table.snapshot_as_of_timestamp(history.to_milliseconds(moment))
            assert snapshot
            assert [int(close) for close in table.scan(snapshot_id=snapshot.snapshot_id).to_arrow()["close"].to_pylist()] == [VERSIONS - 1]
        if not interruption.is_done:
            break
    assert 6 < step < MAX_STEPS - 1
