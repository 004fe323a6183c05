"""The rows of the scorecard. Each one injects one kind of fault and reports what it observed."""

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
from jobkit.errors import ExitCode, JobError
from jobkit.lake import CommitDraft, Lake
from jobkit.stores import FileStore

from finelt.table_digests import digest_tables
from orchestration.local import sample_parameters
from verification.faults import (
    answers,
    damage,
    deadlines,
    erasure,
    expiry,
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
WRITERS = 16
SINGLE_LEAF = "hash(ticker, 1)"


def kill_jobs(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Kill every job at each of its failpoints, then run it again."""
    result = kills.kill_all_jobs(sandbox, counts, rng)
    with faulty_s3.run_emulator(sandbox) as s3:
        result += kills.kill_all_jobs(sandbox, counts, rng, only=["extract-ecb-fx-rates"], bucket=s3.create_bucket())
    steps = sum(len(item.steps) for item in result)
    violations = tuple(message for item in result for message in item.violations)
    return Row(
        sum(item.kills for item in result),
        f"{steps} failpoints of {len({item.job for item in result})} jobs, up to {counts.seeds} kills at each; lake, tables and site equal "
        "those of an undisturbed run",
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
        ended.count(-signal.SIGKILL),
        f"{reads:,} reads, all of complete partitions",
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
                violations.append(f"a partition of the lake lacks rows: {head}")
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
                violations.append(f"the tables lack {found and found[0]} rows of the ledger")
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
        2 * counts.rounds,
        "in each round the commits are numbered without a gap, each number belongs to one writer, and each content is stored once",
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
        trials,
        f"no commit twice, none lost; at most {max(requests):.2f} times the requests and {max(times):.2f} times the time",
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
            if result.code not in (ExitCode.DONE, ExitCode.STOPPED) and not not_started:
                violations.append(f"{job}: it ended with {result.code} and {detail}")
            rerun = job_runs.run_job(job, trial.options)
            if rerun.code or trial.state() != expected:
                violations.append(f"{job}: after SIGTERM, the rerun ended with {rerun.code}")
            trial.close()
    stop_times_s.sort()
    p99 = stop_times_s[min(int(len(stop_times_s) * 0.99), len(stop_times_s) - 1)]
    violations += [f"p99 is {p99:.1f} s"] if p99 > MAX_STOP_S else []
    return Row(
        len(stop_times_s),
        f"exit code 143 (or 0 if already done), p99 {p99:.2f} s; after the rerun, the result equals that of an undisturbed run",
        tuple(violations[:3]),
    )


LOADER_BACKEND = "select pid from pg_stat_activity where application_name = 'load-warehouse' and datname = %s limit 1"


def crash_server(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Crash the warehouse's server in the middle of a load, and load again after its recovery."""
    lake = str(sample_restatements.build_stages(sandbox).lake)
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
        if result.code not in (ExitCode.DONE, ExitCode.TEMPORARY):
            violations.append(f"trial {trial}: it ended with {result.code}: {result.receipt and result.receipt['error']}")
        _wait_for_server(sandbox)
        rerun = job_runs.run_job("load-warehouse", ["--lake", lake, *sandbox.warehouse_options(url)])
        with sandbox.connect(url) as connection:
            if rerun.code or digest_tables(connection) != expected:
                violations.append(f"trial {trial}: the rerun ended with {rerun.code}, and the tables differ")
        sandbox.drop_database(url)
    return Row(
        down,
        "exit code 75 (or 0 if already done); after the rerun, the tables equal those of an undisturbed load",
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
        outcome.backfills,
        f"each backfill completed, at most {outcome.longest_s:.0f} s after the restart; each step took effect once and none ran twice "
        f"concurrently; {outcome.runs} runs",
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
        "two overlapping ranges": fill_lake([(days[0], days[7]), (days[4], days[-1])]),
    }
    violations += [f"{name}: differs from one run in order" for name, found in variants.items() if found[:2] != expected[:2]]
    violations += ["repeating the same dates changed something"] if any(repeated[2][1:]) else []
    return Row(
        len(variants),
        "lake and tables equal those of one run in order; the four repetitions changed no row",
        tuple(violations),
    )


def parse_malformed(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:  # noqa: ARG001  every row has the same signature
    """Parse corrupted documents of every dataset and of every format of dropped files."""
    found = [fuzz.parse_corrupted(kind, counts.documents, rng.randrange(1 << 30)) for kind in fuzz.list_documents()]
    return Row(
        sum(item.documents for item in found),
        f"{len(found)} kinds, {counts.documents:,} documents of each: {sum(item.refused for item in found):,} refused with a message, "
        f"{sum(item.read for item in found):,} rows read: {sum(item.good for item in found):,} valid and "
        f"{sum(item.bad for item in found):,} quarantined or dropped",
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
        counts.names,
        f"{escaped} escapes from the folder; each name is accepted or refused with a message",
        (f"{escaped} escapes",) if escaped else (),
    )


def inject_names(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Pass names that contain SQL through every job."""
    outcome = injection.inject_names(sandbox, counts.names, rng)
    return Row(
        outcome.names,
        f"{outcome.columns:,} columns in raw tables; roles, objects and other rows unchanged; {outcome.refused:,} partitions refused",
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
        trials,
        "0 leaks into logs, receipts, lineage, Dagster messages, command lines and the lake; a response with the token is refused",
        tuple(violations[:3]),
    )


def _check_tokens(sandbox: Sandbox) -> tuple[list[str], int]:
    violations, trials = [], 0
    for job in ("extract-tiingo-prices", "extract-massive-daily-prices"):
        for base in ("", "/~limited", "/~html", "/~truncated"):
            folder = sandbox.new_path("lake")
            host = secret_echoes.HOSTS[job]
            options = [*sandbox.extract_options(job), "--base-url", f"{sandbox.vendors}{base}/{host}", "--retry-timeout", "0"]
            sinks = sandbox.new_path("sinks")
            run = secret_echoes.run_with_sinks(job, ["--lake", str(folder), *options], sinks, prefix=job_runs.STARTED)
            output = run.text + (secret_echoes.read_lake_text(folder) if folder.exists() else "")
            trials += 1
            violations += [f"{job}{base}: the token is in its output"] if secret_echoes.find_leaks(output, job_runs.TOKEN) else []
    return violations, trials


def hang_peers(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:  # noqa: ARG001  every row has the same signature
    """Run jobs against vendors, stores and databases that hang."""
    outcome = deadlines.run_trials(sandbox, all_peers=counts.seeds > 1)
    return Row(
        outcome.trials,
        f"exit code 75 and a receipt at most {outcome.longest_s:.1f} s after the start, with a deadline of {deadlines.DEADLINE_S} s; "
        "the rerun succeeds",
        tuple(outcome.violations[:3]),
    )


def withhold_data(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Look for data that must not be published in marts, sites, receipts and logs."""
    files, trials = max(counts.outages // 2, 1), counts.documents
    violations = [*publication.check_rule(trials, rng), *publication.check_confidential_files(sandbox, files, rng)]
    return Row(
        trials + files,
        f"{trials:,} lineages: exactly what each audience may see is published; {files} runs of the whole pipeline: 0 canaries in marts, "
        "sites, receipts and logs, and no withdrawn data left",
        tuple(violations[:3]),
    )


def quarantine_cells(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Pass hostile cells of dropped files through every job."""
    outcome = odd_drops.check_quarantine(sandbox, counts.documents // 50 or 1, rng)
    return Row(
        outcome.trials,
        "every row is in the warehouse's quarantine as it was sent, and no job fails",
        tuple(outcome.violations[:3]),
    )


def take_odd_drops(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:  # noqa: ARG001  every row has the same signature
    """Extract from drop folders that contain entries that are not regular files."""
    outcome = odd_drops.check_odd_entries(sandbox, counts.outages)
    return Row(
        outcome.trials,
        "the valid file is loaded, the other is refused with a message (65); nothing outside the drop is read, no lock file is left",
        tuple(outcome.violations[:3]),
    )


def damage_lake(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Load a lake in which a commit or a file is damaged."""
    trials, violations = damage.check_damage(sandbox, counts, rng)
    return Row(
        trials,
        "the load skips and reports an older commit, or only that partition fails (65); the rerun of the extract rewrites the file or adds "
        "a commit, and the load then has every row",
        violations[:3],
    )


def expire_versions(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Expire old versions of a lake."""
    trials, violations = expiry.check_expiry(sandbox, counts, rng)
    return Row(
        trials,
        "all commits that are left have their files, and no number is missing without a record; run again, the lake equals that of an "
        "undisturbed run",
        violations[:3],
    )


def erase_values(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Erase an account from a lake."""
    trials, violations = erasure.check_erasure(sandbox, counts, rng)
    return Row(
        trials,
        "run again, nothing has the account, nobody else's rows changed, and the lake equals that of an undisturbed run",
        violations[:3],
    )


def shrink_answers(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Extract from responses that omit rows that the lake has."""
    trials, violations = damage.check_shrinking(sandbox, counts, rng)
    return Row(
        trials,
        "beyond the contract's limit refused, and no row closed; where allowed, the receipt counts the closed rows",
        violations[:3],
    )


def skew_clocks(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:
    """Load commits whose writer had a wrong clock."""
    trials, violations = damage.check_clocks(sandbox, counts, rng)
    return Row(
        trials,
        "every row is known now, none in the future, and no version ends before it begins; the receipt counts the corrections",
        violations[:3],
    )


def cut_answers(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:  # noqa: ARG001  every row has the same signature
    """Fetch responses in many encodings, some of them truncated or damaged."""
    outcome = answers.check_encodings(counts.answers, rng)
    return Row(*outcome[:2], outcome.violations[:3])


def duplicate_keys(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:  # noqa: ARG001  every row has the same signature
    """Parse JSON objects with a duplicate key."""
    outcome = answers.check_duplicate_keys(counts.answers, rng)
    return Row(*outcome[:2], outcome.violations[:3])


def slow_answers(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:  # noqa: ARG001  every row has the same signature
    """Fetch responses that arrive at one byte per second."""
    outcome = answers.check_slow_answers(sandbox, ("head", "body", "chunks") if counts.seeds > 1 else ("body",))
    return Row(*outcome[:2], outcome.violations[:3])


def refuse_in_words(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:  # noqa: ARG001  every row has the same signature
    """Fetch refusals, limits and maintenance pages in vendors' wording."""
    outcome = answers.check_refusals(sandbox, tuple(answers.JOBS) if counts.seeds > 1 else ("extract-massive-daily-prices",))
    return Row(*outcome[:2], outcome.violations[:3])


def limit_memory(sandbox: Sandbox, counts: TrialCounts, rng: random.Random) -> Row:  # noqa: ARG001  every row has the same signature
    """Extract the largest responses within the memory that each job declares."""
    outcome = memory.measure_extractors(sandbox, list(memory.EXTRACTORS) if counts.seeds > 1 else ["extract-sec-filers"])
    peaks = ", ".join(f"{name} {peak}" for name, peak in outcome.peaks.items())
    return Row(
        outcome.runs,
        f"limited by {outcome.method}: done or refused (65), never killed; peaks in MiB: {peaks}",
        outcome.violations[:3],
    )


class Fault(NamedTuple):
    """A fault as docs/reliability.md describes it, and the function that injects it and measures a row."""

    description: str
    measure: Callable[[Sandbox, TrialCounts, random.Random], Row]


FAULTS: dict[str, Fault] = {
    "kills": Fault("Every job killed with SIGKILL at each of its failpoints, then run again", kill_jobs),
    "readers": Fault("Lake and tables read while loads are killed", read_during_loads),
    "writers": Fault(
        f"{WRITERS} concurrent writers to one partition, half of them with equal content, on files and on S3",
        write_concurrently,
    ),
    "storage": Fault(
        "S3 that fails 20 % of its requests: 503, 429, connection reset, slow response, 409 on a commit, lost response to a commit",
        fail_storage_requests,
    ),
    "stops": Fault("SIGTERM to every job at random moments, then run again", stop_jobs),
    "server": Fault("The warehouse's server crashes during a load and recovers", crash_server),
    "prefect": Fault("Prefect's server killed during a backfill and restarted, immediately or after a minute", kill_prefect_server),
    "repeats": Fault("The same dates five times; single days in random order; two overlapping ranges", repeat_ranges),
    "malformed": Fault(
        "Malformed documents of every dataset and every format of dropped files, corrupted in one to three places",
        parse_malformed,
    ),
    "hostile": Fault("Hostile keys, datasets and partitions (../, NUL, SQL, Unicode, very long)", use_hostile_keys),
    "quarantine": Fault(
        "A hostile cell in each of many dropped files (NUL, invalid encoding, a megabyte, JSON), through every job to the site",
        quarantine_cells,
    ),
    "drops": Fault("Pipes, links, sockets and invalid names in a drop folder, next to a valid file", take_odd_drops),
    "injection": Fault(
        "Hostile names of columns, tickers, datasets and partitions (quotes, SQL, comments, $$, backslashes, Jinja, NUL), from vendor "
        "to site",
        inject_names,
    ),
    "canaries": Fault(
        "Canary secrets: vendors that echo the token in headers, bodies, redirects and rows; credentials in URLs; wrong passwords",
        echo_canaries,
    ),
    "publication": Fault(
        "Datasets with random terms behind random models; confidential files with a canary in every cell, valid, invalid or broken, "
        "and their withdrawal",
        withhold_data,
    ),
    "damage": Fault(
        f"{len(damage.CORRUPTIONS)} kinds of damage to the newest commit, an older commit, their files, quarantine and vendor bytes, "
        "on files and on S3",
        damage_lake,
    ),
    "expiry": Fault(
        "Old versions expire: killed at each failpoint and run again, and next to a writer that commits expired figures again",
        expire_versions,
    ),
    "erasure": Fault(
        "An account is erased: killed at each failpoint and run again, and next to a writer that delivers its rows again",
        erase_values,
    ),
    "shrinking": Fault("Responses of every dataset that omit some or all of the lake's rows and contain others", shrink_answers),
    "clocks": Fault("Each commit of a history dated by a clock that is minutes to decades fast or slow, on files and on S3", skew_clocks),
    "encodings": Fault(
        "Responses in any combination of gzip members, framing and segments; truncated, damaged or with trailing bytes",
        cut_answers,
    ),
    "duplicates": Fault("JSON in which one object has a duplicate key, in any notation", duplicate_keys),
    "slow": Fault("A vendor that sends one byte per second, in header fields or body", slow_answers),
    "refusals": Fault(
        "Rate limits, maintenance pages and refusals in vendors' wording, with and without an error status",
        refuse_in_words,
    ),
    "memory": Fault(
        "The largest and the densest response that each extractor accepts, six at a time, within its declared memory; and one more byte",
        limit_memory,
    ),
    "deadlines": Fault(
        "A peer that hangs: vendors that send slowly or nothing, S3 and Postgres that do not respond, a table locked by another session",
        hang_peers,
    ),
}
