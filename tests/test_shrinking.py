"""An answer that leaves out what the lake holds closes nothing, until the vendor is right after all."""

from __future__ import annotations

import importlib
import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import pytest
from jobkit import extraction
from jobkit.body import Body
from jobkit.errors import DamagedError, JobError
from jobkit.extraction import ShrunkenReplayError
from jobkit.http import Response
from jobkit.lake import Lake
from jobkit.requests import Extractor, Request

from tests.warehouse.samples import load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jobkit.lake import Source

    from tests.fixtures_postgres import Warehouse

TIINGO = ("extract_tiingo_prices", "tiingo_prices")
TREASURY = ("extract_treasury_yields", "treasury_par_yields")
MASSIVE = ("extract_massive_daily_prices", "massive_daily_prices")
FACTS = ("extract_sec_company_facts", "sec_company_facts")
FILERS = ("extract_sec_filers", "sec_filers")


@dataclass
class Job:
    """A job that keeps its receipt."""

    name: str = "extract"
    version: str = "0"
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("finelt"))
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def record_partition(self, _dataset: str, partition: str, outcome: str, **details: Any) -> None:
        self.outcomes[partition] = {"outcome": outcome, **details}

    def progress(self, *_: object) -> None:
        """Ignore progress."""


class Vendor:
    """A vendor that answers each request with the given response or error, or with not modified."""

    base_url = "https://vendor.example"

    def __init__(self, bodies: Sequence[bytes | JobError], etag: str | None = None) -> None:
        self.bodies, self.etag, self.known = list(bodies), etag, []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ignore progress."""

    def url(self, path: str, _params: object) -> str:
        return f"{self.base_url}{path}"

    def answer(self, _client: object, request: Request, known: Source | None) -> Response:
        self.known.append(known)
        if known and known.etag == self.etag:
            return Response(None, self.url(request.path, ()), "", None, None)
        body = self.bodies[int(request.path[1:])]
        if isinstance(body, JobError):
            raise body
        content = Body()
        content.write(body)
        return Response(content, self.url(request.path, ()), "text/plain", self.etag, None)


@dataclass
class Place:
    """A lake that is filled repeatedly."""

    url: str
    vendor: Vendor = field(default_factory=lambda: Vendor(()))

    def extract(
        self,
        kind: tuple[str, str],
        *answers: tuple[tuple[str, ...], bytes | JobError],
        allow: bool = False,
        replay: bool = False,
        etag: str | None = None,
        lookback: frozenset[tuple[str, str]] = frozenset(),
    ) -> Job:
        """Ask for partitions, each answer being that of one question; whatever is raised is in the job's `error`."""
        package, dataset = kind
        self.vendor = Vendor([body for _, body in answers], etag)
        requests = [Request(dataset, partitions, f"/{number}") for number, (partitions, _) in enumerate(answers)]
        job = Job()
        parser = importlib.import_module(f"{package}.parser")
        extractor = Extractor(package, lambda: self.vendor, self.vendor.answer, parser.parse, lookback)  # type: ignore[arg-type,return-value]
        try:
            extraction.run(job, extractor, requests, lake=self.url, replay=replay, allow_shrinking=allow)  # type: ignore[arg-type]
        except JobError as error:
            job.outcomes["error"] = {"is": error}
        return job


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(str(tmp_path / "lake"))


def tiingo(*days: str, close: float = 10.0) -> bytes:
    same = dict.fromkeys(("open", "high", "low", "adjClose", "adjHigh", "adjLow", "adjOpen"), close)
    rest = {"volume": 100, "adjVolume": 100, "divCash": 0.0, "splitFactor": 1.0}
    return json.dumps([{"date": f"{day}T00:00:00.000Z", "close": close, **same, **rest} for day in days]).encode()


def treasury(*days: str) -> bytes:
    return "\n".join(["Date,2 Yr,10 Yr", *(f"{day},1.00,2.00" for day in days)]).encode()


def massive(*tickers: str, close: float = 5.0) -> bytes:
    bars = [{"T": ticker, "v": 1, "o": 5.0, "c": close, "h": 6.0, "l": 4.0, "t": 1370289600000} for ticker in tickers]
    return json.dumps({"status": "OK", "resultsCount": len(bars), "adjusted": False, **({"results": bars} if bars else {})}).encode()


def facts(*values: int) -> bytes:
    stated = [
        {"end": f"2010-{n:02}-28", "val": n, "accn": f"0000000007-11-{n:06}", "fy": 2010, "fp": "FY", "form": "10-K", "filed": "2011-02-28"}
        for n in values
    ]
    return json.dumps(
        {"cik": 7, "entityName": "Seven", "facts": {"us-gaap": {"Assets": {"units": {"USD": stated}}}} if values else {}}
    ).encode()


