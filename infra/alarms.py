"""What wakes somebody: alarms, a dashboard and a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from infra import policies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.data import Data
    from infra.events import Events
    from infra.keys import Keys
    from infra.orchestrator import Orchestrator
    from infra.settings import Settings
    from infra.tasks import Made
    from jobs.catalogue import JobSpec

FAILED = "{ $.exit_code > 0 && $.exit_code != 75 }"  # a receipt of a run that will not be tried again
DONE = '{ $.verb = "run" && $.exit_code = 0 }'
LOW_STORAGE_BYTES, MANY_CONNECTIONS, BUSY_PERCENT = 4 * 1024**3, 60, 85
DAY_S = 86_400
LATE_DAYS = 3  # what runs on weekdays is silent for a weekend; the third day is late
PUBLISHER = "publish-marts"


def make(
    settings: Settings,
    keys: Keys,
    data: Data,
    orchestrator: Orchestrator,
    drops: Events,
    jobs: Mapping[str, Made],
    specs: Sequence[JobSpec],
) -> aws.sns.Topic:
    """The topic that all alarms go to."""
    topic = aws.sns.Topic(f"{settings.name}-alarms", name=f"{settings.name}-alarms", kms_master_key_id=keys.messages.arn)
    aws.sns.TopicSubscription(f"{settings.name}-alarms", topic=topic.arn, protocol="email", endpoint=settings.alarm_email)
    own = {"StringEquals": {"aws:SourceAccount": settings.account}}
    senders = [policies.service(name, ("sns:Publish",), [topic.arn], own) for name in ("cloudwatch", "events", "budgets")]
    aws.sns.TopicPolicy(f"{settings.name}-alarms", arn=topic.arn, policy=policies.document(*senders))
    _failures(settings, topic, jobs)
    _freshness(settings, topic, {name: jobs[name] for name in (*(spec.name for spec in specs if spec.schedule), PUBLISHER)})
    _crashes(settings, topic)
    for role, database in (("warehouse", data.warehouse), ("prefect-database", orchestrator.database)):
        _database(settings, topic, role, database)
    for name, queue in (("dead-letters", orchestrator.dead_letters), ("dropped-files-dead-letters", drops.dead_letters)):
        letters = {"QueueName": queue.name}
        _alarm(settings, topic, name, "AWS/SQS", "ApproximateNumberOfMessagesVisible", letters, 0, statistic="Maximum")
    _alarm(settings, topic, "dropped-files-errors", "AWS/Lambda", "Errors", {"FunctionName": drops.function.name}, 0)
    for service in orchestrator.services:
        running: dict[str, pulumi.Input[str]] = {"ClusterName": settings.name, "ServiceName": service.name}
        name = f"{service._name.removeprefix(settings.name + '-')}-down"  # noqa: SLF001  the name we gave it
        _alarm(settings, topic, name, "ECS/ContainerInsights", "RunningTaskCount", running, 1, below=True, missing="breaching")
    _dashboard(settings, data, orchestrator, drops)
    _budget(settings, topic)
    return topic


def _failures(settings: Settings, topic: aws.sns.Topic, jobs: Mapping[str, Made]) -> None:
    """A failed run, read from the receipt in its log."""
    metric = f"finelt/{settings.stack}"
    for name, made in jobs.items():
        _counted(settings, f"{name}-failed", made, FAILED, metric)
        _alarm(settings, topic, f"{name}-failed", metric, f"{name}-failed", {}, 0)


def _freshness(settings: Settings, topic: aws.sns.Topic, jobs: Mapping[str, Made]) -> None:
    """No receipt of a good run for days from what runs by schedule: the data are late, whatever the reason."""
    metric = f"finelt/{settings.stack}"
    for name, made in jobs.items():
        _counted(settings, f"{name}-done", made, DONE, metric)
        _alarm(
            settings,
            topic,
            f"{name}-late",
            metric,
            f"{name}-done",
            {},
            1,
            below=True,
            missing="breaching",
            period_s=DAY_S,
            times=LATE_DAYS,
        )


def _counted(settings: Settings, name: str, made: Made, pattern: str, metric: str) -> None:
    counting = aws.cloudwatch.LogMetricFilterMetricTransformationArgs(name=name, namespace=metric, value="1")
    aws.cloudwatch.LogMetricFilter(
        f"{settings.name}-{name}", name=name, log_group_name=made.logs.name, pattern=pattern, metric_transformation=counting
    )


def _crashes(settings: Settings, topic: aws.sns.Topic) -> None:
    """A task that ECS itself could not start or had to kill: it leaves no receipt."""
    name = f"{settings.name}-task-crashed"
    pattern = {
        "source": ["aws.ecs"],
        "detail-type": ["ECS Task State Change"],
        "detail": {
            "clusterArn": [f"arn:aws:ecs:{settings.region}:{settings.account}:cluster/{settings.name}"],
            "lastStatus": ["STOPPED"],
            "stopCode": ["TaskFailedToStart", "SpotInterruption", "TerminationNotice"],
        },
    }
    rule = aws.cloudwatch.EventRule(name, name=name, event_pattern=pulumi.Output.json_dumps(pattern))
    aws.cloudwatch.EventTarget(name, rule=rule.name, arn=topic.arn)


def _database(settings: Settings, topic: aws.sns.Topic, role: str, database: aws.rds.Instance) -> None:
    which = {"DBInstanceIdentifier": database.identifier}
    _alarm(settings, topic, f"{role}-storage", "AWS/RDS", "FreeStorageSpace", which, LOW_STORAGE_BYTES, below=True, statistic="Minimum")
    _alarm(settings, topic, f"{role}-connections", "AWS/RDS", "DatabaseConnections", which, MANY_CONNECTIONS, statistic="Maximum")
    _alarm(settings, topic, f"{role}-cpu", "AWS/RDS", "CPUUtilization", which, BUSY_PERCENT, statistic="Average", times=3)


def _alarm(
    settings: Settings,
    topic: aws.sns.Topic,
    name: str,
    namespace: str,
    metric: str,
    dimensions: Mapping[str, pulumi.Input[str]],
    threshold: float,
    *,
    below: bool = False,
    statistic: str = "Sum",
    missing: str = "notBreaching",
    period_s: int = 300,
    times: int = 1,
) -> None:
    aws.cloudwatch.MetricAlarm(
        f"{settings.name}-{name}",
        name=f"{settings.name}-{name}",
        namespace=namespace,
        metric_name=metric,
        dimensions=dict(dimensions),
        statistic=statistic,
        period=period_s,
        evaluation_periods=times,
        threshold=threshold,
        comparison_operator="LessThanThreshold" if below else "GreaterThanThreshold",
        treat_missing_data=missing,
        alarm_actions=[topic.arn],
        ok_actions=[topic.arn],
    )


def _dashboard(settings: Settings, data: Data, orchestrator: Orchestrator, drops: Events) -> None:
    def graph(title: str, metrics: list[Any], stat: str) -> dict[str, Any]:
        shown = {"title": title, "region": settings.region, "metrics": metrics, "stat": stat, "period": 300}
        return {"type": "metric", "width": 12, "height": 6, "properties": shown}

    databases = (data.warehouse.identifier, orchestrator.database.identifier)
    widgets = [
        graph("Tasks", [["ECS/ContainerInsights", "TaskCount", "ClusterName", settings.name]], "Maximum"),
        graph("Databases: CPU %", [["AWS/RDS", "CPUUtilization", "DBInstanceIdentifier", name] for name in databases], "Average"),
        graph("Databases: free bytes", [["AWS/RDS", "FreeStorageSpace", "DBInstanceIdentifier", name] for name in databases], "Minimum"),
        graph(
            "Dead letters",
            [
                ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue.name]
                for queue in (orchestrator.dead_letters, drops.dead_letters)
            ],
            "Maximum",
        ),
    ]
    body = pulumi.Output.json_dumps({"widgets": widgets})
    aws.cloudwatch.Dashboard(settings.name, dashboard_name=settings.name, dashboard_body=body)


def _budget(settings: Settings, topic: aws.sns.Topic) -> None:
    def told(kind: str, percent: int) -> aws.budgets.BudgetNotificationArgs:
        return aws.budgets.BudgetNotificationArgs(
            comparison_operator="GREATER_THAN",
            notification_type=kind,
            threshold=percent,
            threshold_type="PERCENTAGE",
            subscriber_sns_topic_arns=[topic.arn],
        )

    aws.budgets.Budget(
        settings.name,
        name=settings.name,
        budget_type="COST",
        limit_amount=str(settings.budget_usd),
        limit_unit="USD",
        time_unit="MONTHLY",
        cost_filters=[{"name": "TagKeyValue", "values": [f"user:stack${settings.name}"]}],
        notifications=[told("ACTUAL", 80), told("FORECASTED", 100)],
    )
