"""Reload of a dataset whose raw table has other types, another key or another leaf than the dataset's newest commit.

All commits are loaded into a copy of the table, its ledger and its quarantine in the schema stage, by the paths of every load. Then one
transaction puts the copy in the table's place. Until it ends, readers see the old table; a reload that was killed goes on where it stopped.

Views hold on to the old table. If there are any, it stays, as `stage.<dataset>~old~<oid>`, until transform-warehouse has made them anew;
the next load then drops it.
"""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit import expired_commits, failpoints
from jobkit.errors import BadDataError, MisconfiguredError, TemporaryError
from jobkit.lake import Lake
from jobkit.postgres import TRANSFORM_LOCK, lock_key
from psycopg import sql

from load_warehouse import ledger, partitioning, runner, shape, tables, types
from load_warehouse.copy import ParquetFile
from load_warehouse.session import RAW_SCHEMA, STAGE_SCHEMA, Session, hold_lock, translate_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jobkit.command import Job
    from jobkit.lake import Commit

    from load_warehouse.load import PartitionResult
    from load_warehouse.policy import LoadPolicy
    from load_warehouse.shape import Shape

ROUNDS = 3  # another loader may add commits while the copy is loaded


class LostCommits(NamedTuple):
    """The commits that the table has and its copy has not.

    new: partitions with a commit that was loaded meanwhile. expired: how many have expired in the lake. damaged: the first other one.
    """

    new: set[str]
    expired: int
    damaged: tuple[str, int] | None


def run(
    job: Job,
    lake_url: str,
    datasets: Sequence[str],
    warehouse_url: str,
    password: str,
    workers: int,
    *,
    forget_expired: bool,
    policy: LoadPolicy = runner.DEFAULT_POLICY,
) -> None:
    """Reload the datasets whose raw table has not the shape of their newest commit, one after the other.

    Raises BadDataError (65) if a commit cannot be converted exactly or is damaged, MisconfiguredError (78) if commits have expired that
    only the warehouse has, TemporaryError (75) if the table stays locked. The table is then as before.
    """
    stopping, lake = Event(), Lake(lake_url)
    session = Session(warehouse_url, password, stopping, policy)
    copies = [Session(warehouse_url, password, stopping, policy, STAGE_SCHEMA) for _ in range(workers)]
    with runner.closing_sessions([session, *copies]), translate_errors("reload", session):
        ledger.ensure_ledger(session)
        with hold_lock(session, lock_key("reload")):
            for dataset in runner.check_datasets(lake, datasets):
                _reload_dataset(job, lake, dataset, session, copies, forget_expired=forget_expired)
        tables.drop_unread_tables(session)


def _reload_dataset(job: Job, lake: Lake, dataset: str, session: Session, copies: Sequence[Session], *, forget_expired: bool) -> None:
    differences = find_differences(session, lake, dataset)
    if not differences:
        _drop_copy(session)
        entries = ledger.fetch_latest_entries(session)
        runner.record_unchanged(job, {item: entry for item, entry in entries.items() if item[0] == dataset})
        return
    job.log.info("reloading", extra={"dataset": dataset, "differences": differences})
    try:
        for _ in range(ROUNDS):
            for copy in copies:
                copy.newest.clear()  # there may be newer commits now
            _prepare_copy(session, copies[0], lake, dataset)
            results = _load_copy(job, lake, dataset, copies)
            if _swap_if_complete(session, copies[0], lake, dataset, results, forget_expired=forget_expired):
                for partition, result in results.items():
                    runner.record_outcome(job, (dataset, partition), result._replace(changed=True))
                return
    except (BadDataError, MisconfiguredError):
        _drop_copy(session)
        raise
    raise TemporaryError(f"{dataset} is being loaded by others all the time; the table is as before, run it again")


