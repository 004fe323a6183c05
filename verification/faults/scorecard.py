"""The rows of the scorecard: each puts one kind of fault in, looks, and says what it found."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from jobkit.errors import JobError
from jobkit.lake import CommitDraft, Lake
from jobkit.store import FileStore

from orchestration.local import sample_parameters
from verification.faults import (
    answers,
    damage,
    deadlines,
    faulty_s3,
    fuzz,
    injection,
    kills,
    memory,
    outages,
    publication,
    sample_restatements,
    sandbox,
    secret_echoes,
)
from verification.faults import odd_drops as oddities

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from verification.faults.sandbox import Stage

STOP_S = 10.0
TEMPORARY = 75
WRITERS = 16
LEAF_OF_ALL = "hash(ticker, 1)"


class Row(NamedTuple):
    """A row of the scorecard: what was done, in how many trials, what was seen, and what of it is wrong (nothing, if it holds)."""

    fault: str
    trials: int
    seen: str
    wrong: tuple[str, ...] = ()


class Much(NamedTuple):
    """How often: the whole promise, or a few of each."""

    seeds: int
    reader_kills: int
    reads: int
    rounds: int
    stops: int
    documents: int
    names: int
    outages: int
    answers: int
    echoes: int


ALL = Much(
    seeds=20, reader_kills=200, reads=10_000, rounds=200, stops=20, documents=10_000, names=10_000, outages=10, answers=2_000, echoes=600
)
LESS = Much(seeds=1, reader_kills=4, reads=400, rounds=5, stops=1, documents=60, names=300, outages=1, answers=60, echoes=28)


def killed(stage: Stage, much: Much, rng: random.Random) -> Row:
    """SIGKILL at every named step of every job, then again."""
    done = kills.all_jobs(stage, much.seeds, rng)
    with faulty_s3.s3(stage) as s3:
        done += kills.all_jobs(stage, much.seeds, rng, only=["extract-ecb-fx-rates"], bucket=s3.enter())
    steps = sum(len(one.steps) for one in done)
    wrong = tuple(sentence for one in done for sentence in one.wrong)
    return Row(
        "SIGKILL at every named step of every job, then run again",
        sum(one.kills for one in done),
        f"{steps} steps of {len({one.job for one in done})} jobs, up to {much.seeds} moments each; lake, tables and site equal an "
        "undisturbed run's",
        wrong,
    )


def read(stage: Stage, much: Much, rng: random.Random) -> Row:
    """Readers of lake and tables while loads and extracts are killed."""
    place, url = stage.fresh("lake"), stage.database()
    asks = ["--lake", str(place), *stage.asks("extract-tiingo-prices")]
    sandbox.well("extract-tiingo-prices", asks)
    began = time.monotonic()
    sandbox.well("load-warehouse", ["--lake", str(place), *stage.warehouse(url)])
    took_s, done = time.monotonic() - began, threading.Event()
    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(_lake_reads, place, done, much.reads // 2), pool.submit(_table_reads, stage, url, done, much.reads // 2)]
        ended: list[int] = []
        while ended.count(-signal.SIGKILL) < much.reader_kills and len(ended) < 2 * much.reader_kills:  # some are done before
            _correct(place, len(ended))
            if len(ended) % 20 == 0:  # another warehouse would be another reader; the same one is emptied
                _empty(stage, url)
            process = sandbox.start("load-warehouse", ["--lake", str(place), *stage.warehouse(url)])
            time.sleep(rng.uniform(0.2, 1.0) * took_s)
            process.kill()
            ended.append(sandbox.ended(process).code)
            if ended[-1] == 0:  # done before the kill: the first load, of everything and perhaps beside others' work, took longer
                took_s *= 0.7
        deadline = time.monotonic() + 600
        while not all(reader.done() for reader in readers) and time.monotonic() < deadline:
            sandbox.well("load-warehouse", ["--lake", str(place), *stage.warehouse(url)])
            _correct(place, len(ended))
            ended.append(0)
        done.set()
        found = [reader.result() for reader in readers]
    reads, wrong = sum(count for count, _ in found), tuple(sentence for _, all_ in found for sentence in all_)
    return Row(
        "Readers of lake and tables while loads are killed",
        ended.count(-signal.SIGKILL),
        f"{reads:,} reads, each of whole partitions",
        wrong[:3],
    )


def _correct(place: Path, number: int) -> None:
    """One more commit of a ticker's year: as many rows, another number in each."""
    where = Lake(str(place))
    partition = sorted(where.partitions("tiingo_prices"))[number % len(where.partitions("tiingo_prices"))]
    fuzz.recommit(where, "tiingo_prices", partition, number)


