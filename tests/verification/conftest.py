"""The sandbox of the scorecard of faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.forks import ForkedJob
from tests.small_project import cache_manifest, copy_small_project
from verification.faults import job_runs
from verification.faults.sandbox import open_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from verification.faults.sandbox import Sandbox


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox whose jobs are forked, and whose killed transforms build one mart; `scripts/faults` builds all of them."""
    project = cache_manifest(copy_small_project(tmp_path_factory.mktemp("sandbox") / "dbt", "fct_price_daily"))
    with pytest.MonkeyPatch.context() as patch, open_sandbox(project) as opened:
        patch.setattr(job_runs, "start_process", ForkedJob)
        yield opened
