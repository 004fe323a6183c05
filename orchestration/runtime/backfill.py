"""The work of a backfill: publish its plan, run its chunks, show progress in one table, and raise the failures at the end."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from jobkit.errors import ExitCode
from prefect import get_client
from prefect.artifacts import acreate_table_artifact
from prefect.client.schemas.actions import ArtifactUpdate

from orchestration.runtime import run_job
from orchestration.runtime.backfill_chunks import period_of, plan_chunks
from orchestration.runtime.retry import retry_while_unreachable
from orchestration.runtime.run_job import JobFailedError, gather_all

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from uuid import UUID

    from orchestration.runtime.backfill_chunks import Chunk

PROGRESS_EVERY_S = 2.0
MAX_PLAN_ROWS = 500


class BackfillError(Exception):
    """Some chunks failed. The message has the number of partitions and each job's error."""


class Backfill:
    """The chunks of all jobs, and the outcome of each partition."""

    def __init__(self, plans: Mapping[str, list[dict[str, Any]]], chunks: list[Chunk]) -> None:
        self.chunks = chunks
        to_fetch = {key for chunk in chunks for key in chunk.keys}
        keys = [(job, entry["dataset"], entry["partition"]) for job, plan in plans.items() for entry in plan]
        self._outcomes = {key: "to do" if key in to_fetch else "done" for key in keys}
        self._failures: dict[str, JobFailedError] = {}
        self._artifact: UUID | None = None
        self._published_at_s = 0.0

    @property
    def datasets(self) -> list[str]:
        """The names of datasets of which the lake holds at least one partition of the range, sorted."""
        return sorted({dataset for (_, dataset, _), outcome in self._outcomes.items() if outcome == "done"})

    @retry_while_unreachable
    async def publish_plan(self) -> None:
        """Publish a table of the runs to come, and how much of each job's range is still missing."""
        rows = self.chunks[:MAX_PLAN_ROWS]
        table = [{"job": chunk.job, "partitions": chunk.subject, "count": len(chunk.partitions)} for chunk in rows]
        lines = []
        for job, outcomes in self._count_by_job().items():
            runs = sum(chunk.job == job for chunk in self.chunks)
            lines.append(f"- {job}: {outcomes['to do']:,} of {outcomes.total():,} partitions in {runs:,} runs")
        more = f"\n\nThe first {len(table)} of {len(self.chunks):,} runs:" if len(self.chunks) > len(table) else ""
        await acreate_table_artifact(table, key="backfill-plan", description="To fetch:\n\n" + "\n".join(lines) + more)

    async def run(self, *, concurrency: int) -> None:
        """Run the chunks, at most `concurrency` of each job at a time. `raise_failures` reports those that failed."""
        limits = {job: asyncio.Semaphore(concurrency) for job in {chunk.job for chunk in self.chunks}}

        async def run_limited(chunk: Chunk) -> None:
            async with limits[chunk.job]:
                await self._run_chunk(chunk)

        await self._publish_progress(force=True)
        await gather_all(*(run_limited(chunk) for chunk in self.chunks))
        await self._publish_progress(force=True)

    def raise_failures(self) -> None:
        """Raise BackfillError if chunks failed, or were not started after a failure."""
        if self._failures:
            counts = Counter(self._outcomes.values())
            summary = f"{counts['failed']:,} partitions failed" + (f", {counts['to do']:,} were not started" if counts["to do"] else "")
            errors = "; ".join(str(error) for error in self._failures.values())
            raise BackfillError(f"{summary}: {errors}; fix this and start the backfill again, it fetches what is missing")

    async def _run_chunk(self, chunk: Chunk) -> None:
        failure = self._failures.get(chunk.job)
        if failure and failure.exit_code != ExitCode.BAD_DATA:  # bad data concerns one chunk; any other failure, the job's next chunks too
            return
        outcome = "done"
        try:
            await run_job.run_verb(chunk.job, chunk.options, subject=chunk.subject)
        except JobFailedError as error:
            outcome = "failed"
            self._failures[chunk.job] = error
        self._outcomes.update(dict.fromkeys(chunk.keys, outcome))
        await self._publish_progress()

    @retry_while_unreachable
    async def _publish_progress(self, *, force: bool = False) -> None:
        """Update the table of periods and jobs: one artifact, every few seconds, and at once with `force`."""
        if not force and time.monotonic() - self._published_at_s < PROGRESS_EVERY_S:
            return
        self._published_at_s = time.monotonic()
        counts = Counter(self._outcomes.values())
        description = f"{counts['done']:,} of {counts.total():,} partitions are in the lake, {counts['failed']:,} failed"
        if self._artifact is None:
            self._artifact = await acreate_table_artifact(self._build_table(), key="backfill-progress", description=description)
            return
        async with get_client() as client:
            await client.update_artifact(self._artifact, ArtifactUpdate(data=json.dumps(self._build_table()), description=description))

    def _build_table(self) -> list[dict[str, str]]:
        """Return a row for each month (or year), with a column for each job: how many of its partitions are done."""
        cells: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for (job, _, partition), outcome in self._outcomes.items():
            cells[period_of(partition) or "undated", job][outcome] += 1
        periods, jobs = sorted({key[0] for key in cells}), list(self._count_by_job())
        return [{"period": period} | {job: _format_cell(cells[period, job]) for job in jobs} for period in periods]

    def _count_by_job(self) -> dict[str, Counter[str]]:
        counts: dict[str, Counter[str]] = {}
        for (job, _, _), outcome in self._outcomes.items():
            counts.setdefault(job, Counter())[outcome] += 1
        return counts


async def plan_backfill(extracts: Mapping[str, Mapping[str, object]], *, lake: str, start: date, end: date, refetch: bool) -> Backfill:
    """Ask each job to plan the range and return what is to be fetched.

    Raises BackfillError for a range without days, JobFailedError for a job that cannot plan.
    """
    if start > end:
        raise BackfillError(f"start is {start}, after end, which is {end}; swap them")

    async def plan_job(job: str, options: Mapping[str, object]) -> tuple[list[dict[str, Any]], list[Chunk]]:
        supported = await run_job.read_option_names(job)
        range_options = {"start": str(start), "end": str(end), "lookback_days": 0}
        job_options = {"lake": lake, **{name: value for name, value in range_options.items() if name in supported}, **options}
        plan = await run_job.plan_job(job, **job_options)
        return plan, plan_chunks(job, job_options, plan, supported=supported, refetch=refetch)

    planned = await gather_all(*(plan_job(job, options) for job, options in extracts.items()))
    plans = {job: plan for job, (plan, _) in zip(extracts, planned, strict=True)}
    return Backfill(plans, [chunk for _, chunks in planned for chunk in chunks])


def _format_cell(counts: Counter[str]) -> str:
    if not counts:
        return ""
    return f"{counts['done']} of {counts.total()}" + (f", {counts['failed']} failed" if counts["failed"] else "")
