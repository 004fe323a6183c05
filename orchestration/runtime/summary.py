"""The summary page of a flow run: each step with its link, what changed, and where to see the result."""

from __future__ import annotations

from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect.artifacts import acreate_markdown_artifact
from prefect.runtime import flow_run

from orchestration.runtime.retry import retry_while_unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from uuid import UUID

    from jobkit.receipt import Partition, Receipt

RUN_PAGE = "/runs/flow-run/{}"  # without a host: the page opens at whatever address its reader reached the server
EXTRACT = "extract-"  # how the names of the jobs begin that commit to the lake
MAX_ROWS, MAX_NAMED_PARTITIONS = 200, 5
ROW = "| {step} | {outcome} | {rows} | {quarantined} | {seconds} |"
HEAD = "| step | what it did | rows | quarantined | seconds |\n| --- | --- | ---: | ---: | ---: |"


@dataclass(frozen=True)
class StepRecord:
    """One finished run of one job: Prefect's state and message, and the receipt, if it left one."""

    run_id: UUID
    name: str
    state: str
    message: str
    receipt: Receipt | None


_steps: ContextVar[list[StepRecord] | None] = ContextVar("steps", default=None)


def record_step(step: StepRecord) -> None:
    """Add a step to the summary of the present flow run, if it has one."""
    if (steps := _steps.get()) is not None:
        steps.append(step)


@asynccontextmanager
async def publish_summary() -> AsyncIterator[None]:
    """Publish the summary when the block ends, in success or failure. A cancelled run has no time for it."""
    steps: list[StepRecord] = []
    _steps.set(steps)
    try:
        yield
    except Exception:
        await _publish(steps)
        raise
    await _publish(steps)


@retry_while_unreachable
async def _publish(steps: Sequence[StepRecord]) -> None:
    await acreate_markdown_artifact(render_markdown(steps, flow_run.flow_name), key=flow_run.flow_name, description=_describe_total(steps))


def render_markdown(steps: Sequence[StepRecord], title: str) -> str:
    """Return the page: a table of the steps, what was committed, and the published site."""
    rows = [_render_row(step) for step in steps[:MAX_ROWS]]
    more = [f"\nand {len(steps) - MAX_ROWS:,} more steps"] if len(steps) > MAX_ROWS else []
    is_plan = all(step.receipt is None or step.receipt["verb"] == "plan" for step in steps)
    nothing = "Nothing: this was a plan." if is_plan else "Nothing: the lake, the warehouse and the site were up to date."
    changes = [f"- {line}" for line in _describe_changes(steps)] or [nothing]
    sites = [f"- the published site: {f'<{url}>' if url.startswith('http') else f'`{url}`'}" for url in _list_sites(steps)]
    links = ["\n## To look at\n", *sites] if sites else []
    return "\n".join([f"# {title}\n", _describe_total(steps), "", HEAD, *rows, *more, "\n## What changed\n", *changes, *links])


def _describe_total(steps: Sequence[StepRecord]) -> str:
    receipts = [step.receipt for step in steps if step.receipt]
    failed = sum(step.state != "COMPLETED" for step in steps)
    parts = [f"{len(steps):,} steps", *([f"{failed:,} failed"] if failed else [])]
    extracted = [receipt for receipt in receipts if receipt["job"].startswith(EXTRACT)]  # later steps count the same partitions again
    parts += [f"{sum(receipt['committed'] for receipt in extracted):,} partitions committed"]
    return f"{', '.join(parts)}; on Fargate about {sum(receipt['fargate_usd'] for receipt in receipts):.4f} USD"


def _render_row(step: StepRecord) -> str:
    outcome = step.message if step.state == "COMPLETED" else f"**{step.state.lower()}**: {step.message}"
    name = f"[{step.name}]({RUN_PAGE.format(step.run_id)})"
    rows, quarantined, seconds = "", "", ""
    if receipt := step.receipt:
        rows, quarantined, seconds = f"{receipt['rows']:,}", f"{receipt['quarantined']:,}", f"{receipt['elapsed_s']:.1f}"
    return ROW.format(step=name, outcome=_escape_cell(outcome), rows=rows, quarantined=quarantined, seconds=seconds)


def _escape_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _describe_changes(steps: Sequence[StepRecord]) -> Iterator[str]:
    """Yield a line for each dataset of which a step committed something."""
    for step in steps:
        if step.receipt is None:
            continue
        committed: dict[str, list[Partition]] = {}
        for partition in step.receipt["partitions"]:
            if partition["outcome"] == "committed":
                committed.setdefault(partition["dataset"], []).append(partition)
        for dataset, partitions in committed.items():
            yield f"{dataset} by {step.receipt['job']}: {_describe_partitions(partitions)}"


def _describe_partitions(partitions: Sequence[Partition]) -> str:
    """Return the names of the partitions, or the rows added, removed and changed if the step counts them."""
    if any("added" in partition for partition in partitions):
        counts = {
            "added": sum(partition.get("added", 0) for partition in partitions),
            "removed": sum(partition.get("removed", 0) for partition in partitions),
            "changed": sum(partition.get("changed", 0) for partition in partitions),
        }
        return ", ".join(f"{count:,} rows {name}" for name, count in counts.items() if count) or "no rows"
    names = ", ".join(partition["partition"] for partition in partitions[:MAX_NAMED_PARTITIONS])
    more = f" and {len(partitions) - MAX_NAMED_PARTITIONS:,} more" if len(partitions) > MAX_NAMED_PARTITIONS else ""
    return f"{names}{more}; {sum(partition['rows'] for partition in partitions):,} rows"


def _list_sites(steps: Sequence[StepRecord]) -> list[str]:
    """Return where the steps published to, each once."""
    urls = [step.receipt["details"].get("site") for step in steps if step.receipt]
    return list(dict.fromkeys(url for url in urls if isinstance(url, str)))
