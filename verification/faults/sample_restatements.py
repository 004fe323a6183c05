"""Build a lake with restatements: the sample vendors' data, and later commits of the same partitions."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from arro3.io import read_parquet, write_parquet
from jobkit.lake import CommitDraft, Lake
from jobkit.stores import open_store

from orchestration.local import sample_parameters
from verification.faults import job_runs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from verification.faults.sandbox import Sandbox

CORRECTED = ("tiingo_prices", "treasury_par_yields")
HEADER = "position_date,custodian,account,isin,quantity,price,market_value,currency\n"
POSITIONS = {"bank-2012-12-31.csv": 60, "bank-2013-01-31.csv": 70}


class Stages(NamedTuple):
    """The pipeline's stages, to be read or copied: a lake, the URLs of a loaded and of a transformed warehouse, and dbt's documentation."""

    lake: Path
    loaded: str
    transformed: str
    docs: Path


@cache
def build_stages(sandbox: Sandbox) -> Stages:
    """Run the pipeline up to the marts, once for each sandbox."""
    lake, loaded, docs = build_lake(sandbox), sandbox.create_database(), sandbox.new_path("docs")
    job_runs.run_successfully("load-warehouse", ["--lake", str(lake), *sandbox.warehouse_options(loaded)])
    transformed = sandbox.copy_database(loaded)
    job_runs.run_successfully("transform-warehouse", [*sandbox.transform_options(transformed), "--docs", str(docs)])
    return Stages(lake, loaded, transformed, docs)


def build_lake(sandbox: Sandbox, between: Callable[[Path], None] = lambda _place: None) -> Path:
    """Extract all samples and drop files, then commit every partition of two datasets again with fewer rows.

    `between` is called with the lake's folder before those second commits.
    """
    folder, drop = sandbox.new_path("filled"), sandbox.new_path("drop")
    for job in sample_parameters.build_sample_extracts("", ""):
        job_runs.run_successfully(job, ["--lake", str(folder), *sandbox.extract_options(job)])
    write_drop(drop)
    job_runs.run_successfully("extract-dropped-files", ["--lake", str(folder), "--drop", str(drop)])
    between(folder)
    lake = Lake(str(folder))
    for dataset in CORRECTED:
        for partition in lake.partitions(dataset):
            commit_without_last_row(lake, dataset, partition)
    return folder


def commit_without_last_row(lake: Lake, dataset: str, partition: str) -> None:
    """Commit a partition again without its last row."""
    head = lake.head(dataset, partition)
    if head is None:
        raise RuntimeError(f"{dataset}/{partition} is not there")
    table = read_parquet(io.BytesIO(lake.read(head.data))).read_all()
    data = io.BytesIO()
    write_parquet(table.slice(0, max(table.num_rows - 1, 0)), data, compression="zstd(3)")
    rows = max(table.num_rows - 1, 0)
    draft = CommitDraft(data.getvalue(), rows, None, 0, lambda: head.source, key=head.key, leaf=head.leaf, writer=head.writer)
    lake.commit(dataset, partition, draft)


def write_drop(folder: Path) -> None:
    """Write files of positions with a bad row in each."""
    store = open_store(str(folder))
    for name, count in POSITIONS.items():
        day = name.removeprefix("bank-").removesuffix(".csv")
        rows = [f"{day},Bank,A{n},US0378331005,{'many' if n == count - 1 else n},1.5,{1.5 * n},USD\n" for n in range(count)]
        store.put(f"custodian_positions/{name}", (HEADER + "".join(rows)).encode())
