"""The conversion of a column to another type: exact, or refused in one sentence; with arro3 and with pyarrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from arro3.core import DataType
from jobkit.errors import BadDataError
from load_warehouse import parquet, types
from load_warehouse.copy import ParquetFile

from tests.warehouse import samples

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXT, LONG, INT, DOUBLE, DATE, BOOLEAN = "text", "bigint", "integer", "double precision", "date", "boolean"
TIMESTAMP = "timestamp with time zone"
ARROW = {
    TEXT: DataType.utf8(),
    LONG: DataType.int64(),
    INT: DataType.int32(),
    DOUBLE: DataType.float64(),
    DATE: DataType.date32(),
    BOOLEAN: DataType.bool(),
    TIMESTAMP: DataType.timestamp("us", tz="UTC"),
    "numeric(18,6)": DataType.decimal128(18, 6),
    "numeric(4,2)": DataType.decimal128(4, 2),
    "numeric(38,0)": DataType.decimal128(38, 0),
    "numeric(38,10)": DataType.decimal128(38, 10),
}
LARGE = "9" * 28 + "." + "9" * 10
EXACT = [
    (LONG, "numeric(18,6)", ["-5", None, "0"], ["-5.000000", None, "0.000000"]),
    (LONG, DOUBLE, ["9007199254740992"], ["9007199254740992.0"]),
    (LONG, INT, ["-2147483648"], ["-2147483648"]),
    (INT, LONG, ["7"], ["7"]),
    ("numeric(18,6)", "numeric(4,2)", ["12.340000", "-0.5"], ["12.34", "-0.50"]),
    ("numeric(18,6)", LONG, ["12.000000"], ["12"]),
    ("numeric(18,6)", DOUBLE, ["0.100000"], ["0.1"]),
    ("numeric(38,10)", TEXT, [LARGE, "1.5000000000", "-0.0000000001", "100"], [LARGE, "1.5", "-0.0000000001", "100"]),
    (TEXT, "numeric(38,10)", ["-" + LARGE, "007", "1.50"], ["-" + LARGE, "7.0000000000", "1.5000000000"]),
    (DOUBLE, "numeric(18,6)", ["0.1", "-0.0", "1e-6"], ["0.100000", "0.000000", "0.000001"]),
    (DOUBLE, LONG, ["1e15"], ["1000000000000000"]),
    (DOUBLE, TEXT, ["1e21", "0.1", "5", "NaN"], ["1000000000000000000000", "0.1", "5", "NaN"]),
    (TEXT, DATE, ["0001-01-01", "2012-02-29"], ["0001-01-01", "2012-02-29"]),
    (TEXT, TIMESTAMP, ["2012-01-03T09:30:00.123456-05:00"], ["2012-01-03 14:30:00.123456+00:00"]),
    (TEXT, BOOLEAN, ["true", "false"], ["True", "False"]),
    (TEXT, DOUBLE, ["1e300", "0.1"], ["1e+300", "0.1"]),
    (DATE, TEXT, ["2012-01-03"], ["2012-01-03"]),
    (TIMESTAMP, TEXT, ["2012-01-03T09:30:00Z", "2012-01-03T09:30:00.5Z"], ["2012-01-03T09:30:00Z", "2012-01-03T09:30:00.500000Z"]),
    (BOOLEAN, TEXT, ["true"], ["true"]),
]
INEXACT = [
    (LONG, DOUBLE, "9007199254740993"),
    (LONG, INT, "2147483648"),
    (LONG, "numeric(4,2)", "100"),
    (LONG, BOOLEAN, "1"),
    ("numeric(18,6)", "numeric(4,2)", "0.125"),
    ("numeric(18,6)", LONG, "0.5"),
    ("numeric(38,0)", DOUBLE, "1" * 20),
    (DOUBLE, "numeric(18,6)", "1e-7"),
    (DOUBLE, "numeric(18,6)", "NaN"),
    (TEXT, "numeric(18,6)", "1e3"),
    (TEXT, "numeric(18,6)", " 1"),
    (TEXT, "numeric(18,6)", "1,5"),
    (TEXT, LONG, "\u0661"),
    (TEXT, DOUBLE, "0.10000000000000000555"),
    (TEXT, DOUBLE, "1e400"),
    (TEXT, DATE, "2012-02-30"),
    (TEXT, DATE, "20120203"),
    (TEXT, TIMESTAMP, "2012-01-03T09:30:00"),
    (TEXT, TIMESTAMP, "2012-01-03T09:30:00.1234567Z"),
    (TEXT, BOOLEAN, "True"),
    (DATE, TIMESTAMP, "2012-01-03"),
    (TIMESTAMP, DATE, "2012-01-03T00:00:00Z"),
]


def convert(source: str, target: str, values: Sequence[str | None]) -> tuple[ParquetFile, list[Any]]:
    """Convert a file with a column of these values; return it and the values as text."""
    columns = {"value": ARROW[source], "other": ARROW[TEXT]}
    data = samples.parquet([{"value": value, "other": "x"} for value in values], columns)
    file = ParquetFile(data, "prices/year=2012 commit 1", batch_rows=2).convert(
        {"value": types.TEXT if target == TEXT else target, "unknown": TEXT}
    )
    found = [row[0] for batch in file.iter_batches() for row in parquet.iter_rows(batch, ["value"])]
    return file, [None if value is None else str(value) for value in found]


@pytest.fixture(params=["arro3", "pyarrow"], autouse=True)
def _library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pyarrow":
        monkeypatch.setattr(parquet, "read_parquet", None)


@pytest.mark.parametrize(("source", "target", "values", "expected"), EXACT)
def test_an_exact_value_is_converted(source: str, target: str, values: list[str | None], expected: list[str | None]) -> None:
    file, found = convert(source, target, values)
    assert found == expected
    assert types.map_columns(file.schema, "") == file.columns
    assert types.strip_collation(file.columns["value"]) == target
    assert str(file.read_first_value("value")) == expected[0]


@pytest.mark.parametrize(("source", "target", "value"), INEXACT)
def test_a_value_without_an_exact_equal_is_refused(source: str, target: str, value: str) -> None:
    with pytest.raises(BadDataError) as refused:
        convert(source, target, [None, None, value])
    message = str(refused.value)
    assert message.startswith(
        f"prices/year=2012 commit 1: column 'value' is {source} there and {target} in the dataset's newest commit, and"
    )
    assert "of row 3 has no exact equal of that type; take the former type back in the contract" in message


def test_a_file_without_rows_is_converted() -> None:
    file, found = convert(TEXT, DATE, [])
    assert (found, file.columns["value"]) == ([], DATE)


def test_a_type_that_no_contract_has_is_refused() -> None:
    with pytest.raises(BadDataError, match="column 'value' is money in the warehouse, which is the type of no contract"):
        convert(TEXT, "money", ["1"])
