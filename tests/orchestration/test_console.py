"""What people read of a flow on the console, and its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from jobkit.errors import ExitCode

from orchestration.console.follow import FlowResult, FlowStep
from orchestration.console.reporter import FlowFailedError, FlowReporter, print_summary
from orchestration.runtime.run_job import JobFailedError

if TYPE_CHECKING:
    from jobkit.receipt import Receipt


@pytest.mark.parametrize(("job_exit_code", "expected"), [(ExitCode.BAD_DATA, ExitCode.BAD_DATA), (ExitCode.DONE, ExitCode.BUG)])
def test_a_failed_flow_never_exits_with_0(job_exit_code: ExitCode, expected: ExitCode) -> None:
    """A process may be killed between its receipt, which says 0, and the final state of its run."""
    values = {"exit_code": job_exit_code, "job": "load-warehouse", "status": "done", "partitions": [], "details": {"plan": []}}
    measured = {"rows": 0, "quarantined": 0, "elapsed_s": 1.0, "peak_rss_bytes": 0}
    receipt = cast("Receipt", values | measured)
    step = FlowStep("id-1", "load-warehouse", 1, "CRASHED", "no heartbeat", receipt)
    with pytest.raises(FlowFailedError) as failure:
        print_summary([step], FlowResult("FAILED", "a step failed"), FlowReporter(), "read the log")
    assert failure.value.exit_code == expected


@pytest.mark.parametrize(
    ("exit_code", "state", "expected"),
    [
        (None, "CRASHED", True),
        (ExitCode.DONE, "CRASHED", True),
        (ExitCode.STOPPED, "CRASHED", True),
        (ExitCode.TEMPORARY, "FAILED", True),
        (ExitCode.BUG, "CRASHED", False),
        (ExitCode.DONE, "CANCELLED", False),
    ],
)
def test_a_job_whose_process_is_gone_is_run_again(exit_code: int | None, state: str, expected: bool) -> None:  # noqa: FBT001
    assert JobFailedError("load-warehouse", "gone", exit_code, state).is_temporary is expected
