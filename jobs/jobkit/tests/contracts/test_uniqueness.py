"""The key and other unique columns are compared by value."""

from __future__ import annotations

import pytest
from jobkit.contracts import Field

from jobs.jobkit.tests.contracts.samples import make_contract, reasons, stored


@pytest.mark.parametrize(
    ("kind", "one", "same"),
    [
        ("decimal(12,4)", "100", "100.00"),
        ("decimal(12,4)", "0", "-0.0"),
        ("long", "7", "007"),
        ("long", "0", "-0"),
        ("double", "100", "1e2"),
        ("double", "0.1", "0.1000000000000000055511151231257827"),
        ("double", "-0", "0"),
        ("timestamp", "2024-01-02T10:00:00Z", "2024-01-02T12:00:00.000+02:00"),
        ("timestamp", "2024-01-02T10:00:00Z", "2024-01-02T10:00:00-00:00"),
        ("string", "a", "a"),
    ],
)
def test_keys_are_compared_by_value_not_by_text(kind: str, one: str, same: str) -> None:
    contract = make_contract(Field("a", "string"), Field("k", kind), key=("a", "k"))
    columns = {"a": ["x", "x", "y", "x"], "k": [one, same, one, one]}
    assert reasons(contract, columns) == {2: "repeats the key of row 1", 4: "repeats the key of row 1"}
    assert len(stored(contract, columns, "k")) == 2
