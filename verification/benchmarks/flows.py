"""The flows that the benchmarks run."""

import json
import time
from datetime import datetime

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact

from orchestration.runtime import run_job
from orchestration.runtime.backfill import plan_backfill

STEPS = "bench-steps"


@flow
async def steps(job: str, options: dict[str, object], times: int) -> None:
    """Run a job's plan again and again; leave of each the seconds to its first line, and from its end to our going on."""
    took = []
    for _ in range(times):
        started_s = time.time()
        receipt = await run_job.run_verb(job, options, verb="plan")
        ended_s = time.time()
        first_s, last_s = (datetime.fromisoformat(text).timestamp() for text in (receipt["started_at"], receipt["ended_at"]))
        took.append([first_s - started_s, ended_s - last_s])
    await acreate_markdown_artifact(json.dumps(took), key=STEPS)


@flow
async def scale(count: int, seconds: float, concurrency: int) -> None:
    """Run a job that sleeps, once for each item."""
    extracts: dict[str, dict[str, object]] = {"extract-sleep": {"count": count, "seconds": seconds}}
    today = datetime.now().astimezone().date()
    work = await plan_backfill(extracts, lake="none", start=today, end=today, refetch=False)
    await work.publish_plan()
    await work.run(concurrency=concurrency)
    work.raise_failures()
