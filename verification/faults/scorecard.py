"""The rows of the scorecard. Each one injects one kind of fault and reports what it observed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import psycopg
from jobkit.errors import JobError
from jobkit.lake import CommitDraft, Lake
from jobkit.stores import FileStore

from finelt.table_digests import digest_tables
from orchestration.local import sample_parameters
from verification.faults import (
    answers,
    damage,
    deadlines,
    faulty_s3,
    fuzz,
    injection,
    job_runs,
    kills,
    memory,
    odd_drops,
    outages,
    publication,
    sample_restatements,
    secret_echoes,
    states,
)
from verification.faults.trials import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from verification.faults.sandbox import Sandbox
    from verification.faults.trials import TrialCounts

MAX_STOP_S = 10.0
TEMPORARY = 75
WRITERS = 16
SINGLE_LEAF = "hash(ticker, 1)"


def kill_jobs(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Kill every job at each of its failpoints, then run it again."""
    result = kills.kill_all_jobs(sandbox, counts.seeds, rng)
    with faulty_s3.run_emulator(sandbox) as s3:
        result += kills.kill_all_jobs(sandbox, counts.seeds, rng, only=["extract-ecb-fx-rates"], bucket=s3.create_bucket())
    steps = sum(len(item.steps) for item in result)
    violations = tuple(message for item in result for message in item.violations)
    return Row(
        "SIGKILL at every named step of every job, then run again",
        sum(item.kills for item in result),
        f"{steps} steps of {len({item.job for item in result})} jobs, up to {counts.seeds} moments each; lake, tables and site equal an "
        "undisturbed run's",
        violations,
    )


