"""Numbers and dates are read in the notation that a contract declares, and in no other."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobkit import notation
from jobkit.contracts import Field, Layout

grouped = st.tuples(
    st.decimals(-(10**12), 10**12, places=4),
    st.sampled_from([(".", ","), (",", "."), (".", "'"), (",", " "), (".", ""), (",", "")]),
    st.sampled_from(["-1", "1-", "(1)"]),
)


@given(grouped)
def test_a_number_is_read_in_every_declared_notation(given_: tuple[Decimal, tuple[str, str], str]) -> None:
    value, (decimal, thousands), negative = given_
    body = f"{abs(value):,.4f}".replace(",", "_").replace(".", decimal).replace("_", thousands)
    written = {"-1": f"-{body}", "1-": f"{body}-", "(1)": f"({body})"}[negative] if value < 0 else body
    layout = Layout(decimal=decimal, thousands=thousands, negative=(negative,))
    assert Decimal(notation.parse_number(written, layout)) == value
    plain = Layout(decimal="," if decimal == "." else ".", thousands="")
    with pytest.raises(notation.NotationError):
        notation.parse_number(written, plain)


@pytest.mark.parametrize(
    ("text", "layout", "plain"),
    [
        ("1\u2019234.50", Layout(thousands="'"), "1234.50"),
        ("1\u202f234,5", Layout(decimal=",", thousands=" "), "1234.5"),
        ("1\u00a0234", Layout(decimal=",", thousands=" "), "1234"),
        ("1234", Layout(thousands=","), "1234"),
        ("12,34", Layout(thousands=","), None),
        ("1,234,56", Layout(thousands=","), None),
        ("1.234.567", Layout(), None),
        (".5", Layout(), None),
        ("1.", Layout(), None),
        ("+1", Layout(), None),
        ("--1", Layout(), None),
        ("(-1)", Layout(negative=("-1", "(1)")), None),
        ("\u22121", Layout(), None),
        ("$1", Layout(), None),
        ("1 000", Layout(), None),
        ("\u0661", Layout(), None),
    ],
)
def test_numbers_at_the_edge_of_a_notation(text: str, layout: Layout, plain: str | None) -> None:
    if plain is None:
        with pytest.raises(notation.NotationError):
            notation.parse_number(text, layout)
    else:
        assert notation.parse_number(text, layout) == plain


def test_percent_is_a_hundredth_if_declared() -> None:
    assert notation.parse_number("12,5 %", Layout(decimal=","), percent=True) == "0.125"
    for text, percent in (("12.5", True), ("12.5%", False)):
        with pytest.raises(notation.NotationError):
            notation.parse_number(text, Layout(), percent=percent)


@given(st.dates(date(1000, 1, 1)), st.sampled_from(["dd.MM.yyyy", "MM/dd/yyyy", "yyyyMMdd", "d.M.yyyy", "dd-MMM-yyyy"]))
def test_a_date_is_read_in_every_declared_form(day: date, form: str) -> None:
    parts = {
        "yyyy": f"{day.year}",
        "MMM": notation.MONTHS[day.month - 1].title(),
        "MM": f"{day.month:02}",
        "dd": f"{day.day:02}",
        "M": f"{day.month}",
        "d": f"{day.day}",
    }
    written = form
    for token in ("yyyy", "dd", "MMM", "MM", "M", "d") if "MMM" in form or "MM" in form else ("yyyy", "M", "d"):
        if token in written and written.count(token[0]) == form.count(token[0]):
            written = written.replace(token, parts[token])
            if token == "MMM":
                break
    assert notation.parse_date(written, form) == day.isoformat()


def test_typed_cells_are_read_as_values() -> None:
    day = notation.build_cell_reader(Field("d", "date"), Layout())
    assert day(datetime(2013, 6, 28)) == "2013-06-28"  # noqa: DTZ001  a midnight without zone
    assert day(datetime(2013, 6, 28, 15, 30)) == "2013-06-28T15:30:00"  # noqa: DTZ001
    text = notation.build_cell_reader(Field("t", "string"), Layout())
    assert [text(value) for value in (1002.0, 1002, 0.5, True, None, "")] == ["1002", "1002", "0.5", "true", None, None]
    amount = notation.build_cell_reader(Field("n", "decimal(8,2)"), Layout(decimal=","))
    assert [amount(value) for value in (1.5, 10, Decimal("2.50"), "2,50")] == ["1.5", "10", "2.50", "2.50"]


@pytest.mark.parametrize("kind", ["string", "long"])
@pytest.mark.parametrize("number", [1e15, 1.2345678901234568e17, -1e300])
def test_an_identifier_that_a_double_shortened_is_refused(kind: str, number: float) -> None:
    read = notation.build_cell_reader(Field("account", kind), Layout())
    with pytest.raises(notation.NotationError, match="more than 15 digits, the last of which may be lost"):
        read(number)
    assert (read(999999999999999.0), read(123456789012345678)) == ("999999999999999", "123456789012345678")


@pytest.mark.parametrize("text", ["GBp", " GBp ", "ZAc", "ILa"])
def test_pence_never_become_pounds_by_upper_case(text: str) -> None:
    read = notation.build_cell_reader(Field("currency", "string", format="currency", trim=True, case="upper"), Layout())
    with pytest.raises(notation.NotationError, match="a hundredth of"):
        read(text)
    assert read(" gbp ") == "GBP"
