"""The text that a contract accepts is the value that is stored; what cannot be stored is a fault of its row."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jobkit.contracts import MAX_COLUMNS, MAX_KEY_BYTES, Contract, Field, Product, Rule, escape_text, unescape_text, validate
from jobkit.errors import BadDataError

KINDS = (
    "date",
    "timestamp",
    "int",
    "long",
    "double",
    "boolean",
    "decimal(8,2)",
    "decimal(38,10)",
    "decimal(6,6)",
    "decimal(5,0)",
    "string",
)


def rules(*fields: Field, key: tuple[str, ...] = (), **more: Any) -> Contract:
    return Contract("t", "rows", fields, key, "hash(k, 1)", "none", "freeze", "string", max_bad_rows=1.0, classification="public", **more)


def kept(contract: Contract, columns: dict[str, list[Any]], name: str) -> list[Any]:
    return list(validate(contract, columns).table.column(name).to_pylist())


def reasons(contract: Contract, columns: dict[str, list[Any]]) -> dict[int, str]:
    bad = validate(contract, columns).quarantine
    return dict(zip(bad.column("_row_number").to_pylist(), bad.column("reasons").to_pylist(), strict=True)) if bad else {}


def exact(kind: str, text: str) -> Any:
    """What a text stands for, by Python's own parsers; it raises or gives another value where the contract must refuse."""
    if kind == "string":
        return text
    if kind == "date":
        return date.fromisoformat(text)
    if kind == "timestamp":
        return datetime.fromisoformat(text).astimezone(UTC)
    if kind == "boolean":
        return {"true": True, "false": False}[text]
    if kind == "double":
        return float(text)
    return Decimal(text)


digits = st.text("0123456789", max_size=45)
number = st.builds(
    "".join, st.tuples(st.sampled_from(["", "-", "+", "0", "-0"]), digits, st.sampled_from(["", ".", "e", "E-", ".0"]), digits)
)
clock = st.builds(
    "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}{}".format,
    st.integers(0, 9999),
    st.integers(0, 13),
    st.integers(0, 32),
    st.integers(0, 25),
    st.integers(0, 61),
    st.integers(0, 61),
    st.sampled_from(["", ".5", ".123456", ".1234560", ".123456789", ".0000000001", "."]),
    st.sampled_from(["Z", "", "+00:00", "-14:00", "+14:00", "+15:59", "+25:00", "+05:99", "-00:00", "+0100", "z"]),
)
day = st.builds("{:04}-{:02}-{:02}".format, st.integers(0, 10000), st.integers(0, 13), st.integers(0, 32))
text = st.one_of(
    number,
    clock,
    day,
    st.text(max_size=8),
    st.sampled_from(["true", "True", "NaN", "Infinity", "-inf", "1_000", "٣", "\uff11", " 1", "1\n"]),
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KINDS), st.lists(text, max_size=25))
@example("double", ["1e400", "-1e400", "1e-400", "5e-324", "1e-324", "1" + "0" * 400, "0e999", "-0", "1e308", "1.8e308"])
@example("timestamp", ["2024-01-02T24:00:00Z", "2024-06-30T23:59:60Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
@example("long", ["9223372036854775808", "-9223372036854775808", "007", "-0"])
@example("decimal(38,10)", ["9" * 28 + "." + "9" * 10, "0" * 60 + "1." + "5" + "0" * 60, "-0.0000000000"])
def test_what_is_accepted_is_stored_exactly_and_the_rest_is_a_fault_of_its_row(kind: str, texts: list[str]) -> None:
    good = validate(rules(Field("x", kind)), {"x": list(texts)})
    numbers = good.table.column("_row_number").to_pylist()
    for row, stored in zip(numbers, good.table.column("x").to_pylist(), strict=True):
        wanted = exact(kind, texts[row - 1])
        assert stored == wanted
        assert str(stored) == str(wanted) or kind != "double"  # -0.0 is not 0.0
    assert len(numbers) + len(reasons(rules(Field("x", kind)), {"x": list(texts)})) == len(texts)


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        ("timestamp", "2024-01-02T24:00:00Z", "2024-01-02T23:59:59.999999Z"),
        ("timestamp", "2024-02-30T00:00:00Z", "2024-02-29T00:00:00Z"),
        ("timestamp", "2024-01-02T00:00:00+25:00", "2024-01-02T00:00:00+14:00"),
        ("timestamp", "2024-06-30T23:59:60Z", "2024-06-30T23:59:59Z"),
        ("timestamp", "2024-01-02T00:00:00.0000001Z", "2024-01-02T00:00:00.000000000Z"),
        ("timestamp", "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z"),
        ("double", "1e400", "1e308"),
        ("double", "1e-400", "1e-300"),
        ("date", "2023-02-29", "2024-02-29"),
        ("date", "0000-01-01", "0001-01-01"),
        ("long", "9223372036854775808", "9223372036854775807"),
        ("int", "2147483648", "-2147483648"),
        ("decimal(8,2)", "1000000", "999999.99"),
        ("decimal(8,2)", "١٢", "12"),
        ("string", "a\0b", "a\u2400b"),
        ("string", "a\ud83d", "a\U0001f600"),
    ],
)
def test_one_impossible_value_leaves_the_rows_beside_it(kind: str, wrong: str, right: str) -> None:
    contract = rules(Field("x", kind))
    assert list(reasons(contract, {"x": [right, wrong, right]})) == [2]
    assert len(kept(contract, {"x": [right, wrong, right]}, "x")) == 2


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
def test_a_key_repeats_by_its_value_and_not_by_its_text(kind: str, one: str, same: str) -> None:
    contract = rules(Field("a", "string"), Field("k", kind), key=("a", "k"))
    columns = {"a": ["x", "x", "y", "x"], "k": [one, same, one, one]}
    assert reasons(contract, columns) == {2: "repeats the key of row 1", 4: "repeats the key of row 1"}
    assert len(kept(contract, columns, "k")) == 2


