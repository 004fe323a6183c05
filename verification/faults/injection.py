"""Pass SQL as names of columns, tickers, datasets and partitions through every job, from the vendor to the site.

The objects of the database, its roles and all other rows must not change. The SQL in the names is harmless: it would create a table
named marker.
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

from verification import http_server
from verification.faults import job_runs

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from verification.faults.job_runs import JobResult
    from verification.faults.sandbox import Sandbox

BATCH_SIZE = 1_700  # names at once; a table can have 1,600 columns
# The names of a batch by where they are used.
NAMES_BY_PLACE = {"prices": 500, "curve": 300, "market": 200, "lake": 200, "tickers": 150, "filers": 150, "places": 200}
BASE_JOBS = (
    "extract-tiingo-prices",
    "extract-treasury-yields",
    "extract-massive-daily-prices",
    "extract-ecb-fx-rates",
    "extract-sec-filers",
)
DAY = 15_342  # since 1970: 2012-01-03
MARKER_SQL = "create table marts.marker (i int)"
PIECES = [
    '"', '""', "'", "''", "`", ";", "; --", "--", "/*", "*/", "$$", "$a$", "\\", "\\\\", "\\'", '\\"', "%", "%s", "%(a)s", "{}", "{0}",
    "{{", "}}", "{{ target.database }}", "{% raw %}", "${HOME}", "$(id)", "\n", "\r\n", "\t", " ", ".", ",", "(", ")", "::text", "<script>",
    "\u202e", "\u200b", "\ufeff", "\u00e9", "\u0430", "\U0001f4a9", "\u2019", "\uff02", "select", "from", "user", "table", "null", "NaN",
    "known_from", "_load_id", "xmin", "ctid", "T", "t", "raw", "source", "was", "cell", "_is_closed", "is_closed", "../", "=1+1", "x" * 70,
    f'"; {MARKER_SQL}; --', f"'; {MARKER_SQL}; --", f'" text); {MARKER_SQL}; --', f"'); {MARKER_SQL}; --",
    f"$$; {MARKER_SQL}; $$", f'"."b"; {MARKER_SQL}; --', f"\\'; {MARKER_SQL}; --",
    f"*/ {MARKER_SQL} /*", "0",
]  # fmt: skip
COLUMN_ONLY_PIECES = ["\0", "a\0b", ""]  # a ticker must not contain these
OBJECTS = """
select 'role', rolname::text, rolsuper::text from pg_roles
union all select 'schema', nspname::text, pg_get_userbyid(nspowner)::text from pg_namespace where nspname !~ '^pg_'
union all select 'routine', pronamespace::regnamespace::text, proname::text from pg_proc where oid >= 16384
union all select 'trigger', tgrelid::regclass::text, tgname::text from pg_trigger
union all select 'relation', relnamespace::regnamespace::text || ' ' || relkind::text, relname::text from pg_class
    where oid >= 16384 and relkind in ('r', 'p', 'v', 'm', 'S', 'f') and not relispartition and relnamespace::regnamespace::text !~ '^pg_'
"""
# Columns that were not there before are null in these rows.
ROW_HASHES = """
select '{table}', count(*)::text, coalesce(sum(hashtextextended(jsonb_strip_nulls(to_jsonb(held.*))::text, 0)), 0)::text
from raw.{table} as held where _load_id <= %(last)s
"""
RAW_TABLES = ("tiingo_prices", "treasury_par_yields", "massive_daily_prices", "ecb_fx_rates", "_quarantine")
MART_HASHES = """
select 'prices', count(*)::text, sum(hashtextextended(to_jsonb(mart.*)::text, 0))::text from marts.fct_price_daily as mart
    where ticker = 'AAPL'
union all select 'rates', count(*)::text, sum(hashtextextended(to_jsonb(mart.*)::text, 0))::text from marts.fct_fx_rate as mart
union all select 'yields', count(*)::text, sum(hashtextextended(to_jsonb(mart.*)::text, 0))::text from marts.fct_yield as mart
    where curve_date >= '2012-01-01'
