"""Run a flow as `python -m prefect.engine` does, but wait for Prefect's server first: the engine gives up at the first refused connection.

All modules are loaded before, so that the engine's own first request follows at once.
"""

from __future__ import annotations

import os
import runpy
from contextlib import suppress

from jobkit.prefect_api import SERVER_OUTAGE_BUDGET_S, ApiError, api
from prefect import flow_engine  # noqa: F401  half of what the engine loads


def main() -> None:
    """Run the flow run that the environment names. The engine reports every error but an unreachable server."""
    with suppress(ApiError):
        api(os.environ).call("GET", f"/flow_runs/{os.environ['PREFECT__FLOW_RUN_ID']}", within_s=SERVER_OUTAGE_BUDGET_S)
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
