"""Erase an account from a lake, killed at each failpoint, and next to a writer that delivers its rows again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import TYPE_CHECKING

from arro3.core import Array, DataType, Table
from jobkit import contracts, failpoints
from jobkit.lake import CommitDraft, Lake, SourceMetadata, decompress

from finelt.erasure.subject import Subject
from finelt.lake import verify
from verification.faults import states
from verification.faults.expiry import Outcome, run_script, select_points

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from verification.faults.sandbox import Sandbox
    from verification.faults.trials import TrialCounts

DATASET, PARTITIONS, VERSIONS = "holdings", ("month=2013-06", "month=2013-07"), 3
ERASED, OTHERS = "ACC-17", ("ACC-1", "ACC-170")
SUBJECT = Subject(DATASET, "account", ERASED)
BEGIN = datetime(2013, 7, 1, tzinfo=UTC)
ERASE = f"""
import json, sys
from finelt.erasure.command import Places, count, erase
from finelt.erasure.subject import Subject
from jobkit import failpoints
from jobkit.lake import Lake
places, subject = Places(Lake(sys.argv[1]), None, "", None, None), Subject({DATASET!r}, "account", {ERASED!r})
left, _ = erase(places, subject, "a trial", count(places, subject))
assert not any(left.values()), left
print(json.dumps(failpoints._counts))
"""


def check_erasure(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Outcome:
    """Kill the erasure at its failpoints and run it again; then run it next to a writer, killed at some failpoint each time."""
    undisturbed = _build_lake(sandbox)
    passes = run_script(ERASE, undisturbed, failpoints.LOG_ALL)
    expected = _read(undisturbed)
    points = select_points(passes, counts.seeds, rng)
    violations = [f"undisturbed: {finding}" for finding in _find_problems(undisturbed)]
    for point in points:
        lake = _build_lake(sandbox)
        run_script(ERASE, lake, point)
        violations += [f"killed at {point!r}: {finding.where}: {finding.text}" for finding in verify(Lake(str(lake))).wrong]
        run_script(ERASE, lake)
        violations += [f"killed at {point!r}: run again, it left another lake"] if _read(lake) != expected else []
    rounds = max(counts.rounds // 5, 1)
    for number in range(rounds):
        lake = _build_lake(sandbox)
        writer = Thread(target=_deliver_again, args=(lake,))
        writer.start()
        run_script(ERASE, lake, rng.choice(points))
        writer.join()
        run_script(ERASE, lake)
        violations += [f"round {number}: {finding}" for finding in _find_problems(lake)]
    return Outcome(len(points) + rounds, tuple(violations))


def _build_lake(sandbox: Sandbox) -> Path:
    folder = sandbox.new_path("lake")
    for version in range(VERSIONS):
        for partition in PARTITIONS:
            _commit(Lake(str(folder), received_at=BEGIN + timedelta(days=version)), partition, version)
    return folder


def _commit(lake: Lake, partition: str, version: int) -> None:
    accounts = [ERASED, *OTHERS]
    body = f"{partition} {version}: {' '.join(accounts)}".encode()
    columns = {"account": accounts, "amount": [str(version)] * len(accounts)}
    data = contracts.to_parquet(Table.from_pydict({name: Array(values, DataType.utf8()) for name, values in columns.items()}))
    about = SourceMetadata("https://vendor.example/", "text/csv", None, None)
    source, writer = lambda: (lake.store_source(DATASET, body, about),), {"job": "test", "version": "0"}
    lake.commit(DATASET, partition, CommitDraft(data, len(accounts), None, 0, source, ("account",), "hash(account, 1)", writer))


def _deliver_again(folder: Path) -> None:
    for version in range(VERSIONS):
        for partition in PARTITIONS:
            _commit(Lake(str(folder)), partition, version)


def _find_problems(folder: Path) -> Iterator[str]:
    """Yield what is lost, and each file in which the account still is."""
    lake = Lake(str(folder))
    yield from (f"{finding.where}: {finding.text}" for finding in verify(lake).wrong)
    for key in lake.store.list_keys(""):
        content = lake.store.get(key)
        has_account = SUBJECT.is_in_document(decompress(content) if key.endswith(".zst") else content)
        yield from [f"{key} has the account"] if has_account else []


def _read(folder: Path) -> states.State:
    """Read commits and files, but not the log and the records, whose ids are random."""
    lake = Lake(str(folder))
    return {
        **states.read_lake(folder),
        "keys": [key for key in lake.store.list_keys("") if "/_log/" not in key and "/_erasures/" not in key],
    }
