"""load-warehouse from a lake of monthly partitions, beside the server's own COPY of the very same rows, and beside its peers."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from jobkit.lake import Lake
from load_warehouse import session

from orchestration.local import postgres
from verification.benchmarks import measurement, peers
from verification.benchmarks.measurement import Took
from verification.benchmarks.samples import COLUMNS, DATASET, Days, committing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from orchestration.local.postgres import Postgres
    from verification.benchmarks.peers import Peer

OURS, UNKEYED = "load-warehouse", "its copy alone, no key, one connection"
MONTHS, DAYS = 60, 20
# Types as a peer may have made them; the values must be the same.
AS_MADE = """
_row_number::int, symbol::text, date::date, currency::text, open::float8, high::float8, low::float8, close::float8, volume::bigint,
dividend::float8
"""
COUNT_AND_HASH = f"select count(*), sum(hashtextextended(t::text, 0)) from (select {AS_MADE} from {{}} as rows) as t"
INDEXES = """
select split_part(indexdef, ' INDEX ', 1) || ' index on bench using ' || split_part(indexdef, ' USING ', 2)
from pg_indexes where schemaname = 'raw' and tablename = 'prices-2020-01'
"""


class Loaded(NamedTuple):
    """Every run of every way to load so many rows; what each kind of index takes of ours; of each peer its rows and run, or why not."""

    rows: int
    runs: dict[str, list[Took]]
    indexes: dict[str, Took]
    peers: dict[Peer, tuple[int, Took] | str]


class Place(NamedTuple):
    """Where it is measured: the lake's data files are in the order of their months."""

    server: Postgres
    admin: psycopg.Connection[Any]
    lake: Path
    months: Sequence[Days]
    files: Sequence[Path]

    def must_hold(self, table: str, expected: tuple[int, ...]) -> None:
        """Raise RuntimeError unless a table has this count and hash of rows."""
        found = self.admin.execute(COUNT_AND_HASH.format(table).encode()).fetchone()
        if found != expected:
            raise RuntimeError(f"{table} holds {found}, expected {expected}")

    def made(self, months: int) -> tuple[int, ...]:
        """Count and hash of the rows of the first months as they were made, before any file had them."""
        each = [self.admin.execute(COUNT_AND_HASH.format(f"({month.query})").encode()).fetchone() for month in self.months[:months]]
        return tuple(map(sum, zip(*(one for one in each if one), strict=True)))


