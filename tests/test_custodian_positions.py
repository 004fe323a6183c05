"""One row per position in the warehouse, whatever files its bank sent: lots, corrections, files that the lake kept by their names."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from arro3.core import DataType
from extract_dropped_files import runner
from jobkit.stores import open_store

from tests import recorded_lake
from tests.warehouse.samples import Recorder, commit, load

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.fixtures_postgres import Warehouse

HEADER = "position_date,custodian,account,isin,quantity,price,market_value,currency\n"
APPLE, BAYER = "US0378331005", "DE000BAY0017"
COLUMNS = {
    **dict.fromkeys(("custodian", "account", "isin", "currency"), DataType.utf8()),
    "position_date": DataType.date32(),
    "quantity": DataType.decimal128(24, 6),
    "price": DataType.decimal128(18, 6),
    "market_value": DataType.decimal128(24, 4),
}
ASKED = """
select account, isin, quantity, price, market_value, currency, lot_count
from staging.stg_custodian__positions where custodian = '{}' order by 1, 2
"""


class _Silent:
    def warning(self, *_: object, **__: object) -> None:
        """Say nothing."""


@dataclass
class Job(Recorder):
    """The part of a job that taking files needs."""

    name: str = "extract-dropped-files"
    version: str = "0"
    log: Any = field(default_factory=_Silent)


def drop(folder: Path, **files: str) -> None:
    """Drop files one after another and take each."""
    for name, text in files.items():
        dataset, _, rest = name.partition("__")
        open_store(str(folder / "drop")).put(f"{dataset}/{rest}.csv", (HEADER + text).encode())
        runner.run(Job(), str(folder / "lake"), str(folder / "drop"), None)  # type: ignore[arg-type]


def row(bank: str, account: str, isin: str, quantity: int, price: str = "2", currency: str = "USD") -> str:
    return f"2013-06-28,{bank},{account},{isin},{quantity},{price},{quantity * Decimal(price)},{currency}\n"


def earlier(folder: Path, name: str, *rows: str) -> None:
    """A file as an earlier version committed it, in a partition of its own."""
    cells = [dict(zip(HEADER.strip().split(","), text.strip().split(","), strict=True)) for text in rows]
    key = ("position_date", "custodian", "account", "isin")
    commit(
        folder / "lake", cells, dataset="custodian_positions", partition=f"file={name}", columns=COLUMNS, key=key, leaf="hash(account, 1)"
    )


def test_a_position_has_one_row_for_any_combination_of_files(tmp_path: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extract_dropped_files.source.SETTLE_S", 0.0)
    earlier(tmp_path, "old-a", row("Old", "1", APPLE, 10), row("Old", "2", APPLE, 20))
    earlier(tmp_path, "old-b", row("Old", "2", APPLE, 21), row("Old", "3", APPLE, 30))
    earlier(tmp_path, "new-1", row("New", "1", APPLE, 10), row("New", "2", APPLE, 20))
    drop(
        tmp_path,
        custodian_positions__new=row("New", "1", APPLE, 11),
        custodian_positions__corrected=row("Bank", "1", APPLE, 100) + row("Bank", "2", BAYER, 5, "80", "EUR"),
        custodian_positions__corrected_v2=row("Bank", "1", APPLE, 110) + row("Bank", "2", BAYER, 5, "80", "EUR"),
        custodian_lots__lots=row("Lots", "1", APPLE, 100)
        + row("Lots", "1", APPLE, 250)
        + row("Lots", "2", BAYER, 1)
        + row("Lots", "2", BAYER, 2, "3", "EUR"),
        custodian_positions__both=row("Both", "1", APPLE, 7),
        custodian_lots__both=row("Both", "1", APPLE, 3) + row("Both", "1", APPLE, 5),
    )
    load(tmp_path / "lake", warehouse)
    recorded_lake.transform(warehouse)
    found = {bank: warehouse.rows(ASKED.format(bank)) for bank in ("Old", "New", "Bank", "Lots", "Both")}
    assert [(one[0], int(one[2])) for one in found["Old"]] == [("1", 10), ("2", 21), ("3", 30)]
    assert [(one[0], int(one[2])) for one in found["New"]] == [("1", 11)]
    assert [(one[0], int(one[2]), int(one[4])) for one in found["Bank"]] == [("1", 110, 220), ("2", 5, 400)]
    assert found["Lots"] == [
        ("1", APPLE, Decimal(350), Decimal(2), Decimal(700), "USD", 2),
        ("2", BAYER, Decimal(3), None, None, None, 2),
    ]
    assert [(int(one[2]), one[6]) for one in found["Both"]] == [(8, 2)]