def _empty(stage: Stage, url: str) -> None:
    with stage.connect(url) as connection:
        connection.execute("set lock_timeout = '20s'")
        connection.execute("drop schema if exists raw cascade")
        connection.execute("drop schema if exists stage cascade")
    stage.server.prepare_roles(url.rpartition("/")[2])


def _lake_reads(place: Path, done: threading.Event, enough: int) -> tuple[int, list[str]]:
    where, count = Lake(str(place)), 0
    wrong: list[str] = []
    partitions = where.partitions("tiingo_prices")
    while not done.is_set() and count < enough:
        head = where.head("tiingo_prices", partitions[count % len(partitions)])
        try:
            if head is None or fuzz.rows_of(where.read(head.data)) != head.data.rows:
                wrong.append(f"a lake partition without its rows: {head}")
        except JobError as error:
            wrong.append(str(error))
        count += 1
    return count, wrong


WHOLE = """
select (select coalesce(sum(newest."rows"), 0) from (
    select distinct on ("partition") "rows" from raw._ledger
    where "dataset" = 'tiingo_prices' order by "partition", "commit" desc) as newest)
    - (select count(*) from raw.tiingo_prices where known_to = 'infinity')
"""


def _table_reads(stage: Stage, url: str, done: threading.Event, enough: int) -> tuple[int, list[str]]:
    """The rows that can be seen are those of the commits that can be seen: in one statement, so of one moment."""
    count, wrong = 0, []
    with stage.connect(url) as connection:
        while not done.is_set() and count < enough:
            try:
                found = connection.execute(WHOLE.encode()).fetchone()
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                time.sleep(0.01)  # the warehouse was just emptied
                continue
            except psycopg.errors.InternalError:
                continue  # emptied while the question was planned
            count += 1
            if found != (0,):
                wrong.append(f"the tables miss {found and found[0]} rows of what the ledger says")
    return count, wrong


def written(stage: Stage, much: Much, rng: random.Random) -> Row:  # noqa: ARG001  every row is called the same way
    """Many writers on one partition."""
    wrong: list[str] = []
    with faulty_s3.s3(stage) as s3:
        for url, rounds in ((str(stage.fresh("lake")), much.rounds), (f"s3://{s3.enter()}/{stage.fresh('lake').name}", much.rounds)):
            wrong += _rounds(url, rounds)
    return Row(
        f"{WRITERS} writers on one partition, half of them with the same bytes, on files and on S3",
        2 * much.rounds,
        "each round numbers its commits without a gap, one writer has each number, every content is there once",
        tuple(wrong[:3]),
    )


def _rounds(url: str, rounds: int) -> Iterator[str]:
    with ThreadPoolExecutor(WRITERS) as pool:
        for round_ in range(rounds):
            partition, ready = f"round={round_}", threading.Barrier(WRITERS)

            def write(number: int, partition: str = partition, ready: threading.Barrier = ready) -> tuple[int, bool]:
                content = b"the same" if number % 2 else b"%d" % number
                draft = CommitDraft(content, 1, None, 0, lambda: (), ("ticker",), LEAF_OF_ALL, {"job": "writer", "version": "0"})
                lake = Lake(url)
                ready.wait()
                commit, made = lake.commit("prices", partition, draft)
                return commit.number, made

            done = list(pool.map(write, range(WRITERS)))
            history = Lake(url).history("prices", partition)
            numbers = [commit.number for commit in history]
            made = sorted(number for number, own in done if own)
            if numbers != list(range(1, len(numbers) + 1)) or made != numbers:
                yield f"round {round_} at {url.partition(':')[0]}: commits {numbers}, won {made}"
            if len({commit.data.sha256 for commit in history}) != WRITERS // 2 + 1:
                yield f"round {round_} at {url.partition(':')[0]}: a content is lost"


