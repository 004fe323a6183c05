"""The fields behind each column of a mart, read from SQL."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from transform_warehouse.as_of import Model
from transform_warehouse.field_lineage import trace_fields
from transform_warehouse.lineage import Relation

if TYPE_CHECKING:
    import pytest

LOG = logging.getLogger("test")
COLUMNS = {
    Relation("raw", "prices"): ["date", "close", "divCash", "volume"],
    Relation("intermediate", "codes"): ["rate", "currency"],
    Relation("staging", "stg_prices"): ["trade_date", "twice", "dividend"],
    Relation("intermediate", "int_totals"): ["total", "dividend"],
    Relation("marts", "fct_total"): ["total", "dividend", "currency"],
}
STAGED = 'select date as trade_date, close * 2 as twice, "divCash" as dividend from "w"."raw"."prices" where volume > 0'
TOTALS = """
with priced as (select *, sum(twice) over (order by trade_date) as total from "w"."staging"."stg_prices" as staged)
select total, dividend from priced
"""
MART = """
select total + 1 as total, dividend, 'USD' as currency from "w"."intermediate"."int_totals"
union all
select 0, rate, currency from "w"."intermediate"."codes"
"""


def test_a_column_is_traced_through_every_model_to_the_fields_it_is_computed_from() -> None:
    models = [Model("staging", "stg_prices", STAGED), Model("intermediate", "int_totals", TOTALS), Model("marts", "fct_total", MART)]
    assert trace_fields([*models, Model("intermediate", "codes", "")], COLUMNS, "w", LOG) == {
        "fct_total": {
            "total": ["prices.close", "prices.date"],
            "dividend": ["codes.rate", "prices.divCash"],
            "currency": ["codes.currency"],
        }
    }


def test_sql_that_cannot_be_read_has_no_fields_and_fails_no_build(caplog: pytest.LogCaptureFixture) -> None:
    models = [Model("marts", "fct_broken", "select from from"), Model("marts", "fct_codes", 'select rate from "w"."intermediate"."codes"')]
    with caplog.at_level(logging.WARNING, "test"):
        assert trace_fields(models, COLUMNS, "w", LOG) == {"fct_codes": {"rate": ["codes.rate"]}}
    assert [record.model for record in caplog.records] == ["fct_broken"]  # type: ignore[attr-defined]