def read_during_loads(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Read the lake and the tables while loads are killed."""
    folder, url = sandbox.new_path("lake"), sandbox.create_database()
    asks = ["--lake", str(folder), *sandbox.extract_options("extract-tiingo-prices")]
    job_runs.run_successfully("extract-tiingo-prices", asks)
    started = time.monotonic()
    job_runs.run_successfully("load-warehouse", ["--lake", str(folder), *sandbox.warehouse_options(url)])
    elapsed_s, done = time.monotonic() - started, threading.Event()
    with ThreadPoolExecutor(2) as pool:
        readers = [
            pool.submit(_read_lake, folder, done, counts.reads // 2),
            pool.submit(_read_tables, sandbox, url, done, counts.reads // 2),
        ]
        ended: list[int] = []
        while (
            ended.count(-signal.SIGKILL) < counts.reader_kills and len(ended) < 2 * counts.reader_kills
        ):  # some runs finish before the kill
            _restate_partition(folder, len(ended))
            if len(ended) % 20 == 0:  # empty the warehouse instead of creating another, so that the reader stays connected
                _empty_warehouse(sandbox, url)
            process = job_runs.start_job("load-warehouse", ["--lake", str(folder), *sandbox.warehouse_options(url)])
            time.sleep(rng.uniform(0.2, 1.0) * elapsed_s)
            process.kill()
            ended.append(job_runs.wait_for_job(process).code)
            if ended[-1] == 0:  # the load finished before the kill, because it loads less than the first one
                elapsed_s *= 0.7
        deadline = time.monotonic() + 600
        while not all(reader.done() for reader in readers) and time.monotonic() < deadline:
            job_runs.run_successfully("load-warehouse", ["--lake", str(folder), *sandbox.warehouse_options(url)])
            _restate_partition(folder, len(ended))
            ended.append(0)
        done.set()
        found = [reader.result() for reader in readers]
    reads, violations = sum(count for count, _ in found), tuple(message for _, messages in found for message in messages)
    return Row(
        "Readers of lake and tables while loads are killed",
        ended.count(-signal.SIGKILL),
        f"{reads:,} reads, each of whole partitions",
        violations[:3],
    )


def _restate_partition(folder: Path, number: int) -> None:
    """Commit one partition again, with another value in each row."""
    lake = Lake(str(folder))
    partition = sorted(lake.partitions("tiingo_prices"))[number % len(lake.partitions("tiingo_prices"))]
    fuzz.recommit_partition(lake, "tiingo_prices", partition, number)


def _empty_warehouse(sandbox: Sandbox, url: str) -> None:
    with sandbox.connect(url) as connection:
        connection.execute("set lock_timeout = '20s'")
        connection.execute("drop schema if exists raw cascade")
        connection.execute("drop schema if exists stage cascade")
    sandbox.server.prepare_roles(url.rpartition("/")[2])


def _read_lake(folder: Path, done: threading.Event, max_reads: int) -> tuple[int, list[str]]:
    lake, count = Lake(str(folder)), 0
    violations: list[str] = []
    partitions = lake.partitions("tiingo_prices")
    while not done.is_set() and count < max_reads:
        head = lake.head("tiingo_prices", partitions[count % len(partitions)])
        try:
            if head is None or fuzz.count_rows(lake.read(head.data)) != head.data.rows:
                violations.append(f"a lake partition without its rows: {head}")
        except JobError as error:
            violations.append(str(error))
        count += 1
    return count, violations


MISSING_ROWS = """
select (select coalesce(sum(newest."rows"), 0) from (
    select distinct on ("partition") "rows" from raw._ledger
    where "dataset" = 'tiingo_prices' order by "partition", "commit" desc) as newest)
    - (select count(*) from raw.tiingo_prices where known_to = 'infinity')
"""


def _read_tables(sandbox: Sandbox, url: str, done: threading.Event, max_reads: int) -> tuple[int, list[str]]:
    """Check in single statements that the visible rows are those of the visible ledger entries."""
    count, violations = 0, []
    with sandbox.connect(url) as connection:
        while not done.is_set() and count < max_reads:
            try:
                found = connection.execute(MISSING_ROWS.encode()).fetchone()
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                time.sleep(0.01)  # wait until the warehouse has tables again
                continue
            except psycopg.errors.InternalError:
                continue  # the warehouse was emptied while the query was planned
            count += 1
            if found != (0,):
                violations.append(f"the tables miss {found and found[0]} rows of what the ledger says")
    return count, violations


def write_concurrently(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:  # noqa: ARG001  every row has the same signature
    """Commit to one partition from many writers at once."""
    violations: list[str] = []
    with faulty_s3.run_emulator(sandbox) as s3:
        for url, rounds in (
            (str(sandbox.new_path("lake")), counts.rounds),
            (f"s3://{s3.create_bucket()}/{sandbox.new_path('lake').name}", counts.rounds),
        ):
            violations += _write_rounds(url, rounds)
    return Row(
        f"{WRITERS} writers on one partition, half of them with the same bytes, on files and on S3",
        2 * counts.rounds,
        "each round numbers its commits without a gap, one writer has each number, every content is there once",
        tuple(violations[:3]),
    )


def _write_rounds(url: str, rounds: int) -> Iterator[str]:
    with ThreadPoolExecutor(WRITERS) as pool:
        for round_ in range(rounds):
            partition, ready = f"round={round_}", threading.Barrier(WRITERS)

            def write(number: int, partition: str = partition, ready: threading.Barrier = ready) -> tuple[int, bool]:
                content = b"the same" if number % 2 else b"%d" % number
                draft = CommitDraft(content, 1, None, 0, lambda: (), ("ticker",), SINGLE_LEAF, {"job": "writer", "version": "0"})
                lake = Lake(url)
                ready.wait()
                commit, is_new = lake.commit("prices", partition, draft)
                return commit.number, is_new

            results = list(pool.map(write, range(WRITERS)))
            history = Lake(url).history("prices", partition)
            numbers = [commit.number for commit in history]
            new_numbers = sorted(number for number, is_new in results if is_new)
            if numbers != list(range(1, len(numbers) + 1)) or new_numbers != numbers:
                yield f"round {round_} at {url.partition(':')[0]}: commits {numbers}, won {new_numbers}"
            if len({commit.data.sha256 for commit in history}) != WRITERS // 2 + 1:
                yield f"round {round_} at {url.partition(':')[0]}: a content is lost"


def fail_storage_requests(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Extract to an object store that fails a fifth of all requests."""
    job, trials = "extract-treasury-yields", max(counts.seeds // 2, 2)
    violations, requests, times = [], [], []
    with faulty_s3.run_emulator(sandbox) as s3, ExitStack() as stack:
        bucket = s3.create_bucket()
        reliable = stack.enter_context(faulty_s3.run_proxy(s3.url, random.Random(0), share=0.0))  # noqa: S311  it fails no request
        faulty = stack.enter_context(faulty_s3.run_proxy(s3.url, rng, share=0.2))
        for trial in range(trials):
            found = []
            for proxy in (reliable, faulty):
                lake, before, started = f"s3://{bucket}/{sandbox.new_path('lake').name}", proxy.requests, time.monotonic()
                result = job_runs.run_job(job, ["--lake", lake, *sandbox.extract_options(job)], AWS_ENDPOINT_URL=proxy.url)
                found.append((time.monotonic() - started, proxy.requests - before, states.read_lake(lake), result))
            (reliable_s, reliable_requests, expected, _), (faulty_s, faulty_requests, state, result) = found
            if result.code or state != expected:
                violations.append(f"trial {trial}: it ended with {result.code}: {result.receipt and result.receipt['error']}")
            requests.append(faulty_requests / reliable_requests)
            times.append(faulty_s / reliable_s)
    return Row(
        "S3 that fails in 20 % of its requests: 503, 429, connection reset, slow, 409 on a commit, the answer to a commit lost",
        trials,
        f"no commit twice, none lost; {max(requests):.2f} times the requests and {max(times):.2f} times the time at most",
        tuple(violations[:3]),
    )


def stop_jobs(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Send SIGTERM at random moments of every job, then run it again."""
    stop_times_s: list[float] = []
    violations: list[str] = []
    for job, new_trial in kills.list_trials(sandbox).items():
        baseline, started = new_trial(), time.monotonic()
        job_runs.run_successfully(job, baseline.options)
        duration_s, expected = time.monotonic() - started, baseline.state()
        baseline.close()
        for _ in range(counts.stops):
            trial = new_trial()
            process = job_runs.start_job(job, trial.options)
            time.sleep(rng.uniform(0.3, 1.0) * duration_s)
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            result = job_runs.wait_for_job(process)
            stop_times_s.append(time.monotonic() - started)
            detail = result.receipt and (result.receipt["exit_code"], result.receipt["status"])
            not_started = result.code == -signal.SIGTERM and not result.stdout  # stopped before Python installed its handler
            if result.code not in (0, 143) and not not_started:
                violations.append(f"{job}: it ended with {result.code} and {detail}")
            rerun = job_runs.run_job(job, trial.options)
            if rerun.code or trial.state() != expected:
                violations.append(f"{job}: stopped and run again it ended with {rerun.code}")
            trial.close()
    stop_times_s.sort()
    p99 = stop_times_s[min(int(len(stop_times_s) * 0.99), len(stop_times_s) - 1)]
    violations += [f"p99 is {p99:.1f} s"] if p99 > MAX_STOP_S else []
    return Row(
        "SIGTERM at random moments of every job, then run again",
        len(stop_times_s),
        f"exit code 143 (or 0 where it was done), p99 {p99:.2f} s; what is there equals an undisturbed run's",
        tuple(violations[:3]),
    )


LOADER_BACKEND = "select pid from pg_stat_activity where application_name = 'load-warehouse' and datname = %s limit 1"


def crash_server(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Crash the warehouse's server in the middle of a load, and load again after its recovery."""
    lake = str(sample_restatements.build_lake(sandbox))
    url, started = sandbox.create_database(), time.monotonic()
    job_runs.run_successfully("load-warehouse", ["--lake", lake, *sandbox.warehouse_options(url)])
    duration_s = time.monotonic() - started
    with sandbox.connect(url) as connection:
        expected = digest_tables(connection)
    violations: list[str] = []
    down = 0
    for trial in range(counts.seeds):
        url = sandbox.create_database()
        process = job_runs.start_job("load-warehouse", ["--lake", lake, *sandbox.warehouse_options(url)])
        down += _kill_backend(sandbox, url, rng.uniform(0.0, 0.12) * duration_s)
        result = job_runs.wait_for_job(process)
        if result.code not in (0, TEMPORARY):
            violations.append(f"trial {trial}: it ended with {result.code}: {result.receipt and result.receipt['error']}")
        _wait_for_server(sandbox)
        rerun = job_runs.run_job("load-warehouse", ["--lake", lake, *sandbox.warehouse_options(url)])
        with sandbox.connect(url) as connection:
            if rerun.code or digest_tables(connection) != expected:
                violations.append(f"trial {trial}: run again it ended with {rerun.code}, and the tables are others")
        sandbox.drop_database(url)
    return Row(
        "The warehouse's server crashes in the middle of a load and recovers",
        down,
        "exit code 75 (or 0 where it was done); run again, the tables equal an undisturbed load's",
        tuple(violations[:3]),
    )


def _kill_backend(sandbox: Sandbox, url: str, delay_s: float) -> bool:
    """Kill a load's backend, so that its server ends all connections and recovers. Return False if the load finished first."""
    deadline = time.monotonic() + 20
    pid = None
    with sandbox.connect_as_admin() as admin:
        while pid is None and time.monotonic() < deadline:
            row = admin.execute(LOADER_BACKEND, [url.rpartition("/")[2]]).fetchone()
            pid = row[0] if row else None
        time.sleep(delay_s)
        if pid is None or admin.execute("select from pg_stat_activity where pid = %s", [pid]).fetchone() is None:
            return False
    os.kill(pid, signal.SIGKILL)
    return True


def _wait_for_server(sandbox: Sandbox) -> None:
    """Wait until the server accepts connections. Raises RuntimeError if it does not recover."""
    for _ in range(200):
        try:
            sandbox.connect_as_admin().close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the server did not come back within twenty seconds")


def kill_prefect_server(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Kill the Prefect server in the middle of a flow."""
    outcome = outages.run_backfills(sandbox.new_path("flows"), counts.outages, rng)
    return Row(
        "Prefect's server killed in the middle of a backfill, back at once or after a minute",
        outcome.backfills,
        f"each backfill ended well, each of its steps was done once and none twice at once, {outcome.longest_s:.0f} s after the server "
        f"was back at the latest; {outcome.runs} runs",
        outcome.violations[:3],
    )


def repeat_ranges(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Run the same dates repeatedly, in random order, and in overlapping ranges."""
    violations: list[str] = []
    job, days = (
        "extract-massive-daily-prices",
        [f"2013-02-{day:02}" for day in range(11, 23) if day not in (16, 17)],
    )  # without the weekend
    sample = {**sample_parameters.build_sample_extracts(sandbox.vendors, "env://CANARY")[job]}

    def fill_lake(ranges: list[tuple[str, str]]) -> tuple[Any, Any, list[int]]:
        folder, url, changed = sandbox.new_path("lake"), sandbox.create_database(), []
        for start, end in ranges:
            options = job_runs.to_argv({**sample, "start": start, "end": end})
            extracted = job_runs.run_successfully(job, ["--lake", str(folder), *options])
            loaded = job_runs.run_successfully("load-warehouse", ["--lake", str(folder), *sandbox.warehouse_options(url)])
            changed.append(sum(result.receipt["committed"] for result in (extracted, loaded) if result.receipt))
        with sandbox.connect(url) as connection:
            found = states.read_lake(folder), digest_tables(connection, ("raw",)), changed
        sandbox.drop_database(url)
        return found

    shuffled = [(day, day) for day in days]
    rng.shuffle(shuffled)
    expected = fill_lake([(days[0], days[-1])])
    repeated = fill_lake([(days[0], days[-1])] * 5)
    variants = {
        "five times": repeated,
        "days in random order": fill_lake([*shuffled[: len(shuffled) if counts.seeds > 1 else 4], (days[0], days[-1])]),
        "two that overlap": fill_lake([(days[0], days[7]), (days[4], days[-1])]),
    }
    violations += [f"{name}: not what once in order gives" for name, found in variants.items() if found[:2] != expected[:2]]
    violations += ["the same days again changed something"] if any(repeated[2][1:]) else []
    return Row(
        "The same days five times; days in random order; two ranges that overlap",
        len(variants),
        "lake and tables are those of once in order; the later four changed no row",
        tuple(violations),
    )


def parse_malformed(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:  # noqa: ARG001  needs no stage
    """Parse corrupted documents of every dataset and of every format of dropped files."""
    found = [fuzz.parse_corrupted(kind, counts.documents, rng.randrange(1 << 30)) for kind in fuzz.list_documents()]
    return Row(
        f"Malformed documents of {len(found)} kinds, {counts.documents:,} each, spoilt in one to three places",
        sum(item.documents for item in found),
        f"{sum(item.refused for item in found):,} refused in a sentence, {sum(item.read for item in found):,} rows read: "
        f"{sum(item.good for item in found):,} good and {sum(item.bad for item in found):,} in quarantine or dropped",
        tuple(message for item in found for message in item.violations)[:3],
    )


def use_hostile_keys(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Use keys, datasets and partitions that try to escape their folder."""
    outer = sandbox.new_path("outer")
    inner = outer / "store"
    inner.mkdir(parents=True)
    store, lake = FileStore(inner), Lake(str(inner / "lake"))
    parts = [
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
    escaped, accepted = 0, 0
    for _ in range(counts.names):
        name = rng.choice(["/", "//", ""]).join(rng.choices(parts, k=rng.randint(1, 5)))
        for attempt in (
            lambda name=name: store.put(name, b"x"),
            lambda name=name: store.put_if_absent(name, b"x"),
            lambda name=name: store.get(name),
            lambda name=name: lake.head(name, "year=2012"),
            lambda name=name: lake.head("prices", f"year={name}"),
        ):
            try:
                attempt()
                accepted += 1
            except (JobError, KeyError):
                pass
    escaped += sum(1 for path in outer.iterdir() if path != inner)
    escaped += sum(1 for path in inner.rglob("*") if not path.resolve().is_relative_to(inner.resolve()))
    return Row(
        "Hostile keys, datasets and partitions (../, NUL, SQL, unicode, very long)",
        counts.names,
        f"{escaped} escapes; all else is one sentence",
        (f"{escaped} escapes",) if escaped else (),
    )


def inject_names(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Pass names that contain SQL through every job."""
    outcome = injection.inject_names(sandbox, counts.names, rng)
    return Row(
        "Hostile names of columns, tickers, datasets and partitions (quotes, SQL, comments, $$, backslashes, Jinja, NUL), vendor to site",
        outcome.names,
        f"{outcome.columns:,} columns in raw tables; roles, objects and others' rows as they were; {outcome.refused:,} places refused",
        outcome.violations[:3],
    )


def echo_canaries(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Look for a secret in everything that jobs write: after success, when a vendor echoes it, and when it is in a URL."""
    violations, trials = _check_tokens(sandbox)
    for count, messages in (
        secret_echoes.check_echoes(sandbox, counts.echoes, rng),
        secret_echoes.check_urls(sandbox, counts.echoes, rng),
        secret_echoes.check_unsendable_secrets(sandbox),
        secret_echoes.check_passwords(sandbox),
    ):
        trials += count
        violations += messages
    return Row(
        "Canary secrets: vendors that send the token back in headers, bodies, redirects and rows; credentials in URLs; wrong passwords",
        trials,
        "0 in logs, receipts, lineage, Dagster's messages, argv and the lake; an answer that holds the token is refused",
        tuple(violations[:3]),
    )


def _check_tokens(sandbox: Sandbox) -> tuple[list[str], int]:
    violations, trials = [], 0
    for job in ("extract-tiingo-prices", "extract-massive-daily-prices"):
        for base in ("", "/~limited", "/~html", "/~truncated"):
            folder = sandbox.new_path("lake")
            host = secret_echoes.HOSTS[job]
            options = [*sandbox.extract_options(job), "--base-url", f"{sandbox.vendors}{base}/{host}", "--retry-timeout", "0"]
            run = secret_echoes.run_with_sinks(job, ["--lake", str(folder), *options], sandbox.new_path("sinks"))
            output = run.text + (secret_echoes.read_lake_text(folder) if folder.exists() else "")
            trials += 1
            violations += (
                [f"{job}{base}: the token is in what it said or wrote"] if secret_echoes.find_leaks(output, job_runs.TOKEN) else []
            )
    return violations, trials


def hang_peers(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:  # noqa: ARG001  every row has the same signature
    """Run jobs against vendors, stores and databases that hang."""
    outcome = deadlines.run_trials(sandbox, all_peers=counts.seeds > 1)
    return Row(
        "Whoever a job waits for hangs: vendors that trickle or are silent, S3 and Postgres that do not answer, a table held by another",
        outcome.trials,
        f"exit code 75 and a receipt {outcome.longest_s:.1f} s after the start at most, with a deadline of {deadlines.DEADLINE_S} s; "
        "run again, all is well",
        tuple(outcome.violations[:3]),
    )


def withhold_data(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Look for data that must not be published in marts, sites, receipts and logs."""
    files, trials = max(counts.outages // 2, 1), counts.documents
    violations = [*publication.check_rule(trials, rng), *publication.check_confidential_files(sandbox, files, rng)]
    return Row(
        "Datasets with terms at random behind random models; confidential files with canaries in every cell, good, bad and broken; then "
        "all withdrawn",
        trials + files,
        f"{trials:,} lineages: published is what both audiences may see, and no more; {files} times the whole pipeline: 0 canaries in "
        "marts, sites, receipts and logs, nothing left of what was withdrawn",
        tuple(violations[:3]),
    )


def quarantine_cells(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Pass hostile cells of dropped files through every job."""
    outcome = odd_drops.check_quarantine(sandbox, counts.documents // 50 or 1, rng)
    return Row(
        "A hostile cell in each of many dropped files (NUL, bytes of no encoding, a megabyte, JSON), through every job to the site",
        outcome.trials,
        "every row is in the quarantine of the warehouse as it was sent, and no job ends badly",
        tuple(outcome.violations[:3]),
    )


def take_odd_drops(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:  # noqa: ARG001  every row has the same signature
    """Extract from drop folders that contain entries that are not regular files."""
    outcome = odd_drops.check_odd_entries(sandbox, counts.outages)
    return Row(
        "Pipes, links, sockets and names that are none in a drop, beside a good file",
        outcome.trials,
        "the good file is taken, the other stays with a sentence (65); nothing outside is read, no lock file stays",
        tuple(outcome.violations[:3]),
    )


def damage_lake(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Load a lake in which a commit or a file is damaged."""
    trials, violations = damage.check_damage(sandbox, counts, rng)
    return Row(
        f"{len(damage.CORRUPTIONS)} ways to go bad, of a commit, an older one, their files, quarantine and vendor bytes, "
        "on files and on S3",
        trials,
        "the load passes over an older commit and reports it, or that partition fails alone with 65; run again, the extract rewrites the "
        "file or adds a commit, and the load has every row",
        violations[:3],
    )


def shrink_answers(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Extract from responses that omit rows that the lake has."""
    trials, violations = damage.check_shrinking(sandbox, counts, rng)
    return Row(
        "Answers of every dataset that leave out some of the rows held, from one to all, and have others besides",
        trials,
        "refused past the contract's share and nothing closed; where it is allowed, the receipt says how many rows were closed",
        violations[:3],
    )


def skew_clocks(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Load commits whose writer had a wrong clock."""
    trials, violations = damage.check_clocks(sandbox, counts, rng)
    return Row(
        "Each commit of a history made by a clock that was minutes to decades ahead or behind, on files and on S3",
        trials,
        "every row known now, none in the future, no version that ends before it begins; the receipt says what was corrected",
        violations[:3],
    )


def cut_answers(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:  # noqa: ARG001  every row has the same signature
    """Fetch responses in many encodings, some of them truncated or damaged."""
    outcome = answers.check_encodings(counts.answers, rng)
    return Row(
        "Answers in any gzip members, framing and segments; cut, damaged or with bytes behind them", *outcome[:2], outcome.violations[:3]
    )


def duplicate_keys(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:  # noqa: ARG001  every row has the same signature
    """Parse JSON objects with a duplicate key."""
    outcome = answers.check_duplicate_keys(counts.answers, rng)
    return Row("JSON in which one object has a key twice, written in any way", *outcome[:2], outcome.violations[:3])


def slow_answers(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:  # noqa: ARG001  every row has the same signature
    """Fetch responses that arrive at one byte per second."""
    outcome = answers.check_slow_answers(sandbox, ("head", "body", "chunks") if counts.seeds > 1 else ("body",))
    return Row("A vendor that sends a byte a second, in header fields or body", *outcome[:2], outcome.violations[:3])


def refuse_in_words(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:  # noqa: ARG001  every row has the same signature
    """Fetch refusals, limits and maintenance pages in vendors' wording."""
    outcome = answers.check_refusals(sandbox, tuple(answers.JOBS) if counts.seeds > 1 else ("extract-massive-daily-prices",))
    return Row("Limits, maintenance and refusals in vendors' words, with and without a status", *outcome[:2], outcome.violations[:3])


def limit_memory(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:  # noqa: ARG001  every row has the same signature
    """Extract the largest responses within the memory that each job declares."""
    outcome = memory.measure_extractors(sandbox, list(memory.EXTRACTORS) if counts.seeds > 1 else ["extract-sec-filers"])
    peaks = ", ".join(f"{name} {peak}" for name, peak in outcome.peaks.items())
    return Row(
        "The largest answer each extractor takes and its densest, six at once, in the memory it declares; one byte more",
        outcome.runs,
        f"kept by {outcome.method}: done or refused (65), never killed; peaks in MiB: {peaks}",
        outcome.violations[:3],
    )


ROWS: dict[str, Callable[[Sandbox, TrialCounts, random.Random], Row]] = {
    "kills": kill_jobs,
    "readers": read_during_loads,
    "writers": write_concurrently,
    "storage": fail_storage_requests,
    "stops": stop_jobs,
    "server": crash_server,
    "prefect": kill_prefect_server,
    "repeats": repeat_ranges,
    "malformed": parse_malformed,
    "hostile": use_hostile_keys,
    "quarantine": quarantine_cells,
    "drops": take_odd_drops,
    "injection": inject_names,
    "canaries": echo_canaries,
    "publication": withhold_data,
    "damage": damage_lake,
    "shrinking": shrink_answers,
    "clocks": skew_clocks,
    "whole": cut_answers,
    "doubled": duplicate_keys,
    "slow": slow_answers,
    "words": refuse_in_words,
    "memory": limit_memory,
    "deadlines": hang_peers,
}
