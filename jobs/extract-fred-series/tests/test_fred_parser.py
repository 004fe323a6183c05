"""FRED's answers are parsed: a dot is a missing value, an interval never ends at the edge of a request; recorded answers are valid."""

from __future__ import annotations

import gzip
import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from extract_fred_series import source
from extract_fred_series.parser import parse
from jobkit import contracts, refusals
from jobkit.contracts import load_packaged
from jobkit.errors import BadDataError
from jobkit.http import ResourceNotFoundError
from jobkit.requests import Request

FEEDS = Path(__file__).parents[4] / "shared/feeds"
REAL_TIME = {"realtime_start": "1776-07-04", "realtime_end": "9999-12-31"}
on_feeds = pytest.mark.skipif(not FEEDS.exists(), reason="the vendors' own files are not on this machine")


def build_body(*rows: dict[str, Any], **head: Any) -> bytes:
    """A page of observations."""
    return json.dumps([{**REAL_TIME, "units": "lin", "output_type": 1, **head, "observations": list(rows)}]).encode()


def build_request(dataset: str, partition: str = "series=GDP") -> Request:
    return Request(dataset, (partition,), "/")


def observe(first: str, last: str, value: str, period: str = "2012-10-01") -> dict[str, Any]:
    """A row of observations."""
    return {"realtime_start": first, "realtime_end": last, "date": period, "value": value}


def test_an_interval_that_windows_of_real_time_cut_is_one_row() -> None:
    """The second value came on the first day of a window, the third lasts over two edges, an earlier quarter over all."""
    windows = [
        ({"realtime_end": "2013-02-27"}, [
            observe("2000-01-01", "2013-02-27", "7", "2000-01-01"), observe("2013-01-30", "2013-02-27", "1.0"),
        ]),
        ({"realtime_start": "2013-02-28", "realtime_end": "2013-04-01"}, [
            observe("2013-02-28", "2013-04-01", "7", "2000-01-01"), observe("2013-02-28", "2013-03-27", "2.0"),
            observe("2013-03-28", "2013-04-01", "3.0"),
        ]),
        ({"realtime_start": "2013-04-02", "realtime_end": "2013-05-01"}, [
            observe("2013-04-02", "2013-05-01", "7", "2000-01-01"), observe("2013-04-02", "2013-05-01", "3.0"),
        ]),
        ({"realtime_start": "2013-05-02"}, [
            observe("2013-05-02", "9999-12-31", "7", "2000-01-01"), observe("2013-05-02", "2013-07-30", "3.0"),
            observe("2013-07-31", "9999-12-31", "."),
        ]),
    ]  # fmt: skip
    pages = [json.loads(build_body(*rows, **head))[0] for head, rows in windows]
    columns = parse(json.dumps(pages).encode(), build_request("fred_observations"))["series=GDP"]
    assert sorted(zip(columns["date"], columns["realtime_start"], columns["realtime_end"], columns["value"], strict=True)) == [
        ("2000-01-01", "2000-01-01", "9999-12-31", "7"),
        ("2012-10-01", "2013-01-30", "2013-02-27", "1.0"),
        ("2012-10-01", "2013-02-28", "2013-03-27", "2.0"),
        ("2012-10-01", "2013-03-28", "2013-07-30", "3.0"),
        ("2012-10-01", "2013-07-31", "9999-12-31", None),
    ]
    with pytest.raises(BadDataError, match="was requested; look at --base-url"):
        parse(json.dumps(pages[:2] + pages[3:]).encode(), build_request("fred_observations"))


def test_a_window_has_fewer_vintages_than_fred_refuses() -> None:
    assert source.divide_real_time([]) == source.divide_real_time(["1991-12-04"] * 1900) == [tuple(REAL_TIME.items())]
    days = [(date(2000, 1, 1) + timedelta(days=2 * number)).isoformat() for number in range(4000)]
    windows = [dict(window) for window in source.divide_real_time(days)]
    assert windows == [
        {"realtime_start": "1776-07-04", "realtime_end": "2010-05-27"},
        {"realtime_start": "2010-05-28", "realtime_end": "2020-10-21"},
        {"realtime_start": "2020-10-22", "realtime_end": "9999-12-31"},
    ]
    for window in windows:
        assert sum(window["realtime_start"] <= day <= window["realtime_end"] for day in days) <= 1900


