"""Compare extractors with simple scripts, and their request rate with the rate that a vendor allows."""

from __future__ import annotations

import io
import json
import shutil
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit.extraction import MAX_IN_FLIGHT
from jobkit.http import Client, Rate
from jobkit.rate_limit import BURST_WINDOW_S

from verification import http_server
from verification.benchmarks import measurement, tools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from verification.benchmarks.measurement import Measurement

OURS = "extractor, with validation"
CIK = 123
FACTS, FACTS_PER_TAG = 170_000, 170
MARKET_DAY, TICKERS = "2020-01-02", 12_000
ECB_FIRST, ECB_DAYS, CURRENCIES = date(1999, 1, 4), 7000, 41
MEMBERS, MEMBER_FACTS = 312, 20_000  # 1 GB
ANSWER_S = 0.05
PACED = ((Rate(10, 1), 60), (Rate(5, 1), 30), (Rate(30, 60), 90))


class Document(NamedTuple):
    """A vendor's document, the arguments of its extractor, and the baselines: program of tool_runner.py by name."""

    name: str
    package: str
    dataset: str
    partitions: str
    content: bytes
    plain: dict[str, str]


class RateResult(NamedTuple):
    """Requests at one rate: the reached share of the allowed rate, and the most requests in one window."""

    rate: Rate
    reached: float
    most: int


def measure(
    times: int,
    *,
    facts: int = FACTS,
    tickers: int = TICKERS,
    days: int = ECB_DAYS,
    members: tuple[int, int] = (MEMBERS, MEMBER_FACTS),
    paced: Sequence[tuple[Rate, int]] = PACED,
) -> tuple[dict[str, dict[str, list[Measurement]]], list[RateResult]]:
    """Measure the ways by document, from process start to exit, and the rates, each with a number of requests."""
    with TemporaryDirectory() as folder:
        found = {document.name: _ways(document, Path(folder), times) for document in _documents(facts, tickers, days)}
        found |= _measure_archive(Path(folder), times, *members)
    return found, [_paced(*one) for one in paced]


def _ways(document: Document, folder: Path, times: int) -> dict[str, list[Measurement]]:
    path = folder / document.dataset
    path.write_bytes(document.content)

    def plain(python: Path | str, program: str) -> Callable[[], Measurement]:
        return lambda: measurement.run_process([str(python), str(tools.PROGRAMS), program, str(path)])

    methods: dict[str, Callable[[], Measurement]] = {}
    for name, program in document.plain.items():
        with suppress(tools.MissingError):
            methods[name] = plain(sys.executable if program == "flatten" else tools.create_environment(tools.PANDAS), program)
    ours = [
        sys.executable,
        "-m",
        "verification.benchmarks.extract_runner",
        document.package,
        document.dataset,
        document.partitions,
        str(path),
    ]
    return measurement.run_in_turns({**methods, OURS: lambda: measurement.run_process(ours)}, times)


def _measure_archive(folder: Path, times: int, members: int, facts: int) -> dict[str, dict[str, list[Measurement]]]:
    """Measure an archive of filers from a server to committed partitions, and the same archive read with json.load and flattened."""
    path, lakes, size = folder / "companyfacts.zip", count(), 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for cik in range(CIK, CIK + members):
            document = json.dumps({**build_company(facts), "cik": cik}, separators=(",", ":")).encode()
            archive.writestr(f"CIK{cik:010}.json", document)
            size += len(document)
    with http_server.serve(_answer_with_parts(path)) as url:

        def ours() -> Measurement:
            lake = folder / f"lake-{next(lakes)}"
            words = ["run", "--bulk", "--lake", str(lake), "--contact", "Example Ltd admin@example.com", "--base-url", url]
            found = measurement.run_process([sys.executable, "-m", "extract_sec_company_facts", *words])
            if len(list(lake.glob("raw/sec_company_facts/*/_commits/000001.json"))) != members:
                raise RuntimeError("the extractor did not commit all filers")
            shutil.rmtree(lake)
            return found

        plain = partial(measurement.run_process, [sys.executable, str(tools.PROGRAMS), "flatten_members", str(path)])
        methods: dict[str, Callable[[], Measurement]] = {"json.load and flatten, one document after the other": plain, OURS: ours}
        return {f"companyfacts in bulk, {members:,} filers of {size / 1e6:,.0f} MB": measurement.run_in_turns(methods, times)}


