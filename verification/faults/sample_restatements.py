"""A lake with a past: what the sample vendors sent, and what they sent later of the same days, so that loading is more than adding."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from arro3.io import read_parquet, write_parquet
from jobkit.lake import CommitDraft, Lake
from jobkit.store import open_store

from orchestration.local import sample_parameters
from verification.faults import sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from verification.faults.sandbox import Stage

CORRECTED = ("tiingo_prices", "treasury_par_yields")
HEADER = "position_date,custodian,account,isin,quantity,price,market_value,currency\n"
POSITIONS = {"bank-2012-12-31.csv": 60, "bank-2013-01-31.csv": 70}


def lake(stage: Stage, between: Callable[[Path], None] = lambda _place: None) -> Path:
    """Everything extracted, dropped files taken, and of two datasets a second commit with fewer rows in each partition.

    `between` is called with the place before those second commits.
    """
    place, dropped = stage.fresh("filled"), stage.fresh("drop")
    for job in sample_parameters.build_sample_extracts("", ""):
        sandbox.well(job, ["--lake", str(place), *stage.asks(job)])
    drop(dropped)
    sandbox.well("extract-dropped-files", ["--lake", str(place), "--drop", str(dropped)])
    between(place)
    where = Lake(str(place))
    for dataset in CORRECTED:
        for partition in where.partitions(dataset):
            shorten(where, dataset, partition)
    return place


def shorten(where: Lake, dataset: str, partition: str) -> None:
    """Commit a partition again, without its last row."""
    head = where.head(dataset, partition)
    if head is None:
        raise RuntimeError(f"{dataset}/{partition} is not there")
    table = read_parquet(io.BytesIO(where.read(head.data))).read_all()
    data = io.BytesIO()
    write_parquet(table.slice(0, max(table.num_rows - 1, 0)), data, compression="zstd(3)")
    rows = max(table.num_rows - 1, 0)
    draft = CommitDraft(data.getvalue(), rows, None, 0, lambda: head.source, key=head.key, leaf=head.leaf, writer=head.writer)
    where.commit(dataset, partition, draft)


def drop(place: Path) -> None:
    """Files of positions, a bad row in each."""
    store = open_store(str(place))
    for name, count in POSITIONS.items():
        day = name.removeprefix("bank-").removesuffix(".csv")
        rows = [f"{day},Bank,A{n},US0378331005,{'many' if n == count - 1 else n},1.5,{1.5 * n},USD\n" for n in range(count)]
        store.put(f"custodian_positions/{name}", (HEADER + "".join(rows)).encode())
