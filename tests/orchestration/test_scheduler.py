"""Prefect's own scheduler, which the stacks of compose and AWS rely on and the local stack leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestration.local import prefect_server
from orchestration.polling import wait_until

if TYPE_CHECKING:
    from pathlib import Path


def test_a_deployment_with_a_schedule_gets_scheduled_runs(tmp_path: Path) -> None:
    """Prefect's server logs an error and creates no run with an SQLAlchemy (intervals) or whenever (cron) that it cannot use."""
    kinds: dict[str, dict[str, object]] = {"hourly": {"interval": 3600}, "nightly": {"cron": "30 6 * * *", "timezone": "Europe/Berlin"}}
    server = prefect_server.start_server(tmp_path, settings={"PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "true"})
    try:
        server.wait_until_ready()
        api = server.api()
        flow = api.call("POST", "/flows/", {"name": "any"})["id"]
        for name, schedule in kinds.items():
            api.call("POST", "/deployments/", {"name": name, "flow_id": flow, "schedules": [{"active": True, "schedule": schedule}]})

        def has_runs(name: str) -> bool:
            return bool(api.call("POST", "/flow_runs/count", {"deployments": {"name": {"any_": [name]}}}) > 0)

        assert wait_until(lambda: all(map(has_runs, kinds)), timeout_s=300, poll_every_s=0.5), server.program.log_tail()
    finally:
        prefect_server.stop_server(server)
