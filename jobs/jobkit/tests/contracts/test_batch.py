"""Which columns of a vendor are validated, and which are refused."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from jobkit.contracts import MAX_COLUMNS, Contract, Field, validate
from jobkit.errors import BadDataError

from jobs.jobkit.tests.contracts.samples import GOOD_ROW, PRICE_FIELDS, PRICES, column, price_columns


def test_the_contract_decides_whether_a_new_column_is_stored() -> None:
    sent = {**price_columns(GOOD_ROW), "surprise": ["1.25"]}
    with pytest.raises(BadDataError, match="new fields 'surprise'"):
        validate(PRICES, sent)
    evolved = validate(replace(PRICES, new_fields="evolve", new_field_type="decimal(8,4)"), sent)
    assert column(evolved, "surprise") == [Decimal("1.2500")]


def test_a_missing_required_column_fails_and_an_optional_one_does_not() -> None:
    sent = price_columns(GOOD_ROW)
    del sent["price"]
    with pytest.raises(BadDataError, match="no longer sends price"):
        validate(PRICES, sent)
    sent = price_columns(GOOD_ROW)
    del sent["note"]
    assert validate(PRICES, sent).table.num_rows == 1


def test_a_frozen_column_must_be_sent_even_without_values() -> None:
    frozen = replace(PRICES, fields=(*PRICE_FIELDS[:3], replace(PRICE_FIELDS[3], evolution="freeze")))
    assert validate(frozen, price_columns(("2012-12-31", "1.00", None, None))).table.num_rows == 1
    sent = price_columns(GOOD_ROW)
    del sent["note"]
    with pytest.raises(BadDataError, match="no longer sends note"):
        validate(frozen, sent)


def test_more_columns_than_a_table_holds_are_refused() -> None:
    contract = Contract(
        "t", "rows", (Field("a", "string"),), ("a",), "hash(a, 1)", "none", "evolve", "string", max_bad_rows=1.0, classification="public"
    )
    columns: dict[str, list[Any]] = {"a": ["x"], **{f"c{number}": [None] for number in range(MAX_COLUMNS - 1)}}
    assert validate(contract, columns).table.num_rows == 1
    with pytest.raises(BadDataError, match=r"sends 401 columns, more than the 400 a table holds"):
        validate(contract, {**columns, "one_more": [None]})
