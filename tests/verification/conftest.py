"""The sandbox of the scorecard of faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fixtures_postgres import run_cheap_server
from tests.forks import ForkedJob
from tests.small_project import cache_manifest, copy_small_project
from verification.faults import job_runs
from verification.faults.sandbox import open_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from verification.faults.sandbox import Sandbox

MARTS = ("fct_price_daily", "fct_yield", "fct_quarantine", "fct_close_difference")


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """A sandbox whose jobs are forked and build a few marts; those of `scripts/faults` are started and build all of them."""
    with pytest.MonkeyPatch.context() as patch, open_sandbox(run_cheap_server) as opened:
        patch.setattr(job_runs, "start_process", ForkedJob)
        opened.project = cache_manifest(copy_small_project(opened.new_path("dbt"), *MARTS))
        yield opened
