"""Report datasets that are late by their contract as an event of Prefect's, on which people are notified (deployments/notifications.py)."""

from __future__ import annotations

import os
from asyncio import to_thread
from typing import TYPE_CHECKING, Any

from jobkit.prefect_api import ApiError, api, build_event
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from orchestration.deployments.model import LATE_DATA_EVENT, LATE_DATA_RESOURCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobkit.receipt import Receipt

TIMEOUT_S = 30.0


async def report_late_datasets(receipt: Receipt) -> None:
    """Send one event about the late datasets that a receipt lists; none if it lists none. An event that is lost fails no flow."""
    late = receipt["details"].get("late")
    if not late:
        return
    event = build_late_event(late, str(flow_run.id))
    logger = get_run_logger()
    logger.warning("%s: %s", event["resource"]["prefect.resource.name"], event["resource"]["finelt.late"])
    try:
        await to_thread(lambda: api(os.environ).call("POST", "/events", [event], within_s=TIMEOUT_S))
    except (ApiError, KeyError) as error:
        logger.warning("the event about late datasets was not sent: %s", error)


def build_late_event(late: Sequence[Mapping[str, Any]], run_id: str) -> Any:  # noqa: ANN401  a JSON object
    """Return the event: its resource has a title and one sentence with each dataset, its last day and its latency."""
    count = f"{len(late)} dataset{' is' if len(late) == 1 else 's are'} late"
    datasets = ", ".join(_describe(item) for item in late)
    resource = {"prefect.resource.id": LATE_DATA_RESOURCE, "prefect.resource.name": count, "finelt.late": datasets}
    related = [{"prefect.resource.id": f"prefect.flow-run.{run_id}", "prefect.resource.role": "flow-run"}]
    return build_event(LATE_DATA_EVENT, resource, related, {"late": [dict(item) for item in late]})


def _describe(late: Mapping[str, Any]) -> str:
    days = late["days_late"]
    return f"{late['dataset']} by {days} day{'' if days == 1 else 's'} (last day {late['last_date'] or 'unknown'})"
