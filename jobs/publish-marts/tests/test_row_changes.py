"""Count changed rows between two publications of a mart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from publish_marts import row_changes
from publish_marts.row_changes import RowChanges

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = "ticker,day,close\nA,2012-01-02,1.0\nA,2012-01-03,2.0\nB,2012-01-02,3.0\n"


@pytest.mark.parametrize(
    ("after", "key", "expected"),
    [
        (BEFORE, ["day", "ticker"], RowChanges(0, 0, 0)),
        ("ticker,day,close\nB,2012-01-02,3.0\nA,2012-01-03,2.0\nA,2012-01-02,1.0\n", ["day", "ticker"], RowChanges(0, 0, 0)),
        ("ticker,day,close\nA,2012-01-02,1.5\nB,2012-01-02,3.0\nB,2012-01-03,4.0\n", ["day", "ticker"], RowChanges(1, 1, 1)),
        ("ticker,day,close\nA,2012-01-02,1.5\nB,2012-01-02,3.0\nB,2012-01-03,4.0\n", [], RowChanges(2, 2, 0)),
        ("ticker,day,close\n", ["day", "ticker"], RowChanges(0, 3, 0)),
        ("ticker,day,close,eur\nA,2012-01-02,1.0,1\nA,2012-01-03,2.0,2\nB,2012-01-02,3.0,3\n", ["day", "ticker"], RowChanges(0, 0, 3)),
    ],
    ids=["same", "order", "each kind", "no key", "all gone", "new column"],
)
def test_rows_are_compared_by_key_and_content(tmp_path: Path, after: str, key: list[str], expected: RowChanges) -> None:
    before, path = tmp_path / "before.csv", tmp_path / "after.csv"
    before.write_text(BEFORE, encoding="utf-8")
    path.write_text(after, encoding="utf-8")
    assert row_changes.compare_versions(before, path, key) == expected


def test_a_row_with_a_line_break_is_compared_as_a_whole(tmp_path: Path) -> None:
    before, after = tmp_path / "before.csv", tmp_path / "after.csv"
    before.write_text('k,note\nA,"one\ntwo ""x"""\nB,"one\ntwo"\n', encoding="utf-8")
    after.write_text('k,note\nA,"one\ntwo ""x"""\nB,"one\nthree"\nC,d\n', encoding="utf-8")
    assert row_changes.compare_versions(before, after, ["k"]) == RowChanges(1, 0, 1)
