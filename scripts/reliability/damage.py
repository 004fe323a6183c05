"""Lakes that are damaged, answers that shrink, clocks that are wrong: real extracts and loads, on files and on S3."""

from __future__ import annotations

import logging
import shutil
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from jobkit import commits, fill
from jobkit import contract as contracts
from jobkit.errors import TemporaryError
from jobkit.extract import contract
from jobkit.lake import Lake
from jobkit.store import open_store

from scripts.reliability import corrections, faulty, malformed, scene

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

    from jobkit.contract import Columns

    from scripts.reliability.malformed import Document
    from scripts.reliability.rows import Much
    from scripts.reliability.scene import Ended, Stage

EXTRACT, DATASET = "extract-treasury-yields", "treasury_par_yields"
YEAR, OTHER = "year=2012", "year=2013"
DROP, DROPPED = "extract-dropped-files", "custodian_positions"
BAD_DATA = 65
LINE_ENDS = "line ends of Windows"


class Rot(NamedTuple):
    """A way in which a stored object goes bad: its bytes afterwards, None where it is gone."""

    name: str
    spoil: Callable[[bytes], bytes | None]


ROT = (
    Rot("gone", lambda _: None),
    Rot("empty", lambda _: b""),
    Rot("first byte only", lambda data: data[:1]),
    Rot("cut in half", lambda data: data[: len(data) // 2]),
    Rot("last byte lost", lambda data: data[:-1]),
    Rot("first half lost", lambda data: data[len(data) // 2 :]),
    Rot("a byte more", lambda data: data + b"\0"),
    Rot("twice", lambda data: data + data),
    Rot("first bit", lambda data: bytes([data[0] ^ 1]) + data[1:]),
    Rot("middle bit", lambda data: _flipped(data, len(data) // 2)),
    Rot("last bit", lambda data: _flipped(data, len(data) - 1)),
    Rot("zeros", lambda data: bytes(len(data))),
    Rot("a block of zeros", lambda data: data[:64] + bytes(min(512, len(data[64:]))) + data[64 + 512 :]),
    Rot("ones", lambda data: b"\xff" * len(data)),
    Rot("reversed", lambda data: data[::-1]),
    Rot("text", lambda _: b"<html><body>404 Not Found</body></html>"),
    Rot("JSON of somebody else", lambda _: b'{"version": 1}'),
    Rot("JSON without an end", lambda _: b"[" * 200_000),
    Rot(LINE_ENDS, lambda data: data.replace(b"\n", b"\r\n") if b"\n" in data else data + b"\r\n"),
    Rot("a magic number alone", lambda _: b"PAR1" + bytes(8) + b"PAR1"),
)


def _flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


def spoil(lake: Lake, key: str, rot: Rot) -> None:
    """Let an object go bad where it lies."""
    whole, tag = lake.store.get_tagged(key)
    spoilt = rot.spoil(whole)
    if spoilt is None:
        lake.store.delete_if(key, tag)
    else:
        lake.store.put(key, spoilt)


class Trial(NamedTuple):
    """A lake of its own in a database of its own."""

    stage: Stage
    url: str
    database: str

    def extract(self, *more: str) -> Ended:
        """Ask the sample vendor again."""
        return scene.run(EXTRACT, ["--lake", self.url, *self.stage.asks(EXTRACT), *more])

    def drop(self) -> Ended:
        """Drop the same files again."""
        place = self.stage.fresh("drop")
        corrections.drop(place)
        return scene.run(DROP, ["--lake", self.url, "--drop", str(place)])

    def load(self) -> Ended:
        """Load the lake."""
        return scene.run("load-warehouse", ["--lake", self.url, *self.stage.warehouse(self.database)])

    def current(self) -> list[tuple[Any, ...]]:
        """How many rows of each year are current."""
        query = (
            'select extract(year from "Date")::int, count(*) from raw.treasury_par_yields '
            "where known_to = 'infinity' group by 1 order by 1"
        )
        with self.stage.connect(self.database) as connection:
            return connection.execute(query.encode()).fetchall()


@contextmanager
def trials(stage: Stage, template: Path, where: str, bucket: str) -> Iterator[Trial]:
    """A copy of a lake, on files or on S3, and an empty database, which goes with the block."""
    url, database = str(stage.fresh("lake")), stage.database()
    if where == "files":
        shutil.copytree(template, url)
    else:
        url = f"s3://{bucket}/{Path(url).name}"
        store = open_store(url)
        for path in template.rglob("*"):
            if path.is_file():
                store.put(str(path.relative_to(template)), path.read_bytes())
    try:
        yield Trial(stage, url, database)
    finally:
        stage.drop(database)


def _tried(stage: Stage, template: Path, cases: Sequence[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], Trial]]:
    """Each case with a copy of the lake of its own, on files or on S3, as its last part says."""
    with faulty.s3(stage) as s3:
        bucket = s3.enter()
        for case in cases:
            with trials(stage, template, case[-1], bucket) as trial:
                yield case, trial


def history(stage: Stage) -> Path:
    """A lake with two years of yields, of one of them an older commit with fewer rows, and a dropped file with a quarantined row."""
    place, dropped = stage.fresh("template"), stage.fresh("drop")
    scene.well(EXTRACT, ["--lake", str(place), *stage.asks(EXTRACT)])
    corrections.shorten(Lake(str(place)), DATASET, YEAR)
    scene.well(EXTRACT, ["--lake", str(place), *stage.asks(EXTRACT)])
    corrections.drop(dropped)
    scene.well(DROP, ["--lake", str(place), "--drop", str(dropped)])
    return place


def _part(lake: Lake) -> str:
    """The partition of the dropped file, whose name tells no bank."""
    return min(lake.partitions(DROPPED))


def objects(lake: Lake) -> dict[str, str]:
    """The keys of the objects that may go bad, by kind."""
    head, older, dropped = lake.read_commit(DATASET, YEAR, 3), lake.read_commit(DATASET, YEAR, 2), lake.read_commit(DROPPED, _part(lake), 1)
    return {
        "commit": lake.commit_key(DATASET, YEAR, head.number),
        "older commit": lake.commit_key(DATASET, YEAR, older.number),
        "data": head.data.path,
        "older data": older.data.path,
        "quarantine": dropped.quarantine.path if dropped.quarantine else "",
        "vendor bytes": head.source[0].path,
    }


def damaged(stage: Stage, much: Much, rng: random.Random) -> tuple[int, tuple[str, ...]]:
    """Every way to go bad, of every kind of object: how many trials, and what was wrong."""
    template = history(stage)
    kinds = objects(Lake(str(template)))
    cases = list(product(ROT, kinds, ("files", "S3")))
    if much.seeds == 1:
        cases = rng.sample(cases, 6)
    wrong: list[str] = []
    for (rot, kind, where), trial in _tried(stage, template, cases):
        wrong += [f"{kind} {rot.name} on {where}: {told}" for told in _after(trial, kinds[kind], kind, rot)]
    return len(cases), tuple(wrong)


def _after(trial: Trial, key: str, kind: str, rot: Rot) -> Iterator[str]:
    """What is wrong with what a load, an extract and a load make of a lake in which one object went bad."""
    dataset, partition, again = (DROPPED, _part(Lake(trial.url)), trial.drop) if kind == "quarantine" else (DATASET, YEAR, trial.extract)
    spoil(Lake(trial.url), key, rot)
    first = trial.load()
    whole = rot.name == LINE_ENDS and kind in ("commit", "older commit")  # JSON says the same with them, and so does its digest
    blocked = kind in ("data", "quarantine") or (kind == "commit" and rot.name != "gone" and not whole)  # a newest that is gone never was
    if first.code != (BAD_DATA if blocked else 0):
        yield f"the load ended with {first.code}: {first.receipt and first.receipt['error']}"
    told = {one["partition"]: one for one in first.receipt["partitions"]} if first.receipt else {}
    if any(one["outcome"] != "committed" for name, one in told.items() if name != partition) or OTHER not in told:
        yield "another partition was not loaded"
    if kind.startswith("older") and bool(told.get(YEAR, {}).get("gaps")) == whole:
        yield "a gap is reported that is none" if whole else "the gap is not reported"
    healed = again()
    if healed.code:
        yield f"the extract after it ended with {healed.code}: {healed.receipt and healed.receipt['error']}"
    second = trial.load()
    if second.code or trial.current() != [(2012, 250), (2013, 250)]:
        yield f"the load after the extract ended with {second.code}, and has {'less' if second.code else trial.current()}"
    lake = Lake(trial.url)
    head = lake.head(dataset, partition)
    if head is None or any(lake.problem(file) for file in head.files):
        yield "the newest commit names a damaged file"


class _Job:
    """As much of a job as a commit needs."""

    name, version = "scripts/faults", "0"
    log = logging.Logger("said to nobody", logging.CRITICAL)  # noqa: LOG001  outside the tree: no handler hears it

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}

    def outcome(self, _dataset: str, _partition: str, _outcome: str, **details: Any) -> None:  # noqa: ANN401  free JSON
        self.told = details


def shrunken(stage: Stage, much: Much, rng: random.Random) -> tuple[int, tuple[str, ...]]:
    """Answers of every dataset that leave out some rows and have others besides: how many trials, and what was wrong."""
    wrong: list[str] = []
    documents, each = list(malformed.kinds().values()), 100 if much.seeds > 1 else 4
    for document in documents:
        partition, columns = next(iter(document.shape(document.packed(document.body)).items()))
        for _ in range(each):
            wrong += _leave_out(str(stage.fresh("lake")), document, partition or "file=all", columns, rng)
    return len(documents) * each, tuple(wrong)


def _leave_out(url: str, document: Document, partition: str, columns: Columns, rng: random.Random) -> Iterator[str]:
    """What is wrong with what becomes of an answer that leaves out rows at random."""
    rules, lake = contract(document.package, document.dataset), Lake(url)
    count = len(next(iter(columns.values())))
    held = sorted(rng.sample(range(count), rng.randint(1, count)))
    sent = sorted(rng.sample(range(count), rng.choice([0, 1, count - 1, rng.randint(0, count)])))
    missing = len(set(held) - set(sent))

    def commit(rows: list[int], *, allow: bool) -> _Job:
        job = _Job()
        good = contracts.enforce(rules, {name: [cells[row] for row in rows] for name, cells in columns.items()})
        fill.commit(job, lake, rules, partition, good, tuple, refuse=TemporaryError, allow_shrinking=allow)  # type: ignore[arg-type]
        return job

    commit(held, allow=False)
    refused = False
    try:
        commit(sent, allow=False)
    except TemporaryError:
        refused = True
    head = lake.head(rules.dataset, partition)
    if refused != (missing > rules.max_missing_rows * len(held)) or head is None or (head.number == 1) != (refused or held == sent):
        yield f"{rules.dataset}: {missing} of {len(held)} rows left out, and the answer was {'refused' if refused else 'taken'}"
    if refused:
        told = commit(sent, allow=True).told
        if (told["rows_closed"], told["rows_added"]) != (missing, len(set(sent) - set(held))):
            yield f"{rules.dataset}: {missing} rows were closed, and the receipt says {told['rows_closed']}"


def clocked(stage: Stage, much: Much, rng: random.Random) -> tuple[int, tuple[str, ...]]:
    """Each commit of a history said to be made at another time, on files and on S3: trials, and what was wrong."""
    template = history(stage)
    ahead = [timedelta(minutes=6), timedelta(hours=1), timedelta(days=1), timedelta(days=3650), timedelta(days=26_000)]
    cases = list(product((1, 2, 3), [*ahead, *(-one for one in ahead)], ("files", "S3")))
    if much.seeds == 1:
        cases = rng.sample(cases, 4)
    wrong: list[str] = []
    for (number, shift, where), trial in _tried(stage, template, cases):
        wrong += [f"commit {number} off by {shift} on {where}: {told}" for told in _known(trial, number, shift)]
    return len(cases), tuple(wrong)


KNOWN = """
select count(*) filter (where known_from > now()), count(*) filter (where known_from <= now() and known_to > now()),
    count(*) filter (where known_to <= known_from)
from raw.treasury_par_yields
"""


def _known(trial: Trial, number: int, shift: timedelta) -> Iterator[str]:
    """What is wrong with what is known when, of a history of which one commit was made by a clock that was off."""
    lake = Lake(trial.url)
    made = lake.read_commit(DATASET, YEAR, number)
    moment = (datetime.now(UTC) + shift).isoformat(timespec="microseconds").replace("+00:00", "Z")
    lake.store.put(lake.commit_key(DATASET, YEAR, number), commits.encode(msgspec.structs.replace(made, known_at=moment)))
    done = trial.load()
    with trial.stage.connect(trial.database) as connection:
        future, now, backwards = connection.execute(KNOWN.encode()).fetchone() or (1, 0, 0)
    if done.code or future or backwards or now != 500:  # noqa: PLR2004  the rows of two years
        yield f"the load ended with {done.code}; {future} rows of the future, {now} known now, {backwards} that end before they begin"
    corrected = next((one.get("clock_corrected", 0) for one in (done.receipt or {}).get("partitions", ()) if one["partition"] == YEAR), 0)
    if bool(corrected) != (shift > timedelta()):
        yield f"the receipt says {corrected} corrected"
