"""The output `stack`: what orchestration/ecs/register_stack.py and `scripts/emit` need in order to start jobs on the stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pulumi

from infra.cluster import capacity_provider
from infra.job_secrets import PASSWORD_OPTION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.fargate_task import FargateTask
    from infra.job_secrets import JobSecrets
    from infra.network import Network
    from infra.settings import Settings
    from infra.storage import Storage
    from infra.warehouse import Warehouse

T = TypeVar("T")


def describe_stack(
    settings: Settings,
    network: Network,
    storage: Storage,
    warehouse: Warehouse,
    secrets: JobSecrets,
    tasks: Mapping[str, FargateTask],
    *,
    has_drop: bool,
) -> dict[str, Any]:
    """Return task definitions, the work pool's settings, the jobs' parameters and the secrets of the warehouse's roles."""
    passwords = secrets.warehouse_passwords()
    return {
        "tasks": {name: task.definition.arn for name, task in tasks.items()},
        "pool": {
            "cluster": settings.name,
            "subnets": network.subnet_ids,
            "security_groups": [network.security_group_id("jobs")],
            "capacity_provider": capacity_provider(settings),
        },
        "parameters": _job_parameters(settings, storage, warehouse, secrets, has_drop=has_drop),
        "warehouse": {
            "host": warehouse.database.instance.address,
            "secrets": {job: secret.arn for job, secret in passwords.items()},
        },
    }


def group_by_job(values: Mapping[tuple[str, str], T]) -> dict[str, dict[str, T]]:
    """Turn values by (job, option) into options by job."""
    groups: dict[str, dict[str, T]] = {}
    for (job, option), value in values.items():
        groups.setdefault(job, {})[option] = value
    return groups


def _job_parameters(settings: Settings, storage: Storage, warehouse: Warehouse, secrets: JobSecrets, *, has_drop: bool) -> dict[str, Any]:
    """Return option values for all jobs; under a job's name, values for that job alone. Registration replaces {job}.

    Every value is an option of the daily flow, except `drop`: registration refuses it if no job takes it.
    """
    tokens = {key: pulumi.Output.concat("secretsmanager://", secret.name) for key, secret in secrets.vendor_tokens().items()}
    return {
        "lake": pulumi.Output.concat("s3://", storage.lake.bucket, "/lake"),
        "docs": pulumi.Output.concat("s3://", storage.lake.bucket, "/docs"),
        "site": pulumi.Output.concat("s3://", storage.site.bucket, "/site"),
        "warehouse": warehouse.url,
        "warehouse_password": f"secretsmanager://{settings.name}/{{job}}/{PASSWORD_OPTION}",
        "audience": settings.audience,
        **({"drop": pulumi.Output.concat("s3://", storage.lake.bucket, "/drop")} if has_drop else {}),
        **settings.parameters,
        **{job: {**values, **settings.parameters.get(job, {})} for job, values in group_by_job(tokens).items()},
    }