def find_differences(session: Session, lake: Lake, dataset: str) -> list[str]:
    """Return how a dataset's table differs from its newest commit, as texts; empty without a table or a commit that can be loaded."""
    session.newest.pop(dataset, None)
    table, newest = tables.read_columns(session, dataset, dataset), shape.read_newest(session, lake, dataset)
    if table is None or newest is None:
        return []
    changed = shape.find_changed_types(newest.columns, table)
    texts = [f"column {name}: {types.strip_collation(table[name])} -> {types.strip_collation(newest.columns[name])}" for name in changed]
    keys = [key for key in tables.read_keys(session, dataset) if key != newest.key]
    texts += [f"key: {', '.join(key)} -> {', '.join(newest.key)}" for key in keys]
    leaf = tables.read_leaf(session, dataset)
    return texts + ([f"leaf: {leaf} -> {newest.leaf}"] if leaf != newest.leaf else [])


def _prepare_copy(session: Session, copy: Session, lake: Lake, dataset: str) -> None:
    """Begin a copy, or keep the one of a reload that was killed if it has the newest shape."""
    others = sql.SQL(
        "select from pg_class where relnamespace = {}::regnamespace and relkind = 'p' and strpos(relname, '~') = 0 and relname <> {}"
    )
    is_other = session.execute(others.format(sql.Literal(STAGE_SCHEMA), sql.Literal(dataset))).fetchone() is not None
    if is_other or find_differences(copy, lake, dataset):
        _drop_copy(session)
    for name in (ledger.LEDGER, ledger.QUARANTINE):
        create = sql.SQL("create table if not exists {} (like {} including all)")
        session.execute(create.format(copy.table(name), session.table(name)))


def _drop_copy(session: Session) -> None:
    """Drop what reloads that did not end left in the schema stage. The caller holds the lock of reloads."""
    copies = sql.SQL(
        "select relname from pg_class where relnamespace = {}::regnamespace"
        " and (relkind = 'p' and strpos(relname, '~') = 0 or relname in ({}, {}) and relkind = 'r')"
    )
    terms = map(sql.Literal, (STAGE_SCHEMA, ledger.LEDGER, ledger.QUARANTINE))
    names = [sql.Identifier(STAGE_SCHEMA, row[0]) for row in session.execute(copies.format(*terms))]
    if names:
        session.execute(sql.SQL("drop table {}").format(sql.SQL(", ").join(names)))


def _load_copy(job: Job, lake: Lake, dataset: str, copies: Sequence[Session]) -> dict[str, PartitionResult]:
    """Load every commit that the copy lacks; return the result of each partition."""
    entries, now = ledger.fetch_latest_entries(copies[0]), ledger.fetch_server_time(copies[0])
    selected = {(dataset, partition): number for partition, number in lake.iter_latest_numbers(dataset)}
    results: dict[str, PartitionResult] = {}
    for (_, partition), future in runner.load_in_parallel(copies, lake, entries, now, selected):
        results[partition] = future.result()
        job.progress(len(results), len(selected), f"{dataset}/{partition}")
    return results


def _swap_if_complete(
    session: Session, copy: Session, lake: Lake, dataset: str, results: Mapping[str, PartitionResult], *, forget_expired: bool
) -> bool:
    """Put the copy in the table's place if it has all that the table has, while nobody loads the dataset or builds the marts."""
    transform = session.scalar(sql.SQL("select {}").format(sql.SQL(TRANSFORM_LOCK)))
    with hold_lock(session, transform), hold_lock(session, lock_key("dataset", dataset)):
        if error := next((result.error for result in results.values() if result.error), None):
            raise error
        lost = find_lost_commits(session, lake, dataset)
        if lost.damaged:
            partition, number = lost.damaged
            gaps = results[partition].gaps if partition in results else ()
            reasons = (gap.partition(": ")[2] for gap in gaps if gap.startswith(f"commit {number}: "))
            reason = next(reasons, f"the table has commit {number} of {partition}, and the lake has lost it; see `finelt lake repair`")
            raise BadDataError(f"raw.{dataset} is as before. {reason}")
        if lost.expired and not forget_expired:
            raise MisconfiguredError(
                f"{lost.expired:,} commits of {dataset} have expired in the lake, so only the warehouse has their versions of rows, and a "
                "reload loses them; add --forget-expired if that is acceptable"
            )
        if lost.new or find_differences(copy, lake, dataset):
            return False
        if not tables.retry_on_lock_timeout(session, lambda: _swap(session, copy, dataset), session.policy.attach_tries):
            raise TemporaryError(f"raw.{dataset} stays locked by its readers; the table is as before and its copy is kept, run it again")
    return True