def filers(*tickers: str) -> bytes:
    return json.dumps(
        {str(n): {"cik_str": 100 + n, "ticker": ticker, "title": ticker.title()} for n, ticker in enumerate(tickers)}
    ).encode()


MANY = tuple(f"T{n:03}" for n in range(200))
SHRUNKEN = {
    "a day's empty answer": (MASSIVE, "date=2013-06-03", massive("A", "B"), massive(), 0),
    "a day cut to one of two": (MASSIVE, "date=2013-06-03", massive("A", "B"), massive("B"), 1),
    "one ticker of two hundred": (MASSIVE, "date=2013-06-03", massive(*MANY), massive(*MANY[1:]), 199),
    "one row lost and one come": (MASSIVE, "date=2013-06-03", massive("A", "B"), massive("B", "C"), 2),
    "more rows and one lost": (MASSIVE, "date=2013-06-03", massive("A", "B"), massive("B", "C", "D"), 3),
    "facts without facts": (FACTS, "cik=0000000007", facts(1, 2, 3), facts(), 0),
    "facts without the oldest": (FACTS, "cik=0000000007", facts(1, 2, 3), facts(2, 3), 2),
    "a year of one day in place of two": (TREASURY, "year=2013", treasury("01/03/2013", "01/02/2013"), treasury("01/02/2013"), 1),
    "a year without its newest day": (TIINGO, "ticker=Z/year=2013", tiingo("2013-01-02", "2013-01-03"), tiingo("2013-01-02"), 1),
    "one filer in place of two": (FILERS, "file=company_tickers", filers("A", "B"), filers("A"), 1),
    "a twentieth of the filers": (FILERS, "file=company_tickers", filers(*MANY), filers(*MANY[:190]), 190),
}


@pytest.mark.parametrize("name", SHRUNKEN)
def test_a_response_with_missing_rows_is_refused_unless_allowed(place: Place, name: str) -> None:
    kind, partition, whole, part, rows = SHRUNKEN[name]
    place.extract(kind, ((partition,), whole))
    before = Lake(place.url).head(kind[1], partition)
    assert before is not None
    refused = place.extract(kind, ((partition,), part))
    error = refused.outcomes["error"]["is"]
    assert (error.exit_code, refused.outcomes[partition]["outcome"]) == (75, "failed")
    assert f"of the {before.data.rows} rows of commit 1 are missing from what came, which has {rows}; nothing was committed" in str(error)
    assert "--allow-shrinking" in refused.outcomes[partition]["reason"]
    assert Lake(place.url).head(kind[1], partition) == before
    again = place.extract(kind, ((partition,), whole))
    assert again.outcomes[partition]["outcome"] == "unchanged"
    taken = place.extract(kind, ((partition,), part), allow=True)
    assert (taken.outcomes[partition]["outcome"], taken.outcomes[partition]["rows"]) == ("committed", rows)
    assert taken.outcomes[partition]["rows_closed"] > 0
    assert "error" not in taken.outcomes


def test_the_receipt_counts_the_rows_that_a_commit_adds_and_closes(place: Place) -> None:
    day = "ticker=Z/year=2013"
    first = place.extract(TIINGO, ((day,), tiingo("2013-01-02", "2013-01-03"))).outcomes[day]
    assert (first["rows_added"], first["rows_closed"]) == (2, 0)
    grown = place.extract(TIINGO, ((day,), tiingo("2013-01-02", "2013-01-03", "2013-01-04"))).outcomes[day]
    assert (grown["rows_added"], grown["rows_closed"]) == (1, 0)
    restated = place.extract(TIINGO, ((day,), tiingo("2013-01-02", "2013-01-03", "2013-01-04", close=11.0))).outcomes[day]
    assert (restated["rows_added"], restated["rows_closed"]) == (3, 3)


def test_the_receipt_equals_what_the_warehouse_does(place: Place, warehouse: Warehouse) -> None:
    day = "ticker=Z/year=2013"
    for days, close in ((("2013-01-02", "2013-01-03"), 10.0), (("2013-01-03", "2013-01-04"), 10.0), (("2013-01-04",), 11.0)):
        said = place.extract(TIINGO, ((day,), tiingo(*days, close=close)), allow=True).outcomes[day]
        done = load(place.url, warehouse).details[0]
        assert (said["rows_added"], said["rows_closed"]) == (done["rows_added"], done["rows_closed"])


