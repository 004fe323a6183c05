"""The CloudWatch dashboard of a stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from infra.options import child_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.database import PostgresDatabase
    from infra.settings import Settings


@dataclass(frozen=True)
class DashboardArgs:
    """Arguments of `Dashboard`."""

    settings: Settings
    databases: Sequence[PostgresDatabase]
    dead_letters: Sequence[aws.sqs.Queue]


class Dashboard(pulumi.ComponentResource):
    """Tasks, CPU and storage of the databases, and dead letters."""

    def __init__(self, name: str, args: DashboardArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:Dashboard", name, None, opts)
        body = pulumi.Output.json_dumps({"widgets": _list_widgets(args)})
        aws.cloudwatch.Dashboard(name, dashboard_name=name, dashboard_body=body, opts=child_of(self))
        self.register_outputs({})


def _list_widgets(args: DashboardArgs) -> list[dict[str, Any]]:
    region = args.settings.region
    identifiers = [database.instance.identifier for database in args.databases]
    cpu = [["AWS/RDS", "CPUUtilization", "DBInstanceIdentifier", identifier] for identifier in identifiers]
    storage = [["AWS/RDS", "FreeStorageSpace", "DBInstanceIdentifier", identifier] for identifier in identifiers]
    messages = [["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue.name] for queue in args.dead_letters]
    return [
        _widget(region, "Tasks", [["ECS/ContainerInsights", "TaskCount", "ClusterName", args.settings.name]], "Maximum"),
        _widget(region, "Databases: CPU %", cpu, "Average"),
        _widget(region, "Databases: free bytes", storage, "Minimum"),
        _widget(region, "Dead letters", messages, "Maximum"),
    ]


def _widget(region: str, title: str, metrics: list[Any], statistic: str) -> dict[str, Any]:
    properties = {"title": title, "region": region, "metrics": metrics, "stat": statistic, "period": 300}
    return {"type": "metric", "width": 12, "height": 6, "properties": properties}
