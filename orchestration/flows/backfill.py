"""A range of dates: fetch what the lake does not hold, then load, transform and publish once."""

from datetime import date
from typing import Literal

from prefect import flow, get_run_logger

from orchestration.runtime.backfill import ConcurrencyLimit, plan_backfill
from orchestration.runtime.run_job import run_job
from orchestration.runtime.summary import publish_summary

Audience = Literal["internal", "public"]
Extracts = dict[str, dict[str, object]]


@flow
@publish_summary()
async def backfill(
    lake: str, warehouse: str, warehouse_password: str, docs: str, site: str, extracts: Extracts, start: date, end: date,
    *, concurrency: ConcurrencyLimit = 4, refetch: bool = False, plan_only: bool = False, audience: Audience = "internal",
    at_once: ConcurrencyLimit | None = None, again: bool | None = None,
) -> None:  # fmt: skip
    """Fetch what the lake does not hold of `start` to `end`, `concurrency` runs of a job at a time; load, transform and publish once.

    `extracts` names the extract jobs and gives each its options, without dates. `refetch` also fetches what is committed. The plan is
    published first; `plan_only` stops there. `audience` is whom the site is for. Deprecated: `at_once` for `concurrency`, `again` for
    `refetch`.
    """
    if at_once is not None or again is not None:
        get_run_logger().warning("the parameters at_once and again are deprecated; use concurrency and refetch")
    access = {"warehouse": warehouse, "warehouse_password": warehouse_password}
    work = await plan_backfill(extracts, lake=lake, start=start, end=end, refetch=refetch or bool(again))
    await work.publish_plan()
    if not plan_only:
        await work.run(concurrency=at_once or concurrency)
        if work.datasets:
            await run_job("load-warehouse", lake=lake, dataset=work.datasets, **access)
            await run_job("transform-warehouse", docs=docs, **access)
            await run_job("publish-marts", docs=docs, site=site, audience=audience, **access)
        work.raise_failures()
