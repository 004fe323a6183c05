"""Names of columns: a plain one stays, any other becomes one that is plain, its own, and the same everywhere."""

from __future__ import annotations

import io
import json

import pytest
from arro3.io import read_parquet
from hypothesis import given
from hypothesis import strategies as st
from jobkit import names
from jobkit.contracts import MAX_COLUMNS, Contract, Field, load, to_parquet, validate
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
def test_any_other_name_becomes_a_plain_one_of_its_own(name: str) -> None:
    safe = names.safe(name)
    assert "~" in safe
    assert len(safe) <= names.LONGEST
    assert names.is_plain(safe.replace("~", "."))


@given(st.lists(st.text(st.characters(codec=None, exclude_categories=()), max_size=80), max_size=50, unique=True))
def test_no_two_names_become_one(found: list[str]) -> None:
    assert len({names.safe(name) for name in found}) == len(found)


def test_a_new_column_is_stored_under_its_safe_name_and_the_file_says_the_vendors() -> None:
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


def test_an_answer_with_more_columns_than_a_table_has_is_refused() -> None:
    with pytest.raises(BadDataError, match="more than the 400 a table holds"):
        validate(RULES, {**DAY, **{f"c{number}": ["1"] for number in range(MAX_COLUMNS)}})


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


def test_no_message_repeats_a_name_where_values_are_not_shown() -> None:
    """Without a header the first row is taken for one."""
    hidden = RULES.__class__(**{**vars(RULES), "classification": "confidential"})
    assert validate(hidden, {**DAY, "ACCT;998877": ["x"]}).warnings == ()
