"""Years before the range are requested again if the agency updated them, so that no revision and no deletion is lost."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from extract_sdmx_series import parser, source
from jobkit import contracts
from jobkit.contracts import load_packaged
from jobkit.errors import BadDataError, UsageError
from jobkit.lake import CommitDraft, Lake
from jobkit.response_checks import NoDataError

if TYPE_CHECKING:
    from pathlib import Path

    from jobkit.requests import Request

SERIES = "EXR.M.USD.EUR.SP00.A"
HEADER = "KEY,FREQ,CURRENCY,CURRENCY_DENOM,EXR_TYPE,EXR_SUFFIX,TIME_PERIOD,OBS_VALUE,OBS_STATUS\n"
CONTRACT = load_packaged("extract_sdmx_series", "sdmx_observations")


class Answered:
    """A response with a body."""

    def __init__(self, body: bytes) -> None:
        self.body = body


class Agency:
    """An agency with the months of some years, each with a value and when it was updated. It says nothing about what it deleted."""

    def __init__(self, years: range, moment: datetime) -> None:
        self.months = {f"{year}-{month:02}": ("1.0", moment) for year in years for month in range(1, 13)}
        self.questions: list[dict[str, str]] = []

    def get(self, path: str, params: tuple[tuple[str, str], ...]) -> Any:
        assert path == "/data/ECB,EXR/M.USD.EUR.SP00.A"
        asked = dict(params)
        self.questions.append(asked)
        since = datetime.fromisoformat(asked.get("updatedAfter", "1970-01-01T00:00:00+00:00"))
        first, last = asked.get("startPeriod", "0"), asked.get("endPeriod", "9")
        rows = [(month, value) for month, (value, moment) in self.months.items() if first <= month <= last and moment > since]
        if not rows:
            raise NoDataError("No results found")
        return Answered((HEADER + "".join(f"{SERIES},M,USD,EUR,SP00,A,{month},{value},A\n" for month, value in rows)).encode())


def run(agency: Agency, lake: str, day: date, moment: datetime) -> list[Request]:
    """Do what the job does on a day: list the requests, and commit the answers."""
    options: dict[str, Any] = {"keys": (SERIES,), "agency": "ECB", "csv_format": "csvdata", "older_years": "updated"}
    options |= {"start": day, "end": day, "lookback_days": 7}
    requests = source.find_lister(lake=lake, **options)(agency, source.build_requests(**options))  # type: ignore[arg-type]
    for request in requests:
        body = agency.get(request.path, request.params).body
        ((partition, columns),) = parser.parse(body, request).items()
        table = contracts.validate(CONTRACT, columns).table
        draft = CommitDraft(contracts.to_parquet(table), table.num_rows, None, 0, tuple, CONTRACT.key, CONTRACT.leaf, {"job": "test"})
        Lake(lake, moment).commit(source.DATASET, partition, draft)
    return requests


def read(lake: str) -> dict[str, str]:
    """The months of the lake with their values."""
    import io

    from arro3.io import read_parquet

    store, months = Lake(lake), {}
    for partition in store.partitions(source.DATASET):
        head = store.read_state(source.DATASET, partition).head
        assert head
        table = read_parquet(io.BytesIO(store.read(head.data))).read_all()
        periods, values = (table.column(name).to_pylist() for name in ("time_period", "obs_value"))
        months |= {str(period): f"{value:.1f}" for period, value in zip(periods, values, strict=True)}
    return months


def test_no_revision_is_lost_for_a_day_and_no_deletion_for_a_week(tmp_path: Path) -> None:
    """Each day the agency revises months of any year, sometimes while the job runs or up to a day before it publishes them."""
    rng, lake = random.Random(6), str(tmp_path)  # noqa: S311  the same story every time
    first = datetime(2026, 9, 1, 8, tzinfo=UTC)
    agency = Agency(range(2019, 2027), first - timedelta(days=30))
    for year in range(2019, 2027):
        run(agency, lake, date(year, 12, 31), first)
    older_requests = 0
    for offset in range(1, 29):
        now = first + timedelta(days=offset)
        for month in rng.sample(sorted(agency.months), rng.choice((0, 0, 0, 1))):
            agency.months[month] = (f"{offset}.0", now - timedelta(hours=rng.choice((0, 5, 20))))
        if rng.random() < 0.3:
            del agency.months[rng.choice(sorted(agency.months))]
        if now.weekday() < 5:
            requests = run(agency, lake, now.date(), now)
            older_requests += len(requests) - 1 if now.weekday() else 0
            held = read(lake)
            expected = {month: value for month, (value, _) in agency.months.items()}
            assert {month: held.get(month) for month in expected} == expected, now
            assert now.weekday() or held == expected, now
    assert 0 < older_requests < 50  # of 16 days that are no Mondays, with seven older years each


def test_a_quiet_day_asks_one_question_about_all_older_years(tmp_path: Path) -> None:
    moment = datetime(2026, 9, 1, 8, tzinfo=UTC)
    agency = Agency(range(2020, 2027), moment - timedelta(days=30))
    for year in range(2020, 2027):
        run(agency, str(tmp_path), date(year, 12, 31), moment)
    agency.questions.clear()
    assert [request.partitions[0][-4:] for request in run(agency, str(tmp_path), date(2026, 9, 2), moment)] == ["2026"]
    assert [sorted(question) for question in agency.questions] == [["format", "updatedAfter"], ["endPeriod", "format", "startPeriod"]]
    assert agency.questions[0]["updatedAfter"] == "2026-08-24T00:00:00Z"


def test_older_years_are_left_alone_on_demand_and_a_new_series_is_looked_up(tmp_path: Path) -> None:
    agency = Agency(range(2026, 2027), datetime(2026, 9, 1, tzinfo=UTC))
    options: dict[str, Any] = {"agency": "ECB", "csv_format": "csvdata", "start": date(2026, 9, 7), "end": date(2026, 9, 7)}
    lister = source.find_lister(lake=str(tmp_path), keys=(SERIES,), older_years="none", lookback_days=0, **options)
    assert lister(agency, []) == []  # type: ignore[arg-type]
    assert agency.questions == [{"lastNObservations": "1", "format": "csvdata"}]
    agency.months.clear()
    with pytest.raises(
        UsageError, match=r"ECB has no observation of the series EXR\.M\.USD\.EUR\.SP00\.A, of any day; look at the spelling"
    ):
        lister(agency, [])  # type: ignore[arg-type]


def test_an_answer_about_updates_without_periods_is_refused(tmp_path: Path) -> None:
    agency = Agency(range(2026, 2027), datetime(2026, 9, 1, tzinfo=UTC))
    agency.get = lambda *_: Answered(b"STRUCTURE,STRUCTURE_ID\n")  # type: ignore[method-assign]
    options: dict[str, Any] = {"agency": "ECB", "csv_format": "csv", "start": date(2026, 9, 7), "end": date(2026, 9, 7), "lookback_days": 0}
    with pytest.raises(BadDataError, match="expected TIME_PERIOD"):
        source.find_lister(lake=str(tmp_path), keys=(SERIES,), older_years="updated", **options)(agency, [])  # type: ignore[arg-type]
