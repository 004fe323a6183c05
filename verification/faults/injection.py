"""Names that want to be SQL, in the place of columns, tickers, datasets and partitions, through every job from the vendor to the site.

Whatever they are, the objects of the database, its roles and the rows of others stay as they were. What the names would run is harmless:
they would make a table called marker.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, NamedTuple

from arro3.core import Array, DataType, Table
from arro3.io import write_parquet
from jobkit.errors import JobError
from jobkit.lake import CommitDraft, Lake
from jobkit.names import LONGEST, RESERVED

from verification.faults import http_server, sandbox

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from verification.faults.sandbox import Ended, Stage

BATCH = 1_700  # names at once: a table has room for 1,600 columns
# Of a batch, by where they go.
PARTS = {"prices": 500, "curve": 300, "market": 200, "lake": 200, "tickers": 150, "filers": 150, "places": 200}
BASE = ("extract-tiingo-prices", "extract-treasury-yields", "extract-massive-daily-prices", "extract-ecb-fx-rates", "extract-sec-filers")
DAY = 15_342  # since 1970: 2012-01-03
RUN = "create table marts.marker (i int)"
PIECES = [
    '"', '""', "'", "''", "`", ";", "; --", "--", "/*", "*/", "$$", "$a$", "\\", "\\\\", "\\'", '\\"', "%", "%s", "%(a)s", "{}", "{0}",
    "{{", "}}", "{{ target.database }}", "{% raw %}", "${HOME}", "$(id)", "\n", "\r\n", "\t", " ", ".", ",", "(", ")", "::text", "<script>",
    "\u202e", "\u200b", "\ufeff", "\u00e9", "\u0430", "\U0001f4a9", "\u2019", "\uff02", "select", "from", "user", "table", "null", "NaN",
    "known_from", "_load_id", "xmin", "ctid", "T", "t", "raw", "source", "was", "cell", "_is_closed", "is_closed", "../", "=1+1", "x" * 70,
    f'"; {RUN}; --', f"'; {RUN}; --", f'" text); {RUN}; --', f"'); {RUN}; --", f"$$; {RUN}; $$", f'"."b"; {RUN}; --', f"\\'; {RUN}; --",
    f"*/ {RUN} /*", "0",
]  # fmt: skip
IN_COLUMNS_ALONE = ["\0", "a\0b", ""]  # no ticker may be these
OBJECTS = """
select 'role', rolname::text, rolsuper::text from pg_roles
union all select 'schema', nspname::text, pg_get_userbyid(nspowner)::text from pg_namespace where nspname !~ '^pg_'
union all select 'routine', pronamespace::regnamespace::text, proname::text from pg_proc where oid >= 16384
union all select 'trigger', tgrelid::regclass::text, tgname::text from pg_trigger
union all select 'relation', relnamespace::regnamespace::text || ' ' || relkind::text, relname::text from pg_class
    where oid >= 16384 and relkind in ('r', 'p', 'v', 'm', 'S', 'f') and not relispartition and relnamespace::regnamespace::text !~ '^pg_'
"""
# Columns that were not there before are null in these rows.
HELD = """
select '{table}', count(*)::text, coalesce(sum(hashtextextended(jsonb_strip_nulls(to_jsonb(held.*))::text, 0)), 0)::text
from raw.{table} as held where _load_id <= %(last)s
"""
RAW = ("tiingo_prices", "treasury_par_yields", "massive_daily_prices", "ecb_fx_rates", "_quarantine")
DERIVED = """
select 'prices', count(*)::text, sum(hashtextextended(to_jsonb(mart.*)::text, 0))::text from marts.fct_price_daily as mart
    where ticker = 'AAPL'
union all select 'rates', count(*)::text, sum(hashtextextended(to_jsonb(mart.*)::text, 0))::text from marts.fct_fx_rate as mart
union all select 'yields', count(*)::text, sum(hashtextextended(to_jsonb(mart.*)::text, 0))::text from marts.fct_yield as mart
    where curve_date >= '2012-01-01'