def test_a_broken_row_does_not_take_a_good_one_of_its_key_with_it() -> None:
    contract = rules(
        Field("k", "string", required=True),
        Field("low", "long"),
        Field("high", "long"),
        key=("k",),
        rules=(Rule("low", "<=", "high", "drop"),),
    )
    columns = {"k": ["a", "a", "a", "b", "b"], "low": ["9", "1", "1", "x", "1"], "high": ["2"] * 5}
    assert kept(contract, columns, "_row_number") == [2, 5]
    assert reasons(contract, columns)[3] == "repeats the key of row 2"


def test_times_are_compared_as_moments_in_rules_and_limits() -> None:
    contract = rules(Field("a", "timestamp", minimum="2024-01-01"), Field("b", "timestamp"), rules=(Rule("a", "<=", "b", "quarantine"),))
    late_east, early_west = "2024-01-02T09:00:00+09:00", "2024-01-01T20:00:00-05:00"
    assert reasons(contract, {"a": [late_east, early_west], "b": [early_west, late_east]}) == {
        2: f"a is {early_west}, which breaks a <= b with {late_east}"
    }
    assert list(reasons(contract, {"a": ["2024-01-01T01:00:00+02:00"], "b": [None]})) == [1]


hostile = st.text(st.characters(codec=None) | st.sampled_from(["\0", "\ud83d", "\udce9", "\\", "u", "0"]), max_size=30)


@given(hostile)
@example("\\u0000\0\\\0\\\\u005c\ud83d\\ud83d")
def test_what_no_text_can_hold_is_escaped_and_comes_back(value: str) -> None:
    assert unescape_text(escape_text(value)) == value
    escape_text(value).encode()
    assert "\0" not in escape_text(value)


@given(hostile, hostile)
def test_a_quarantined_row_is_json_that_gives_back_what_was_sent(one: str, two: str) -> None:
    good = validate(rules(Field("n", "long"), Field("x", "string")), {"n": ["one"], "x": [one + two]})
    assert good.quarantine is not None
    (raw,) = good.quarantine.column("raw_row").to_pylist()
    assert "\\u0000" not in raw.replace("\\\\", "")
    assert unescape_text(json.loads(raw)["x"]) == one + two


def test_what_was_stored_as_it_is_before_still_is() -> None:
    """A quarantine of ordinary text keeps its bytes, so that a row sent again is nothing new."""
    sent = 'tab\there "quoted" ünï\u2028 C:\\path \x01'
    good = validate(rules(Field("n", "long"), Field("x", "string")), {"n": ["one"], "x": [sent]})
    assert good.quarantine is not None
    assert good.quarantine.column("raw_row").to_pylist() == [json.dumps({"n": "one", "x": sent}, ensure_ascii=False)]


