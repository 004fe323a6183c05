"""The tables and files that a validated partition becomes."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from jobkit.contracts import Field, to_parquet, unescape_text, validate

from jobs.jobkit.tests.contracts.samples import GOOD_ROW, PRICES, make_contract, price_columns


def test_the_same_rows_give_the_same_bytes() -> None:
    assert to_parquet(validate(PRICES, price_columns(GOOD_ROW)).table) == to_parquet(validate(PRICES, price_columns(GOOD_ROW)).table)


HOSTILE = st.text(st.characters(codec=None) | st.sampled_from(["\0", "\ud83d", "\udce9", "\\", "u", "0"]), max_size=30)


@given(HOSTILE, HOSTILE)
def test_a_quarantined_row_is_json_with_the_values_as_sent(one: str, two: str) -> None:
    good = validate(make_contract(Field("n", "long"), Field("x", "string")), {"n": ["one"], "x": [one + two]})
    assert good.quarantine is not None
    (raw,) = good.quarantine.column("raw_row").to_pylist()
    assert "\\u0000" not in raw.replace("\\\\", "")
    assert unescape_text(json.loads(raw)["x"]) == one + two


def test_ordinary_text_is_quarantined_unchanged() -> None:
    """A quarantine of ordinary text keeps its bytes, so that a row sent again is nothing new."""
    sent = 'tab\there "quoted" ünï\u2028 C:\\path \x01'
    good = validate(make_contract(Field("n", "long"), Field("x", "string")), {"n": ["one"], "x": [sent]})
    assert good.quarantine is not None
    assert good.quarantine.column("raw_row").to_pylist() == [json.dumps({"n": "one", "x": sent}, ensure_ascii=False)]
