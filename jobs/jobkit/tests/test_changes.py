"""Two versions of a partition are compared by value, whatever the types of their columns."""

from __future__ import annotations

import math
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from arro3.compute import cast
from arro3.core import Array, ChunkedArray, DataType, Table
from jobkit.changes import Change, compare
from jobkit.contracts import arrow_type

Columns = dict[str, tuple[str, list[str | None]]]  # the contract's type and the values as text


def build(columns: Columns) -> Table:
    """Build a table in two pieces, as a file with several row groups is read."""
    arrays = {}
    for name, (kind, texts) in columns.items():
        array = cast(Array(texts, type=DataType.utf8()), arrow_type(kind))
        arrays[name] = ChunkedArray([array.slice(0, len(texts) // 2), array.slice(len(texts) // 2)], type=array.type)
    return Table.from_pydict(arrays)


def compare_plainly(before: Table, after: Table, key: tuple[str, ...]) -> Change:
    """Compare by the values of Python, one row after the other."""
    names = sorted({*before.schema.names, *after.schema.names} - {"_row_number"})

    def rows(table: Table) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        columns = {name: table.column(name).to_pylist() if name in table.schema.names else [None] * table.num_rows for name in names}
        lists = (
            [str(value) if isinstance(value, float) and math.isnan(value) else value for value in column] for column in columns.values()
        )
        cells = [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]
        return {tuple(row[name] for name in key): tuple(row.values()) for row in cells}

    old, new = rows(before), rows(after)
    changed = sum(old[values] != new[values] for values in old.keys() & new.keys())
    return Change(len(new.keys() - old.keys()) + changed, len(old.keys() - new.keys()) + changed, len(old.keys() - new.keys()))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(("double", "0.0"), ("double", "-0.0"), 0, id="zero with a sign"),
        pytest.param(("double", "NaN"), ("double", "NaN"), 0, id="NaN"),
        pytest.param(("double", None), ("double", None), 0, id="null"),
        pytest.param(("double", None), ("double", "0"), 1, id="null and zero"),
        pytest.param(("string", None), ("string", ""), 1, id="null and no text"),
        pytest.param(("string", "1"), ("int", "1"), 1, id="text and number"),
        pytest.param(("decimal(10, 2)", "1.10"), ("decimal(20, 6)", "1.1"), 0, id="another scale"),
        pytest.param(("int", "7"), ("decimal(10, 2)", "7"), 0, id="an integer that became a decimal"),
        pytest.param(("boolean", "true"), ("boolean", "false"), 1, id="true and false"),
        pytest.param(("timestamp", "2024-01-02T00:00:00Z"), ("timestamp", "2024-01-02T01:00:00+01:00"), 0, id="two zones"),
        pytest.param(("date", "2024-01-02"), ("date", "2024-01-03"), 1, id="days"),
    ],
)
def test_cells_are_compared_by_value(before: tuple[str, str | None], after: tuple[str, str | None], expected: int) -> None:
    tables = [build({"k": ("string", ["a"]), "v": (kind, [text])}) for kind, text in (before, after)]

    assert compare(*tables, ("k",)) == Change(expected, expected, 0)


def test_the_order_and_the_numbers_of_rows_are_not_compared() -> None:
    before = build({"_row_number": ("int", ["1", "2"]), "k": ("string", ["a", "b"]), "v": ("long", ["1", "2"])})
    after = build({"_row_number": ("int", ["1", "5"]), "k": ("string", ["b", "a"]), "v": ("long", ["2", "1"])})

    assert compare(before, after, ("k",)) == Change(0, 0, 0)


def test_a_column_that_one_version_lacks_is_null_there() -> None:
    before = build({"k": ("string", ["a", "b"]), "v": ("long", ["1", None])})

    assert compare(before, build({"k": ("string", ["a", "b"])}), ("k",)) == Change(1, 1, 0)


def test_a_key_with_a_null_is_a_key() -> None:
    before = build({"k": ("string", ["a", "a"]), "from": ("date", [None, "2024-01-01"])})
    after = build({"k": ("string", ["a", "b"]), "from": ("date", [None, None])})

    assert compare(before, after, ("k", "from")) == Change(1, 1, 1)


def test_a_row_that_was_sent_and_rejected_is_closed_and_not_missing() -> None:
    before = build({"k": ("string", ["a", "b", "c"]), "n": ("decimal(10, 2)", ["1", "2", "3"])})
    after = build({"k": ("string", ["a"]), "n": ("decimal(10, 2)", ["1"])})

    assert compare(before, after, ("k", "n"), frozenset({("b", Decimal(2))})) == Change(0, 2, 1)


def test_the_first_rows_are_all_added_and_no_rows_close_all() -> None:
    rows, none = build({"k": ("string", ["a", "b"])}), build({"k": ("string", [])})

    assert compare(none, rows, ("k",)) == Change(2, 0, 0)
    assert compare(rows, none, ("k",)) == Change(0, 2, 2)


def test_random_versions_compare_as_row_by_row() -> None:
    random = Random(20)  # noqa: S311
    kinds = {"a": "string", "b": "int", "c": "double", "d": "decimal(12, 4)", "e": "boolean", "f": "date"}
    samples: dict[str, list[str | None]] = {
        "a": ["", "x", "y", None],
        "b": ["0", "1", None],
        "c": ["0.0", "-0.0", "NaN", "1.5", None],
        "d": ["1", "1.0001", "-2", None],
        "e": ["true", "false", None],
        "f": ["2024-02-29", "1999-12-31", None],
    }
    for _ in range(200):
        names = [name for name in kinds if random.random() < 0.8]
        versions = []
        for _ in range(2):
            keys = random.sample(range(12), random.randrange(12))
            columns: Columns = {"k": ("long", [*map(str, keys)])}
            columns |= {name: (kinds[name], [random.choice(samples[name]) for _ in keys]) for name in names if random.random() < 0.9}
            versions.append(build(columns))

        assert compare(*versions, ("k",)) == compare_plainly(*versions, ("k",))
