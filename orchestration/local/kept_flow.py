"""Run a flow on the stack that `finelt demo --keep` left running, with the parameters that the demo stored as defaults of its form."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from orchestration.console.follow import check_server
from orchestration.console.reporter import FlowReporter, run_flow
from orchestration.local import stack

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

POOL = stack.POOL


def run(directory: Path, reporter: FlowReporter, flow: str, options: Mapping[str, Any]) -> None:
    """Run a flow to its end; `options` are the flow's own, such as a backfill's dates. Raises JobError, FlowFailedError, ApiError."""
    api, addresses = stack.open_kept_api(directory), stack.read_addresses(directory)
    check_server(api, "start one with `finelt demo --keep`")
    reporter.event(f"Prefect is at {addresses['prefect']} (password in {directory / 'prefect' / 'auth'})")
    _, page = run_flow(api, flow, POOL, options, directory, reporter, f"./scripts/finelt cancel --dir {shlex.quote(str(directory))}")
    reporter.print(f"The flow's report is at {page}?tab=Artifacts, the site at {addresses['site']}")
