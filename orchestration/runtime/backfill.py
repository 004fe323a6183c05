"""The work of a backfill: what it would do, as a plan; how far it is, as one table; and what went wrong, told at its end."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Annotated, Any

from prefect import get_client
from prefect.artifacts import acreate_table_artifact
from prefect.client.schemas.actions import ArtifactUpdate
from pydantic import Field

from orchestration.runtime import run_job
from orchestration.runtime.backfill_chunks import cut, period
from orchestration.runtime.retry import patiently
from orchestration.runtime.run_job import JobFailedError, side_by_side

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from uuid import UUID

    from orchestration.runtime.backfill_chunks import Piece

SHOWN_EVERY_S = 2.0
PLAN_ROWS = 500
AtOnce = Annotated[int, Field(ge=1, le=100)]
BAD_DATA = 65  # says something of its partitions only; after any other failure the next piece of the job would fail as well


class BackfillError(Exception):
    """Some pieces failed. The message is the first one's sentence and how many there are."""


class Backfill:
    """The pieces of all jobs, and what became of each partition."""

    def __init__(self, plans: Mapping[str, list[dict[str, Any]]], pieces: list[Piece]) -> None:
        self.pieces = pieces
        asked = {(piece.job, partition) for piece in pieces for partition in piece.partitions}
        self._dataset = {(job, entry["partition"]): entry["dataset"] for job, plan in plans.items() for entry in plan}
        self._outcomes = {key: "to do" if key in asked else "done" for key in self._dataset}
        self._failures: dict[str, JobFailedError] = {}
        self._artifact: UUID | None = None
        self._shown_s = 0.0

    @property
    def datasets(self) -> list[str]:
        """The datasets of which the lake holds something, by name."""
        return sorted({self._dataset[key] for key, outcome in self._outcomes.items() if outcome == "done"})

    @patiently
    async def show_plan(self) -> None:
        """Leave a table of the runs to come, and how much of each job's range is committed already."""
        table = [{"job": piece.job, "partitions": piece.subject, "count": len(piece.partitions)} for piece in self.pieces[:PLAN_ROWS]]
        told = []
        for job, outcomes in self._by_job().items():
            runs = sum(piece.job == job for piece in self.pieces)
            told.append(f"- {job}: {outcomes['to do']:,} of {outcomes.total():,} partitions in {runs:,} runs")
        more = f"\n\nThe first {len(table)} of {len(self.pieces):,} runs:" if len(self.pieces) > len(table) else ""
        await acreate_table_artifact(table, key="backfill-plan", description="To ask for:\n\n" + "\n".join(told) + more)

    async def run(self, *, at_once: int) -> None:
        """Run the pieces, `at_once` of each job at a time. What fails is told by `end`, when everything else is done."""
        gates = {job: asyncio.Semaphore(at_once) for job in {piece.job for piece in self.pieces}}

        async def one(piece: Piece) -> None:
            async with gates[piece.job]:
                await self._run(piece)

        await self._show(now=True)
        await side_by_side(*(one(piece) for piece in self.pieces))
        await self._show(now=True)

    def end(self) -> None:
        """Nothing. Raises BackfillError when pieces failed or were not begun after a failure."""
        counts = Counter(self._outcomes.values())
        if self._failures:
            left = f"{counts['failed']:,} partitions failed" + (f", {counts['to do']:,} were not asked for" if counts["to do"] else "")
            first = "; ".join(str(error) for error in self._failures.values())
            raise BackfillError(f"{left}: {first}; correct that and start the backfill again, it asks for what is missing")

    async def _run(self, piece: Piece) -> None:
        failure = self._failures.get(piece.job)
        if failure and failure.exit_code != BAD_DATA:
            return
        outcome = "done"
        try:
            await run_job.run(piece.job, piece.options, subject=piece.subject)
        except JobFailedError as error:
            outcome = "failed"
            self._failures[piece.job] = error
        self._outcomes.update({(piece.job, partition): outcome for partition in piece.partitions})
        await self._show()

    @patiently
    async def _show(self, *, now: bool = False) -> None:
        """Bring the table of periods and jobs up to date: one artifact, some seconds apart."""
        if not now and time.monotonic() - self._shown_s < SHOWN_EVERY_S:
            return
        self._shown_s = time.monotonic()
        counts = Counter(self._outcomes.values())
        description = f"{counts['done']:,} of {counts.total():,} partitions are in the lake, {counts['failed']:,} failed"
        if self._artifact is None:
            self._artifact = await acreate_table_artifact(self._table(), key="backfill-progress", description=description)
            return
        async with get_client() as client:
            await client.update_artifact(self._artifact, ArtifactUpdate(data=json.dumps(self._table()), description=description))

    def _table(self) -> list[dict[str, str]]:
        """A row a month (or year), a column a job: how many of its partitions are done."""
        cells: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for (job, partition), outcome in self._outcomes.items():
            cells[period(partition) or "undated", job][outcome] += 1
        periods, jobs = sorted({key[0] for key in cells}), list(self._by_job())
        return [{"period": row} | {job: _cell(cells[row, job]) for job in jobs} for row in periods]

    def _by_job(self) -> dict[str, Counter[str]]:
        counts: dict[str, Counter[str]] = {}
        for (job, _), outcome in self._outcomes.items():
            counts.setdefault(job, Counter())[outcome] += 1
        return counts


async def planned(extracts: Mapping[str, Mapping[str, object]], *, lake: str, start: date, end: date, again: bool) -> Backfill:
    """What is to be asked for, by each job's own plan of the range. Raises JobFailedError for a job that cannot say."""

    async def of(job: str, options: Mapping[str, object]) -> tuple[list[dict[str, Any]], list[Piece]]:
        known = await run_job.options_of(job)
        days = {"start": str(start), "end": str(end), "lookback_days": 0}
        given = {"lake": lake, **{name: value for name, value in days.items() if name in known}, **options}
        plan = await run_job.plan(job, **given)
        return plan, cut(job, given, plan, known=known, again=again)

    found = await side_by_side(*(of(job, options) for job, options in extracts.items()))
    plans = {job: plan for job, (plan, _) in zip(extracts, found, strict=True)}
    return Backfill(plans, [piece for _, pieces in found for piece in pieces])


def _cell(counts: Counter[str]) -> str:
    if not counts:
        return ""
    return f"{counts['done']} of {counts.total()}" + (f", {counts['failed']} failed" if counts["failed"] else "")
