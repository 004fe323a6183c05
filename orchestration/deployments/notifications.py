"""Notify people of runs that fail, crash or start late, and of data that are late, by an automation of Prefect's for each.

They watch the runs that nobody else watches: those of deployments with the tag `notify`. A job that a flow started is the flow's concern,
which retries it or fails itself. Registering again changes nothing, and an automation that somebody switched off stays off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobkit.errors import MisconfiguredError
from jobkit.prefect_api import RejectedError

from orchestration.deployments.model import LATE_DATA_EVENT, LATE_DATA_RESOURCE, NOTIFY_TAG, TAG
from orchestration.deployments.paging import read_all

if TYPE_CHECKING:
    from jobkit.prefect_api import Api

BLOCK = "finelt-notifications"
BLOCK_TYPE = "slack-webhook"  # takes every URL that Apprise knows: of Slack and Teams, mailtos://, json://
STATES = {"Failed": "failed", "Crashed": "crashed", "Late": "has not started in time"}
# Of the event, which has everything: while the database is overloaded, Prefect sends empty names of the run, the flow and the deployment.
SUBJECT = "{{ event.resource.name }} %s"
BODY = (
    "{{ event.related | selectattr('role', 'equalto', 'flow') | map(attribute='name') | join }}: "
    "{{ event.resource['prefect.state-message'] or event.resource['prefect.state-name'] }}\n{{ flow_run | ui_url or '' }}"
)


def register_notifications(api: Api, url: str) -> list[str]:
    """Create or update the automations that notify `url`, a webhook or another URL that Apprise takes; return their names.

    Raises ApiError, and MisconfiguredError if the server has no blocks for notifications.
    """
    block = _register_block(api, url)
    existing = {entry["name"]: entry for entry in read_all(api, "/automations/filter")}
    wanted = [*(build_automation(state, block) for state in STATES), build_late_data_automation(block)]
    for automation in wanted:
        if present := existing.get(automation["name"]):
            api.call("PUT", f"/automations/{present['id']}", {**automation, "enabled": present["enabled"]})
        else:
            api.call("POST", "/automations/", automation)
    return [str(automation["name"]) for automation in wanted]


def build_automation(state: str, block: str) -> dict[str, Any]:
    """Return the automation that notifies when a run enters a state."""
    trigger = {
        "type": "event",
        "posture": "Reactive",
        "expect": [f"prefect.flow-run.{state}"],
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "match_related": {"prefect.resource.id": f"prefect.tag.{NOTIFY_TAG}", "prefect.resource.role": "tag"},
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": 0,
    }
    action = {"type": "send-notification", "block_document_id": block, "subject": SUBJECT % STATES[state], "body": BODY}
    return {
        "name": f"finelt: a run {STATES[state]}",
        "description": f"Made by the registration of deployments, for runs with the tag {NOTIFY_TAG}.",
        "enabled": True,
        "tags": [TAG],
        "trigger": trigger,
        "actions": [action],
    }


def build_late_data_automation(block: str) -> dict[str, Any]:
    """Return the automation that notifies of datasets that are late by their contract; the daily flow sends the event."""
    trigger = {
        "type": "event",
        "posture": "Reactive",
        "expect": [LATE_DATA_EVENT],
        "match": {"prefect.resource.id": LATE_DATA_RESOURCE},
        "threshold": 1,
        "within": 0,
    }
    subject, body = "{{ event.resource.name }}", "{{ event.resource['finelt.late'] }}"
    return {
        "name": "finelt: data are late",
        "description": "Made by the registration of deployments, for datasets that are older than their contract allows.",
        "enabled": True,
        "tags": [TAG],
        "trigger": trigger,
        "actions": [{"type": "send-notification", "block_document_id": block, "subject": subject, "body": body}],
    }


def _register_block(api: Api, url: str) -> str:
    """Create or update the block that holds the URL, encrypted; return its id."""
    try:
        block_type = api.call("GET", f"/block_types/slug/{BLOCK_TYPE}")["id"]
    except RejectedError:
        raise MisconfiguredError(
            f"{api.url} has no block type {BLOCK_TYPE}; start the server with PREFECT_SERVER_REGISTER_BLOCKS_ON_START=true"
        ) from None
    schema = api.call("POST", "/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [block_type]}}, "limit": 1})[0]["id"]
    wanted = {"block_schema_id": schema, "data": {"url": url}}
    found = {"block_documents": {"name": {"any_": [BLOCK]}, "block_type_id": {"any_": [block_type]}}}
    if existing := api.call("POST", "/block_documents/filter", found):
        api.call("PATCH", f"/block_documents/{existing[0]['id']}", wanted)
        return str(existing[0]["id"])
    return str(api.call("POST", "/block_documents/", {**wanted, "name": BLOCK, "block_type_id": block_type})["id"])