def find_lost_commits(session: Session, lake: Lake, dataset: str) -> LostCommits:
    """Return the commits that the table has and its copy has not. Raises MisconfiguredError if the table is of another lake."""
    statement = sql.SQL(
        'select "partition", "commit", copy.sha256, (select max("commit") from {copies} as later where later.dataset = loaded.dataset'
        ' and later."partition" = loaded."partition") from {ledger} as loaded'
        ' left join {copies} as copy using (dataset, "partition", "commit")'
        " where dataset = {dataset} and copy.sha256 is distinct from loaded.sha256 order by 1, 2"
    )
    copies = sql.Identifier(STAGE_SCHEMA, ledger.LEDGER)
    rows = session.execute(statement.format(ledger=session.table(ledger.LEDGER), copies=copies, dataset=sql.Literal(dataset))).fetchall()
    latest = lake.latest_numbers(dataset) if rows else {}
    new: set[str] = set()
    expired, damaged = 0, None
    for partition, number, copied, last in rows:
        if copied or number > latest.get(partition, 0):
            raise MisconfiguredError(
                f"raw.{dataset} holds commit {number} of {partition}, which the lake {lake.store.url} does not have; "
                "pass the --lake that this warehouse was loaded from"
            )
        if number > (last or 0):
            new.add(partition)
        elif number in expired_commits.read(lake.store, dataset, partition)[0]:
            expired += 1
        else:
            damaged = damaged or (partition, number)
    return LostCommits(new, expired, damaged)


def _swap(session: Session, copy: Session, dataset: str) -> None:
    """Move the table out of the way and the copy into its place, with ledger and quarantine. Runs in the open transaction."""
    table = session.table(dataset)
    session.execute(sql.SQL("lock table {} in access exclusive mode").format(table))
    grants = list(_copy_grants(session, table))
    for schema, target in ((RAW_SCHEMA, STAGE_SCHEMA), (STAGE_SCHEMA, RAW_SCHEMA)):
        for oid, name, is_index, is_parent in _list_relations(session, sql.Identifier(schema, dataset)):
            kind, moved = sql.SQL("index" if is_index else "table"), name
            if schema == RAW_SCHEMA:
                moved = f"{dataset}{tables.REPLACED}{oid}"
                session.execute(sql.SQL("alter {} {} rename to {}").format(kind, sql.Identifier(schema, name), sql.Identifier(moved)))
            if not is_index:  # indexes follow their table
                identifier = sql.Identifier(schema, moved)
                session.execute(sql.SQL("alter table {} set schema {}").format(identifier, sql.Identifier(target)))
            failpoints.hit("within swap" if is_parent else "within swap of leaves")
    for grant in grants:
        session.execute(grant)
    for name in (ledger.LEDGER, ledger.QUARANTINE):
        terms = {"stored": session.table(name), "copy": copy.table(name), "dataset": sql.Literal(dataset)}
        session.execute(sql.SQL("delete from {stored} where dataset = {dataset}").format(**terms))
        session.execute(sql.SQL("insert into {stored} select * from {copy} where dataset = {dataset}").format(**terms))
        session.execute(sql.SQL("drop table {copy}").format(**terms))