def refused(stage: Stage, much: Much, rng: random.Random) -> Row:
    """A vendor and an object store that fail in a fifth of all requests."""
    job, trials = "extract-treasury-yields", max(much.seeds // 2, 2)
    wrong, requests, times = [], [], []
    with faulty_s3.s3(stage) as s3, ExitStack() as ends:
        bucket = s3.enter()
        calm = ends.enter_context(faulty_s3.proxy(s3.url, random.Random(0), share=0.0))  # noqa: S311  which of none
        rough = ends.enter_context(faulty_s3.proxy(s3.url, rng, share=0.2))
        for trial in range(trials):
            found = []
            for through in (calm, rough):
                lake, before, began = f"s3://{bucket}/{stage.fresh('lake').name}", through.requests, time.monotonic()
                done = sandbox.run(job, ["--lake", lake, *stage.asks(job)], AWS_ENDPOINT_URL=through.url)
                found.append((time.monotonic() - began, through.requests - before, sandbox.lake(lake), done))
            (calm_s, calm_n, expected, _), (rough_s, rough_n, state, done) = found
            if done.code or state != expected:
                wrong.append(f"trial {trial}: it ended with {done.code}: {done.receipt and done.receipt['error']}")
            requests.append(rough_n / calm_n)
            times.append(rough_s / calm_s)
    return Row(
        "S3 that fails in 20 % of its requests: 503, 429, connection reset, slow, 409 on a commit, the answer to a commit lost",
        trials,
        f"no commit twice, none lost; {max(requests):.2f} times the requests and {max(times):.2f} times the time at most",
        tuple(wrong[:3]),
    )


def stopped(stage: Stage, much: Much, rng: random.Random) -> Row:
    """SIGTERM at random moments of every job."""
    took: list[float] = []
    wrong: list[str] = []
    for job, place in kills.trials(stage).items():
        undisturbed, began = place(), time.monotonic()
        sandbox.well(job, undisturbed.options)
        whole_s, expected = time.monotonic() - began, undisturbed.state()
        undisturbed.close()
        for _ in range(much.stops):
            trial, process = (made := place()), sandbox.start(job, made.options)
            time.sleep(rng.uniform(0.3, 1.0) * whole_s)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            done = sandbox.ended(process)
            took.append(time.monotonic() - began)
            told = done.receipt and (done.receipt["exit_code"], done.receipt["status"])
            early = done.code == -signal.SIGTERM and not done.stdout  # before Python had begun to listen
            if done.code not in (0, 143) and not early:
                wrong.append(f"{job}: it ended with {done.code} and {told}")
            again = sandbox.run(job, trial.options)
            if again.code or trial.state() != expected:
                wrong.append(f"{job}: stopped and run again it ended with {again.code}")
            trial.close()
    took.sort()
    p99 = took[min(int(len(took) * 0.99), len(took) - 1)]
    wrong += [f"p99 is {p99:.1f} s"] if p99 > STOP_S else []
    return Row(
        "SIGTERM at random moments of every job, then run again",
        len(took),
        f"exit code 143 (or 0 where it was done), p99 {p99:.2f} s; what is there equals an undisturbed run's",
        tuple(wrong[:3]),
    )


BACKEND = "select pid from pg_stat_activity where application_name = 'load-warehouse' and datname = %s limit 1"


def crashed(stage: Stage, much: Much, rng: random.Random) -> Row:
    """The warehouse's server goes down in the middle of a load, recovers from its log, and is there again."""
    lake = str(sample_restatements.lake(stage))
    url, began = stage.database(), time.monotonic()
    sandbox.well("load-warehouse", ["--lake", lake, *stage.warehouse(url)])
    whole_s = time.monotonic() - began
    with stage.connect(url) as connection:
        expected = sandbox.tables(connection)
    wrong: list[str] = []
    down = 0
    for trial in range(much.seeds):
        url = stage.database()
        process = sandbox.start("load-warehouse", ["--lake", lake, *stage.warehouse(url)])
        down += _crash(stage, url, rng.uniform(0.0, 0.12) * whole_s)
        done = sandbox.ended(process)
        if done.code not in (0, TEMPORARY):
            wrong.append(f"trial {trial}: it ended with {done.code}: {done.receipt and done.receipt['error']}")
        _wait_for(stage)
        again = sandbox.run("load-warehouse", ["--lake", lake, *stage.warehouse(url)])
        with stage.connect(url) as connection:
            if again.code or sandbox.tables(connection) != expected:
                wrong.append(f"trial {trial}: run again it ended with {again.code}, and the tables are others")
        stage.drop(url)
    return Row(
        "The warehouse's server crashes in the middle of a load and recovers",
        down,
        "exit code 75 (or 0 where it was done); run again, the tables equal an undisturbed load's",
        tuple(wrong[:3]),
    )


def _crash(stage: Stage, url: str, after_s: float) -> bool:
    """Kill a backend of a load's; its server then ends all others and starts anew. False where the load was quicker."""
    deadline = time.monotonic() + 20
    pid = None
    with stage.admin() as admin:
        while pid is None and time.monotonic() < deadline:
            row = admin.execute(BACKEND, [url.rpartition("/")[2]]).fetchone()
            pid = row[0] if row else None
        time.sleep(after_s)
        if pid is None or admin.execute("select from pg_stat_activity where pid = %s", [pid]).fetchone() is None:
            return False
    os.kill(pid, signal.SIGKILL)
    return True


def _wait_for(stage: Stage) -> None:
    """Until the server lets somebody in."""
    for _ in range(200):
        try:
            stage.admin().close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the server did not come back within twenty seconds")


def without_prefect(stage: Stage, much: Much, rng: random.Random) -> Row:
    """Prefect's server away in the middle of a flow."""
    found = outages.outages(stage.fresh("flows"), much.outages, rng)
    return Row(
        "Prefect's server killed in the middle of a backfill, back at once or after a minute",
        found.backfills,
        f"each backfill ended well, each of its steps was done once and none twice at once, {found.longest_s:.0f} s after the server "
        f"was back at the latest; {found.runs} runs",
        found.wrong[:3],
    )


def repeated(stage: Stage, much: Much, rng: random.Random) -> Row:
    """The same day again and again, days in random order, ranges that overlap."""
    wrong: list[str] = []
    job, days = (
        "extract-massive-daily-prices",
        [f"2013-02-{day:02}" for day in range(11, 23) if day not in (16, 17)],
    )  # a weekend is not asked for
    sample = {**sample_parameters.build_sample_extracts(stage.vendors, "env://CANARY")[job]}

    def filled(ranges: list[tuple[str, str]]) -> tuple[Any, Any, list[int]]:
        place, url, changed = stage.fresh("lake"), stage.database(), []
        for start, end in ranges:
            options = sandbox.words({**sample, "start": start, "end": end})
            extracted = sandbox.well(job, ["--lake", str(place), *options])
            loaded = sandbox.well("load-warehouse", ["--lake", str(place), *stage.warehouse(url)])
            changed.append(sum(done.receipt["committed"] for done in (extracted, loaded) if done.receipt))
        with stage.connect(url) as connection:
            found = sandbox.lake(place), sandbox.tables(connection, ("raw",)), changed
        stage.drop(url)
        return found

    shuffled = [(day, day) for day in days]
    rng.shuffle(shuffled)
    expected = filled([(days[0], days[-1])])
    five = filled([(days[0], days[-1])] * 5)
    ways = {
        "five times": five,
        "days in random order": filled([*shuffled[: len(shuffled) if much.seeds > 1 else 4], (days[0], days[-1])]),
        "two that overlap": filled([(days[0], days[7]), (days[4], days[-1])]),
    }
    wrong += [f"{way}: not what once in order gives" for way, found in ways.items() if found[:2] != expected[:2]]
    wrong += ["the same days again changed something"] if any(five[2][1:]) else []
    return Row(
        "The same days five times; days in random order; two ranges that overlap",
        len(ways),
        "lake and tables are those of once in order; the later four changed no row",
        tuple(wrong),
    )


def broken(stage: Stage, much: Much, rng: random.Random) -> Row:  # noqa: ARG001  needs no stage
    """Documents of every dataset and of every kind of dropped file, spoilt in every way."""
    found = [fuzz.spoil(kind, much.documents, rng.randrange(1 << 30)) for kind in fuzz.kinds()]
    return Row(
        f"Malformed documents of {len(found)} kinds, {much.documents:,} each, spoilt in one to three places",
        sum(one.documents for one in found),
        f"{sum(one.refused for one in found):,} refused in a sentence, {sum(one.read for one in found):,} rows read: "
        f"{sum(one.good for one in found):,} good and {sum(one.bad for one in found):,} in quarantine or dropped",
        tuple(sentence for one in found for sentence in one.wrong)[:3],
    )


def hostile(stage: Stage, much: Much, rng: random.Random) -> Row:
    """Keys, datasets and partitions that want to be elsewhere."""
    outer = stage.fresh("outer")
    inner = outer / "store"
    inner.mkdir(parents=True)
    store, lake = FileStore(inner), Lake(str(inner / "lake"))
    pieces = [
        "..",
        ".",
        "",
        "/",
        "\0",
        "a",
        "%2e%2e",
        "..\\",
        "~",
        "$(id)",
        "'; drop table raw; --",
        "\u202e",
        "é",
        "a" * 300,
        "-",
        "*",
        "\n",
    ]
    escaped, taken = 0, 0
    for _ in range(much.names):
        name = rng.choice(["/", "//", ""]).join(rng.choices(pieces, k=rng.randint(1, 5)))
        for attempt in (
            lambda name=name: store.put(name, b"x"),
            lambda name=name: store.put_if_absent(name, b"x"),
            lambda name=name: store.get(name),
            lambda name=name: lake.head(name, "year=2012"),
            lambda name=name: lake.head("prices", f"year={name}"),
        ):
            try:
                attempt()
                taken += 1
            except (JobError, KeyError):
                pass
    escaped += sum(1 for path in outer.iterdir() if path != inner)
    escaped += sum(1 for path in inner.rglob("*") if not path.resolve().is_relative_to(inner.resolve()))
    return Row(
        "Hostile keys, datasets and partitions (../, NUL, SQL, unicode, very long)",
        much.names,
        f"{escaped} escapes; all else is one sentence",
        (f"{escaped} escapes",) if escaped else (),
    )


def injected(stage: Stage, much: Much, rng: random.Random) -> Row:
    """Names that want to be SQL, through every job."""
    found = injection.all_names(stage, much.names, rng)
    return Row(
        "Hostile names of columns, tickers, datasets and partitions (quotes, SQL, comments, $$, backslashes, Jinja, NUL), vendor to site",
        found.names,
        f"{found.columns:,} columns in raw tables; roles, objects and others' rows as they were; {found.refused:,} places refused",
        found.wrong[:3],
    )


def canaries(stage: Stage, much: Much, rng: random.Random) -> Row:
    """A secret through every job that takes one: where it goes well, where it is sent back, where it is in the wrong place."""
    wrong, trials = _well_and_not(stage)
    for count, sentences in (
        secret_echoes.echoes(stage, much.echoes, rng),
        secret_echoes.urls(stage, much.echoes, rng),
        secret_echoes.unsendable(stage),
        secret_echoes.passwords(stage),
    ):
        trials += count
        wrong += sentences
    return Row(
        "Canary secrets: vendors that send the token back in headers, bodies, redirects and rows; credentials in URLs; wrong passwords",
        trials,
        "0 in logs, receipts, lineage, Dagster's messages, argv and the lake; an answer that holds the token is refused",
        tuple(wrong[:3]),
    )


def _well_and_not(stage: Stage) -> tuple[list[str], int]:
    wrong, trials = [], 0
    for job in ("extract-tiingo-prices", "extract-massive-daily-prices"):
        for base in ("", "/~limited", "/~html", "/~truncated"):
            place = stage.fresh("lake")
            host = secret_echoes.HOSTS[job]
            options = [*stage.asks(job), "--base-url", f"{stage.vendors}{base}/{host}", "--retry-timeout", "0"]
            heard = secret_echoes.listen(job, ["--lake", str(place), *options], stage.fresh("sinks"))
            everything = heard.everything + (secret_echoes.kept(place) if place.exists() else "")
            trials += 1
            wrong += [f"{job}{base}: the token is in what it said or wrote"] if secret_echoes.leaks(everything, sandbox.TOKEN) else []
    return wrong, trials


def hanging(stage: Stage, much: Much, rng: random.Random) -> Row:  # noqa: ARG001  every row is called the same way
    """Whoever a job waits for hangs."""
    found = deadlines.trials(stage, every=much.seeds > 1)
    return Row(
        "Whoever a job waits for hangs: vendors that trickle or are silent, S3 and Postgres that do not answer, a table held by another",
        found.trials,
        f"exit code 75 and a receipt {found.longest_s:.1f} s after the start at most, with a deadline of {deadlines.DEADLINE_S} s; "
        "run again, all is well",
        tuple(found.wrong[:3]),
    )


def withheld(stage: Stage, much: Much, rng: random.Random) -> Row:
    """What may not be published, in marts, sites, receipts and logs."""
    files, trials = max(much.outages // 2, 1), much.documents
    wrong = [*publication.rule(trials, rng), *publication.confidential(stage, files, rng)]
    return Row(
        "Datasets with terms at random behind random models; confidential files with canaries in every cell, good, bad and broken; then "
        "all withdrawn",
        trials + files,
        f"{trials:,} lineages: published is what both audiences may see, and no more; {files} times the whole pipeline: 0 canaries in "
        "marts, sites, receipts and logs, nothing left of what was withdrawn",
        tuple(wrong[:3]),
    )


def quarantined(stage: Stage, much: Much, rng: random.Random) -> Row:
    """Hostile cells in dropped files, through every job."""
    seen = oddities.quarantine_round_trip(stage, much.documents // 50 or 1, rng)
    return Row(
        "A hostile cell in each of many dropped files (NUL, bytes of no encoding, a megabyte, JSON), through every job to the site",
        seen.trials,
        "every row is in the quarantine of the warehouse as it was sent, and no job ends badly",
        tuple(seen.wrong[:3]),
    )


def odd_drops(stage: Stage, much: Much, rng: random.Random) -> Row:  # noqa: ARG001  every row is called the same way
    """What lies in a drop that is no file."""
    seen = oddities.odd_drops(stage, much.outages)
    return Row(
        "Pipes, links, sockets and names that are none in a drop, beside a good file",
        seen.trials,
        "the good file is taken, the other stays with a sentence (65); nothing outside is read, no lock file stays",
        tuple(seen.wrong[:3]),
    )


def damaged(stage: Stage, much: Much, rng: random.Random) -> Row:
    """A lake in which a commit or a file went bad."""
    trials, wrong = damage.damaged(stage, much, rng)
    return Row(
        f"{len(damage.ROT)} ways to go bad, of a commit, an older one, their files, quarantine and vendor bytes, on files and on S3",
        trials,
        "the load passes over an older commit and reports it, or that partition fails alone with 65; run again, the extract rewrites the "
        "file or adds a commit, and the load has every row",
        wrong[:3],
    )


def shrunken(stage: Stage, much: Much, rng: random.Random) -> Row:
    """Answers that leave out rows that the lake holds."""
    trials, wrong = damage.shrunken(stage, much, rng)
    return Row(
        "Answers of every dataset that leave out some of the rows held, from one to all, and have others besides",
        trials,
        "refused past the contract's share and nothing closed; where it is allowed, the receipt says how many rows were closed",
        wrong[:3],
    )


def clocks(stage: Stage, much: Much, rng: random.Random) -> Row:
    """Commits made by a clock that was off."""
    trials, wrong = damage.clocked(stage, much, rng)
    return Row(
        "Each commit of a history made by a clock that was minutes to decades ahead or behind, on files and on S3",
        trials,
        "every row known now, none in the future, no version that ends before it begins; the receipt says what was corrected",
        wrong[:3],
    )


def whole(stage: Stage, much: Much, rng: random.Random) -> Row:  # noqa: ARG001  every row is called the same way
    """Answers in many members and framings, cut and damaged."""
    found = answers.packed(much.answers, rng)
    return Row("Answers in any gzip members, framing and segments; cut, damaged or with bytes behind them", *found[:2], found.wrong[:3])


def doubled(stage: Stage, much: Much, rng: random.Random) -> Row:  # noqa: ARG001  every row is called the same way
    """Keys that an object has twice."""
    found = answers.doubled(much.answers, rng)
    return Row("JSON in which one object has a key twice, written in any way", *found[:2], found.wrong[:3])


def slow(stage: Stage, much: Much, rng: random.Random) -> Row:  # noqa: ARG001  every row is called the same way
    """Vendors that send a byte a second."""
    found = answers.slow(stage, ("head", "body", "chunks") if much.seeds > 1 else ("body",))
    return Row("A vendor that sends a byte a second, in header fields or body", *found[:2], found.wrong[:3])


def worded(stage: Stage, much: Much, rng: random.Random) -> Row:  # noqa: ARG001  every row is called the same way
    """Limits, maintenance and refusals, in vendors' words."""
    found = answers.words(stage, tuple(answers.JOBS) if much.seeds > 1 else ("extract-massive-daily-prices",))
    return Row("Limits, maintenance and refusals in vendors' words, with and without a status", *found[:2], found.wrong[:3])


def fitted(stage: Stage, much: Much, rng: random.Random) -> Row:  # noqa: ARG001  every row is called the same way
    """The largest answers in the memory that jobs declare."""
    found = memory.measured(stage, list(memory.EXTRACTORS) if much.seeds > 1 else ["extract-sec-filers"])
    peaks = ", ".join(f"{name} {peak}" for name, peak in found.peaks.items())
    return Row(
        "The largest answer each extractor takes and its densest, six at once, in the memory it declares; one byte more",
        found.runs,
        f"kept by {found.how}: done or refused (65), never killed; peaks in MiB: {peaks}",
        found.wrong[:3],
    )


ROWS: dict[str, Callable[[Stage, Much, random.Random], Row]] = {
    "kills": killed,
    "readers": read,
    "writers": written,
    "storage": refused,
    "stops": stopped,
    "server": crashed,
    "prefect": without_prefect,
    "repeats": repeated,
    "malformed": broken,
    "hostile": hostile,
    "quarantine": quarantined,
    "drops": odd_drops,
    "injection": injected,
    "canaries": canaries,
    "publication": withheld,
    "damage": damaged,
    "shrinking": shrunken,
    "clocks": clocks,
    "whole": whole,
    "doubled": doubled,
    "slow": slow,
    "words": worded,
    "memory": fitted,
    "deadlines": hanging,
}