def measure(rows: int, times: int, *, beside: Sequence[Peer]) -> Loaded:
    """Every run of every method, in turns after one that is not counted. Raises RuntimeError when a table is not what it should be."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        with (
            postgres.run_server(home / "postgres") as server,
            psycopg.connect(server.url, password=server.password, autocommit=True) as admin,
        ):
            place = _filled(server, admin, home / "lake", rows // MONTHS // DAYS)
            made = {files: place.made(files) for files in {MONTHS, *(peer.files for peer in beside)}}
            runs = _limits(place, times, made[MONTHS])
            indexes = {kind: _rebuilt(place, ending) for kind, ending in (("keys", "key"), ("indexes of loads", "load"))}
            return Loaded(made[MONTHS][0], runs, indexes, {peer: _peer(place, peer, made[peer.files]) for peer in beside})


def _filled(server: Postgres, admin: psycopg.Connection[Any], lake: Path, symbols: int) -> Place:
    """A lake with a partition a month."""
    names = [f"{2020 + number // 12}-{number % 12 + 1:02}" for number in range(MONTHS)]
    months = [Days(f"{name}-01", DAYS, symbols) for name in names]
    with committing(server, str(lake)) as commit:
        for name, month in zip(names, months, strict=True):
            commit(f"month={name}", month)
    heads = [Lake(str(lake)).head(DATASET, f"month={name}") for name in names]
    return Place(server, admin, lake, months, [lake / head.data.path for head in heads if head])


def _limits(place: Place, times: int, made: tuple[int, ...]) -> dict[str, list[Took]]:
    _ours(place)
    prepared = {kind: place.server.home.data / f"bench.{kind}" for kind in ("binary", "text")}
    for kind, path in prepared.items():
        place.admin.execute(f"copy (select * from raw.prices) to '{path}' (format {kind})".encode())
    keys = [str(row[0]) for row in place.admin.execute(INDEXES.encode()).fetchall()]
    if not keys:
        raise RuntimeError("the loaded table has no key to compare with")

    def limit(kind: str, before: Sequence[str], after: Sequence[str]) -> Callable[[], Took]:
        return lambda: _limit(place, f"copy bench from '{prepared[kind]}' (format {kind})", before, after)

    ways: dict[str, Callable[[], Took]] = {
        "COPY BINARY, no key": limit("binary", [], []),
        "COPY of text, no key": limit("text", [], []),
        "COPY BINARY into a keyed table": limit("binary", keys, []),
        "COPY BINARY, then the key": limit("binary", [], keys),
        UNKEYED: lambda: _unkeyed(place),
        OURS: lambda: _ours(place),
    }

    return measurement.in_turns(ways, times, lambda name: place.must_hold("raw.prices" if name == OURS else "bench", made))


def _ours(place: Place) -> Took:
    """The job, from its process's start to its exit, into an empty warehouse."""
    for schema in ("raw", "stage"):
        place.admin.execute(f"drop schema if exists {schema} cascade".encode())
    place.admin.execute(b"checkpoint")
    words = ["--lake", str(place.lake), "--warehouse", place.server.url, "--warehouse-password", place.server.password_reference]
    return measurement.process([sys.executable, "-m", "load_warehouse", "run", *words], server=place.server)


def _rebuilt(place: Place, ending: str) -> Took:
    """The indexes of one kind of all leaves, built again on one connection of the loader's."""
    named = f"select indexname from pg_indexes where schemaname = 'raw' and tablename like 'prices-%' and indexname like '%-{ending}'"
    names = [row[0] for row in place.admin.execute(named.encode()).fetchall()]
    with session.connect(place.server.url, place.server.password) as loader:
        cpu_s, began_s = measurement.server_cpu_s(place.server), time.perf_counter()
        for name in names:
            loader.execute(f'reindex index raw."{name}"'.encode())
        return Took(time.perf_counter() - began_s, server_cpu_s=measurement.server_cpu_s(place.server) - cpu_s)


def _unkeyed(place: Place) -> Took:
    """The job's own copy of the same files into one plain table, from a process's start to its exit."""
    _emptied(place)
    place.admin.execute(b"create table bench (like raw.prices including defaults)")
    for column, value in (("_load_id", "1"), ("known_from", "now()"), ("known_to", "'infinity'")):
        place.admin.execute(f"alter table bench alter {column} set default {value}".encode())
    words = [place.server.url, place.server.password_reference, "bench", str(place.months[0].rows), *map(str, place.files)]
    return measurement.process([sys.executable, "-m", "verification.benchmarks.copy_baseline", *words], server=place.server)


def _emptied(place: Place) -> None:
    place.admin.execute(b"drop table if exists bench")
    place.admin.execute(b"checkpoint")


def _limit(place: Place, copy: str, before: Sequence[str], after: Sequence[str]) -> Took:
    """The server's own COPY from a file it reads itself, in one transaction with the table's making."""
    _emptied(place)
    cpu_s, began_s = measurement.server_cpu_s(place.server), time.perf_counter()
    with psycopg.connect(place.server.url, password=place.server.password) as copier:
        for statement in ("create table bench (like raw.prices including defaults)", *before, copy, *after):
            copier.execute(statement.encode())
        copier.commit()
        wall_s = time.perf_counter() - began_s
        return Took(
            wall_s, server_cpu_s=measurement.server_cpu_s(place.server) - cpu_s
        )  # while its process lives: one that ended is counted late


