"""A range of dates: fetch what the lake does not hold, then load, transform and publish once."""

from prefect import flow, get_run_logger

from orchestration.runtime import flow_parameters as parameters
from orchestration.runtime.backfill import plan_backfill
from orchestration.runtime.downstream import build, load
from orchestration.runtime.run_names import name_backfill_run
from orchestration.runtime.summary import publish_summary
from orchestration.runtime.termination import unwrap_termination


@flow(flow_run_name=name_backfill_run)
@unwrap_termination()
@publish_summary()
async def backfill(
    lake: parameters.Lake, warehouse: parameters.Warehouse, warehouse_password: parameters.WarehousePassword,
    docs: parameters.Docs, site: parameters.Site, extracts: parameters.Extracts, start: parameters.Start, end: parameters.End,
    *, concurrency: parameters.Concurrency = 4, refetch: parameters.Refetch = False, plan_only: parameters.PlanOnly = False,
    loaders: parameters.Loaders = 1, audience: parameters.Audience = "internal",
    at_once: parameters.DeprecatedConcurrency = None, again: parameters.DeprecatedRefetch = None,
) -> None:  # fmt: skip
    """Fetch what the lake does not hold of a range of days, then load, transform and publish once.

    The plan is published first. The options of `extracts` have no dates.
    """
    if at_once is not None or again is not None:
        get_run_logger().warning("the parameters at_once and again are deprecated; use concurrency and refetch")
    options = {"lake": lake, "warehouse": warehouse, "warehouse_password": warehouse_password, "docs": docs, "site": site}
    work = await plan_backfill(extracts, lake=lake, start=start, end=end, refetch=refetch or bool(again))
    await work.publish_plan()
    if not plan_only:
        await work.run(concurrency=at_once or concurrency)
        if work.datasets:
            await load(work.datasets, options, loaders=loaders)
            await build({**options, "audience": audience})
        work.raise_failures()
