"""CSV that is read whole, or refused in a sentence."""

from __future__ import annotations

import pytest
from jobkit import csvtext
from jobkit.errors import BadDataError


def test_header_and_rows_without_blank_lines_and_byte_order_mark() -> None:
    assert csvtext.read(b'\xef\xbb\xbfDate,"a,b"\r\n\r\n1,2\r\n3,\r\n\n', "it") == (["Date", "a,b"], [["1", "2"], ["3", ""]])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "empty or not CSV"),
        (b"\n\n", "empty or not CSV"),
        (b"a,b\n1\n", "ragged rows: row 1 has 1 cells, its header 2"),
        (b"a,b\n1,2,3\n", "ragged rows"),
        (b"a,\xff\n1,2\n", "not CSV"),
        (b"Date,1 Mo,1 Mo\n1,2,3\n", "the column '1 Mo' twice"),
        (b"Date,1 Mo, 1 Mo \n1,2,3\n", "the column '1 Mo' twice"),
        (b'a,b\n1,"x\n2,y\n', "a quoted cell does not end"),
        (b'a,b\n1,"x\n2,y"z\n3,w\n', "not CSV: ',' expected after '\"'"),
        (b"a,b\n" + b"1,2\n" * 50_000, "more than 12,500 rows in 200,004 bytes"),
    ],
)
def test_other_text_is_refused(body: bytes, told: str) -> None:
    with pytest.raises(BadDataError, match=told):
        csvtext.read(body, "it")


def test_a_quoted_cell_may_have_lines_and_quotes_and_another_may_have_quotes_inside() -> None:
    assert csvtext.read(b'a,b\n1,"x\n""y"""\n2,6" pipe\n', "it")[1] == [["1", 'x\n"y"'], ["2", '6" pipe']]


def test_columns_without_a_name_are_not_repeated_names() -> None:
    assert csvtext.read(b"Date,USD,,\n1,2,,\n", "it")[0] == ["Date", "USD", "", ""]