def _list_relations(session: Session, table: sql.Identifier) -> list[tuple[int, str, bool, bool]]:
    """Return a partitioned table, its leaves, and the indexes of both first: oid, name, whether it is an index, and the table itself."""
    statement = sql.SQL(
        "with tree as (select relid as oid from pg_partition_tree({table}::regclass)) "
        "select oid::bigint, relname::text, relkind in ('i', 'I'), oid = {table}::regclass from pg_class "
        "where oid in (select oid from tree) or oid in (select indexrelid from pg_index where indrelid in (select oid from tree)) "
        "order by relkind in ('i', 'I') desc, oid"
    )
    return session.execute(statement.format(table=sql.Literal(table.as_string(session.main)))).fetchall()


def _copy_grants(session: Session, table: sql.Identifier) -> Iterator[sql.Composed]:
    """Yield the statements that give the rights on a table to the one that takes its name."""
    statement = sql.SQL(
        "select privilege_type, case when grantee = 0 then null else pg_get_userbyid(grantee)::text end, is_grantable "
        "from pg_class, aclexplode(relacl) where oid = {}::regclass and grantee <> relowner"
    )
    for privilege, grantee, is_grantable in session.execute(statement.format(sql.Literal(table.as_string(session.main)))).fetchall():
        role = sql.Identifier(grantee) if grantee else sql.SQL("public")
        option = sql.SQL(" with grant option" if is_grantable else "")
        yield sql.SQL("grant {} on {} to {}{}").format(sql.SQL(privilege), table, role, option)


def plan(lake_url: str, datasets: Sequence[str], warehouse_url: str, password: str) -> list[dict[str, Any]]:
    """Return what `run` would reload, by dataset: how the table differs, and every commit that cannot be loaded again, with the reason.

    All files are read and nothing is written. `newest` is the commit that decides the shape; `expired` counts the commits that only the
    warehouse has.
    """
    session, lake = Session(warehouse_url, password), Lake(lake_url)
    steps: list[dict[str, Any]] = []
    with runner.closing_sessions([session]), translate_errors("plan", session):
        ledger.check_ledger(session)
        for dataset in runner.check_datasets(lake, datasets):
            differences, newest = find_differences(session, lake, dataset), shape.read_newest(session, lake, dataset)
            if differences and newest:
                step = {"dataset": dataset, "newest": newest.where, "differences": differences}
                steps.append(step | _check_commits(session, lake, dataset, newest))
    return steps


def _check_commits(session: Session, lake: Lake, dataset: str, newest: Shape) -> dict[str, Any]:
    commits = rows = expired = 0
    problems: list[str] = []
    for partition, _ in lake.iter_latest_numbers(dataset):
        history = lake.examine(dataset, partition)
        problems += [str(error) for error in history.damaged.values()]
        loaded = {entry.commit for entry in ledger.fetch_entries(session, dataset, partition)} - history.commits.keys()
        expired += len(loaded & expired_commits.read(lake.store, dataset, partition)[0].keys()) if loaded else 0
        for commit in history.commits.values():
            commits, rows = commits + 1, rows + commit.data.rows
            try:
                check_commit(lake, commit, newest, session.policy.batch_rows)
            except BadDataError as error:
                problems.append(str(error))
    return {"commits": commits, "rows": rows, "expired": expired, "problems": problems}


def check_commit(lake: Lake, commit: Commit, newest: Shape, batch_rows: int) -> None:
    """Raise BadDataError (65) if a commit does not fit a shape: a value has no exact equal, or two rows have the same key.

    Whether its rows belong to one leaf is found when it is loaded.
    """
    where = shape.describe(commit)
    file = ParquetFile(lake.read(commit.data), where, batch_rows).convert(newest.columns)
    partitioning.parse_scheme(newest.leaf, file.columns, where)
    may_repeat = not set(newest.key) >= set(commit.key)
    key = [name for name in newest.key if name in file.columns]
    seen: set[tuple[Any, ...]] = set()
    for batch in file.iter_batches():
        if not may_repeat:
            continue
        for values in zip(*(batch.column(name).to_pylist() for name in key), strict=True):
            if values in seen:  # the message omits the values, as everywhere: they may be confidential
                raise BadDataError(shape.describe_repeated_key(where, newest.key, commit.key))
            seen.add(values)
