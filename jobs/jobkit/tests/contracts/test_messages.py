"""Messages stay short whatever the vendor sent."""

from __future__ import annotations

from decimal import Decimal

import pytest
from jobkit.contracts import Field, Rule, validate
from jobkit.errors import BadDataError

from jobs.jobkit.tests.contracts.samples import make_contract, reasons


def test_messages_stay_short_whatever_was_sent() -> None:
    long = "9" * 100_000
    contract = make_contract(*(Field(f"c{number}", "decimal(8,2)", required=True) for number in range(300)))
    (reason,) = reasons(contract, {f"c{number}": [long] for number in range(300)}).values()
    assert len(reason) < 2000
    assert reason.endswith("; and 290 more")
    assert "(100,000 characters)" in reason
    with pytest.raises(BadDataError) as error:
        validate(make_contract(Field("a", "string")), {"a": [], **{f"{long}{number}": [] for number in range(50)}})
    assert len(str(error.value)) < 1500
    limited = make_contract(
        Field("a", "decimal(8,2)", maximum=Decimal(1)), Field("b", "decimal(8,2)"), rules=(Rule("b", "<", "a", "quarantine"),)
    )
    (reason,) = reasons(limited, {"a": ["2." + "0" * 100_000], "b": ["3"]}).values()
    assert len(reason) < 300
