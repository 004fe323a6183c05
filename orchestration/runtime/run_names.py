"""The names of flow runs: the flow and the days that it is for."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from prefect.runtime import flow_run

MAX_NAMED_JOBS = 2


def name_daily_run() -> str:
    """Return the name of a daily run, such as `daily 2026-11-27 ecb-fx-rates`."""
    jobs = [job.removeprefix("extract-") for job in flow_run.parameters["extracts"]]
    day = flow_run.scheduled_start_time.astimezone(ZoneInfo(flow_run.parameters.get("timezone", "UTC"))).date()
    return f"daily {day} {', '.join(jobs) if len(jobs) <= MAX_NAMED_JOBS else f'of {len(jobs)} sources'}"


def name_backfill_run() -> str:
    """Return the name of a backfill, such as `backfill 2012-12-28 to 2013-01-31`."""
    return f"backfill {flow_run.parameters['start']} to {flow_run.parameters['end']}"
