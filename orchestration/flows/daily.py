"""The daily pipeline: every vendor to the lake, the lake to the warehouse, the warehouse to marts, the marts to files."""

from typing import Literal

from prefect import flow

from orchestration.runtime.run_job import datasets, run_job, side_by_side
from orchestration.runtime.scheduled_date import dated
from orchestration.runtime.summary import run_page

Audience = Literal["internal", "public"]
Extracts = dict[str, dict[str, object]]


@flow
@run_page()
async def daily(
    lake: str, warehouse: str, warehouse_password: str, docs: str, site: str, extracts: Extracts, timezone: str = "UTC",
    audience: Audience = "internal",
) -> None:  # fmt: skip
    """Extract side by side, load each as soon as its extract is done, transform once, publish.

    `extracts` names the extract jobs and gives each its options; `today` in them is the day this run was scheduled for, in `timezone`.
    `audience` is whom the site is for, which decides what is published.
    Extracts that found nothing new share one load, which then only looks whether an earlier one was cut short.
    """
    access = {"warehouse": warehouse, "warehouse_password": warehouse_password}

    async def extract_and_load(job: str, options: dict[str, object]) -> list[str]:
        extracted = await run_job(job, lake=lake, **dated(options, timezone))
        if extracted["status"] == "unchanged":
            return datasets(extracted)
        await run_job("load-warehouse", lake=lake, dataset=datasets(extracted), **access)
        return []

    left = await side_by_side(*(extract_and_load(job, options) for job, options in extracts.items()))
    if unchanged := sorted(name for names in left for name in names):
        await run_job("load-warehouse", lake=lake, dataset=unchanged, **access)
    await run_job("transform-warehouse", docs=docs, **access)
    await run_job("publish-marts", docs=docs, site=site, audience=audience, **access)
