"""Build a lake, its site and its Iceberg tables whose answers differ at three moments: the pipeline with the sample vendors, three times.

Each time, the vendors have more days and SEC has more filings. The second time, Tiingo's volumes are wrong, which the third corrects.
"""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from jobkit.lake import CommitDraft, Lake
from pyarrow import parquet

from orchestration.local import sample_parameters
from verification.faults import job_runs
from verification.faults.sandbox import open_sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from jobkit.commits import Commit

RECEIVED = [datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 3)]
WRONG, DATASET, COLUMN = 2, "tiingo_prices", "volume"


class Sample(NamedTuple):
    """The folders of a lake and a site."""

    lake: Path
    site: Path


def build(folder: Path) -> Sample:
    """Extract, load, transform, publish and register, with the state of the vendors at each moment."""
    sample = Sample(folder / "lake", folder / "site")
    with open_sandbox() as sandbox:
        warehouse = sandbox.warehouse_options(sandbox.create_database())
        lake = ["--lake", str(sample.lake)]
        for number, received in enumerate(RECEIVED, 1):
            for job, options in _list_extracts(sandbox.vendors, number):
                job_runs.run_successfully(job, [*lake, "--received-at", received.isoformat(), *job_runs.to_argv(options)])
            if number == WRONG:
                _restate(Lake(str(sample.lake), received + timedelta(seconds=1)))
            job_runs.run_successfully("load-warehouse", [*lake, *warehouse])
            job_runs.run_successfully("transform-warehouse", warehouse)
            job_runs.run_successfully("publish-marts", [*warehouse, "--site", str(sample.site)])
        job_runs.run_successfully("register-iceberg-tables", [*lake, "--site", str(sample.site)])
    return sample


def _list_extracts(vendors: str, number: int) -> list[tuple[str, dict[str, Any]]]:
    """Return the extract jobs with the options of one of the three times, each with so many thirds of its days."""
    day = _divide(sample_parameters.SAMPLE_START, sample_parameters.SAMPLE_END, number)
    extracts: sample_parameters.Extracts = sample_parameters.build_sample_extracts(f"{vendors}/{day}", "env://CANARY")
    dated = {"start", "end"}
    return [
        (job, {**options, "end": _divide(str(options["start"]), str(options["end"]), number)} if dated <= options.keys() else options)
        for job, options in extracts.items()
    ]


def _divide(start: str, end: str, thirds: int) -> str:
    first, last = date.fromisoformat(start), date.fromisoformat(end)
    return (first + (last - first) * thirds // len(RECEIVED)).isoformat()


def _restate(lake: Lake) -> None:
    for partition in lake.partitions(DATASET):
        if head := lake.head(DATASET, partition):
            lake.commit(DATASET, partition, _draft_restatement(lake, head))


def _draft_restatement(lake: Lake, head: Commit) -> CommitDraft:
    """Return the same rows with a larger volume."""
    table = parquet.read_table(io.BytesIO(lake.read(head.data)))
    at, field, data = table.schema.get_field_index(COLUMN), table.schema.field(COLUMN), io.BytesIO()
    parquet.write_table(table.set_column(at, field, pc.add(table[COLUMN], pa.scalar(100, field.type))), data)
    return CommitDraft(data.getvalue(), table.num_rows, None, 0, lambda: head.source, key=head.key, leaf=head.leaf, writer=head.writer)
