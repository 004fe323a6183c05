"""An ECS service: a Fargate task that ECS keeps running."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra.fargate_task import FargateTask, FargateTaskArgs
from infra.options import child_of

if TYPE_CHECKING:
    from infra.cluster import Cluster
    from infra.network import Network


@dataclass(frozen=True)
class FargateServiceArgs:
    """Arguments of `FargateService`. `discovery` is the DNS service that lists the running tasks."""

    cluster: Cluster
    network: Network
    security_group: str
    task: FargateTaskArgs
    replicas: int = 1
    discovery: aws.servicediscovery.Service | None = None


class FargateService(pulumi.ComponentResource):
    """A service and its task definition. A new version that does not become healthy is rolled back."""

    task_name: str
    service: aws.ecs.Service

    def __init__(self, name: str, args: FargateServiceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:FargateService", name, None, opts)
        task = FargateTask(name, args.task, pulumi.ResourceOptions(parent=self))
        self.task_name = args.task.name
        self.service = aws.ecs.Service(
            name,
            name=name,
            cluster=args.cluster.arn,
            task_definition=task.definition.arn,
            desired_count=args.replicas,
            launch_type="FARGATE",
            platform_version="LATEST",
            enable_execute_command=False,
            propagate_tags="SERVICE",
            deployment_circuit_breaker={"enable": True, "rollback": True},
            deployment_minimum_healthy_percent=100 if args.replicas > 1 else 0,
            network_configuration={
                "subnets": args.network.subnet_ids,
                "security_groups": [args.network.security_group_id(args.security_group)],
                "assign_public_ip": False,
            },
            service_registries={"registry_arn": args.discovery.arn} if args.discovery else None,
            wait_for_steady_state=True,  # otherwise `up` succeeds although Prefect never starts
            opts=child_of(self, depends_on=[args.network]),  # a task needs routes, egress rules and endpoints to pull its image
        )
        self.register_outputs({"service": self.service.name})