def test_messages_stay_short_whatever_was_sent() -> None:
    long = "9" * 1_000_000
    contract = rules(*(Field(f"c{number}", "decimal(8,2)", required=True) for number in range(300)))
    (told,) = reasons(contract, {f"c{number}": [long] for number in range(300)}).values()
    assert len(told) < 2000
    assert told.endswith("; and 290 more")
    assert "(1,000,000 characters)" in told
    with pytest.raises(BadDataError) as error:
        validate(rules(Field("a", "string")), {"a": [], **{f"{long}{number}": [] for number in range(50)}})
    assert len(str(error.value)) < 1500
    limited = rules(Field("a", "decimal(8,2)", maximum=Decimal(1)), Field("b", "decimal(8,2)"), rules=(Rule("b", "<", "a", "quarantine"),))
    (told,) = reasons(limited, {"a": ["2." + "0" * 100_000], "b": ["3"]}).values()
    assert len(told) < 300


def test_more_columns_than_a_table_holds_are_refused() -> None:
    contract = Contract(
        "t", "rows", (Field("a", "string"),), ("a",), "hash(a, 1)", "none", "evolve", "string", max_bad_rows=1.0, classification="public"
    )
    columns: dict[str, list[Any]] = {"a": ["x"], **{f"c{number}": [None] for number in range(MAX_COLUMNS - 1)}}
    assert validate(contract, columns).table.num_rows == 1
    with pytest.raises(BadDataError, match=r"sends 401 columns, more than the 400 a table holds"):
        validate(contract, {**columns, "one_more": [None]})


def test_a_key_that_no_index_holds_is_a_fault_of_its_row() -> None:
    contract = rules(Field("k", "string"), Field("x", "string"), key=("k",))
    longest, wide = "k" * MAX_KEY_BYTES, "€" * (MAX_KEY_BYTES // 3 + 1)
    assert list(reasons(contract, {"k": [longest, longest + "k", wide], "x": [longest * 9] * 3})) == [2, 3]


def test_nested_values_are_kept_as_json() -> None:
    assert kept(rules(Field("x", "string")), {"x": [{"a": [1, "ü"], "b": Decimal("1.50")}, [None, True]]}, "x") == [
        '{"a": [1, "ü"], "b": "1.50"}',
        "[null, true]",
    ]


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (
            "isin",
            ["US0378331005", "XS0971721963", "DE000BAY0017"],
            ["US0378331006", "us0378331005", " US0378331005", "3.78331E+11", "QQ0378331005"],
        ),
        ("cusip", ["037833100", "594918104"], ["037833101", "37833100", "3.78E+08"]),
        ("sedol", ["B15KXQ8", "0263494"], ["263494", "0263495", "A15KXQ8"]),
        ("lei", ["G5GSEF7VJP5I7OUK5573", "529900T8BM49AURSDO55"], ["529900T8BM49AURSDO56", "529900T8BM49AURSDO5"]),
        ("currency", ["USD", "DEM", "BGN"], ["usd", "GBX", "US", "ZZZ"]),
    ],
)
def test_identifiers_have_their_form_prefix_and_check_digit(kind: str, right: list[str], wrong: list[str]) -> None:
    contract = rules(Field("x", "string", format=kind))
    assert list(reasons(contract, {"x": [*right, *wrong]})) == list(range(len(right) + 1, len(right) + len(wrong) + 1))


def test_isins_of_derivatives_are_isins() -> None:
    """They begin with EZ, a prefix of ISO 6166 that python-stdnum 2.2 does not know."""
    taken = [f"EZ0000000{number:02}{digit}" for number in range(20) for digit in range(10)]
    assert len(kept(rules(Field("x", "string", format="isin")), {"x": taken}, "x")) == 20


def test_a_product_is_as_near_as_the_contract_says() -> None:
    product = Product("v", ("q", "p"), Decimal(100), Decimal("0.001"), Decimal("0.01"), "quarantine", "v = q * p / 100 within 0.1% or 0.01")
    contract = rules(Field("v", "decimal(18,2)"), Field("q", "decimal(18,2)"), Field("p", "double"), products=(product,))
    columns = {
        "v": ["99.91", "99.89", "0.01", "0.02", "-50.00", None, "1", "x"],
        "q": ["100", "100", "0", "0", "-100", "1", None, "1"],
        "p": ["100", "100", "1", "1", "50", "1", "1", "1"],
    }
    assert list(reasons(contract, columns)) == [2, 4, 8]
    assert reasons(contract, columns)[2] == "v is 99.89, which breaks v = q * p / 100 within 0.1% or 0.01"
