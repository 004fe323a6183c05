"""Run the jobs that come after the extracts. Which jobs these are, and their order, follows from what the jobs declare."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from jobs.catalogue import catalogue
from orchestration.job_order import list_builders, list_loaders
from orchestration.runtime.freshness import report_late_datasets
from orchestration.runtime.run_job import gather_all, read_option_names, run_job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobkit.receipt import Receipt

    from jobs.catalogue import JobSpec

_catalogue = cache(catalogue)


async def load(datasets: Sequence[str], options: Mapping[str, object], specs: Sequence[JobSpec] | None = None, *, loaders: int = 1) -> None:
    """Load these datasets of the lake, in as many runs at a time as there are loaders; a dataset is loaded by one.

    Each job gets those of the options that it has. Raises JobFailedError.
    """
    shares = [list(datasets[first::loaders]) for first in range(min(loaders, max(len(datasets), 1)))]
    for job in list_loaders(_catalogue() if specs is None else specs):
        await gather_all(*(_run(job, {**options, "dataset": share}) for share in shares))


async def build(options: Mapping[str, object], specs: Sequence[JobSpec] | None = None) -> None:
    """Build and publish everything that follows from the loaded datasets, and report those that are late. Raises JobFailedError."""
    for job in list_builders(_catalogue() if specs is None else specs):
        receipt = await _run(job, options)
        await report_late_datasets(receipt)


async def _run(job: str, options: Mapping[str, object]) -> Receipt:
    supported = await read_option_names(job)
    return await run_job(job, **{name: value for name, value in options.items() if name in supported})
