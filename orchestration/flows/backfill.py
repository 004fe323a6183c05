"""A range of days: asked for where the lake does not hold it, then loaded, transformed and published once."""

from datetime import date
from typing import Literal

from prefect import flow

from orchestration.runtime.backfill import AtOnce, planned
from orchestration.runtime.run_job import run_job
from orchestration.runtime.summary import run_page

Audience = Literal["internal", "public"]
Extracts = dict[str, dict[str, object]]


@flow
@run_page()
async def backfill(
    lake: str, warehouse: str, warehouse_password: str, docs: str, site: str, extracts: Extracts, start: date, end: date,
    *, at_once: AtOnce = 4, again: bool = False, plan_only: bool = False, audience: Audience = "internal",
) -> None:  # fmt: skip
    """Ask for what the lake does not hold of the days from `start` to `end`, `at_once` runs of a job; load, transform and publish once.

    `extracts` names the extract jobs and gives each its options, without dates. `again` asks for what is committed too. The plan is
    shown first; `plan_only` ends there. `audience` is whom the site is for.
    """
    access = {"warehouse": warehouse, "warehouse_password": warehouse_password}
    work = await planned(extracts, lake=lake, start=start, end=end, again=again)
    await work.show_plan()
    if not plan_only:
        await work.run(at_once=at_once)
        if work.datasets:
            await run_job("load-warehouse", lake=lake, dataset=work.datasets, **access)
            await run_job("transform-warehouse", docs=docs, **access)
            await run_job("publish-marts", docs=docs, site=site, audience=audience, **access)
        work.end()
