"""JSON values become text as the vendor wrote them."""

from __future__ import annotations

from decimal import Decimal

from jobkit.contracts import Field

from jobs.jobkit.tests.contracts.samples import make_contract, stored


def test_nested_values_become_json() -> None:
    assert stored(make_contract(Field("x", "string")), {"x": [{"a": [1, "ü"], "b": Decimal("1.50")}, [None, True]]}, "x") == [
        '{"a": [1, "ü"], "b": "1.50"}',
        "[null, true]",
    ]
