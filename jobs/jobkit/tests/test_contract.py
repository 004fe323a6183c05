"""What a contract does to rows: nothing is lost, nothing is guessed."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobkit.contracts import Columns, Contract, Field, Rule, ValidationResult, load, to_parquet, validate, validation
from jobkit.errors import BadDataError

FIELDS = (
    Field("day", "date", required=True),
    Field("price", "decimal(8,2)", required=True, minimum=Decimal("0.01"), maximum=Decimal(1000)),
    Field("shares", "long"),
    Field("note", "string"),
)
RULES = Contract("t", "rows", FIELDS, ("day",), "year(day)", "none", "freeze", "string", max_bad_rows=1.0, classification="public")


def columns(*rows: tuple[str | None, ...]) -> Columns:
    return {field.name: [row[i] for row in rows] for i, field in enumerate(FIELDS)}


def kept(good: ValidationResult, name: str) -> list[Any]:
    return [value.as_py() for value in good.table[name]]


def bad(good: ValidationResult) -> list[tuple[int, str]]:
    if good.quarantine is None:
        return []
    table = good.quarantine
    return list(zip((v.as_py() for v in table["_row_number"]), (v.as_py() for v in table["reasons"]), strict=True))


GOOD_ROW = ("2012-12-31", "532.17", "23553300", 'a "quoted", ünïcode\nline')


def test_rows_that_keep_the_contract_are_typed_exactly() -> None:
    good = validate(RULES, columns(GOOD_ROW, ("2013-01-02", "549.03", None, None)))
    assert kept(good, "price") == [Decimal("532.17"), Decimal("549.03")]
    assert kept(good, "shares") == [23553300, None]
    assert kept(good, "note") == [GOOD_ROW[3], None]
    assert [day.isoformat() for day in kept(good, "day")] == ["2012-12-31", "2013-01-02"]
    assert kept(good, "_row_number") == [1, 2]
    assert good.quarantine is None


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("2012-02-30", "1.00", None, None), "not a date"),
        (("31/12/2012", "1.00", None, None), "not a date"),
        ((None, "1.00", None, None), "day is missing"),
        (("2012-12-30", None, None, None), "price is missing"),
        (("2012-12-30", "1.005", None, None), "at most 6 digits before and 2 behind"),
        (("2012-12-30", "1e2", None, None), "at most 6 digits"),
        (("2012-12-30", "NaN", None, None), "at most 6 digits"),
        (("2012-12-30", "0.00", None, None), "below 0.01"),
        (("2012-12-30", "1000.01", None, None), "above 1000"),
        (("2012-12-30", "1.00", "9223372036854775808", None), "whole number of 64 bits"),
        (("2012-12-30", "1.00", "1.5", None), "whole number"),
        (("2012-12-30", "1.00", None, "nul \0 byte"), "text without NUL"),
        (("2012-12-31", "1.00", None, None), "repeats the key of row 1"),
    ],
)
def test_a_bad_row_goes_to_the_quarantine_with_its_reason_and_the_raw_row(row: tuple[str | None, ...], reason: str) -> None:
    good = validate(RULES, columns(GOOD_ROW, row, ("2013-01-02", "549.03", None, None)))
    assert kept(good, "_row_number") == [1, 3]
    ((number, told),) = bad(good)
    assert number == 2
    assert reason in told
    assert good.quarantine is not None
    assert json.loads(good.quarantine["raw_row"][0].as_py())["price"] == row[1]


def test_a_value_is_not_invented_for_trailing_zeros() -> None:
    assert kept(validate(RULES, columns(("2012-12-31", "000532.17000", None, None))), "price") == [Decimal("532.17")]


def with_policy(policy: Any) -> Contract:
    return replace(RULES, fields=(FIELDS[0], replace(FIELDS[1], policy=policy), *FIELDS[2:]))


def rounded(rounding: str, kind: str, *texts: str) -> tuple[list[Any], list[tuple[int, str]], tuple[str, ...]]:
    """What becomes of the texts in a column of a type: the values kept, the rows in quarantine, the warnings."""
    fields = (Field("day", "date"), Field("figure", kind, rounding=rounding))  # type: ignore[arg-type]
    days = [f"2012-12-{day + 1:02}" for day in range(len(texts))]
    good = validate(replace(RULES, fields=fields), {"day": days, "figure": list(texts)})
    return kept(good, "figure"), bad(good), good.warnings


@pytest.mark.parametrize(
    ("rounding", "text", "value"),
    [
        ("none", "9.990000000000002", None),
        ("noise", "9.990000000000002", "9.99"),
        ("noise", "9.989999999999998", "9.99"),
        ("noise", "-9.990000000000002", "-9.99"),
        ("noise", "12.345", None),
        ("noise", "12.3450000000000", None),
        ("noise", "0.6666666666666666", None),
        ("measured", "0.6666666666666666", "0.67"),
        ("measured", "12.345", "12.34"),  # half to even
        ("measured", "12.3450000000000001", "12.35"),
        ("measured", "twelve", None),
        ("measured", "1234567.123", None),  # too large is never rounded away
    ],
)  # fmt: skip
def test_digits_beyond_the_scale_are_dropped_only_as_the_contract_says(rounding: str, text: str, value: str | None) -> None:
    values, quarantined, warnings = rounded(rounding, "decimal(8,2)", "1.00", text)
    assert values == [Decimal("1.00")] + ([Decimal(value)] if value else [])
    assert [row for row, _ in quarantined] == ([] if value else [2])
    if value:
        assert warnings == (f"figure: 1 values were rounded; the first, in row 2, from {text} to {Decimal(value):f}",)


def test_a_whole_number_with_a_point_is_a_whole_number() -> None:
    values, quarantined, warnings = rounded("none", "long", "1000.0", "-7.000", "12", "1000.5")
    assert (values, [row for row, _ in quarantined], warnings) == ([1000, -7, 12], [4], ())
    assert rounded("measured", "long", "1000.5", "1001.5")[0] == [1000, 1002]


def test_many_rounded_values_are_one_warning_and_a_bad_row_stays_as_it_was_sent() -> None:
    texts = [f"{n}.3333333333333333" for n in range(1, 20)]
    _, _, (warning,) = rounded("measured", "decimal(8,2)", *texts)
    assert warning.startswith("figure: 19 values were rounded; the first, in row 1, from 1.3333333333333333 to 1.33")
    fields = (Field("day", "date"), Field("figure", "decimal(8,2)", rounding="measured"))
    good = validate(replace(RULES, fields=fields), {"day": ["2012-13-01", "2012-12-01"], "figure": ["0.6666666666666666", "1"]})
    assert good.quarantine is not None
    assert json.loads(good.quarantine["raw_row"][0].as_py())["figure"] == "0.6666666666666666"


@pytest.mark.parametrize("text", ["1" * 30 + "." + "9" * 9, "0." + "3" * 5000, "1" * 60 + ".5"])
def test_a_number_of_any_length_is_rounded_or_refused(text: str) -> None:
    values, quarantined, _ = rounded("measured", "decimal(38,6)", text)
    assert len(values) + len(quarantined) == 1


def test_policy_drop_counts_what_it_drops() -> None:
    good = validate(with_policy("drop"), columns(GOOD_ROW, ("2012-12-30", "-1.00", None, None)))
    assert (good.read, good.table.num_rows, good.dropped, good.quarantine) == (2, 1, 1, None)


def test_policy_fail_refuses_the_partition() -> None:
    with pytest.raises(BadDataError, match="row 2: price is -1.00, below"):
        validate(with_policy("fail"), columns(GOOD_ROW, ("2012-12-30", "-1.00", None, None)))


def test_policy_warn_keeps_the_row_but_not_a_value_without_a_type() -> None:
    good = validate(with_policy("warn"), columns(("2012-12-30", "-1.00", None, None), ("2012-12-31", "x", None, None)))
    assert kept(good, "price") == [Decimal("-1.00")]
    assert good.warnings == ("row 1: price is -1.00, below 0.01",)
    assert [number for number, _ in bad(good)] == [2]


def test_too_many_bad_rows_fail_the_partition() -> None:
    with pytest.raises(BadDataError, match=r"1 of 2 rows break the contract, more than the 10%"):
        validate(replace(RULES, max_bad_rows=0.1), columns(GOOD_ROW, ("x", "1.00", None, None)))


def test_reasons_are_not_collected_once_a_partition_is_refused_for_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "MAX_BAD_ROWS_REPORTED", 10)
    with pytest.raises(BadDataError, match=r"at least 11 of 500 rows break the contract, more than the 1%"):
        validate(replace(RULES, max_bad_rows=0.01), columns(*[("x", "1.00", None, None)] * 500))


def test_a_new_column_is_decided_by_the_contract() -> None:
    sent = {**columns(GOOD_ROW), "surprise": ["1.25"]}
    with pytest.raises(BadDataError, match="new fields 'surprise'"):
        validate(RULES, sent)
    evolved = validate(replace(RULES, new_fields="evolve", new_field_type="decimal(8,4)"), sent)
    assert kept(evolved, "surprise") == [Decimal("1.2500")]


def test_a_missing_required_column_fails_and_an_optional_one_does_not() -> None:
    sent = columns(GOOD_ROW)
    del sent["price"]
    with pytest.raises(BadDataError, match="no longer sends price"):
        validate(RULES, sent)
    sent = columns(GOOD_ROW)
    del sent["note"]
    assert validate(RULES, sent).table.num_rows == 1


def test_a_frozen_column_must_be_sent_though_its_values_may_be_missing() -> None:
    frozen = replace(RULES, fields=(*FIELDS[:3], replace(FIELDS[3], evolution="freeze")))
    assert validate(frozen, columns(("2012-12-31", "1.00", None, None))).table.num_rows == 1
    sent = columns(GOOD_ROW)
    del sent["note"]
    with pytest.raises(BadDataError, match="no longer sends note"):
        validate(frozen, sent)


def test_columns_that_contradict_each_other_go_to_the_quarantine() -> None:
    """PMV on 2015-11-20: a close below the low of the day."""
    bars = (Field("low", "decimal(8,2)"), Field("close", "decimal(8,2)"))
    rules = replace(RULES, fields=bars, key=(), rules=(Rule("low", "<=", "close", "quarantine"),))
    good = validate(rules, {"low": ["9.50", "9.50", "10.00", None, "x"], "close": ["9.50", "9.49", "9.99", "1.00", "1.00"]})
    assert kept(good, "_row_number") == [1, 4]
    assert bad(good) == [
        (2, "low is 9.50, which breaks low <= close with 9.49"),
        (3, "low is 10.00, which breaks low <= close with 9.99"),
        (5, "low is 'x', not a number with at most 6 digits before and 2 behind the point"),
    ]
    assert validate(replace(rules, rules=(Rule("low", "<", "close", "drop"),)), {"low": ["1.0"], "close": ["1.00"]}).dropped == 1


def test_no_rows_are_a_table_without_rows() -> None:
    good = validate(RULES, columns())
    assert (good.read, good.table.num_rows, good.quarantine) == (0, 0, None)


def test_the_same_rows_give_the_same_bytes() -> None:
    assert to_parquet(validate(RULES, columns(GOOD_ROW)).table) == to_parquet(validate(RULES, columns(GOOD_ROW)).table)


cell = st.one_of(st.none(), st.sampled_from(["2012-12-31", "1.00", "7", "-1", "1e5", "", "NaN"]), st.text(max_size=12))


@given(st.lists(st.tuples(cell, cell, cell, cell), max_size=30))
def test_good_plus_quarantined_is_what_was_read(rows: list[tuple[str | None, ...]]) -> None:
    good = validate(RULES, columns(*rows))
    numbers = kept(good, "_row_number") + [number for number, _ in bad(good)]
    assert sorted(numbers) == list(range(1, len(rows) + 1))


value = st.one_of(cell, st.sampled_from([True, False, 0, 1, 1.0, 1e5, Decimal("1.50"), [1], {"a": 1}]))


@given(st.lists(st.tuples(value, value, value, value), min_size=1, max_size=12))
def test_what_a_row_breaks_does_not_depend_on_the_rows_beside_it(rows: list[tuple[Any, ...]]) -> None:
    """Rows are checked a column at a time and each value once; the answer is that of each row alone."""
    rules = replace(RULES, rules=(Rule("price", "<=", "shares", "quarantine"),))
    good = validate(rules, columns(*rows))
    found = {number: "; ".join(part for part in told.split("; ") if not part.startswith("repeats")) for number, told in bad(good)}
    alone = [validate(rules, columns(row)) for row in rows]
    assert {number: told for number, told in found.items() if told} == {
        number: told for number, one in enumerate(alone, 1) for _, told in bad(one)
    }
    whole = dict(zip(kept(good, "_row_number"), kept(good, "price"), strict=True))
    assert whole.items() <= {number: price for number, one in enumerate(alone, 1) for price in kept(one, "price")}.items()


CONTRACTS = sorted((Path(__file__).parents[2]).glob("*/*/*.odcs.yaml"))


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda path: path.stem)
def test_every_contract_in_the_project_reads_and_is_keyed(path: Path) -> None:
    rules = load(path)
    names = {field.name for field in rules.fields}
    assert rules.dataset == path.name.removesuffix(".odcs.yaml")
    assert rules.key
    assert set(rules.key) <= names
    assert rules.leaf.partition("(")[2].rstrip(")").split(",")[0] in names


@pytest.mark.parametrize(("text", "share"), [("0.25", 0.25), ("1", 1.0), ("-0.1", None), ("2", None), ("true", None), ("much", None)])
def test_how_much_may_be_missing_is_a_share(tmp_path: Path, text: str, share: float | None) -> None:
    path, line = tmp_path / "x.odcs.yaml", "      - {property: maxBadRows"
    contract = next(path for path in CONTRACTS if path.name == "tiingo_prices.odcs.yaml")
    path.write_text(contract.read_text().replace(line, f"      - {{property: maxMissingRows, value: {text}}}\n{line}", 1))
    if share is None:
        with pytest.raises(BadDataError, match="is not a contract"):
            load(path)
    else:
        assert load(path).max_missing_rows == share


def test_a_broken_contract_file_is_told_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.odcs.yaml"
    path.write_text("schema: [{name: x}]")
    with pytest.raises(BadDataError, match="is not a contract"):
        load(path)


def optioned(kind: str, **options: Any) -> Contract:
    """A contract of two columns: n, which is the key, and x of this type with these options."""
    unique = (("x",),) if options.get("unique") else ()
    return replace(RULES, fields=(Field("n", "int"), Field("x", kind, **options)), key=("n",), leaf="n", unique=unique)


@pytest.mark.parametrize(
    ("kind", "options", "kept_texts", "refused"),
    [
        ("string", {"min_length": 2, "max_length": 3}, ["ab", "äöü"], {"a": "shorter than 2", "abcd": "longer than 3"}),
        ("string", {"pattern": "^[A-Z]{3}$"}, ["EUR"], {"eur": "not of the form", "EUR\n": "not of the form", "EURO": "not of the form"}),
        ("string", {"pattern": "b"}, ["abc"], {"xyz": "not of the form b"}),
        ("string", {"pattern": r"^\d[$]\$$"}, ["1$$"], {"1$": "not of the form", "\u0661$$": "not of the form"}),
        ("string", {"pattern": "^(?<first>a)(?<!b)c"}, ["ac"], {"bc": "not of the form"}),
        ("string", {"values": ("EUR", "USD")}, ["EUR"], {"eur": "none of EUR, USD", "EUR ": "none of"}),
        ("decimal(8,2)", {"values": (Decimal(1), Decimal("2.50"))}, ["1.00", "2.5"], {"2": "none of 1, 2.50"}),
        (
            "decimal(8,2)",
            {"exclusive_minimum": Decimal(0), "exclusive_maximum": Decimal(1)},
            ["0.01"],
            {"0.00": "not above 0", "1.0": "not below 1"},
        ),
        ("decimal(8,2)", {"multiple_of": Decimal("0.05")}, ["0.15", "-1.00"], {"0.07": "no multiple of 0.05"}),
        ("decimal(38,10)", {"multiple_of": Decimal("0.0000000003")}, ["9" * 27 + ".0000000003"], {"9" * 27 + ".0000000001": "no multiple"}),
        ("double", {"multiple_of": Decimal("0.1")}, ["0.3", "1e300"], {"0.35": "no multiple of 0.1", "1e999999999": "not a finite number"}),
        ("long", {"multiple_of": Decimal(100)}, ["0", "-300"], {"50": "no multiple of 100"}),
        (
            "date",
            {"exclusive_minimum": "2012-01-01", "values": ("2012-01-02",)},
            ["2012-01-02"],
            {"2012-01-01": "not above", "2013-01-01": "none of"},
        ),
        ("string", {"unique": True}, ["a", None, None, "b"], {"a": "repeats x of row 1"}),
    ],
)
def test_options_are_kept_row_by_row(kind: str, options: dict[str, Any], kept_texts: list[str | None], refused: dict[str, str]) -> None:
    texts = [*kept_texts, *refused]
    good = validate(optioned(kind, **options), {"n": [str(number) for number in range(len(texts))], "x": texts})
    assert good.table.num_rows == len(kept_texts)
    assert [number for number, _ in bad(good)] == list(range(len(kept_texts) + 1, len(texts) + 1))
    for (_, told), expected in zip(bad(good), refused.values(), strict=True):
        assert expected in told


SECRET = "Zq7canary"


@pytest.mark.parametrize("classification", ["confidential", None])
def test_no_value_of_a_confidential_row_is_in_a_reason_an_error_or_a_warning(classification: Any) -> None:
    digits = "31337.31"
    fields = (
        Field("day", "date", required=True),
        Field("low", "decimal(8,2)", maximum=Decimal(5)),
        Field("high", "decimal(8,2)", policy="warn", maximum=Decimal(4)),
        Field("code", "string", pattern="^[A-Z]+$", max_length=4, values=("A",)),
    )
    rules = replace(RULES, fields=fields, rules=(Rule("low", "<=", "high", "quarantine"),), classification=classification)
    rows = {
        "day": ["2012-12-30", "2012-12-31", SECRET, "2012-12-31"],
        "low": ["1", digits, "1", "1"],
        "high": [digits, "2", SECRET, None],
        "code": [SECRET, "A", "A", "A"],
    }
    good = validate(rules, {name: list(values) for name, values in rows.items()})
    told = [reason for _, reason in bad(good)]
    assert all(reason.startswith("values withheld: ") for reason in told)
    assert told[1] == "values withheld: low is above 5; breaks low <= high"
    assert "day is not a date" in told[2]
    texts = [*told, *good.warnings]
    for harder in (replace(rules, max_bad_rows=0.1), replace(rules, fields=tuple(replace(field, policy="fail") for field in fields))):
        with pytest.raises(BadDataError) as refused:
            validate(harder, {name: list(values) for name, values in rows.items()})
        texts.append(str(refused.value))
    with pytest.raises(BadDataError, match="sends 1 fields besides day, low, high, code") as refused:
        validate(rules, {**rows, SECRET: ["1"] * 4})
    texts.append(str(refused.value))
    assert not [text for text in texts if SECRET in text or digits in text]
    assert validate(replace(rules, classification="internal"), rows).quarantine is not None
    assert SECRET in bad(validate(replace(rules, classification="internal"), rows))[2][1]