"""


class Found(NamedTuple):
    """How many names went where, how many were refused in a sentence as a whole place, and what did harm."""

    names: int
    columns: int
    refused: int
    wrong: tuple[str, ...]


def all_names(stage: Stage, count: int, rng: random.Random) -> Found:
    """So many names, in batches, each into a copy of one warehouse and one lake."""
    place, url = stage.fresh("lake"), stage.database()
    for job in BASE:
        sandbox.well(job, ["--lake", str(place), *stage.asks(job)])
    for job, options in (("load-warehouse", ["--lake", str(place)]), ("transform-warehouse", [])):
        sandbox.well(job, [*options, *stage.warehouse(url)])
    found = [_batch(stage, place, url, size, rng) for size in _sizes(count)]
    stage.drop(url)
    return Found(
        sum(one.names for one in found),
        sum(one.columns for one in found),
        sum(one.refused for one in found),
        tuple(text for one in found for text in one.wrong),
    )


def _sizes(count: int) -> list[int]:
    return [BATCH] * (count // BATCH) + ([count % BATCH] if count % BATCH else [])


def _batch(stage: Stage, base: Path, base_url: str, size: int, rng: random.Random) -> Found:
    place, url = stage.fresh("lake"), stage.database(base_url.rpartition("/")[2])
    shutil.copytree(base, place)
    parts = {part: max(share * size // BATCH, 1) for part, share in PARTS.items()}
    parts["prices"] += max(size - sum(parts.values()), 0)
    names = {part: _names(rng, number, columns=part in ("prices", "market")) for part, number in parts.items()}
    before = _state(stage, url, last := _last_load(stage, url))
    _commit_as_earlier_versions_did(Lake(str(place)), names["lake"])
    wrong, refused = _refused_places(Lake(str(place)), names["places"])
    with _vendor(_answers(names)) as vendor:
        asked = {
            "extract-tiingo-prices": {"tickers": "ZZZ", "start": "2012-01-01", "end": "2012-12-31", "token": "env://CANARY"},
            "extract-treasury-yields": {"start": "2011-01-01", "end": "2011-12-31"},
            "extract-massive-daily-prices": {"start": "2013-02-08", "end": "2013-02-08", "token": "env://CANARY"},
            "extract-sec-filers": {"contact": "Example Ltd admin@example.com"},
        }
        common = ["--lake", str(place), "--base-url", vendor, "--allow-shrinking"]  # the filers are others than the sample's
        done = {job: sandbox.run(job, [*common, *sandbox.words(options)]) for job, options in asked.items()}
    for job, options in (("load-warehouse", ["--lake", str(place)]), ("transform-warehouse", []), ("publish-marts", _site(stage))):
        done[job] = sandbox.run(job, [*options, *stage.warehouse(url)])
    wrong += [f"{job} ended with {ended.code}: {_said(ended)}" for job, ended in done.items() if ended.code]
    after = _state(stage, url, last)
    wrong += [f"it changed: {sorted(after ^ before)[:3]}"] if after != before else []
    columns = _columns(stage, url)
    stage.drop(url)
    return Found(sum(map(len, names.values())), columns, refused, tuple(wrong))


def _site(stage: Stage) -> list[str]:
    return ["--site", str(stage.fresh("site"))]


def _said(ended: Ended) -> str:
    return str(ended.receipt["error"] if ended.receipt else ended.stderr)[-300:]


def _names(rng: random.Random, count: int, *, columns: bool) -> list[str]:
    """Different names of a few pieces each. `columns`: also those that only a column may have."""
    pieces = [*PIECES, *IN_COLUMNS_ALONE] if columns else PIECES
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(rng.choices(pieces, k=rng.randint(1, 4)))] = None
    return list(found)


def _answers(names: Mapping[str, list[str]]) -> dict[str, tuple[str, bytes]]:
    """What the vendors answer, by a part of the path: columns of those names, and rows of those tickers."""
    price = {"close": 10.0, "high": 10.0, "low": 10.0, "open": 10.0, "volume": 1, "divCash": 0.0, "splitFactor": 1.0, "adjClose": 10.0}
    days = [{"date": f"2012-01-0{day}T00:00:00.000Z", **dict.fromkeys(names["prices"], "x"), **price} for day in (3, 4, 5)]
    bar = {"v": 1, "o": 10, "c": 10, "h": 10, "l": 10, "t": 1360357200000, "n": 1}
    bars = [{**dict.fromkeys(names["market"], "x"), "T": ticker, **bar} for ticker in names["tickers"]]
    market = {"status": "OK", "adjusted": False, "queryCount": len(bars), "resultsCount": len(bars), "results": bars}
    filers = {str(place): {"cik_str": 9_000_000 + place, "ticker": name, "title": name} for place, name in enumerate(names["filers"])}
    curve = io.StringIO()
    tenors = [name for name in names["curve"] if name not in ("Date", "")]
    csv.writer(curve).writerows([["Date", *tenors], *([f"01/0{day}/2011", *["1.5"] * len(tenors)] for day in (3, 4))])
    return {
        "/tiingo/daily/": ("application/json", json.dumps(days).encode()),
        "/daily-treasury-rates.csv/2011/": ("text/csv", curve.getvalue().encode()),
        "/stocks/2013-02-08": ("application/json", json.dumps(market).encode()),
        "/daily-treasury-rates.csv/": ("text/csv", b"Date,1 Mo\n"),  # of the days before, which every run asks for again
        "/aggs/grouped/": ("application/json", json.dumps({**market, "resultsCount": 0, "queryCount": 0, "results": []}).encode()),
        "company_tickers": ("application/json", json.dumps(filers).encode()),
    }


@contextmanager
def _vendor(answers: Mapping[str, tuple[str, bytes]]) -> Iterator[str]:
    """A vendor on the loopback that gives these answers; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the base class's name
            kind, body = next(answer for part, answer in answers.items() if part in self.path)
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with http_server.serve(Handler) as url:
        yield url


