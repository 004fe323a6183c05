"""Run real extracts and loads with damaged lakes, shrunken responses and wrong clocks, on files and on S3."""

from __future__ import annotations

import logging
import shutil
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from jobkit import commits, contracts, partition_writer
from jobkit.contracts import load_packaged
from jobkit.errors import ExitCode, TemporaryError
from jobkit.lake import Lake
from jobkit.stores import open_store

from verification.faults import faulty_s3, fuzz, job_runs, sample_restatements

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

    from jobkit.contracts import Columns

    from verification.faults.fuzz import Document
    from verification.faults.job_runs import JobResult
    from verification.faults.sandbox import Sandbox
    from verification.faults.trials import TrialCounts

EXTRACT, DATASET = "extract-treasury-yields", "treasury_par_yields"
YEAR, OTHER = "year=2012", "year=2013"
DROP, DROPPED = "extract-dropped-files", "custodian_positions"
LINE_ENDINGS = "Windows line endings"


class Corruption(NamedTuple):
    """A corruption of a stored object. It returns the new bytes, or None if the object is deleted."""

    name: str
    corrupt: Callable[[bytes], bytes | None]


CORRUPTIONS = (
    Corruption("gone", lambda _: None),
    Corruption("empty", lambda _: b""),
    Corruption("first byte only", lambda data: data[:1]),
    Corruption("cut in half", lambda data: data[: len(data) // 2]),
    Corruption("last byte lost", lambda data: data[:-1]),
    Corruption("first half lost", lambda data: data[len(data) // 2 :]),
    Corruption("a byte more", lambda data: data + b"\0"),
    Corruption("twice", lambda data: data + data),
    Corruption("first bit", lambda data: bytes([data[0] ^ 1]) + data[1:]),
    Corruption("middle bit", lambda data: _flip_bit(data, len(data) // 2)),
    Corruption("last bit", lambda data: _flip_bit(data, len(data) - 1)),
    Corruption("zeros", lambda data: bytes(len(data))),
    Corruption("a block of zeros", lambda data: data[:64] + bytes(min(512, len(data[64:]))) + data[64 + 512 :]),
    Corruption("ones", lambda data: b"\xff" * len(data)),
    Corruption("reversed", lambda data: data[::-1]),
    Corruption("text", lambda _: b"<html><body>404 Not Found</body></html>"),
    Corruption("JSON of somebody else", lambda _: b'{"version": 1}'),
    Corruption("JSON without an end", lambda _: b"[" * 200_000),
    Corruption(LINE_ENDINGS, lambda data: data.replace(b"\n", b"\r\n") if b"\n" in data else data + b"\r\n"),
    Corruption("a magic number alone", lambda _: b"PAR1" + bytes(8) + b"PAR1"),
)


def _flip_bit(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


def corrupt_object(lake: Lake, key: str, corruption: Corruption) -> None:
    """Corrupt an object in place."""
    original, tag = lake.store.get_with_etag(key)
    corrupted = corruption.corrupt(original)
    if corrupted is None:
        lake.store.delete_if_match(key, tag)
    else:
        lake.store.put(key, corrupted)


class Trial(NamedTuple):
    """A lake and a database for one trial."""

    sandbox: Sandbox
    url: str
    database: str

    def extract(self, *more: str) -> JobResult:
        """Run the extract again."""
        return job_runs.run_job(EXTRACT, ["--lake", self.url, *self.sandbox.extract_options(EXTRACT), *more])

    def drop(self) -> JobResult:
        """Drop the same files and extract them again."""
        place = self.sandbox.new_path("drop")
        sample_restatements.write_drop(place)
        return job_runs.run_job(DROP, ["--lake", self.url, "--drop", str(place)])

    def load(self) -> JobResult:
        """Load the lake."""
        return job_runs.run_job("load-warehouse", ["--lake", self.url, *self.sandbox.warehouse_options(self.database)])

    def count_current_rows(self) -> list[tuple[Any, ...]]:
        """Count the current rows of each year."""
        query = (
            'select extract(year from "Date")::int, count(*) from raw.treasury_par_yields '
            "where known_to = 'infinity' group by 1 order by 1"
        )
        with self.sandbox.connect(self.database) as connection:
            return connection.execute(query.encode()).fetchall()


@contextmanager
def open_trial(sandbox: Sandbox, template: Path, location: str, bucket: str) -> Iterator[Trial]:
    """Copy a lake to files or S3 and create an empty database, which is dropped at the end."""
    url, database = str(sandbox.new_path("lake")), sandbox.create_database()
    if location == "files":
        shutil.copytree(template, url)
    else:
        url = f"s3://{bucket}/{Path(url).name}"
        store = open_store(url)
        for path in template.rglob("*"):
            if path.is_file():
                store.put(str(path.relative_to(template)), path.read_bytes())
    try:
        yield Trial(sandbox, url, database)
    finally:
        sandbox.drop_database(database)


def _iterate_trials(sandbox: Sandbox, template: Path, cases: Sequence[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], Trial]]:
    """Open a trial for each case, on files or on S3 as its last item says."""
    with faulty_s3.run_emulator(sandbox) as s3:
        bucket = s3.create_bucket()
        for case in cases:
            with open_trial(sandbox, template, case[-1], bucket) as trial:
                yield case, trial


@cache
def build_template(sandbox: Sandbox) -> Path:
    """Build a lake with two years of yields, one of them with an older commit, and a dropped file with a quarantined row."""
    place, dropped = sandbox.new_path("template"), sandbox.new_path("drop")
    job_runs.run_successfully(EXTRACT, ["--lake", str(place), *sandbox.extract_options(EXTRACT)])
    sample_restatements.commit_without_last_row(Lake(str(place)), DATASET, YEAR)
    job_runs.run_successfully(EXTRACT, ["--lake", str(place), *sandbox.extract_options(EXTRACT)])
    sample_restatements.write_drop(dropped)
    job_runs.run_successfully(DROP, ["--lake", str(place), "--drop", str(dropped)])
    return place


def _find_dropped_partition(lake: Lake) -> str:
    """Find the partition of the dropped file. Its name is a hash."""
    return min(lake.partitions(DROPPED))


def list_objects(lake: Lake) -> dict[str, str]:
    """List the keys of the objects to corrupt, by kind."""
    head, older, dropped = (
        lake.read_commit(DATASET, YEAR, 3),
        lake.read_commit(DATASET, YEAR, 2),
        lake.read_commit(DROPPED, _find_dropped_partition(lake), 1),
    )
    return {
        "commit": lake.commit_key(DATASET, YEAR, head.number),
        "older commit": lake.commit_key(DATASET, YEAR, older.number),
        "data": head.data.path,
        "older data": older.data.path,
        "quarantine": dropped.quarantine.path if dropped.quarantine else "",
        "vendor bytes": head.source[0].path,
    }


def check_damage(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> tuple[int, tuple[str, ...]]:
    """Apply every corruption to every kind of object. Return the number of trials and the violations."""
    template = build_template(sandbox)
    kinds = list_objects(Lake(str(template)))
    cases = list(product(CORRUPTIONS, kinds, ("files", "S3")))
    if counts.seeds == 1:
        cases = rng.sample(cases, 6)
    violations: list[str] = []
    for (corruption, kind, location), trial in _iterate_trials(sandbox, template, cases):
        violations += [f"{kind} {corruption.name} on {location}: {detail}" for detail in _check_trial(trial, kinds[kind], kind, corruption)]
    return len(cases), tuple(violations)


def _check_trial(trial: Trial, key: str, kind: str, corruption: Corruption) -> Iterator[str]:
    """Corrupt one object, then load, extract and load again, and yield the violations."""
    dataset, partition, rerun = (
        (DROPPED, _find_dropped_partition(Lake(trial.url)), trial.drop) if kind == "quarantine" else (DATASET, YEAR, trial.extract)
    )
    corrupt_object(Lake(trial.url), key, corruption)
    first = trial.load()
    is_harmless = corruption.name == LINE_ENDINGS and kind in ("commit", "older commit")  # neither the JSON nor its digest changes
    is_hidden = corruption.name == "gone"  # a deleted newest commit looks as if it had never existed
    blocked = kind in ("data", "quarantine") or (kind == "commit" and not is_hidden and not is_harmless)
    if first.code != (ExitCode.BAD_DATA if blocked else 0):
        yield f"the load ended with {first.code}: {first.receipt and first.receipt['error']}"
    detail = {one["partition"]: one for one in first.receipt["partitions"]} if first.receipt else {}
    if any(one["outcome"] != "committed" for name, one in detail.items() if name != partition) or OTHER not in detail:
        yield "another partition was not loaded"
    if kind.startswith("older") and bool(YEAR in detail and detail[YEAR].get("gaps")) == is_harmless:
        yield "a gap is reported, but there is none" if is_harmless else "the gap is not reported"
    repair = rerun()
    if repair.code:
        yield f"the extract after it ended with {repair.code}: {repair.receipt and repair.receipt['error']}"
    second = trial.load()
    if second.code or trial.count_current_rows() != [(2012, 250), (2013, 250)]:
        yield f"the load after the extract ended with {second.code}, and has {'less' if second.code else trial.count_current_rows()}"
    lake = Lake(trial.url)
    head = lake.head(dataset, partition)
    if head is None or any(lake.find_problem(file) for file in head.files):
        yield "the newest commit names a damaged file"


class _Job:
    """The part of a job that a commit needs."""

    name, version = "scripts/faults", "0"
    log = logging.Logger("scripts/faults", logging.CRITICAL)  # noqa: LOG001  outside the tree, so that no handler sees it

    def __init__(self) -> None:
        self.detail: dict[str, Any] = {}

    def record_partition(self, _dataset: str, _partition: str, _outcome: str, **details: Any) -> None:  # noqa: ANN401  free JSON
        self.detail = details


def check_shrinking(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> tuple[int, tuple[str, ...]]:
    """Commit responses of every dataset that omit some rows and add others. Return the number of trials and the violations."""
    violations: list[str] = []
    documents, each = list(fuzz.list_documents().values()), 100 if counts.seeds > 1 else 4
    for document in documents:
        partition, columns = next(iter(document.parse(document.pack(document.body)).items()))
        for _ in range(each):
            violations += _check_omission(str(sandbox.new_path("lake")), document, partition or "file=all", columns, rng)
    return len(documents) * each, tuple(violations)


def _check_omission(url: str, document: Document, partition: str, columns: Columns, rng: random.Random) -> Iterator[str]:
    """Commit a response that omits random rows, and yield the violations."""
    rules, lake = load_packaged(document.package, document.dataset), Lake(url)
    count = len(next(iter(columns.values())))
    stored = sorted(rng.sample(range(count), rng.randint(1, count)))
    sent = sorted(rng.sample(range(count), rng.choice([0, 1, count - 1, rng.randint(0, count)])))
    missing = len(set(stored) - set(sent))

    def commit(rows: list[int], *, allow: bool) -> _Job:
        job = _Job()
        good = contracts.validate(rules, {name: [cells[row] for row in rows] for name, cells in columns.items()})
        outcome = partition_writer.commit(job, lake, rules, partition, good, tuple, shrunken=TemporaryError, allow_shrinking=allow)  # type: ignore[arg-type]
        partition_writer.record(job, outcome)  # type: ignore[arg-type]
        return job

    commit(stored, allow=False)
    refused = False
    try:
        commit(sent, allow=False)
    except TemporaryError:
        refused = True
    head = lake.head(rules.dataset, partition)
    if refused != (missing > rules.max_missing_rows * len(stored)) or head is None or (head.number == 1) != (refused or stored == sent):
        yield f"{rules.dataset}: {missing} of {len(stored)} rows left out, and the answer was {'refused' if refused else 'taken'}"
    if refused:
        detail = commit(sent, allow=True).detail
        if (detail["rows_closed"], detail["rows_added"]) != (missing, len(set(sent) - set(stored))):
            yield f"{rules.dataset}: {missing} rows were closed, and the receipt says {detail['rows_closed']}"


def check_clocks(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> tuple[int, tuple[str, ...]]:
    """Load histories in which one commit has a wrong time. Return the number of trials and the violations."""
    template = build_template(sandbox)
    ahead = [timedelta(minutes=6), timedelta(hours=1), timedelta(days=1), timedelta(days=3650), timedelta(days=26_000)]
    cases = list(product((1, 2, 3), [*ahead, *(-one for one in ahead)], ("files", "S3")))
    if counts.seeds == 1:
        cases = rng.sample(cases, 4)
    violations: list[str] = []
    for (number, shift, location), trial in _iterate_trials(sandbox, template, cases):
        violations += [f"commit {number} off by {shift} on {location}: {detail}" for detail in _check_known_times(trial, number, shift)]
    return len(cases), tuple(violations)


KNOWN_ROWS = """
select count(*) filter (where known_from > now()), count(*) filter (where known_from <= now() and known_to > now()),
    count(*) filter (where known_to <= known_from)
from raw.treasury_par_yields
"""


def _check_known_times(trial: Trial, number: int, shift: timedelta) -> Iterator[str]:
    """Load a history in which one commit has a wrong time, and yield the violations of known_from and known_to."""
    lake = Lake(trial.url)
    made = lake.read_commit(DATASET, YEAR, number)
    moment = (datetime.now(UTC) + shift).isoformat(timespec="microseconds").replace("+00:00", "Z")
    lake.store.put(lake.commit_key(DATASET, YEAR, number), commits.encode(msgspec.structs.replace(made, known_at=moment)))
    result = trial.load()
    with trial.sandbox.connect(trial.database) as connection:
        future, now, backwards = connection.execute(KNOWN_ROWS.encode()).fetchone() or (1, 0, 0)
    if result.code or future or backwards or now != 500:  # noqa: PLR2004  rows of two years
        yield f"the load ended with {result.code}; {future} rows of the future, {now} known now, {backwards} that end before they begin"
    partitions = result.receipt["partitions"] if result.receipt else []
    corrected = next((one.get("clock_corrected", 0) for one in partitions if one["partition"] == YEAR), 0)
    if bool(corrected) != (shift > timedelta()):
        yield f"the receipt says {corrected} corrected"