def _answer_with_parts(path: Path) -> type[BaseHTTPRequestHandler]:
    """Return a handler that answers every request with the requested part of a file."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            with path.open("rb") as file:
                file.seek(first)
                part = file.read(last - first + 1)
            self.send_response(206)
            self.send_header("Content-Type", "application/zip")
            self.send_header("Content-Length", str(len(part)))
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{path.stat().st_size}")
            self.end_headers()
            self.wfile.write(part)

    return Handler


def _documents(facts: int, tickers: int, days: int) -> Iterator[Document]:
    """Yield a generated document of each kind, in the vendor's form and as large as a large one."""
    document = json.dumps(build_company(facts)).encode()
    name = f"companyfacts of {len(document) / 1e6:.0f} MB, {facts:,} facts"
    plain = {"json.load and flatten": "flatten", "json.load and flatten, then typed Parquet by pyarrow": "flatten_typed"}
    yield Document(name, "extract_sec_company_facts", "sec_company_facts", f"cik={CIK:010}", document, plain)
    day = json.dumps(_market(tickers)).encode()
    plain = {"pandas, to Parquet": "market_pandas"}
    yield Document(
        f"a whole-market day, {tickers:,} tickers",
        "extract_massive_daily_prices",
        "massive_daily_prices",
        f"date={MARKET_DAY}",
        day,
        plain,
    )
    years = ",".join(f"year={year}" for year in range(ECB_FIRST.year, ECB_FIRST.year + 30))
    plain = {"pandas, to Parquet": "ecb_pandas"}
    yield Document(f"the ECB's history, {days:,} days", "extract_ecb_fx_rates", "ecb_fx_rates", years, _history(days), plain)


def build_company(facts: int) -> dict[str, Any]:
    """Return a companyfacts document with about this many facts."""
    first = date(2009, 1, 1)

    def fact(tag: int, number: int) -> dict[str, Any]:
        end = first + timedelta(days=91 * (number // 3 + 1))
        filed = end + timedelta(days=30 + number % 3)
        form = "10-K" if number % 4 == 0 else "10-Q"
        dates = {"start": (end - timedelta(days=90)).isoformat(), "end": end.isoformat(), "filed": filed.isoformat()}
        filing = {"accn": f"{CIK:010}-{filed:%y}-{number:06}", "fy": end.year, "fp": f"Q{number % 4 + 1}", "form": form}
        return {**dates, "val": (tag * 7919 + number * 104729) % 10**10, **filing, "frame": f"CY{end.year}Q{number % 4 + 1}"}

    numbers = range(min(facts, FACTS_PER_TAG))
    tags = {
        f"Concept{tag:04}": {"label": "", "units": {"USD": [fact(tag, number) for number in numbers]}}
        for tag in range(max(1, facts // FACTS_PER_TAG))
    }
    return {"cik": CIK, "entityName": "Example Corp", "facts": {"us-gaap": tags}}


def _market(tickers: int) -> dict[str, Any]:
    rows = [
        {"T": f"T{n:05}", "v": 1000 + n, "vw": 10.5 + n / 100, "o": 10.25, "c": 10.75, "h": 11.0, "l": 10.0, "t": 1577998800000, "n": n + 1}
        for n in range(tickers)
    ]
    return {"status": "OK", "adjusted": False, "resultsCount": len(rows), "results": rows}


def _history(days: int) -> bytes:
    header = ["Date", "USD", *(f"X{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(CURRENCIES - 1))]
    lines = [",".join([*header, ""])]
    for number in range(days):
        day = ECB_FIRST + timedelta(days=days - number)
        rates = (f"{1 + (number * 31 + n * 17) % 9000 / 10000:.4f}" if n < CURRENCIES // 2 else "N/A" for n in range(CURRENCIES))
        lines.append(",".join([day.isoformat(), *rates, ""]))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("eurofxref-hist.csv", "\n".join(lines))
    return file.getvalue()


def _paced(rate: Rate, requests: int) -> RateResult:
    """Send requests to a slow vendor on loopback, with as many in flight as an extractor has."""
    with _vendor() as (url, arrived), Client(url, hosts=(), accept=("application/json",), rate=rate) as client:
        with ThreadPoolExecutor(MAX_IN_FLIGHT) as pool:
            list(pool.map(lambda number: client.get(f"/{number}"), range(requests)))
        times = sorted(arrived)
    most = max(sum(first <= at < first + rate.per_s for at in times) for first in times)
    ahead = 1 if rate.per_s > BURST_WINDOW_S else 1 / rate.requests  # what a window begins with
    windows = (times[-1] - times[0]) / rate.per_s + ahead
    return RateResult(rate, requests / windows / rate.requests, most)


@contextmanager
def _vendor() -> Iterator[tuple[str, list[float]]]:
    arrived: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            arrived.append(time.monotonic())
            time.sleep(ANSWER_S)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

    with http_server.serve(Handler) as url:
        yield url, arrived


def page(found: dict[str, dict[str, list[Measurement]]], paced: Sequence[RateResult]) -> Iterator[str]:
    """Yield a table for each document, and one of rates."""
    yield "From process start to exit, without network. The extractor also keeps every digit, validates types, ranges, keys and duplicates"
    yield "against the contract, and writes Parquet. The baselines validate nothing, and json.load alone writes nothing."
    yield "In bulk, the extractor reads an archive on loopback and commits each filer with the vendor's bytes."
    for name, runs in found.items():
        yield from ("", f"{name[0].upper()}{name[1:]}:", "")
        yield from measurement.format_table(runs, OURS, server=False)
    yield ""
    yield f"Requests, {MAX_IN_FLIGHT} under way at once, to a vendor on loopback that answers after {ANSWER_S * 1000:.0f} ms."
    yield ""
    yield "| allowed rate | reached | most requests in one window |"
    yield "| --- | ---: | ---: |"
    for one in paced:
        yield f"| {one.rate.requests} in {one.rate.per_s:g} s | {one.reached:.1%} | {one.most} |"
