"""The New York Fed's answers are parsed with the fields that each rate has; recorded answers are valid under their contracts."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from extract_nyfed_rates import source
from extract_nyfed_rates.parser import parse
from jobkit import contracts
from jobkit.contracts import load_packaged
from jobkit.errors import BadDataError
from jobkit.requests import Request

FEEDS = Path(__file__).parents[4] / "shared/feeds/nyfed"
EFFR = Request("nyfed_rates", ("rate=effr/year=2023",), "/")


def test_figures_keep_their_digits_and_odd_spaces_do_not_matter() -> None:
    body = b'{ "refRates": [ { "effectiveDate": "2023-06-06", "type": "EFFR" ,"percentRate": 5.00 ,"revisionIndicator": "" } ] }'
    columns = parse(body, EFFR)["rate=effr/year=2023"]
    assert columns == {"effectiveDate": ["2023-06-06"], "type": ["EFFR"], "percentRate": ["5.00"], "revisionIndicator": [""]}


def test_effr_before_2016_has_other_columns() -> None:
    """The row of 2000-07-03 as the Fed sends it: a range and a deviation, and neither percentiles nor a volume."""
    body = (
        b'{"refRates": [{"effectiveDate": "2000-07-03", "type": "EFFR", "percentRate": 7.03, "targetRateFrom": 6.5,'
        b' "intraDayLow": 5.5, "intraDayHigh": 7.5, "stdDeviation": 0.28, "revisionIndicator": ""}]}'
    )
    columns = parse(body, Request("nyfed_rates", ("rate=effr/year=2000",), "/"))["rate=effr/year=2000"]
    result = contracts.validate(load_packaged("extract_nyfed_rates", "nyfed_rates"), columns)
    assert result.quarantine is None
    names = ("percentRate", "intraDayLow", "intraDayHigh", "stdDeviation", "targetRateFrom")
    (values,) = zip(*(result.table[name].to_pylist() for name in names), strict=True)
    assert [float(value) for value in values] == [7.03, 5.5, 7.5, 0.28, 6.5]
    assert "percentPercentile1" not in columns


def test_a_rate_without_percentiles_is_kept() -> None:
    """SOFR of 2019-05-31: the Fed writes NA in place of the percentiles."""
    body = (
        b'{"refRates": [{"effectiveDate": "2019-05-31", "type": "SOFR", "percentRate": 2.35, "percentPercentile1": "NA",'
        b' "percentPercentile25": "NA", "percentPercentile75": "NA", "percentPercentile99": "NA", "volumeInBillions": 1066}]}'
    )
    columns = parse(body, Request("nyfed_rates", ("rate=sofr/year=2019",), "/"))["rate=sofr/year=2019"]
    result = contracts.validate(load_packaged("extract_nyfed_rates", "nyfed_rates"), columns)
    assert (result.quarantine, columns["percentPercentile1"]) == (None, [None])
    assert [float(value) for value in result.table["percentRate"].to_pylist()] == [2.35]


def test_a_year_without_rates_fills_no_partition() -> None:
    assert parse(b'{"refRates": []}', EFFR) == {}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"refRates": [{"effectiveDate": "2023-06-06", "type": "OBFR"}]}', "has OBFR of 2023-06-06"),
        (b'{"refRates": [{"effectiveDate": "2022-12-30", "type": "EFFR"}]}', "has EFFR of 2022-12-30"),
        (b'{"refRates": [{}]}', "has None of None"),
        (b"{}", "no list refRates"),
        (b"[]x", "not JSON"),
    ],
)
def test_another_answer_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(BadDataError, match=message):
        parse(body, EFFR)


def test_each_rate_is_requested_by_year_since_it_began() -> None:
    requests = source.build_requests(start=date(2018, 1, 3), end=date(2018, 6, 1), lookback_days=7, rates=tuple(source.RATES))
    assert [request.partitions[0] for request in requests if "effr" in request.path] == ["rate=effr/year=2017", "rate=effr/year=2018"]
    assert [request.partitions[0] for request in requests if "/sofr/" in request.path] == ["rate=sofr/year=2018"]
    assert not [request for request in requests if "sofrai" in request.path]
    assert {
        request.dataset
        for request in source.build_requests(start=date(2026, 1, 9), end=date(2026, 1, 9), lookback_days=0, rates=("effr", "sofrai"))
    } == {
        "nyfed_rates",
        "nyfed_sofr_averages",
    }


@pytest.mark.skipif(not FEEDS.exists(), reason="the vendor's own files are not on this machine")
@pytest.mark.parametrize(
    ("file", "partition", "rows"),
    [
        ("effr_search_2023.json", "rate=effr/year=2023", 108),
        ("obfr_search_2024-06.json", "rate=obfr/year=2024", 4),
        ("sofr_search_2024-06-03_2024-06-06.json", "rate=sofr/year=2024", 4),
        ("sofr_last_2_2026-08-05.json", "rate=sofr/year=2026", 2),
        ("sofrai_2026-08-05.json", "rate=sofrai/year=2026", 2),
    ],
)
def test_recorded_answers_keep_their_contracts(file: str, partition: str, rows: int) -> None:
    dataset = "nyfed_sofr_averages" if "sofrai" in file else "nyfed_rates"
    columns = parse((FEEDS / file).read_bytes(), Request(dataset, (partition,), "/"))[partition]
    result = contracts.validate(load_packaged("extract_nyfed_rates", dataset), columns)
    assert (result.read, result.table.num_rows, result.quarantine) == (rows, rows, None)