def test_other_partitions_are_committed(place: Place) -> None:
    days = ["date=2013-06-03", "date=2013-06-03"]
    place.extract(MASSIVE, ((days[0],), massive("A", "B")))
    place.extract(TIINGO, (("ticker=Z/year=2012", "ticker=Z/year=2013"), tiingo("2012-01-03", "2013-01-02", "2013-01-03")))
    both = ("ticker=Z/year=2012", "ticker=Z/year=2013")
    mixed = place.extract(TIINGO, (both, tiingo("2012-01-03", "2012-01-04", "2013-01-02")), (("ticker=Y/year=2013",), tiingo("2013-01-02")))
    assert {name: entry.get("outcome") for name, entry in mixed.outcomes.items()} == {
        both[0]: "committed", both[1]: "failed", "ticker=Y/year=2013": "committed", "error": None,
    }  # fmt: skip


def test_quarantined_rows_are_not_missing_rows(place: Place) -> None:
    day = ("date=2013-06-03",)
    place.extract(MASSIVE, (day, massive(*MANY)))
    body = json.loads(massive(*MANY))
    body["results"][7]["c"] = 99.0  # above its high
    job = place.extract(MASSIVE, (day, json.dumps(body).encode()))
    entry = job.outcomes[day[0]]
    assert (entry["outcome"], entry["quarantined"], entry["rows_closed"]) == ("committed", 1, 1)
    body["results"][7]["T"] = "NEW"  # quarantined as well, and not the row that is gone
    place.extract(MASSIVE, (day, massive(*MANY)), allow=True)
    assert place.extract(MASSIVE, (day, json.dumps(body).encode())).outcomes["error"]["is"].exit_code == 75