"""


class Outcome(NamedTuple):
    """The number of names, of columns in raw tables, and of refused partitions, and the violations."""

    names: int
    columns: int
    refused: int
    violations: tuple[str, ...]


def inject_names(sandbox: Sandbox, count: int, rng: random.Random) -> Outcome:
    """Pass names through the jobs in batches, each with a copy of one warehouse and one lake."""
    place, url = sandbox.new_path("lake"), sandbox.create_database()
    for job in BASE_JOBS:
        job_runs.run_successfully(job, ["--lake", str(place), *sandbox.extract_options(job)])
    job_runs.run_successfully("load-warehouse", ["--lake", str(place), *sandbox.warehouse_options(url)])
    job_runs.run_successfully("transform-warehouse", sandbox.transform_options(url))
    found = [_run_batch(sandbox, place, url, size, rng) for size in _sizes(count)]
    sandbox.drop_database(url)
    return Outcome(
        sum(outcome.names for outcome in found),
        sum(outcome.columns for outcome in found),
        sum(outcome.refused for outcome in found),
        tuple(text for outcome in found for text in outcome.violations),
    )


def _sizes(count: int) -> list[int]:
    return [BATCH_SIZE] * (count // BATCH_SIZE) + ([count % BATCH_SIZE] if count % BATCH_SIZE else [])


def _run_batch(sandbox: Sandbox, base: Path, base_url: str, size: int, rng: random.Random) -> Outcome:
    place, url = sandbox.new_path("lake"), sandbox.copy_database(base_url)
    shutil.copytree(base, place)
    parts = {part: max(share * size // BATCH_SIZE, 1) for part, share in NAMES_BY_PLACE.items()}
    parts["prices"] += max(size - sum(parts.values()), 0)
    names = {part: _random_names(rng, number, columns=part in ("prices", "market")) for part, number in parts.items()}
    before = _read_state(sandbox, url, last := _last_load_id(sandbox, url))
    _commit_vendor_names(Lake(str(place)), names["lake"])
    violations, refused = _check_partition_names(Lake(str(place)), names["places"])
    with _serve_vendor(_build_answers(names)) as vendor:
        extracts = {
            "extract-tiingo-prices": {"tickers": "ZZZ", "start": "2012-01-01", "end": "2012-12-31", "token": "env://CANARY"},
            "extract-treasury-yields": {"start": "2011-01-01", "end": "2011-12-31"},
            "extract-massive-daily-prices": {"start": "2013-02-08", "end": "2013-02-08", "token": "env://CANARY"},
            "extract-sec-filers": {"contact": "Example Ltd admin@example.com"},
        }
        common = ["--lake", str(place), "--base-url", vendor, "--allow-shrinking"]  # the filers differ from the sample's
        result = {job: job_runs.run_job(job, [*common, *job_runs.to_argv(options)]) for job, options in extracts.items()}
    warehouse = sandbox.warehouse_options(url)
    for job, options in (
        ("load-warehouse", ["--lake", str(place), *warehouse]),
        ("transform-warehouse", sandbox.transform_options(url)),
        ("publish-marts", ["--site", str(sandbox.new_path("site")), *warehouse]),
    ):
        result[job] = job_runs.run_job(job, options)
    violations += [f"{job} ended with {run.code}: {_error_text(run)}" for job, run in result.items() if run.code]
    after = _read_state(sandbox, url, last)
    violations += [f"it changed: {sorted(after ^ before)[:3]}"] if after != before else []
    columns = _count_columns(sandbox, url)
    sandbox.drop_database(url)
    return Outcome(sum(map(len, names.values())), columns, refused, tuple(violations))


def _error_text(run: JobResult) -> str:
    return str(run.receipt["error"] if run.receipt else run.stderr)[-300:]


def _random_names(rng: random.Random, count: int, *, columns: bool) -> list[str]:
    """Build distinct names of a few pieces each. `columns` includes pieces that only a column name may contain."""
    pieces = [*PIECES, *COLUMN_ONLY_PIECES] if columns else PIECES
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(rng.choices(pieces, k=rng.randint(1, 4)))] = None
    return list(found)


def _build_answers(names: Mapping[str, list[str]]) -> dict[str, tuple[str, bytes]]:
    """Build the vendors' responses, by a part of the path, with these names as columns and tickers."""
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
        "/daily-treasury-rates.csv/": ("text/csv", b"Date,1 Mo\n"),  # for the previous days, which every run requests again
        "/aggs/grouped/": ("application/json", json.dumps({**market, "resultsCount": 0, "queryCount": 0, "results": []}).encode()),
        "company_tickers": ("application/json", json.dumps(filers).encode()),
    }


@contextmanager
def _serve_vendor(answers: Mapping[str, tuple[str, bytes]]) -> Iterator[str]:
    """Serve these responses on the loopback interface. Yield the URL."""

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


def _commit_vendor_names(lake: Lake, names: list[str]) -> None:
    """Commit a partition whose columns have the vendor's names, as earlier versions did, as far as a table allows them."""
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


def _check_partition_names(lake: Lake, names: list[str]) -> tuple[list[str], int]:
    """Use the names as datasets and partitions. Return the violations and the number of refusals."""
    violations, refused = [], 0
    for name in names:
        for address in ((name, "year=2012"), ("tiingo_prices", f"ticker={name}"), ("tiingo_prices", name)):
            try:
                lake.history(*address)
            except JobError as error:
                refused += 1
                violations += [] if str(error).strip() else [f"{address} was refused without a word"]
            else:
                violations += [] if address[1].isascii() and "'" not in address[1] and '"' not in address[1] else [f"{address} was taken"]
    return violations, refused


def _last_load_id(sandbox: Sandbox, url: str) -> int:
    with sandbox.connect(url) as connection:
        found = connection.execute("select max(load_id) from raw._ledger").fetchone()
    return int(found[0]) if found else 0


def _read_state(sandbox: Sandbox, url: str, last: int) -> set[tuple[Any, ...]]:
    """Read the objects of the database, and hashes of the rows from before the batch."""
    with sandbox.connect(url) as connection:
        found: list[tuple[Any, ...]] = connection.execute(OBJECTS.encode()).fetchall()
        for table in RAW_TABLES:
            found += connection.execute(ROW_HASHES.replace("{table}", table).encode(), {"last": last}).fetchall()
        found += connection.execute(MART_HASHES.encode()).fetchall()
    return set(found)


def _count_columns(sandbox: Sandbox, url: str) -> int:
    """Count the columns of the raw tables."""
    with sandbox.connect(url) as connection:
        query = "select count(*) from information_schema.columns where table_schema = 'raw' and table_name = any(%s)"
        found = connection.execute(query, [list(RAW_TABLES)]).fetchone()
    return int(found[0]) if found else 0