def test_a_dot_is_a_missing_value_whose_interval_stays() -> None:
    rows = [
        {"realtime_start": "1992-12-22", "realtime_end": "1996-01-18", "date": "1947-01-01", "value": "226.7"},
        {"realtime_start": "1996-01-19", "realtime_end": "1997-05-06", "date": "1947-01-01", "value": "."},
    ]
    columns = parse(build_body(*rows), build_request("fred_observations"))["series=GDP"]
    assert columns["value"] == ["226.7", None]
    assert columns["series_id"] == ["GDP", "GDP"]
    assert columns["realtime_start"] == ["1992-12-22", "1996-01-19"]


@pytest.mark.parametrize(
    "head", [{"realtime_start": "2024-10-30"}, {"realtime_end": "2019-01-01"}, {"units": "pch"}, {"output_type": 4}, {"units": None}]
)
def test_observations_of_other_vintages_or_units_are_refused(head: dict[str, Any]) -> None:
    with pytest.raises(BadDataError, match="was requested; look at --base-url"):
        parse(build_body(**head), build_request("fred_observations"))


@pytest.mark.parametrize("body", [b"{}", b"[]x", b"[1]", b'{"seriess": [1]}', b'{"seriess": [{"id": "GNP"}]}'])
def test_another_document_is_refused(body: bytes) -> None:
    with pytest.raises(BadDataError):
        parse(body, build_request("fred_series"))


def test_every_request_covers_all_of_real_time_and_no_day_of_today() -> None:
    requests = source.build_requests(series=["GDP", "CPIAUCSL", "GDP"], releases=["53"])
    assert [(request.dataset, *request.partitions) for request in requests] == [
        *(
            (dataset, f"series={name}")
            for name in ("GDP", "CPIAUCSL")
            for dataset in ("fred_series", "fred_series_releases", "fred_observations")
        ),
        ("fred_release_dates", "release=53"),
    ]
    assert all(set(REAL_TIME.items()) < set(request.params) for request in requests)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ('{"error_code":400,"error_message":"Bad Request.  The value for variable api_key is not registered."}', "refused"),
        ('{"error_code":400,"error_message":"Bad Request.  Variable api_key has not been set."}', "refused"),
        ('{"error_code":400,"error_message":"Bad Request. The series does not exist."}', "missing"),
    ],
)
def test_the_reasons_of_a_400_are_told_apart_by_their_words(text: str, means: str) -> None:
    meaning = refusals.find_meaning(source.MEANINGS, 400, text)
    assert meaning is not None
    assert meaning.means == means


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("The series does not exist in ALFRED but may exist in FRED.", "keeps no vintages of the series SP500, so that nobody can say"),
        ("The series does not exist.", "knows no series SP500; look its id up"),
    ],
)
def test_a_series_without_vintages_is_told_from_one_that_does_not_exist(answer: str, message: str) -> None:
    class Client:
        def get(self, *_: object, **__: object) -> None:
            raise ResourceNotFoundError(f"api.stlouisfed.org/fred/series does not exist (400): Bad Request. {answer}")

    for request in source.build_requests(series=["SP500"], releases=[]):
        with pytest.raises(ResourceNotFoundError, match=message):
            source.fetch(Client(), request, None)  # type: ignore[arg-type]


@on_feeds
@pytest.mark.parametrize(
    ("file", "dataset", "partition", "rows"),
    [
        ("observations_GDP_all_vintages_2024-11-03.json.gz", "fred_observations", "series=GDP", 3199),
        ("observations_GDP_all_vintages_2025-01-20.json.gz", "fred_observations", "series=GDP", 3201),
        ("series_GDP_2024-11-03.json", "fred_series", "series=GDP", 1),
        ("series_WGS10YR_2025-01-20.json", "fred_series", "series=WGS10YR", 1),
        ("series_release_GDP.json", "fred_series_releases", "series=GDP", 1),
        ("release_10_dates_2024-11-03.json", "fred_release_dates", "release=10", 927),
    ],
)
def test_recorded_answers_keep_their_contracts(file: str, dataset: str, partition: str, rows: int) -> None:
    body = (FEEDS / "fred" / file).read_bytes()
    columns = parse(gzip.decompress(body) if file.endswith(".gz") else body, build_request(dataset, partition))[partition]
    result = contracts.validate(load_packaged("extract_fred_series", dataset), columns)
    assert (result.read, result.table.num_rows, result.quarantine) == (rows, rows, None)


@on_feeds
def test_the_recorded_answer_up_to_a_day_is_refused_because_its_last_intervals_are_cut() -> None:
    body = gzip.decompress((FEEDS / "fred/observations_GDP_realtime_to_2019-01-01.json.gz").read_bytes())
    with pytest.raises(BadDataError, match="covers real time .*2019-01-01"):
        parse(body, build_request("fred_observations"))
