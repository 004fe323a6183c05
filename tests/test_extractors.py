"""The extractors as processes against the sample vendors: their commits, reruns and faults."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from jobs.catalogue import catalogue
from tests import forks
from verification.sample_vendors.server import VENDORS, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

RANGE = ("--start", "2012-12-20", "--end", "2013-01-04", "--lookback-days", "0")
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "extract-ecb-fx-rates": RANGE,
    "extract-treasury-yields": RANGE,
    "extract-tiingo-prices": (*RANGE, "--tickers", "AAPL", "--tickers", "GOOG"),
    "extract-massive-daily-prices": (*RANGE, "--requests-per-minute", "6000"),
    "extract-sec-company-facts": ("--ciks", "320193", "--contact", "Example Ltd admin@example.com"),
    "extract-sec-filings": ("--ciks", "320193", "--contact", "Example Ltd admin@example.com"),
    "extract-sec-13f-holdings": (
        *("--start", "2021-01-01", "--end", "2021-12-31", "--managers", "1619124", "--contact", "Example Ltd admin@example.com"),
    ),
    "extract-sec-insider-transactions": (
        *("--start", "2020-10-01", "--end", "2020-12-31", "--issuers", "875320", "--contact", "Example Ltd admin@example.com"),
    ),
    "extract-sec-filers": ("--contact", "Example Ltd admin@example.com"),
    "extract-fred-series": ("--series", "GDP", "--releases", "53"),
    "extract-sdmx-series": ("--start", "2025-01-02", "--end", "2025-01-10", "--lookback-days", "0"),
    "extract-gleif-entities": tuple(
        word for name in ("entities", "relationships", "exceptions") for word in ("--datasets", f"gleif_{name}")
    ),
    "extract-openfigi-identifiers": tuple(
        word for name in ("ID_ISIN:US4592001014", "TICKER:IBM:US", "TICKER:ZZZZ:US") for word in ("--identifiers", name)
    ),
    "extract-gleif-isins": ("--identifiers", "ID_ISIN:DE0006969603", "--identifiers", "ID_ISIN:US4592001014"),
    "extract-fiscaldata-debt": ("--start", "2025-01-02", "--end", "2025-01-02", "--lookback-days", "0", "--datasets", "debt"),
    "extract-nyfed-rates": ("--start", "2026-08-04", "--end", "2026-08-05", "--rates", "sofr", "--rates", "effr", "--rates", "sofrai"),
}
ROWS = {
    "extract-ecb-fx-rates": 256 + 42,
    "extract-treasury-yields": 250 + 250,
    "extract-tiingo-prices": 2 * (250 + 40),
    "extract-massive-daily-prices": 4 * 10,
    "extract-sec-company-facts": 752,
    "extract-sec-filings": 8,
    "extract-sec-13f-holdings": 5,
    "extract-sec-insider-transactions": 3,
    "extract-sec-filers": 5,
    "extract-fiscaldata-debt": 61,
    "extract-gleif-entities": 11 + 4 + 3 + 3,
    "extract-openfigi-identifiers": 8 + 1 + 1,
    "extract-gleif-isins": 1 + 1,
    "extract-sdmx-series": 4 * 7,
    "extract-nyfed-rates": 2 + 2 + 2,
    "extract-fred-series": 1 + 1 + 127 + 49,
}
SPECS = {spec.name: spec for spec in catalogue() if set(spec.hosts) & set(VENDORS)}  # whoever has no sample vendor has tests of its own

every_extractor = pytest.mark.parametrize("name", SPECS)


@dataclass(frozen=True)
class Runner:
    """Runs extractors into one lake."""

    url: str
    lake: Path

    def __call__(self, name: str, *more: str, fault: str = "", token: str = "sample", verb: str = "run") -> tuple[int, dict[str, Any]]:
        host = SPECS[name].hosts[0]
        words = ["--lake", str(self.lake), "--base-url", f"{self.url}{fault}/{host}", *ARGUMENTS[name], *more]
        tokens = {"TIINGO_TOKEN": token, "MASSIVE_TOKEN": token, "FRED_TOKEN": token, "OPENFIGI_TOKEN": token}
        done = forks.run([sys.executable, "-m", SPECS[name].package, verb, *words], {**os.environ, **tokens}, timeout=60)
        assert "Traceback" not in done.stderr, done.stderr
        (line,) = done.stdout.splitlines()
        return done.returncode, json.loads(line)

    def files(self) -> dict[str, str]:
        """The digest of everything in the lake."""
        return {
            str(path.relative_to(self.lake)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.lake.rglob("*")
            if path.is_file()
        }


@pytest.fixture(scope="module")
def vendors() -> Iterator[str]:
    with run_server() as url:
        yield url


@pytest.fixture
def extract(vendors: str, tmp_path: Path) -> Runner:
    return Runner(vendors, tmp_path / "lake")


def test_every_extractor_is_tested_here() -> None:
    assert set(ARGUMENTS) == set(SPECS)


@every_extractor
def test_a_rerun_changes_nothing_and_a_replay_needs_no_vendor(extract: Runner, name: str) -> None:
    code, first = extract(name)
    assert (code, first["status"], first["rows"], first["quarantined"]) == (0, "done", ROWS[name], 0)
    before = extract.files()
    code, again = extract(name)
    assert (code, again["status"], again["committed"], again["rows"]) == (0, "unchanged", 0, first["rows"])
    code, replayed = extract(name, "--replay", fault="/~redirected")
    assert (code, replayed["status"], replayed["unchanged"]) == (0, "unchanged", first["committed"])
    assert extract.files() == before


@every_extractor
def test_plan_and_check_write_nothing(extract: Runner, name: str) -> None:
    code, planned = extract(name, verb="plan")
    assert code == 0
    assert planned["details"]["plan"]
    assert extract(name, verb="check")[0] == 0
    assert {path.rpartition("/")[2] for path in extract.files() if path.startswith("raw/")} == {"_check"}


@every_extractor
@pytest.mark.parametrize(
    ("fault", "code", "told"),
    [
        ("/~html", 75, "answered 200 with text/html"),
        ("/~truncated", 75, "broke off|cut short"),
        ("/~unavailable", 75, "is busy"),
        ("/~redirected", 65, "may not call|redirects a POST"),
    ],
)
def test_a_vendor_error_writes_nothing_to_the_lake(extract: Runner, name: str, fault: str, code: int, told: str) -> None:
    import re

    ended, receipt = extract(name, "--retry-timeout", "0", fault=fault)
    assert (ended, receipt["status"]) == (code, "failed")
    assert re.search(told, receipt["error"])
    assert extract.files() == {}


@pytest.mark.parametrize("fault", ["/~truncated-1", "/~unavailable-1", "/~limited-1"])
def test_a_temporary_fault_is_retried(extract: Runner, fault: str) -> None:
    code, receipt = extract("extract-sec-company-facts", fault=fault)
    assert (code, receipt["rows"]) == (0, ROWS["extract-sec-company-facts"])


def test_an_unknown_ticker_is_named_and_the_others_are_committed(extract: Runner) -> None:
    code, receipt = extract("extract-tiingo-prices", "--tickers", "ZZZZZ")
    assert (code, receipt["committed"]) == (2, 4)
    assert "no ticker ZZZZZ" in receipt["error"]


def test_an_unknown_filer_is_named_by_its_number(extract: Runner) -> None:
    code, receipt = extract("extract-sec-company-facts", "--ciks", "999")
    assert code == 2
    assert "cik=0000000999" in receipt["error"]


@pytest.mark.parametrize("name", ["extract-tiingo-prices", "extract-massive-daily-prices"])
def test_a_refused_token_is_reported_and_not_shown(extract: Runner, name: str) -> None:
    code, receipt = extract(name, token="refused")
    assert (code, receipt["committed"]) == (77, 0)
    assert "check the token" in receipt["error"]


def test_an_unwritable_lake_is_misconfigured(extract: Runner) -> None:
    extract.lake.write_text("a file in the way")
    code, receipt = extract("extract-sec-filers")
    assert code == 78
    assert str(extract.lake) in receipt["error"]


def test_the_daily_file_fills_its_own_day(extract: Runner) -> None:
    code, receipt = extract("extract-ecb-fx-rates", "--start", "2013-02-28", "--end", "2013-02-28", "--file", "daily")
    assert (code, receipt["partitions"][0]["partition"], receipt["rows"]) == (0, "date=2013-02-28", 1)
    code, receipt = extract("extract-ecb-fx-rates", "--file", "daily")
    assert code == 2
    assert "has one day" in receipt["error"]


WITH_DATES = [name for name in ARGUMENTS if set(RANGE) <= set(ARGUMENTS[name])]  # whose sample vendors have the turn of a year
NEW_YEAR = ("--start", "2013-01-02", "--end", "2013-01-02")


@pytest.mark.parametrize("name", WITH_DATES)
def test_the_first_days_of_a_year_request_the_last_days_of_the_previous_year_again(extract: Runner, name: str) -> None:
    described = subprocess.run([sys.executable, "-m", SPECS[name].package, "describe"], capture_output=True, text=True, check=True)
    window = json.loads(described.stdout)["options"]["properties"]["lookback_days"]["default"]
    assert extract(name, "--start", "2012-12-31", "--end", "2012-12-31")[0] == 0
    code, receipt = extract(name, *NEW_YEAR, "--lookback-days", str(window))
    assert code == 0
    outcomes = {part["partition"]: part["outcome"] for part in receipt["partitions"]}
    assert {outcome for partition, outcome in outcomes.items() if "=2012" in partition} >= {"unchanged"}
    assert [outcome for partition, outcome in outcomes.items() if "=2013" in partition] != []
    code, receipt = extract(name, *NEW_YEAR)
    assert [part["partition"] for part in receipt["partitions"] if "=2012" in part["partition"]] == []


def test_rows_that_a_vendor_publishes_late_come_with_the_next_run(tmp_path: Path) -> None:
    """The last day of the year is not there yet when the job of that day runs."""
    first, last, new_year = ("2012-12-28", "1.3183"), ("2012-12-31", "1.3194"), ("2013-01-02", "1.3262")
    run = partial(ecb, tmp_path / "lake")
    assert run([first], "2012-12-31") == {"year=2012": 1}
    assert run([first, last, new_year], "2013-01-02") == {"year=2012": 2, "year=2013": 1}


def ecb(lake: Path, rates: Sequence[tuple[str, str]], day: str) -> dict[str, int]:
    """Run the ECB's extractor for a day while the file holds these rates; the rows of each partition."""
    text = "Date,USD,\n" + "".join(f"{date},{rate},\n" for date, rate in reversed(rates))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("eurofxref-hist.csv", text)
    with answering(archive.getvalue(), "application/zip") as url:
        words = ["--lake", str(lake), "--base-url", url, "--start", day, "--end", day]
        done = subprocess.run([sys.executable, "-m", "extract_ecb_fx_rates", "run", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {part["partition"]: part["rows"] for part in json.loads(done.stdout)["partitions"]}


def test_a_vendor_may_lack_the_days_before_the_requested_ones(tmp_path: Path) -> None:
    words = ["--lake", str(tmp_path / "lake"), *NEW_YEAR, "--requests-per-minute", "6000"]
    body = b'{"status": "OK", "adjusted": false, "resultsCount": 0, "results": []}'
    with answering(body, "application/json", only="2013-01-02") as url:
        command = [sys.executable, "-m", "extract_massive_daily_prices", "run", *words, "--base-url", url]
        done = subprocess.run(command, env={**os.environ, "MASSIVE_TOKEN": "t"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    outcomes = {part["partition"]: part["outcome"] for part in json.loads(done.stdout)["partitions"]}
    assert outcomes == {"date=2012-12-31": "skipped", "date=2013-01-01": "skipped", "date=2013-01-02": "committed"}


@contextmanager
def answering(body: bytes, media_type: str, only: str = "") -> Iterator[str]:
    """A vendor with one answer to every path that holds `only`; it knows no others."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if only in self.path else 404)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_day_without_trading_is_committed_as_empty(extract: Runner) -> None:
    _, receipt = extract("extract-massive-daily-prices")
    rows = {part["partition"]: (part["outcome"], part["rows"]) for part in receipt["partitions"]}
    assert rows["date=2012-12-25"] == ("committed", 0)
    assert rows["date=2012-12-26"] == ("committed", 4)
