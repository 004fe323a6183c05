"""All partitions asked for, on a few connections at once; what becomes of each goes into the receipt."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import closing, contextmanager
from itertools import product
from queue import SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, Any

from jobkit.errors import BadDataError, MisconfiguredError, NewerFormatError, UsageError
from jobkit.lake import Lake
from psycopg import sql

from load_warehouse import ledger, load
from load_warehouse.session import Session, told

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from datetime import datetime

    from jobkit.command import Job
    from jobkit.errors import JobError
    from jobkit.receipt import Outcome

    from load_warehouse.ledger import Entry
    from load_warehouse.load import Result

Partition = tuple[str, str]
CANCEL_EVERY_S = 0.2
BY_NAME = 16  # so many partitions are looked up; more are found faster in the list of all, which may be thousands


def run(job: Job, lake: str, datasets: Sequence[str], partitions: Sequence[str], url: str, password: str, workers: int) -> None:
    """Bring the partitions up to date. One that is bad or too new does not keep the others out; the error is raised when they are done."""
    stopping = Event()
    sessions = [Session(url, password, stopping) for _ in range(workers)]
    with _closing(sessions):
        with told("set-up", sessions[0]):
            ledger.prepare(sessions[0])
            known, now = ledger.latest(sessions[0]), ledger.server_time(sessions[0])
        source = Lake(lake)
        todo = wanted(source, datasets, partitions)
        failed: list[JobError] = []
        with closing(_in_parallel(sessions, stopping, source, known, now, todo)) as results:
            for done, (partition, future) in enumerate(results, start=1):
                try:
                    result = future.result()
                    _tell(job, partition, result)
                    failed += [result.error] if result.error else []
                except (BadDataError, NewerFormatError) as error:
                    failed.append(error)
                    job.record_partition(*partition, "failed", reason=str(error))
                job.progress(done, len(todo), "/".join(partition))
    if failed:
        others = len(failed) - 1
        raise type(failed[0])(str(failed[0]) + (f" (and {others:,} more partitions, see the receipt)" if others else ""))


def wanted(lake: Lake, datasets: Sequence[str], partitions: Sequence[str]) -> dict[Partition, int]:
    """The lake partitions asked for, each with its newest commit's number: of these datasets or all, with these names or all.

    Raises UsageError on one that is not there, MisconfiguredError where nothing is.
    """
    have = lake.datasets()
    if unknown := sorted(set(datasets) - set(have)):
        raise UsageError(f"no dataset {', '.join(unknown)} in the lake {lake.store.url}; it has {', '.join(have) or 'none'}")
    chosen, asked = sorted(set(datasets)) or have, sorted(set(partitions))
    if asked and len(chosen) * len(asked) <= BY_NAME:
        named = {item: number for item in product(chosen, asked) if (number := lake.latest_number(*item))}
        if {partition for _, partition in named} == set(asked):
            return named
    found = {(dataset, partition): number for dataset in chosen for partition, number in sorted(lake.latest_numbers(dataset).items())}
    if not found:
        raise MisconfiguredError(f"the lake {lake.store.url} has no committed partition to load; check --lake, or run an extractor first")
    if unknown := sorted(set(asked) - {partition for _, partition in found}):
        raise UsageError(f"no partition {', '.join(unknown)} in the lake {lake.store.url}; names look like {next(iter(found))[1]}")
    return {item: number for item, number in found.items() if not asked or item[1] in asked}


def plan(lake: str, datasets: Sequence[str], partitions: Sequence[str], url: str, password: str) -> list[dict[str, Any]]:
    """The partitions that run would load, from which commit (None: the first) to which."""
    session = Session(url, password)
    with _closing([session]), told("plan", session):
        known = ledger.latest(session)
    source = Lake(lake)
    planned = (_planned(source, item, number, known.get(item)) for item, number in wanted(source, datasets, partitions).items())
    return [item for item in planned if item]


def _planned(lake: Lake, item: Partition, number: int, entry: Entry | None) -> dict[str, Any] | None:
    """What run would do of a partition, with the reason where it would fail; None where there is nothing to do."""
    try:
        head = lake.read_commit(*item, number)
    except (BadDataError, NewerFormatError) as error:
        rows: dict[str, Any] = {"rows": None, "problem": str(error)}
    else:
        if entry and (entry.commit, entry.sha256) == (head.number, head.data.sha256):
            return None
        rows = {"rows": head.data.rows}
    return {"dataset": item[0], "partition": item[1], "from_commit": entry.commit if entry else None, "to_commit": number, **rows}


def check(lake: str, url: str, password: str) -> None:
    """Nothing, when the warehouse lets us in and lets us make tables, and the lake can be listed."""
    session = Session(url, password)
    with _closing([session]), told("check", session):
        for schema in ledger.SCHEMAS:
            _check_schema(session, schema)
    Lake(lake).datasets()


def _check_schema(session: Session, schema: str) -> None:
    """Nothing, when the user may make tables in a schema and change those that are there. Raises MisconfiguredError."""
    name = sql.Literal(schema)
    allowed = sql.SQL(
        "select case when to_regnamespace({name}) is null then has_database_privilege(current_database(), 'create') "
        "else has_schema_privilege({name}, 'create') and has_schema_privilege({name}, 'usage') end"
    )
    if not session.scalar(allowed.format(name=name)):
        user = session.main.info.user
        raise MisconfiguredError(f"the user {user} may not make tables in schema {schema} of {session.url}; grant it CREATE there")
    foreign = sql.SQL(
        "select relname from pg_class where relnamespace = to_regnamespace({}) and relkind in ('r', 'p') "
        "and not pg_has_role(relowner, 'usage') order by 1 limit 1"
    )
    if table := session.scalar(foreign.format(name)):
        raise MisconfiguredError(
            f"{schema}.{table} belongs to another role, so {session.main.info.user} cannot change it; make it the owner (scripts/roles)"
        )


@contextmanager
def _closing(sessions: Sequence[Session]) -> Iterator[None]:
    try:
        yield
    finally:
        for session in sessions:
            session.close()


def _in_parallel(
    sessions: Sequence[Session], stopping: Event, lake: Lake, known: dict[Partition, Entry], now: datetime, todo: Mapping[Partition, int]
) -> Generator[tuple[Partition, Future[Result]], None, None]:
    """Partitions as they are done. When this is closed early, queries are cancelled and every thread is waited for."""
    idle: SimpleQueue[Session] = SimpleQueue()
    for session in sessions:
        idle.put(session)

    def one(partition: Partition) -> Result:
        session = idle.get()
        try:
            session.keep_going()
            return load.bring_up(session, lake, *partition, todo[partition], known.get(partition), now)
        finally:
            idle.put(session)

    pool = ThreadPoolExecutor(len(sessions))
    futures = {pool.submit(one, partition): partition for partition in todo}
    try:
        for future in as_completed(futures):
            yield futures[future], future
    finally:
        stopping.set()
        pool.shutdown(wait=False, cancel_futures=True)
        begun = [future for future in futures if not future.cancelled()]  # wait() never counts one as done that was cancelled unbegun
        while wait(begun, timeout=CANCEL_EVERY_S).not_done:
            for session in sessions:
                session.cancel()


def _tell(job: Job, partition: Partition, result: Result) -> None:
    """Say in the receipt what became of a partition; warn of what is not as its commits say."""
    details: dict[str, Any] = {}
    if result.gaps:
        details["gaps"] = list(result.gaps)
        job.log.warning("history has gaps", extra={"dataset": partition[0], "partition": partition[1], "gaps": details["gaps"]})
    if result.corrected:
        details["clock_corrected"] = result.corrected
        told = {"dataset": partition[0], "partition": partition[1], "commits": result.corrected}
        job.log.warning("commits from the future recorded at an earlier moment", extra=told)
    head = result.head
    if head:
        details |= {"commit": head.number, "rows_added": result.added, "rows_closed": result.closed}
    if result.error or not head:
        job.record_partition(*partition, "failed", reason=str(result.error), **details)
    else:
        outcome: Outcome = "committed" if result.changed else "unchanged"
        job.record_partition(*partition, outcome, rows=head.data.rows, bytes=head.data.bytes, sha256=head.data.sha256, **details)
