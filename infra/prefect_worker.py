"""Prefect's worker: it starts the tasks of jobs and flows on the stack's cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi

from infra import policies
from infra.fargate_service import FargateService, FargateServiceArgs
from infra.fargate_task import FargateTaskArgs
from infra.permissions_boundary import pass_run_roles, run_tasks
from infra.task_events import TaskEvents, TaskEventsArgs

if TYPE_CHECKING:
    from infra.cluster import Cluster
    from infra.keys import Keys
    from infra.network import Network
    from infra.policies import Statement, Text
    from infra.prefect_server import PrefectServer
    from infra.settings import Settings

POOL = "ecs"
COMMAND = ["python", "-m", "orchestration.workers.process", POOL, "ecs"]
QUEUE_ACTIONS = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ChangeMessageVisibility")
HEALTH_CHECK = "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health')"


@dataclass(frozen=True)
class PrefectWorkerArgs:
    """Arguments of `PrefectWorker`. It may start the tasks whose roles are below the stack's path of runs."""

    settings: Settings
    keys: Keys
    boundary: Text
    network: Network
    cluster: Cluster
    image: Text
    server: PrefectServer


class PrefectWorker(pulumi.ComponentResource):
    """The worker's service and the queue from which it learns of stopped tasks."""

    worker: FargateService
    events: TaskEvents

    def __init__(self, name: str, args: PrefectWorkerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:PrefectWorker", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.events = TaskEvents(f"{args.settings.name}-task-events", TaskEventsArgs(args.keys, args.cluster), child)
        task = FargateTaskArgs(
            args.settings,
            args.keys,
            args.boundary,
            name="worker",
            image=args.image,
            cpu=256,
            memory=1024,
            command=COMMAND,
            environment={
                **args.server.client_environment(args.settings),
                "PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_ENABLED": "true",
                "PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_SQS_QUEUE_NAME": self.events.queue.name,
                "PREFECT_PROFILES_PATH": "/app/source/orchestration/workers/profiles.toml",
                "PREFECT_WORKER_QUERY_SECONDS": "2",
            },
            secrets=args.server.client_secrets(),
            statements=_worker_statements(args, self.events),
            health_check=HEALTH_CHECK,
        )
        self.worker = FargateService(name, FargateServiceArgs(args.cluster, args.network, "worker", task), child)
        self.register_outputs({"service": self.worker.service.name})


def _worker_statements(args: PrefectWorkerArgs, events: TaskEvents) -> list[Statement]:
    """Return the worker's permissions: run the stack's own task definitions on the stack's cluster, and read the queue."""
    settings = args.settings
    scope = f"arn:aws:ecs:{settings.region}:{settings.account}"
    running_tasks = [f"{scope}:task/{settings.name}/*"]
    own_cluster = {"ArnEquals": {"ecs:cluster": args.cluster.arn}}
    return [
        run_tasks(settings),
        policies.allow(("ecs:DescribeTasks", "ecs:StopTask"), running_tasks, own_cluster),
        policies.allow(("ecs:TagResource",), running_tasks, {"StringEquals": {"ecs:CreateAction": "RunTask"}}),
        policies.allow(("ecs:DescribeTaskDefinition",), ["*"]),  # IAM has no resource for it
        pass_run_roles(settings),
        policies.allow(QUEUE_ACTIONS, [events.queue.arn]),
        policies.allow(("kms:Decrypt",), [args.keys.messages.arn]),
    ]
