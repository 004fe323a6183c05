"""Recorded Treasury files are parsed; other bodies are refused."""

from __future__ import annotations

import pytest
from extract_treasury_yields.parser import parse
from jobkit.errors import BadDataError
from jobkit.requests import Request

REQUEST = Request("treasury_par_yields", ("year=2010",), "/")


def test_dates_are_converted_and_blanks_are_none() -> None:
    body = b'Date,"1 Mo","10 Yr"\n10/12/2010,0.15,2.44\n10/11/2010,,\n'
    assert parse(body, REQUEST) == {"year=2010": {"Date": ["2010-10-12", "2010-10-11"], "1 Mo": ["0.15", None], "10 Yr": ["2.44", None]}}


def test_a_year_without_rows_fills_no_partition() -> None:
    assert parse(b'Date,"1 Mo"\n', REQUEST) == {}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty or not CSV"),
        (b"<html>File Unavailable</html>", "does not begin with Date"),
        (b'Date,"1 Mo"\n10/12/2010\n', "ragged"),
        (b'Date,"1 Mo"\n10/12/2011,0.1\n', "days of 2011"),
        (b"\xff\xfe", "not CSV"),
        (b'Date,"1 Mo","1 Mo"\n10/12/2010,0.1,0.2\n', "has the column '1 Mo' twice"),
    ],
)
def test_another_file_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(BadDataError, match=message):
        parse(body, REQUEST)
