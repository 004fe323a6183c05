"""A flow that runs one job and passes its receipt on to a second run of it; for tests/orchestration/test_deployments.py."""

from __future__ import annotations

from prefect import flow

from orchestration.runtime.run_job import run_job


@flow
async def flow_of_one(job: str, options: dict[str, object]) -> None:
    """Run a job, then run it again with a value from its receipt."""
    receipt = await run_job(job, **options)
    await run_job(job, mode="ok", told=str(receipt["details"]["told"]))
