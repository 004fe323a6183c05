"""Run the jobs that come after the extracts. Which jobs these are, and their order, follows from what the jobs declare."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from jobs.catalogue import catalogue
from orchestration.job_order import list_builders, list_loaders
from orchestration.runtime.freshness import report_late_datasets
from orchestration.runtime.run_job import read_option_names, run_job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobkit.receipt import Receipt

    from jobs.catalogue import JobSpec

_catalogue = cache(catalogue)


async def load(datasets: Sequence[str], options: Mapping[str, object], specs: Sequence[JobSpec] | None = None) -> None:
    """Load these datasets of the lake. Each job gets those of the options that it has. Raises JobFailedError."""
    for job in list_loaders(_catalogue() if specs is None else specs):
        await _run(job, {**options, "dataset": list(datasets)})


async def build(options: Mapping[str, object], specs: Sequence[JobSpec] | None = None) -> None:
    """Build and publish everything that follows from the loaded datasets, and report those that are late. Raises JobFailedError."""
    for job in list_builders(_catalogue() if specs is None else specs):
        receipt = await _run(job, options)
        await report_late_datasets(receipt)


async def _run(job: str, options: Mapping[str, object]) -> Receipt:
    supported = await read_option_names(job)
    return await run_job(job, **{name: value for name, value in options.items() if name in supported})
