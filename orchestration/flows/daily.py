"""The daily pipeline: vendors to the lake, the lake to the warehouse, the warehouse to marts, the marts to files."""

from prefect import flow

from orchestration.runtime.downstream import build, load
from orchestration.runtime.flow_parameters import Audience, Docs, Extracts, Lake, Site, Timezone, Warehouse, WarehousePassword
from orchestration.runtime.run_job import gather_all, list_datasets, run_job
from orchestration.runtime.run_names import name_daily_run
from orchestration.runtime.scheduled_date import resolve_today
from orchestration.runtime.summary import publish_summary
from orchestration.runtime.termination import unwrap_termination


@flow(flow_run_name=name_daily_run)
@unwrap_termination()
@publish_summary()
async def daily(
    lake: Lake, warehouse: Warehouse, warehouse_password: WarehousePassword, docs: Docs, site: Site, extracts: Extracts,
    timezone: Timezone = "UTC", audience: Audience = "internal",
) -> None:  # fmt: skip
    """Extract in parallel, load each dataset as soon as its extract is done, transform once, publish.

    `today` in the options of an extract is the date this run was scheduled for, in `timezone`.
    Extracts that found nothing new share one load, which only completes a load that was interrupted earlier.
    """
    options = {"lake": lake, "warehouse": warehouse, "warehouse_password": warehouse_password, "docs": docs, "site": site}

    async def extract_and_load(job: str, given: dict[str, object]) -> list[str]:
        receipt = await run_job(job, lake=lake, **resolve_today(given, timezone))
        if receipt["status"] == "unchanged":
            return list_datasets(receipt)
        await load(list_datasets(receipt), options)
        return []

    unloaded = await gather_all(*(extract_and_load(job, given) for job, given in extracts.items()))
    if unchanged := sorted(name for names in unloaded for name in names):
        await load(unchanged, options)
    await build({**options, "audience": audience})
