"""What a flow's run did, as one page of its own: each step with its link, what changed, and where the result is to be seen."""

from __future__ import annotations

from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect.artifacts import acreate_markdown_artifact
from prefect.runtime import flow_run
from prefect.utilities.urls import url_for

from orchestration.runtime.retry import patiently

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
    from uuid import UUID

ROWS, NAMED = 200, 5
ROW = "| {step} | {outcome} | {rows} | {quarantined} | {seconds} |"
HEAD = "| step | what it did | rows | quarantined | seconds |\n| --- | --- | ---: | ---: | ---: |"


@dataclass(frozen=True)
class Step:
    """One run of one job as it ended: Prefect's state and sentence, and the receipt, if it left one."""

    run_id: UUID
    name: str
    state: str
    sentence: str
    receipt: Mapping[str, Any] | None


_steps: ContextVar[list[Step] | None] = ContextVar("steps", default=None)


def note(step: Step) -> None:
    """Keep a step for the page of the run that is under way, if it has one."""
    if (steps := _steps.get()) is not None:
        steps.append(step)


@asynccontextmanager
async def run_page() -> AsyncIterator[None]:
    """Leave the page when the block ends, well or not; only a run that was stopped has no time for it."""
    steps: list[Step] = []
    _steps.set(steps)
    try:
        yield
    except Exception:
        await _leave(steps)
        raise
    await _leave(steps)


@patiently
async def _leave(steps: Sequence[Step]) -> None:
    await acreate_markdown_artifact(markdown(steps, flow_run.flow_name), key=flow_run.flow_name, description=_total(steps))


def markdown(steps: Sequence[Step], title: str) -> str:
    """The page: a table of the steps, what was committed, and the published site."""
    rows = [_row(step) for step in steps[:ROWS]]
    more = [f"\nand {len(steps) - ROWS:,} more steps"] if len(steps) > ROWS else []
    changed = [f"- {line}" for line in _changes(steps)] or ["Nothing: the lake, the warehouse and the site were up to date."]
    site = [f"- [the published site]({url})" for url in _sites(steps)]
    see = ["\n## To look at\n", *site] if site else []
    return "\n".join([f"# {title}\n", _total(steps), "", HEAD, *rows, *more, "\n## What changed\n", *changed, *see])


def _total(steps: Sequence[Step]) -> str:
    receipts = [step.receipt for step in steps if step.receipt]
    failed = sum(step.state != "COMPLETED" for step in steps)
    told = [f"{len(steps):,} steps", *([f"{failed:,} failed"] if failed else [])]
    told += [f"{sum(receipt['committed'] for receipt in receipts):,} partitions committed"]
    return f"{', '.join(told)}; on Fargate about {sum(receipt['fargate_usd'] for receipt in receipts):.4f} USD"


def _row(step: Step) -> str:
    receipt = step.receipt or {"rows": "", "quarantined": "", "elapsed_s": ""}
    url = url_for("flow-run", obj_id=step.run_id)
    outcome = step.sentence if step.state == "COMPLETED" else f"**{step.state.lower()}**: {step.sentence}"
    numbers = {name: f"{receipt[name]:,}" if receipt[name] != "" else "" for name in ("rows", "quarantined")}
    name = f"[{step.name}]({url})" if url else step.name
    return ROW.format(step=name, outcome=_cell(outcome), seconds=receipt["elapsed_s"], **numbers)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _changes(steps: Sequence[Step]) -> Iterator[str]:
    """A line for each dataset that a step committed something of."""
    for step in steps:
        committed: dict[str, list[Mapping[str, Any]]] = {}
        for partition in (step.receipt or {}).get("partitions", []):
            if partition["outcome"] == "committed":
                committed.setdefault(partition["dataset"], []).append(partition)
        for dataset, partitions in committed.items():
            yield f"{dataset} by {(step.receipt or {})['job']}: {_told(partitions)}"


def _told(partitions: Sequence[Mapping[str, Any]]) -> str:
    """The partitions, or the rows that came, went and changed where a step counts them."""
    counted = {name: sum(partition.get(name, 0) for partition in partitions) for name in ("added", "removed", "changed")}
    if any("added" in partition for partition in partitions):
        return ", ".join(f"{count:,} rows {name}" for name, count in counted.items() if count) or "no rows"
    names = ", ".join(partition["partition"] for partition in partitions[:NAMED])
    left = f" and {len(partitions) - NAMED:,} more" if len(partitions) > NAMED else ""
    return f"{names}{left}; {sum(partition['rows'] for partition in partitions):,} rows"


def _sites(steps: Sequence[Step]) -> list[str]:
    """Where the steps published to."""
    told = [(step.receipt or {}).get("details", {}).get("site") for step in steps]
    return list(dict.fromkeys(site for site in told if isinstance(site, str)))
