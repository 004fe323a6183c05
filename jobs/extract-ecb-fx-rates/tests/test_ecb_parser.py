"""Recorded ECB files are parsed; other bodies are refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from extract_ecb_fx_rates.parser import parse
from jobkit import contracts
from jobkit.contracts import load_packaged
from jobkit.errors import BadDataError
from jobkit.requests import Request

FEED = Path(__file__).parents[4] / "shared/feeds/ecb/eurofxref-hist.zip"
HISTORY = Request("ecb_fx_rates", ("year=2012", "year=2011"), "/")
DAILY = Request("ecb_fx_rates_daily", ("date=2026-10-30",), "/")


def zipped(text: str, name: str = "eurofxref-hist.csv") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, text)
    return file.getvalue()


def test_the_history_is_split_into_years_without_the_unnamed_column() -> None:
    body = zipped("Date,USD,CYP,\n2013-01-02,1.3262,N/A,\n2012-12-31,1.3194,N/A,\n2011-12-30,1.2939,N/A,\n")
    assert parse(body, HISTORY) == {
        "year=2011": {"Date": ["2011-12-30"], "USD": ["1.2939"], "CYP": [None]},
        "year=2012": {"Date": ["2012-12-31"], "USD": ["1.3194"], "CYP": [None]},
    }


def test_the_daily_file_has_blanks_long_dates_and_trailing_zeros() -> None:
    body = zipped("Date, USD, GBP, \n30 October 2026, 1.1646, 0.83380, \n")
    assert parse(body, DAILY) == {"date=2026-10-30": {"Date": ["2026-10-30"], "USD": ["1.1646"], "GBP": ["0.83380"]}}


def test_the_file_of_another_day_fills_no_partition() -> None:
    assert parse(zipped("Date, USD, \n29 October 2026, 1.1, \n"), DAILY) == {}


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>maintenance</html>", zipped("<html>"), zipped("Date,USD\n2012-12-31\n"), zipped("Date,USD,\n2012-12-31,1.3,\n")[:-30]],
    ids=["empty", "html", "zipped html", "ragged", "cut short"],
)
def test_another_file_is_refused(body: bytes) -> None:
    with pytest.raises(BadDataError, match="ECB"):
        parse(body, HISTORY)


def test_a_zip_bomb_is_refused() -> None:
    with pytest.raises(BadDataError, match="unpacks to"):
        parse(zipped("0" * (65 << 20)), HISTORY)


@pytest.mark.skipif(not FEED.exists(), reason="the recorded vendor file is not on this machine")
def test_the_whole_recorded_history_keeps_its_contract() -> None:
    years = tuple(f"year={year}" for year in range(1999, 2027))
    columns = parse(FEED.read_bytes(), HISTORY._replace(partitions=years))
    kept = [contracts.validate(load_packaged("extract_ecb_fx_rates", "ecb_fx_rates"), columns[year]) for year in years]
    assert all(part.quarantine is None for part in kept)
    assert sum(part.table.num_rows for part in kept) == 7126
