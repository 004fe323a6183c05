"""The business date that a run is for."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from prefect.runtime import flow_run

from orchestration.deployments.model import TODAY

if TYPE_CHECKING:
    from collections.abc import Mapping


def resolve_today(options: Mapping[str, object], timezone: str) -> dict[str, object]:
    """Replace the value `today` with the date for which this run was scheduled, in a time zone.

    A run that starts late, even days later, is still for its own date.
    """
    today = str(flow_run.scheduled_start_time.astimezone(ZoneInfo(timezone)).date())
    return {name: today if value == TODAY else value for name, value in options.items()}