def test_a_few_missing_filers_are_accepted_and_logged(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    name = "file=company_tickers"
    place.extract(FILERS, ((name,), filers(*MANY)))
    assert place.extract(FILERS, ((name,), filers(*MANY[:197]))).outcomes[name]["rows_closed"] == 3
    assert "rows closed that were not sent again" in caplog.text


def test_a_partition_that_comes_empty_is_refused(place: Place) -> None:
    years = ("ticker=Z/year=2010", "ticker=Z/year=2011", "ticker=Z/year=2012", "ticker=Z/year=2013")
    place.extract(TIINGO, (years, tiingo("2010-01-04", "2012-01-03", "2013-01-02")))
    for days, refused in ([("2010-01-04", "2013-01-02"), years[2]], [("2010-01-04", "2012-01-03"), years[3]], [(), years[0]]):
        kept = place.extract(TIINGO, (years, tiingo(*days))).outcomes
        assert kept[refused]["outcome"] == "failed"
        assert kept["error"]["is"].exit_code == 75
        assert "the vendor has no data for it any more; nothing was committed and the 1 rows of commit 1 stay" in kept[refused]["reason"]
        assert "--allow-shrinking" in kept[refused]["reason"]
        assert kept[years[1]]["reason"] == "the vendor has no data for it"


def test_years_before_the_vendors_history_are_kept_and_reported_and_closed_if_allowed(
    place: Place, warehouse: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    """The ticker belongs to another company by now, or the vendor offers fewer years."""
    years = ("ticker=Z/year=2010", "ticker=Z/year=2011", "ticker=Z/year=2013")
    place.extract(TIINGO, (years, tiingo("2010-01-04", "2013-01-02")))
    kept = place.extract(TIINGO, (years, tiingo("2013-01-02"))).outcomes
    assert [kept[year]["outcome"] for year in years] == ["skipped", "skipped", "unchanged"]
    assert "error" not in kept
    assert "the lake keeps the 1 rows of commit 1, --allow-shrinking closes them" in kept[years[0]]["reason"]
    assert "withdrawn" in caplog.text
    load(place.url, warehouse)
    closed = place.extract(TIINGO, (years, tiingo("2013-01-02")), allow=True).outcomes
    assert [closed[year]["outcome"] for year in years] == ["committed", "skipped", "unchanged"]
    assert (closed[years[0]]["rows"], closed[years[0]]["rows_closed"]) == (0, 1)
    load(place.url, warehouse)
    assert warehouse.rows("select date::text, known_to = 'infinity' from raw.tiingo_prices order by 1") == [
        ("2010-01-04", False), ("2013-01-02", True),
    ]  # fmt: skip
    replayed = place.extract(TIINGO, (years[:1], b""), replay=True)
    assert replayed.outcomes[years[0]]["outcome"] == "unchanged"


def test_a_lookback_never_closes_rows_as_withdrawn(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    years = ("ticker=Z/year=2012", "ticker=Z/year=2013")
    lookback = frozenset({("tiingo_prices", years[0])})
    place.extract(TIINGO, (years, tiingo("2012-01-03", "2013-01-02")))
    kept = place.extract(TIINGO, (years, tiingo("2013-01-02")), allow=True, lookback=lookback).outcomes
    assert [kept[year]["outcome"] for year in years] == ["skipped", "unchanged"]
    assert kept[years[0]]["reason"] == "the vendor has no data for it any more; the lake keeps the 1 rows of commit 1"
    assert "withdrawn" in caplog.text
    assert Lake(place.url).commit_numbers("tiingo_prices", years[0]) == [1]


def test_a_replay_with_fewer_rows_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from extract_tiingo_prices import parser

    year = "ticker=Z/year=2013"
    place.extract(TIINGO, ((year,), tiingo("2013-01-02", "2013-01-03")))
    whole = parser.parse
    for broken in (
        lambda body, request: {name: {key: cells[:1] for key, cells in columns.items()} for name, columns in whole(body, request).items()},
        lambda *_: {},
    ):
        monkeypatch.setattr(parser, "parse", broken)
        refused = place.extract(TIINGO, ((year,), b""), replay=True)
        assert isinstance(refused.outcomes["error"]["is"], ShrunkenReplayError)
        assert refused.outcomes["error"]["is"].exit_code == 65


def test_a_response_is_compared_by_row_count_if_the_previous_file_is_lost(place: Place) -> None:
    year = "ticker=Z/year=2013"
    place.extract(TIINGO, ((year,), tiingo("2013-01-02", "2013-01-03")))
    for path in list(Lake(place.url).store.list_keys("raw/tiingo_prices/")):
        if path.endswith(".parquet"):
            Lake(place.url).store.put(path, b"rotten")
    assert place.extract(TIINGO, ((year,), tiingo("2013-01-02"))).outcomes["error"]["is"].exit_code == 75
    assert place.extract(TIINGO, ((year,), tiingo("2013-01-02", "2013-01-03", "2013-01-04"))).outcomes[year]["outcome"] == "committed"


@pytest.mark.parametrize("lost", ["parquet", "zst"])
@pytest.mark.parametrize("text", [b"", b"rotten"])
def test_everything_is_requested_again_if_a_file_is_damaged(place: Place, lost: str, text: bytes) -> None:
    year = ("ticker=Z/year=2013",)
    place.extract(TIINGO, (year, tiingo("2013-01-02")), etag="v1")
    assert place.extract(TIINGO, (year, tiingo("2013-01-02")), etag="v1").outcomes[year[0]]["outcome"] == "unchanged"
    assert place.vendor.known[0] is not None
    store = Lake(place.url).store
    (path,) = (path for path in store.list_keys("raw/tiingo_prices/") if path.endswith(lost))
    store.put(path, text)
    healed = place.extract(TIINGO, (year, tiingo("2013-01-02")), etag="v1").outcomes[year[0]]
    assert (healed["outcome"], healed["repaired"]) == ("unchanged", [path])
    assert place.vendor.known == [None]
    assert place.extract(TIINGO, (year, tiingo("2013-01-02")), etag="v1").outcomes[year[0]].get("repaired") is None


def test_a_damaged_newest_commit_is_followed_by_a_valid_one(place: Place) -> None:
    year = "ticker=Z/year=2013"
    for days in (("2013-01-02",), ("2013-01-02", "2013-01-03")):
        place.extract(TIINGO, ((year,), tiingo(*days)))
    Lake(place.url).store.put(f"raw/tiingo_prices/{year}/_commits/000002.json", b"{")
    replayed = place.extract(TIINGO, ((year,), b""), replay=True)
    assert isinstance(replayed.outcomes["error"]["is"], DamagedError)
    healed = place.extract(TIINGO, ((year,), tiingo("2013-01-02", "2013-01-03"))).outcomes[year]
    assert (healed["outcome"], healed["commit"], "000002.json is damaged" in healed["healed"]) == ("committed", 3, True)
    assert place.extract(TIINGO, ((year,), tiingo("2013-01-02", "2013-01-03"))).outcomes[year]["outcome"] == "unchanged"


def test_a_replay_continues_after_a_partition_whose_bytes_are_lost(place: Place) -> None:
    place.extract(TIINGO, (("ticker=Y/year=2013",), tiingo("2013-01-02")), (("ticker=Z/year=2013",), tiingo("2013-01-03")))
    store = Lake(place.url).store
    head = Lake(place.url).head("tiingo_prices", "ticker=Y/year=2013")
    assert head is not None
    store.put(head.source[0].path, b"rotten")
    outcomes = place.extract(TIINGO, (("ticker=Y/year=2013",), b""), (("ticker=Z/year=2013",), b""), replay=True).outcomes
    assert (outcomes["ticker=Y/year=2013"]["outcome"], outcomes["ticker=Z/year=2013"]["outcome"]) == ("failed", "unchanged")
    assert outcomes["error"]["is"].exit_code == 65
