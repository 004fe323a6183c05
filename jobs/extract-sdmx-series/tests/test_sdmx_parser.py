"""SDMX-CSV is parsed by the key that was asked for, whatever else its header has; recorded answers are valid under the contract."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import date
from pathlib import Path

import pytest
from extract_sdmx_series import source
from extract_sdmx_series.parser import parse
from jobkit import contracts
from jobkit.contracts import load_packaged
from jobkit.errors import BadDataError
from jobkit.requests import Request

from verification.faults import job_runs
from verification.sample_vendors import server

FEEDS = Path(__file__).parents[4] / "shared/feeds"


def request(agency: str, series: str, year: int) -> Request:
    return Request("sdmx_observations", (f"agency={agency}/series={series}/year={year}",), "/")


RATE = request("ECB", "EST.B.EU000A2X2A25.WT", 2025)
HEADER = "KEY,FREQ,BENCHMARK_ITEM,DATA_TYPE_EST,TIME_PERIOD,OBS_VALUE,OBS_STATUS,TITLE,UNIT_MEASURE,UNIT_MULT\n"
DAY = 'EST.B.EU000A2X2A25.WT,B,EU000A2X2A25,WT,{day},{value},{status},"Rate, mean",PC,0\n'


def test_a_missing_observation_is_a_row_with_its_status() -> None:
    days = DAY.format(day="2025-01-02", value="2.92", status="A") + DAY.format(day="2025-01-03", value="", status="M")
    ((partition, columns),) = parse((HEADER + days + DAY.format(day="2025-01-06", value="NaN", status="H")).encode(), RATE).items()
    assert partition == "agency=ECB/series=EST.B.EU000A2X2A25.WT/year=2025"
    assert (columns["obs_value"], columns["obs_status"]) == (["2.92", None, None], ["A", "M", "H"])
    assert columns["series_key"] == ["EST.B.EU000A2X2A25.WT"] * 3
    assert json.loads(str(columns["dimensions"][0])) == {"FREQ": "B", "BENCHMARK_ITEM": "EU000A2X2A25", "DATA_TYPE_EST": "WT"}
    assert json.loads(str(columns["attributes"][0])) == {"TITLE": "Rate, mean"}
    assert (columns["unit_measure"][0], columns["unit_mult"][0]) == ("PC", "0")


def test_the_days_of_neighbouring_years_are_left_to_their_partitions() -> None:
    days = "".join(DAY.format(day=day, value="1", status="A") for day in ("2024-12-31", "2025-01-02", "2026-01-02"))
    assert parse((HEADER + days).encode(), RATE)[RATE.partitions[0]]["time_period"] == ["2025-01-02"]
    assert parse((HEADER + DAY.format(day="2024-12-31", value="1", status="A")).encode(), RATE) == {}
    assert parse(HEADER.encode(), RATE) == {}


@pytest.mark.parametrize(
    ("period", "day"),
    [
        ("2025", "2025-01-01"),
        ("2025-A1", "2025-01-01"),
        ("2025-03", "2025-03-01"),
        ("2025-Q4", "2025-10-01"),
        ("2025-S2", "2025-07-01"),
        ("2025-W01", "2024-12-30"),
        ("2025-D032", "2025-02-01"),
        ("2025-01-02T10:00:00", "2025-01-02"),
        ("2025-Q5", None),
        ("2025-02-30", None),
        ("2025-W00", None),
        ("n/a", None),
    ],
)
def test_a_period_has_its_first_day_or_is_a_bad_row(period: str, day: str | None) -> None:
    columns = parse((HEADER + DAY.format(day=period, value="1", status="A")).encode(), RATE)[RATE.partitions[0]]
    assert columns["period_start"] == [day]
    with nullcontext() if day else pytest.raises(BadDataError, match="period_start is missing"):
        contracts.validate(load_packaged("extract_sdmx_series", "sdmx_observations"), columns)


STANDARD = "STRUCTURE,STRUCTURE_ID,ACTION,FREQ,REF_AREA,TIME_PERIOD,OBS_VALUE,UNIT\n"
POLICY = request("BIS", "WS_CBPOL.M.AU", 2026)


@pytest.mark.parametrize(
    ("asked", "text", "message"),
    [
        (RATE, HEADER + DAY.format(day="2019-12-31", value="1", status="A"), "has the periods 2019-12-31"),
        (RATE, HEADER + DAY.format(day="2025-01-02", value="1", status="A").replace(",WT,", ",R25,"), "expected only EST.B"),
        (RATE, HEADER + DAY.format(day="2025-01-02", value="1", status="A").replace("EST.B", "EXR.B"), "expected only EST.B"),
        (RATE, HEADER.replace("FREQ,BENCHMARK_ITEM", "BENCHMARK_ITEM"), "expected the ids of 3 dimensions"),
        (RATE, HEADER.replace("OBS_VALUE", "OBS_VALUE: Value"), "TIME_PERIOD and OBS_VALUE"),
        (POLICY, STANDARD.replace("FREQ,", "FREQ: Frequency,"), "expected the ids of 2 dimensions"),
        (RATE, "<message:Error/>", "TIME_PERIOD and OBS_VALUE"),
        (POLICY, STANDARD + "dataflow,BIS:WS_CBPOL(1.0),D,M,AU,2026-06,4.35,\n", "without deletions"),
        (POLICY, STANDARD + "dataflow,ECB:WS_CBPOL(1.0),I,M,AU,2026-06,4.35,\n", "expected only WS_CBPOL"),
        (POLICY, STANDARD.replace("STRUCTURE,", "STRUCTURE[;],"), "expected the ids of 2 dimensions"),
        (POLICY, "DATAFLOW,FREQ,REF_AREA,TIME_PERIOD,OBS_VALUE\nBIS:OTHER(1.0),M,AU,2026-06,4.35\n", "expected only WS_CBPOL"),
    ],
)
def test_another_answer_is_refused(asked: Request, text: str, message: str) -> None:
    with pytest.raises(BadDataError, match=message):
        parse(text.encode(), asked)


def test_sdmx_csv_2_has_its_actions_and_another_name_of_the_unit() -> None:
    columns = parse((STANDARD + "dataflow,BIS:WS_CBPOL(1.0),I,M,AU,2026-06,4.35,AUD\n").encode(), POLICY)[POLICY.partitions[0]]
    assert (columns["unit_measure"], columns["obs_status"], columns["attributes"]) == (["AUD"], [None], ["{}"])


def test_a_whole_year_is_asked_for_and_a_week_more() -> None:
    requests = source.build_requests(
        start=date(2025, 1, 3), end=date(2025, 3, 1), lookback_days=7, keys=("EXR.D.USD.EUR.SP00.A",), agency="ECB", csv_format="csvdata"
    )
    assert [request.partitions[0][-9:] for request in requests] == ["year=2024", "year=2025"]
    assert requests[1].path == "/data/EXR/D.USD.EUR.SP00.A"
    assert requests[1].params == (("startPeriod", "2024-12-25"), ("endPeriod", "2026-01-07"), ("format", "csvdata"))


@pytest.mark.skipif(not FEEDS.exists(), reason="the vendors' own files are not on this machine")
@pytest.mark.parametrize(
    ("file", "agency", "series", "year", "rows"),
    [
        ("ecb/sdmx_EST_3m_compounded_csvdata.csv", "ECB", "EST.B.EU000A2QQF32.CR", 2026, 2),
        ("sdmx/bis_cbpol_AU_csv.csv", "BIS", "WS_CBPOL.M.AU", 2026, 3),
    ],
)
def test_recorded_answers_keep_the_contract(file: str, agency: str, series: str, year: int, rows: int) -> None:
    (columns,) = parse((FEEDS / file).read_bytes(), request(agency, series, year)).values()
    result = contracts.validate(load_packaged("extract_sdmx_series", "sdmx_observations"), columns)
    assert (result.read, result.table.num_rows, result.quarantine) == (rows, rows, None)


@pytest.mark.skipif(not FEEDS.exists(), reason="the vendors' own files are not on this machine")
def test_the_missing_observations_of_a_recorded_answer_stay() -> None:
    header, *lines = (FEEDS / "sdmx/bis_der_sdmxcsv10.csv").read_text().splitlines(keepends=True)
    missing = next(line for line in lines if ",M,F," in line)
    names, cells = header.strip().split(","), missing.strip().split(",")
    key = ".".join(["BIS_DER", *cells[1 : names.index("TIME_PERIOD")]])
    asked = request("BIS", key, int(cells[names.index("TIME_PERIOD")]))
    columns = parse((header + missing).encode(), asked)[asked.partitions[0]]
    assert (columns["obs_value"], columns["obs_status"]) == ([None], ["M"])


def test_a_year_before_the_series_begins_is_skipped(tmp_path: Path) -> None:
    with server.run_server() as vendors:
        words = ["--lake", str(tmp_path), "--start", "2023-06-01", "--end", "2025-01-10", "--keys", "EST.B.EU000A2X2A25.WT"]
        result = job_runs.run_job("extract-sdmx-series", [*words, "--base-url", f"{vendors}/data-api.ecb.europa.eu/service"])
    assert result.code == 0, result.stderr
    assert result.receipt
    outcomes = [(one["partition"][-9:], one["outcome"]) for one in result.receipt["partitions"]]
    assert outcomes == [("year=2023", "skipped"), ("year=2024", "skipped"), ("year=2025", "committed")]
