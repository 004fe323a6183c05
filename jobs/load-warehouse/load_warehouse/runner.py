"""The verbs run, plan and check: select partitions, load them in parallel, and record the outcome of each in the receipt."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from itertools import islice, product
from queue import SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, Any

from jobkit.errors import BadDataError, MisconfiguredError, NewerFormatError, UsageError
from jobkit.lake import Lake
from psycopg import sql

from load_warehouse import discovery, ledger, load, tables
from load_warehouse.policy import LoadPolicy
from load_warehouse.session import Session, translate_errors

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from datetime import datetime

    from jobkit.command import Job
    from jobkit.errors import JobError
    from jobkit.receipt import Outcome

    from load_warehouse.discovery import Discovery, Position
    from load_warehouse.ledger import LedgerEntry
    from load_warehouse.load import PartitionResult

Partition = tuple[str, str]
CANCEL_INTERVAL_S = 0.2
DEFAULT_POLICY = LoadPolicy()


def run(
    job: Job,
    lake_url: str,
    datasets: Sequence[str],
    partitions: Sequence[str],
    warehouse_url: str,
    password: str,
    workers: int,
    policy: LoadPolicy = DEFAULT_POLICY,
) -> None:
    """Load the commits that are not in the ledger.

    A partition that is damaged, or was written by a newer version of finelt, does not stop the others. The first such error is raised at
    the end: BadDataError (65) or NewerFormatError (78). Any other error of jobkit.errors ends the run at once.
    """
    stopping = Event()
    sessions = [Session(warehouse_url, password, stopping, policy) for _ in range(workers)]
    with closing_sessions(sessions):
        with translate_errors("set-up", sessions[0]):
            ledger.ensure_ledger(sessions[0])
            tables.drop_unread_tables(sessions[0])
            positions = discovery.fetch_positions(sessions[0])  # before the entries, which may then be newer but not older
            entries, now = ledger.fetch_latest_entries(sessions[0]), ledger.fetch_server_time(sessions[0])
        lake, loaded = Lake(lake_url), _group_by_dataset(entries)
        discovered = {} if partitions else discover_datasets(lake, datasets, positions, loaded, now, policy)
        selected = _flatten(discovered) if discovered else select_partitions(lake, datasets, partitions, policy)
        record_unchanged(job, {item: entry for item, entry in entries.items() if item[0] in discovered and item not in selected})
        failed: dict[Partition, JobError] = {}
        with closing(load_in_parallel(sessions, lake, entries, now, selected)) as results:
            for completed, (partition, future) in enumerate(results, start=1):
                try:
                    result = future.result()
                    record_outcome(job, partition, result)
                    failed |= {partition: result.error} if result.error else {}
                except (BadDataError, NewerFormatError) as error:
                    failed[partition] = error
                    job.record_partition(*partition, "failed", reason=str(error))
                job.progress(completed, len(selected), "/".join(partition))
        with translate_errors("the positions", sessions[0]):
            for dataset, found in discovered.items():
                failures = [item[1] for item in failed if item[0] == dataset]
                discovery.remember(sessions[0], dataset, found, loaded.get(dataset, {}), failures, positions.get(dataset), now)
    if failed:
        first, others = next(iter(failed.values())), len(failed) - 1
        raise type(first)(str(first) + (f" (and {others:,} more partitions, see the receipt)" if others else ""))


def discover_datasets(
    lake: Lake,
    datasets: Sequence[str],
    positions: Mapping[str, Position],
    loaded: Mapping[str, Mapping[str, LedgerEntry]],
    now: datetime,
    policy: LoadPolicy,
) -> dict[str, Discovery]:
    """Return what there is to do in each of these datasets, by default in all of the lake. `loaded` has the ledger's entries by dataset.

    Raises UsageError (2) for a dataset that the lake does not have, MisconfiguredError (78) if the lake is empty.
    """
    found = {
        dataset: discovery.discover(lake, dataset, positions.get(dataset), loaded.get(dataset, {}), now, policy)
        for dataset in check_datasets(lake, datasets)
    }
    if not any(one.selected or not one.is_check for one in found.values()):
        raise _empty_lake_error(lake)
    return found


def _group_by_dataset(entries: Mapping[Partition, LedgerEntry]) -> dict[str, dict[str, LedgerEntry]]:
    grouped: dict[str, dict[str, LedgerEntry]] = {}
    for (dataset, partition), entry in entries.items():
        grouped.setdefault(dataset, {})[partition] = entry
    return grouped


def _flatten(discovered: Mapping[str, Discovery]) -> dict[Partition, int]:
    return {(dataset, partition): number for dataset, found in discovered.items() for partition, number in found.selected.items()}


def check_datasets(lake: Lake, datasets: Sequence[str]) -> list[str]:
    """Return these datasets, by default all of the lake. Raises UsageError (2) for one that the lake does not have."""
    existing = lake.datasets()
    if unknown := sorted(set(datasets) - set(existing)):
        raise UsageError(f"no dataset {', '.join(unknown)} in the lake {lake.store.url}; it has {', '.join(existing) or 'none'}")
    return sorted(set(datasets)) or existing


def _empty_lake_error(lake: Lake) -> MisconfiguredError:
    return MisconfiguredError(f"the lake {lake.store.url} has no committed partition to load; check --lake, or run an extractor first")


def select_partitions(
    lake: Lake, datasets: Sequence[str], partitions: Sequence[str], policy: LoadPolicy = DEFAULT_POLICY
) -> dict[Partition, int]:
    """Return the number of the latest commit of each selected (dataset, partition). Without datasets or partitions, all are selected.

    Raises UsageError (2) for a name that the lake does not have, MisconfiguredError (78) if the lake is empty.
    """
    datasets, partitions = check_datasets(lake, datasets), sorted(set(partitions))
    if partitions and len(datasets) * len(partitions) <= policy.max_lookups:
        by_name = {item: number for item in product(datasets, partitions) if (number := lake.latest_number(*item))}
        if {partition for _, partition in by_name} == set(partitions):
            return by_name
    latest = {(dataset, partition): number for dataset in datasets for partition, number in sorted(lake.latest_numbers(dataset).items())}
    if not latest:
        raise _empty_lake_error(lake)
    if unknown := sorted(set(partitions) - {partition for _, partition in latest}):
        raise UsageError(f"no partition {', '.join(unknown)} in the lake {lake.store.url}; names look like {next(iter(latest))[1]}")
    return {item: number for item, number in latest.items() if not partitions or item[1] in partitions}


def plan(lake_url: str, datasets: Sequence[str], partitions: Sequence[str], warehouse_url: str, password: str) -> list[dict[str, Any]]:
    """Return the partitions that `run` would load, sorted by dataset and partition; empty if there is nothing to load.

    `from_commit` is the loaded commit, None if there is none; `to_commit` is the latest in the lake.
    """
    session = Session(warehouse_url, password)
    with closing_sessions([session]), translate_errors("plan", session):
        ledger.check_ledger(session)
        entries = ledger.fetch_latest_entries(session)
    lake = Lake(lake_url)
    selected = select_partitions(lake, datasets, partitions)
    steps = (_plan_partition(lake, item, number, entries.get(item)) for item, number in selected.items())
    return [step for step in steps if step]


def _plan_partition(lake: Lake, item: Partition, latest: int, entry: LedgerEntry | None) -> dict[str, Any] | None:
    """Return what `run` would do with a partition, including the problem that would stop it; None if it has nothing to do."""
    try:
        head = lake.read_commit(*item, latest)
    except (BadDataError, NewerFormatError) as error:
        details: dict[str, Any] = {"rows": None, "problem": str(error)}
    else:
        if entry and (entry.commit, entry.sha256) == (head.number, head.data.sha256):
            return None
        details = {"rows": head.data.rows}
    return {"dataset": item[0], "partition": item[1], "from_commit": entry.commit if entry else None, "to_commit": latest, **details}


def check(lake_url: str, warehouse_url: str, password: str) -> None:
    """Check the login, the rights on the job's schemas and tables, and that the lake can be listed.

    Raises AuthError (77) if the login is refused, MisconfiguredError (78) for a missing right, TemporaryError (75) without a connection.
    """
    session = Session(warehouse_url, password)
    with closing_sessions([session]), translate_errors("check", session):
        for schema in ledger.SCHEMAS:
            _check_schema(session, schema)
        ledger.check_ledger(session)
    Lake(lake_url).datasets()


def _check_schema(session: Session, schema: str) -> None:
    """Raise MisconfiguredError if the user may not create tables in a schema or change those that exist."""
    name, user = sql.Literal(schema), session.main.info.user
    allowed = sql.SQL(
        "select case when to_regnamespace({name}) is null then has_database_privilege(current_database(), 'create') "
        "else has_schema_privilege({name}, 'create') and has_schema_privilege({name}, 'usage') end"
    )
    if not session.scalar(allowed.format(name=name)):
        raise MisconfiguredError(f"the user {user} may not create tables in schema {schema} of {session.url}; grant it CREATE there")
    foreign = sql.SQL(
        "select relname from pg_class where relnamespace = to_regnamespace({}) and relkind in ('r', 'p') "
        "and not pg_has_role(relowner, 'usage') order by 1 limit 1"
    )
    if table := session.scalar(foreign.format(name)):
        raise MisconfiguredError(
            f"{schema}.{table} belongs to another role, so {user} cannot change it; run scripts/roles, which makes {user} its owner"
        )


@contextmanager
def closing_sessions(sessions: Sequence[Session]) -> Iterator[None]:
    """Close the sessions at the end of the block."""
    try:
        yield
    finally:
        for session in sessions:
            session.close()


def load_in_parallel(
    sessions: Sequence[Session],
    lake: Lake,
    entries: dict[Partition, LedgerEntry],
    now: datetime,
    selected: Mapping[Partition, int],
) -> Generator[tuple[Partition, Future[PartitionResult]], None, None]:
    """Yield partitions as they complete. Closing the generator cancels the running queries and waits for all threads to end."""
    idle: SimpleQueue[Session] = SimpleQueue()
    for session in sessions:
        idle.put(session)

    def sync(partition: Partition) -> PartitionResult:
        session = idle.get()
        try:
            session.raise_if_stopping()
            return load.sync_partition(session, lake, *partition, selected[partition], entries.get(partition), now)
        finally:
            idle.put(session)

    pool = ThreadPoolExecutor(len(sessions))
    waiting = iter(selected)
    futures: dict[Future[PartitionResult], Partition] = {}
    try:
        while True:
            for partition in islice(waiting, 2 * len(sessions) - len(futures)):
                futures[pool.submit(sync, partition)] = partition
            if not futures:
                return
            for future in wait(futures, return_when=FIRST_COMPLETED).done:
                yield futures.pop(future), future
    finally:
        if futures:
            sessions[0].stopping.set()  # that of all
        pool.shutdown(wait=False, cancel_futures=True)
        started = [future for future in futures if not future.cancelled()]  # wait() never counts a future cancelled before its start
        while wait(started, timeout=CANCEL_INTERVAL_S).not_done:
            for session in sessions:
                session.cancel()


def record_unchanged(job: Job, entries: Mapping[Partition, LedgerEntry]) -> None:
    """Record the partitions of which the lake has nothing new, from the ledger, which has no sizes."""
    for partition, entry in entries.items():
        job.record_partition(
            *partition, "unchanged", rows=entry.rows, sha256=entry.sha256, commit=entry.commit, rows_added=0, rows_closed=0
        )


def record_outcome(job: Job, partition: Partition, result: PartitionResult) -> None:
    """Write a partition's outcome to the receipt; log a warning about gaps and corrected times."""
    details: dict[str, Any] = {}
    name = {"dataset": partition[0], "partition": partition[1]}
    if result.gaps:
        details["gaps"] = list(result.gaps)
        job.log.warning("history has gaps", extra={**name, "gaps": details["gaps"]})
    if result.corrected:
        details["clock_corrected"] = result.corrected
        job.log.warning("commits dated in the future were recorded with an earlier time", extra={**name, "commits": result.corrected})
    head = result.head
    if head:
        details |= {"commit": head.number, "rows_added": result.added, "rows_closed": result.closed}
    if result.error or not head:
        job.record_partition(*partition, "failed", reason=str(result.error), **details)
    else:
        outcome: Outcome = "committed" if result.changed else "unchanged"
        job.record_partition(*partition, outcome, rows=head.data.rows, bytes=head.data.bytes, sha256=head.data.sha256, **details)