def _commit_as_earlier_versions_did(lake: Lake, names: list[str]) -> None:
    """A partition whose columns have the vendor's names, as far as a table may have them."""
    head = lake.head("tiingo_prices", "ticker=AAPL/year=2012")
    if head is None:
        raise RuntimeError("the sample has no prices of AAPL in 2012")
    prices = ("close", "high", "low", "open")
    columns: dict[str, Any] = {"_row_number": Array([1], DataType.int32()), "volume": Array([1], DataType.int64())}
    columns |= {"ticker": Array(["YYY"], DataType.utf8()), "date": Array([DAY], DataType.int32()).cast(DataType.date32())}
    columns |= {name: Array(["10"], DataType.utf8()).cast(DataType.decimal128(18, 6)) for name in (*prices, "divCash")}
    columns |= {"splitFactor": Array(["1"], DataType.utf8()).cast(DataType.decimal128(18, 8))}
    fit = [name for name in names if name and len(name.encode()) <= LONGEST and name not in RESERVED and name not in columns]
    columns |= {name: Array(["x"], DataType.utf8()) for name in fit}
    data = io.BytesIO()
    write_parquet(Table.from_pydict(columns), data, compression="zstd(3)")
    draft = CommitDraft(data.getvalue(), 1, None, 0, lambda: head.source, key=head.key, leaf=head.leaf, writer=head.writer)
    lake.commit("tiingo_prices", "ticker=YYY/year=2012", draft)


def _refused_places(lake: Lake, names: list[str]) -> tuple[list[str], int]:
    """The names as datasets and partitions: what of them was taken, and how many were refused in a sentence."""
    taken, refused = [], 0
    for name in names:
        for where in ((name, "year=2012"), ("tiingo_prices", f"ticker={name}"), ("tiingo_prices", name)):
            try:
                lake.history(*where)
            except JobError as error:
                refused += 1
                taken += [] if str(error).strip() else [f"{where} was refused without a word"]
            else:
                taken += [] if where[1].isascii() and "'" not in where[1] and '"' not in where[1] else [f"{where} was taken"]
    return taken, refused


def _last_load(stage: Stage, url: str) -> int:
    with stage.connect(url) as connection:
        found = connection.execute("select max(load_id) from raw._ledger").fetchone()
    return int(found[0]) if found else 0


def _state(stage: Stage, url: str, last: int) -> set[tuple[Any, ...]]:
    """The objects of the database, and the rows that were there before the batch."""
    with stage.connect(url) as connection:
        found: list[tuple[Any, ...]] = connection.execute(OBJECTS.encode()).fetchall()
        for table in RAW:
            found += connection.execute(HELD.replace("{table}", table).encode(), {"last": last}).fetchall()
        found += connection.execute(DERIVED.encode()).fetchall()
    return set(found)


def _columns(stage: Stage, url: str) -> int:
    """How many columns the raw tables have by now."""
    with stage.connect(url) as connection:
        query = "select count(*) from information_schema.columns where table_schema = 'raw' and table_name = any(%s)"
        found = connection.execute(query, [list(RAW)]).fetchone()
    return int(found[0]) if found else 0
