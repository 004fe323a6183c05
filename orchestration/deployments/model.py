"""What the registration of deployments works with: a deployment, the result, and settings that every client of Prefect gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TAG = "finelt"  # on every deployment that we register; reconcile judges only runs of tagged deployments
NOTIFY_TAG = "notify"  # on deployments whose runs no flow watches: flows themselves, and jobs that an event starts
LATE_DATA_EVENT, LATE_DATA_RESOURCE = "finelt.data.late", "finelt.freshness"  # what a flow sends about late datasets
TODAY = "today"  # in a parameter: the flow `daily` replaces it with the day for which the run was scheduled
# For Prefect's own clients: no telemetry, and eight retries after 2, 4, 8, ... seconds, together more than eight minutes.
# The default is about one minute.
CLIENT_SETTINGS = {"DO_NOT_TRACK": "1", "PREFECT_CLIENT_MAX_RETRIES": "8", "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500,504"}


@dataclass(frozen=True)
class DeploymentSpec:
    """A deployment as it should be: the name of its flow and the fields of Prefect's API.

    `concurrency_limit` is how many runs its work queue starts at a time; None means any number.
    """

    flow: str
    fields: dict[str, Any]
    concurrency_limit: int | None = None

    @property
    def options(self) -> list[str]:
        """The names of the parameters that it takes, without deprecated ones."""
        properties = self.fields["parameter_openapi_schema"]["properties"]
        return [name for name, schema in properties.items() if not schema.get("deprecated")]

    @property
    def required_options(self) -> list[str]:
        """The names of the parameters that need a value."""
        return list(self.fields["parameter_openapi_schema"].get("required", []))


@dataclass(frozen=True)
class RegistrationResult:
    """The names of the pool and of deployments (flow/deployment) that registration created, changed, left unchanged or deleted."""

    created: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    deleted: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """One line for each name, for people."""
        return [f"{outcome:10}{name}" for outcome in ("created", "changed", "unchanged", "deleted") for name in getattr(self, outcome)]
