"""Names of columns: a plain one is stored unchanged, any other is replaced by one that is unique and the same everywhere."""

from __future__ import annotations

import io
import json

import pytest
from arro3.io import read_parquet
from hypothesis import given
from hypothesis import strategies as st
from jobkit import names
from jobkit.contracts import Contract, Field, load, to_parquet, validate
from jobkit.errors import BadDataError

RULES = Contract(
    "t",
    "rows",
    (Field("day", "date", required=True),),
    ("day",),
    "year(day)",
    "none",
    "evolve",
    "string",
    max_bad_rows=1.0,
    classification="public",
)
DAY = {"day": ["2012-12-31"]}


@pytest.mark.parametrize("name", ["1 Mo", "1.5 Month", "BC_1MONTH", "adjClose", "T", "t", "P/E (ttm) %", "a-b", "user", "x" * 63, "0"])
def test_a_plain_name_stays(name: str) -> None:
    assert names.safe(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            " ",
            "a ",
            " a",
            "_a",
            'a"b',
            "a'b",
            "a;b",
            "a\\b",
            "a\nb",
            "a\0b",
            "a$b",
            "a{b}",
            "a~b",
            "x" * 64,
            "caf\u00e9",
            "\u0430",
            "\ud800",
        ),
        *sorted(names.RESERVED),
    ],
)
def test_any_other_name_is_replaced_by_a_safe_one(name: str) -> None:
    safe = names.safe(name)
    assert "~" in safe
    assert len(safe) <= names.LONGEST
    assert names.is_plain(safe.replace("~", "."))


@given(st.lists(st.text(st.characters(codec=None, exclude_categories=()), max_size=80), max_size=50, unique=True))
def test_different_names_stay_different(found: list[str]) -> None:
    assert len({names.safe(name) for name in found}) == len(found)


def test_a_new_column_is_stored_under_its_safe_name_and_the_file_has_the_vendors() -> None:
    good = validate(RULES, {**DAY, 'a"b': ["x"], "plain": ["y"]})
    safe = names.safe('a"b')
    schema = read_parquet(io.BytesIO(to_parquet(good.table))).schema
    assert schema.names == ["_row_number", "day", safe, "plain"]
    assert json.loads(schema.field(safe).metadata[b"vendor_name"]) == 'a"b'
    assert not schema.field("plain").metadata
    assert good.table[safe].to_pylist() == ["x"]
    assert good.warnings == (f"column 'a\"b' is stored as {safe}",)
    assert to_parquet(good.table) == to_parquet(validate(RULES, {**DAY, 'a"b': ["x"], "plain": ["y"]}).table)


def test_a_bad_row_is_quarantined_under_the_same_names() -> None:
    good = validate(RULES, {"day": ["2012-12-31", "never"], 'a"b': ["x", "y"]})
    assert good.quarantine is not None
    assert json.loads(good.quarantine["raw_row"][0].as_py()) == {"day": "never", names.safe('a"b'): "y"}


def test_a_frozen_contract_refuses_new_columns_in_one_short_sentence() -> None:
    frozen = RULES.__class__(**{**vars(RULES), "new_fields": "freeze"})
    with pytest.raises(BadDataError) as refused:
        validate(frozen, {**DAY, "x" * 10_000: ["1"], **{f"n{number}": ["1"] for number in range(99)}})
    assert len(str(refused.value)) < 400
    assert "and 90 more" in str(refused.value)


@pytest.mark.parametrize("name", ['a"b', "known_from", "_mine", "", "x" * 64])
def test_a_contract_with_a_name_that_is_not_plain_is_refused(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("contract") / "t.odcs.yaml"
    path.write_text(
        json.dumps(
            {
                "version": "1.0.0",
                "schema": [
                    {
                        "name": "t",
                        "description": "rows",
                        "customProperties": [{"property": "leaf", "value": "year(day)"}, {"property": "licence", "value": "none"}],
                        "properties": [{"name": name, "physicalType": "string"}],
                    }
                ],
            }
        )
    )
    with pytest.raises(BadDataError, match="cannot be a column's name"):
        load(path)


def test_no_message_contains_a_new_name_if_values_are_withheld() -> None:
    """Without a header the first row is taken for one."""
    hidden = RULES.__class__(**{**vars(RULES), "classification": "confidential"})
    assert validate(hidden, {**DAY, "ACCT;998877": ["x"]}).warnings == ()
