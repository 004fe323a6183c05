"""The ECS cluster that runs jobs, flows and Prefect's services."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra.options import child_of

if TYPE_CHECKING:
    from infra.keys import Keys
    from infra.settings import Settings


@dataclass(frozen=True)
class ClusterArgs:
    """Arguments of `Cluster`."""

    settings: Settings
    keys: Keys


class Cluster(pulumi.ComponentResource):
    """The cluster. With `spot`, tasks run on spare capacity unless they say otherwise."""

    name: pulumi.Output[str]
    arn: pulumi.Output[str]

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:Cluster", name, None, opts)
        cluster = aws.ecs.Cluster(
            name,
            name=name,
            settings=[{"name": "containerInsights", "value": "enabled" if args.settings.insights else "disabled"}],
            configuration={"managed_storage_configuration": {"fargate_ephemeral_storage_kms_key_id": args.keys.data.arn}},
            opts=child_of(self),
        )
        aws.ecs.ClusterCapacityProviders(
            name,
            cluster_name=cluster.name,
            capacity_providers=["FARGATE", "FARGATE_SPOT"],
            default_capacity_provider_strategies=[{"capacity_provider": capacity_provider(args.settings), "weight": 1}],
            opts=child_of(self),
        )
        self.name, self.arn = cluster.name, cluster.arn
        self.register_outputs({"name": self.name, "arn": self.arn})


def capacity_provider(settings: Settings) -> str:
    """Return the capacity provider of jobs."""
    return "FARGATE_SPOT" if settings.spot else "FARGATE"