def _peer(place: Place, peer: Peer, made: tuple[int, ...]) -> tuple[int, Took] | str:
    """The rows that a peer was given and its second run, the first being of one file; why it is missing where there is none."""
    try:
        for files in (place.files[:1], place.files[: peer.files]):
            if peer.csv:
                _as_csv(place, files)
            for statement in ("drop schema if exists peer cascade", "drop schema if exists peer_staging cascade", "create schema peer"):
                place.admin.execute(statement.encode())
            place.admin.execute(b"checkpoint")
            run = peers.load(peer, place.server, files)
        place.must_hold("peer.prices", made)
    except peers.MissingError as reason:
        return f"missing: {reason}"
    except (RuntimeError, psycopg.Error) as reason:
        return f"its rows are not those it was given: {str(reason).splitlines()[0]}"
    return made[0], run


def _as_csv(place: Place, files: Sequence[Path]) -> None:
    """The files as one CSV beside the first; its making is not counted."""
    path = files[0].parent / f"first-{len(files)}.csv"
    made = place.server.home.data / "peer.csv"
    rows = " union all ".join(f"({month.query})" for month in place.months[: len(files)])
    place.admin.execute(f"copy (select {COLUMNS} from ({rows}) as rows) to '{made}' (format csv, header)".encode())
    shutil.copyfile(made, path)


def page(found: Loaded) -> Iterator[str]:
    """Two tables of medians, each way with what load-warehouse takes of its time, and rows a second as bars."""
    ours = measurement.median(found.runs[OURS])
    yield f"{found.rows:,} rows in {MONTHS} monthly partitions, in order of day and symbol; medians of {len(found.runs[OURS])}."
    yield ""
    yield "The limits are the server's own COPY from a prepared file into one table that has every column of ours and, where keyed, the"
    yield "indexes of a leaf."
    yield "Each table is held against count and hash of the rows as they were made."
    yield ""
    yield from measurement.table(found.runs, OURS)
    yield ""
    for kind, built in found.indexes.items():
        yield f"Built again on one connection, the {kind} take {built.wall_s:.2f} s and {built.server_cpu_s:.2f} CPU s of the server."
    rates = {name: found.rows / measurement.median(runs).wall_s / 1000 for name, runs in found.runs.items()}
    if found.peers:
        yield ""
        yield "Peers, from the start of their process to its exit, one run each after one of a single file; the slow ones with fewer rows."
        yield "None of them keys the table or keeps versions, as load-warehouse does meanwhile, unless it says so. Prices may come out as"
        yield "floating point or numeric, as the peer makes them: values are held against ours as floating point."
        yield ""
        yield "| peer | rows | seconds | rows a second | load-warehouse is, by the row | CPU s | server CPU s | MiB |"
        yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
        for peer, one in found.peers.items():
            if isinstance(one, str):
                yield f"| {peer.name} | {one} | | | | | | |"
                continue
            rows, run = one
            faster = run.wall_s / rows / (ours.wall_s / found.rows)
            rates[peer.name] = rows / run.wall_s / 1000
            told = f"{run.wall_s:.3g} | {rows / run.wall_s:,.0f} | {faster:.3g} times as fast"
            figures = f"{told} | {run.cpu_s:.2f} | {run.server_cpu_s:.2f} | {run.peak_mib:.0f}"
            yield f"| {peer.name} | {rows:,} | {figures} |"
        yield ""
        yield "| peer | version | configuration |"
        yield "| --- | --- | --- |"
        for peer in found.peers:
            yield f"| {peer.name} | {peers.versions(peer)} | {peer.configuration} |"
        yield ""
        yield from (f"Not run: {name}; {reason}." for name, reason in peers.ABSENT.items())
    yield from measurement.plot("Rows loaded", "thousands a second", rates)
