"""Find the partitions of a dataset that may have commits which the warehouse lacks.

The warehouse remembers up to which entry it followed the dataset's log in the lake, and which partitions are still open: those that could
not be loaded, and those whose commit was announced but not there yet. So a dataset without anything new costs two requests to S3, however
many partitions it has: the remembered entry, which shows that it is the same lake, and a listing of what follows.

If an entry after it is missing or damaged, all partitions are listed, and the position stays before that entry until as many others follow
it as may be in flight (`jobkit.commit_log.IN_FLIGHT`).

All partitions are listed, and their newest commits read, if nothing is remembered, if it does not fit the lake or the ledger, and once in
CHECK_INTERVAL. That finds commits that were damaged after their load, and those of versions of finelt that kept no log.
"""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from psycopg import sql

from load_warehouse import clocks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from jobkit.commit_log import Entry
    from jobkit.lake import Lake

    from load_warehouse.ledger import LedgerEntry
    from load_warehouse.policy import LoadPolicy
    from load_warehouse.session import Session

CHECK_INTERVAL = timedelta(days=7)
# Says which rows of a dataset the ledger has. Their number would not: rows may be deleted to be loaded again while others are added.
FINGERPRINT = sql.SQL("coalesce(bit_xor(hashint8extended(load_id, 0)), 0)")


class Position(NamedTuple):
    """Up to where the log of a dataset was followed.

    number, id: the last entry. loads: FINGERPRINT of the dataset's ledger then. checked_at: when all partitions were listed last (UTC).
    open: partitions to look at again, with the commit that each must reach.
    """

    number: int
    id: str
    loads: int
    checked_at: datetime
    open: Mapping[str, int]


class Discovery(NamedTuple):
    """The partitions to look at, with the numbers of their latest commits; and what to remember when they are loaded.

    last: the entry of the log up to which nothing is unknown; None if the dataset has no log.
    missing: announced commits that are not there, by partition.
    is_check: whether all partitions were listed.
    """

    selected: Mapping[str, int]
    last: Entry | None
    missing: Mapping[str, int]
    is_check: bool


def discover(
    lake: Lake, dataset: str, known: Position | None, loaded: Mapping[str, LedgerEntry], now: datetime, policy: LoadPolicy
) -> Discovery:
    """Return what there is to do in a dataset. `loaded` has the latest ledger entry of each partition, `now` is the server's time."""
    last = lake.log.read(dataset, known.number) if known else None
    if known is None or last is None or last.id != known.id or now - known.checked_at > CHECK_INTERVAL:
        return _list_all(lake, dataset)
    late = {partition for partition, entry in loaded.items() if clocks.is_in_future(entry.known_at, now)}
    numbers = list(islice(lake.log.list_after(dataset, last.number), policy.max_lookups + 1))
    announced = _read_entries(lake, dataset, numbers[: policy.max_lookups], last.number)
    if len(numbers) > len(announced):  # too many to look up, or not all of them are known
        listed = _list_all(lake, dataset)
        expected = _latest_commits((), {**known.open, **listed.missing})
        is_new = {
            partition for partition, number in listed.selected.items() if partition not in loaded or loaded[partition].commit != number
        }
        selected = {partition: listed.selected[partition] for partition in listed.selected.keys() & (is_new | late | expected.keys())}
        return listed._replace(selected=selected, missing=_find_missing(expected, listed.selected), is_check=False)
    expected = _latest_commits(announced, known.open)
    found = {partition: lake.latest_number(dataset, partition) or 0 for partition in sorted(expected.keys() | late)}
    selected = {partition: number for partition, number in found.items() if number}
    return Discovery(selected, announced[-1] if announced else last, _find_missing(expected, found), is_check=False)


def _list_all(lake: Lake, dataset: str) -> Discovery:
    """List all partitions, after reading the end of the log: what is announced later comes after it."""
    numbers = lake.log.recent_numbers(dataset)
    recent = _read_entries(lake, dataset, numbers, numbers.start - 1)
    selected = dict(lake.iter_latest_numbers(dataset))
    return Discovery(selected, recent[-1] if recent else None, _find_missing(_latest_commits(recent, {}), selected), is_check=True)


def _read_entries(lake: Lake, dataset: str, numbers: Iterable[int], previous: int) -> list[Entry]:
    """Read the entries after `previous` up to the first gap: where a lake is replicated, an earlier one may arrive after a later one."""
    entries: list[Entry] = []
    for number in numbers:
        entry = lake.log.read(dataset, number) if number == previous + 1 else None
        if entry is None:
            break
        entries.append(entry)
        previous = number
    return entries


def _find_missing(expected: Mapping[str, int], found: Mapping[str, int]) -> dict[str, int]:
    """Return the announced commits that are not there yet."""
    return {partition: commit for partition, commit in expected.items() if found.get(partition, 0) < commit}


def _latest_commits(entries: Iterable[Entry], known: Mapping[str, int]) -> dict[str, int]:
    """Return the latest announced commit of each partition."""
    latest = dict(known)
    for entry in entries:
        latest[entry.partition] = max(entry.commit, latest.get(entry.partition, 0))
    return latest


def fetch_positions(session: Session) -> dict[str, Position]:
    """Return the remembered position of each dataset, except where the ledger has other rows than it had then."""
    statement = sql.SQL(
        "select dataset, entry, entry_id, loads, checked_at, open from raw._positions as position"
        " where loads = (select {} from raw._ledger as ledger where ledger.dataset = position.dataset)"
    )
    return {row[0]: Position(*row[1:]) for row in session.execute(statement.format(FINGERPRINT))}


def remember(
    session: Session,
    dataset: str,
    discovery: Discovery,
    loaded: Collection[str],
    failed: Collection[str],
    known: Position | None,
    now: datetime,
) -> None:
    """Remember the position after everything in a discovery was loaded, except the partitions that failed.

    `loaded` has the partitions with ledger entries before. Nothing is remembered if somebody deleted entries meanwhile.
    """
    if discovery.last is None:
        return
    open_ = {**dict.fromkeys(failed, 0), **discovery.missing}
    if known and not discovery.is_check and (known.number, dict(known.open)) == (discovery.last.number, open_):
        return
    checked_at = now if discovery.is_check or known is None else known.checked_at
    values = (dataset, discovery.last.number, discovery.last.id, checked_at.isoformat(), json.dumps(open_))
    statement = sql.SQL(
        "insert into raw._positions (dataset, entry, entry_id, checked_at, open, loads)"
        " select {}, {} from raw._ledger where dataset = {} having count(distinct partition) filter (where partition = any({})) = {}"
        " on conflict (dataset) do update set entry = excluded.entry,"
        " entry_id = excluded.entry_id, checked_at = excluded.checked_at, open = excluded.open, loads = excluded.loads"
    )
    expected = sorted({*loaded, *(discovery.selected.keys() - set(failed))})
    terms = map(sql.Literal, (dataset, expected, len(expected)))
    session.execute(statement.format(sql.SQL(", ").join(map(sql.Literal, values)), FINGERPRINT, *terms))
