"""SDMX-CSV is parsed by the key that was asked for, whatever else its header has; recorded answers are valid under the contract."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import date
from pathlib import Path

import click
import pytest
from extract_sdmx_series import source
from extract_sdmx_series.__main__ import OPTIONS
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


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5E-4", "0.00015"),
        ("1e+06", "1000000"),
        ("2.90", "2.90"),
        ("+1.2", "1.2"),
        ("-.5", "-0.5"),
        ("5.", "5"),
        ("1E9999", "1E9999"),
        ("6.5 p", "6.5 p"),
    ],
)
def test_a_value_is_a_number_in_any_form_that_sdmx_permits(text: str, value: str) -> None:
    (columns,) = parse((HEADER + DAY.format(day="2025-01-02", value=text, status="A")).encode(), RATE).values()
    assert columns["obs_value"] == [value]


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
        (POLICY, STANDARD.replace("STRUCTURE_ID,", "STRUCTURE_ID,STRUCTURE_NAME,"), "expected the ids of 2 dimensions"),
        (POLICY, "DATAFLOW,FREQ,REF_AREA,TIME_PERIOD,OBS_VALUE\nBIS:OTHER(1.0),M,AU,2026-06,4.35\n", "expected only WS_CBPOL"),
    ],
)
def test_another_answer_is_refused(asked: Request, text: str, message: str) -> None:
    with pytest.raises(BadDataError, match=message):
        parse(text.encode(), asked)


def test_sdmx_csv_2_has_its_actions_and_another_name_of_the_unit() -> None:
    columns = parse((STANDARD + "dataflow,BIS:WS_CBPOL(1.0),I,M,AU,2026-06,4.35,AUD\n").encode(), POLICY)[POLICY.partitions[0]]
    assert (columns["unit_measure"], columns["obs_status"], columns["attributes"]) == (["AUD"], [None], ["{}"])


# Rows of OECD's composite leading indicators and of Eurostat's residence permits and labour force, as their services sent them in 2026.
OECD = """DATAFLOW,REF_AREA,FREQ,MEASURE,UNIT_MEASURE,ACTIVITY,ADJUSTMENT,TRANSFORMATION,TIME_HORIZ,METHODOLOGY,TIME_PERIOD,OBS_VALUE,\
OBS_STATUS,UNIT_MULT,DECIMALS,BASE_PER
OECD.SDD.STES:DSD_STES@DF_CLI(4.1),USA,M,LI,IX,_Z,AA,IX,_Z,H,2025-06,99.54102,A,0,2,
OECD.SDD.STES:DSD_STES@DF_CLI(4.1),USA,M,LI,IX,_Z,AA,IX,_Z,H,2025-05,99.52384,A,0,2,
"""
EUROSTAT = """DATAFLOW,LAST UPDATE,freq,reason,citizen,duration,unit,geo,TIME_PERIOD,OBS_VALUE,OBS_FLAG,CONF_STATUS
ESTAT:MIGR_RESFIRST(1.0),22/05/26 11:00:00,A,TOTAL,TOTAL,TOTAL,PER,FR,2022,326948,b,
ESTAT:MIGR_RESFIRST(1.0),22/05/26 11:00:00,A,TOTAL,TOTAL,TOTAL,PER,FR,2021,:,,F
"""


def test_an_answer_of_the_oecd_is_parsed() -> None:
    (requested,) = source.build_requests(
        start=date(2025, 6, 1),
        end=date(2025, 6, 1),
        lookback_days=0,
        keys=("DSD_STES@DF_CLI.USA.M.LI.IX._Z.AA.IX._Z.H",),
        agency="OECD.SDD.STES",
        csv_format="csvfile",
    )
    assert requested.path == "/data/OECD.SDD.STES,DSD_STES@DF_CLI/USA.M.LI.IX._Z.AA.IX._Z.H"
    assert requested.partitions == ("agency=OECD.SDD.STES/series=DSD_STES..DF_CLI.USA.M.LI.IX._Z.AA.IX._Z.H/year=2025",)
    columns = parse(OECD.encode(), requested)[requested.partitions[0]]
    result = contracts.validate(load_packaged("extract_sdmx_series", "sdmx_observations"), columns)
    assert (result.table.num_rows, result.quarantine) == (2, None)
    assert set(columns["series_key"]) == {"DSD_STES@DF_CLI.USA.M.LI.IX._Z.AA.IX._Z.H"}
    assert (columns["obs_value"][0], columns["obs_status"][0]) == ("99.54102", "A")
    assert (columns["unit_measure"][0], columns["unit_mult"][0]) == ("IX", "0")  # the unit is a dimension
    with pytest.raises(BadDataError, match="expected only"):
        parse(OECD.replace("OECD.SDD.STES:", "OECD.SDD.TPS:").encode(), requested)


def test_an_answer_of_eurostat_is_parsed_whose_columns_have_other_names() -> None:
    requested = request("ESTAT", "migr_resfirst.A.TOTAL.TOTAL.TOTAL.PER.FR", 2022)
    columns = parse(EUROSTAT.encode(), requested)[requested.partitions[0]]
    assert [columns[name] for name in ("time_period", "obs_value", "obs_status", "unit_measure")] == [["2022"], ["326948"], ["b"], ["PER"]]
    assert columns["attributes"] == ["{}"]  # without the time of the update, which changes in every row
    earlier = request("ESTAT", "migr_resfirst.A.TOTAL.TOTAL.TOTAL.PER.FR", 2021)
    columns = parse(EUROSTAT.encode(), earlier)[earlier.partitions[0]]
    assert (columns["obs_value"], columns["obs_status"], columns["attributes"]) == ([None], [None], ['{"CONF_STATUS": "F"}'])


@pytest.mark.parametrize(
    ("option", "value", "is_accepted"),
    [
        ("--keys", "DSD_STES@DF_CLI.USA.M.LI.IX._Z.AA.IX._Z.H", True),
        ("--keys", "une_rt_m.M.SA.TOTAL.PC_ACT.T.EA20", True),
        ("--keys", "DF_SDG_GLH.A.SI_POV_DAY1.EG_ACS_ELEC", True),
        ("--keys", "EXR.D..EUR.SP00.A", False),
        ("--keys", "EXR.D.USD+JPY.EUR.SP00.A", False),
        ("--keys", "EXR", False),
        ("--keys", "ECB,EXR.D.USD.EUR.SP00.A", False),
        ("--agency", "OECD.SDD.STES", True),
        ("--agency", "IAEG-SDGs", True),
        ("--agency", "IMF.STA", True),
        ("--agency", "OECD.", False),
        ("--agency", "ECB,EXR", False),
    ],
)
def test_agencies_and_series_are_named_as_they_are_everywhere(option: str, value: str, *, is_accepted: bool) -> None:
    (found,) = (one for one in OPTIONS if one.opts == [option])
    with nullcontext() if is_accepted else pytest.raises(click.BadParameter, match="is not (the id of an agency|a dataflow and a value)"):
        found.type.convert(value, found, None)


def test_a_whole_year_is_asked_for_and_a_week_more() -> None:
    requests = source.build_requests(
        start=date(2025, 1, 3), end=date(2025, 3, 1), lookback_days=7, keys=("EXR.D.USD.EUR.SP00.A",), agency="ECB", csv_format="csvdata"
    )
    assert [request.partitions[0][-9:] for request in requests] == ["year=2024", "year=2025"]
    assert requests[1].path == "/data/ECB,EXR/D.USD.EUR.SP00.A"
    assert requests[1].params == (("startPeriod", "2024-12-25"), ("endPeriod", "2026-01-07"), ("format", "csvdata"))
    first = date(1, 1, 1)
    (request,) = source.build_requests(start=first, end=first, lookback_days=7, keys=("A.B",), agency="ECB", csv_format="csvdata")
    assert request.params[0] == ("startPeriod", "0001-01-01")


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


def test_a_year_before_the_series_begins_is_skipped_and_a_series_that_never_was_is_refused(tmp_path: Path) -> None:
    with server.run_server() as vendors:
        words = ["--lake", str(tmp_path), "--start", "2023-06-01", "--end", "2025-01-10", "--keys", "EST.B.EU000A2X2A25.WT"]
        result = job_runs.run_job("extract-sdmx-series", [*words, "--base-url", f"{vendors}/data-api.ecb.europa.eu/service"])
        unknown = job_runs.run_job(
            "extract-sdmx-series",
            [*words[:-1], "EST.B.EU000A2X2A25.TW", "--base-url", f"{vendors}/data-api.ecb.europa.eu/service"],
            verb="check",
        )
    assert result.code == 0, result.stderr
    assert result.receipt
    assert (unknown.code, "ECB has no observation of the series EST.B.EU000A2X2A25.TW" in unknown.stderr) == (2, True), unknown.stderr
    outcomes = [(one["partition"][-9:], one["outcome"]) for one in result.receipt["partitions"]]
    assert outcomes == [("year=2023", "skipped"), ("year=2024", "skipped"), ("year=2025", "committed")]
