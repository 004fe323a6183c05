"""The daily pipeline: vendors to the lake, the lake to the warehouse, the warehouse to marts, the marts to files."""

from typing import Literal

from prefect import flow

from orchestration.runtime.run_job import gather_all, list_datasets, run_job
from orchestration.runtime.scheduled_date import resolve_today
from orchestration.runtime.summary import publish_summary

Audience = Literal["internal", "public"]
Extracts = dict[str, dict[str, object]]


@flow
@publish_summary()
async def daily(
    lake: str, warehouse: str, warehouse_password: str, docs: str, site: str, extracts: Extracts, timezone: str = "UTC",
    audience: Audience = "internal",
) -> None:  # fmt: skip
    """Extract in parallel, load each dataset as soon as its extract is done, transform once, publish.

    `extracts` names the extract jobs and gives each its options; `today` in them is the date this run was scheduled for, in `timezone`.
    `audience` is whom the site is for, which decides what is published.
    Extracts that found nothing new share one load, which only completes a load that was interrupted earlier.
    """
    access = {"warehouse": warehouse, "warehouse_password": warehouse_password}

    async def extract_and_load(job: str, options: dict[str, object]) -> list[str]:
        receipt = await run_job(job, lake=lake, **resolve_today(options, timezone))
        if receipt["status"] == "unchanged":
            return list_datasets(receipt)
        await run_job("load-warehouse", lake=lake, dataset=list_datasets(receipt), **access)
        return []

    unloaded = await gather_all(*(extract_and_load(job, options) for job, options in extracts.items()))
    if unchanged := sorted(name for names in unloaded for name in names):
        await run_job("load-warehouse", lake=lake, dataset=unchanged, **access)
    await run_job("transform-warehouse", docs=docs, **access)
    await run_job("publish-marts", docs=docs, site=site, audience=audience, **access)
