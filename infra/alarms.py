"""CloudWatch alarms and the topic that they notify."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws
from jobkit import contracts
from jobkit.errors import ExitCode

from infra import policies
from infra.options import child_of
from infra.queues import allow_rule_to_send, create_dead_letter_queue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from infra.cluster import Cluster
    from infra.database import PostgresDatabase
    from infra.events import Events
    from infra.fargate_task import FargateTask
    from infra.keys import Keys
    from infra.policies import Text
    from infra.prefect_server import PrefectServer
    from infra.prefect_worker import PrefectWorker
    from infra.settings import Settings
    from infra.warehouse import Warehouse
    from jobs.catalogue import JobSpec

FAILED_PATTERN = f"{{ $.exit_code > 0 && $.exit_code != {ExitCode.TEMPORARY} }}"  # a receipt of a run that is not retried
ANY_FAILED = "job-failed"
SUCCEEDED_PATTERN = '{ $.verb = "run" && $.exit_code = 0 }'
LOW_STORAGE_BYTES, MANY_CONNECTIONS, HIGH_CPU_PCT = 4 * 1024**3, 60, 85
FRESHNESS_JOB = "transform-warehouse"
LATE_DATA_PATTERN = '{ $.details.late[0].dataset = "*" }'  # a receipt of transform-warehouse that lists late datasets
DAY_S = 86_400
MAX_EVENT_AGE_S = 900
LATE_AFTER_DAYS = 3  # for a job without a contract; one that runs on weekdays is silent for two days at a weekend
LONGEST_EVALUATION_DAYS = 7  # of an alarm. Source: "Common features of CloudWatch alarms" in the CloudWatch user guide.


@dataclass(frozen=True)
class AlarmsArgs:
    """Arguments of `Alarms`. `tasks` are the jobs' tasks by job; `expected` are the jobs that must succeed, each every so many days."""

    settings: Settings
    keys: Keys
    cluster: Cluster
    warehouse: Warehouse
    server: PrefectServer
    worker: PrefectWorker
    events: Events | None
    tasks: Mapping[str, FargateTask]
    expected: Mapping[str, int]


@dataclass(frozen=True)
class Metric:
    """A metric, and how an alarm evaluates it. `periods` is how many periods of `period_s` seconds must cross the threshold."""

    namespace: str
    name: str
    dimensions: Mapping[str, Text]
    statistic: str = "Sum"
    period_s: int = 300
    periods: int = 1


class Alarms(pulumi.ComponentResource):
    """The alarms, and the topic that mails them."""

    topic: aws.sns.Topic
    topic_policy: aws.sns.TopicPolicy
    dead_letters: aws.sqs.Queue

    def __init__(self, name: str, args: AlarmsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:Alarms", name, None, opts)
        self._stack = args.settings.name
        self._metric_namespace = f"finelt/{args.settings.stack}"
        self.topic = self._create_topic(name, args)
        self.topic_policy = self._allow_publishing(name, args)
        self._create_failure_alarms(args.tasks, is_shared=not args.settings.insights)
        self._create_late_alarms({job: (args.tasks[job], days) for job, days in args.expected.items()})
        self._create_late_data_alarm(args.tasks)
        self.dead_letters = self._notify_of_crashes(args)
        self._create_database_alarms("warehouse", args.warehouse.database)
        self._create_database_alarms("prefect-database", args.server.database)
        self._create_dead_letter_alarm("dead-letters", args.worker.events.dead_letters)
        self._create_dead_letter_alarm("task-crashed-dead-letters", self.dead_letters)
        # Prefect's worker stops reading the queue after five errors in a row, and stays healthy.
        age = Metric("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": args.worker.events.queue.name}, "Maximum")
        self._alarm_above("task-events-unread", age, MAX_EVENT_AGE_S)
        if args.events:
            self._create_dead_letter_alarm("dropped-files-dead-letters", args.events.dead_letters)
            errors = Metric("AWS/Lambda", "Errors", {"FunctionName": args.events.function.name})
            self._alarm_above("dropped-files-errors", errors, 0)
        for running in (*args.server.services, args.worker.worker):
            dimensions: dict[str, Text] = {"ClusterName": self._stack, "ServiceName": running.service.name}
            # Each task sends one sample a minute. Source: "Service RUNNING task count" in the ECS developer guide.
            count = Metric("AWS/ECS", "CPUUtilization", dimensions, "SampleCount")
            self._alarm_below(f"{running.task_name}-down", count, 1, missing="breaching")
        self.register_outputs({"topic": self.topic.arn})

    def _create_topic(self, name: str, args: AlarmsArgs) -> aws.sns.Topic:
        topic = aws.sns.Topic(name, name=name, kms_master_key_id=args.keys.messages.arn, opts=child_of(self))
        aws.sns.TopicSubscription(name, topic=topic.arn, protocol="email", endpoint=args.settings.alarm_email, opts=child_of(self))
        return topic

    def _allow_publishing(self, name: str, args: AlarmsArgs) -> aws.sns.TopicPolicy:
        """Let CloudWatch, AWS Budgets and EventBridge publish. EventBridge supports no condition in the policy of a topic."""
        condition = {"StringEquals": {"aws:SourceAccount": args.settings.account}}
        topics = [self.topic.arn]
        statements = [policies.allow_service(service, ("sns:Publish",), topics, condition) for service in ("cloudwatch", "budgets")]
        statements.append(policies.allow_service("events", ("sns:Publish",), topics))
        return aws.sns.TopicPolicy(name, arn=self.topic.arn, policy=policies.document(*statements), opts=child_of(self))

    def _create_failure_alarms(self, tasks: Mapping[str, FargateTask], *, is_shared: bool) -> None:
        """Alarm on a receipt of a failed run in a job's log: one alarm per job, or at low cost one for all, which does not name the job."""
        metrics = [
            self._count_receipts(f"{job}-failed", task, FAILED_PATTERN, metric_name=ANY_FAILED if is_shared else None)
            for job, task in tasks.items()
        ]
        for metric in {metric.name: metric for metric in metrics}.values():
            self._alarm_above(metric.name, metric, 0)

    def _create_late_alarms(self, tasks: Mapping[str, tuple[FargateTask, int]]) -> None:
        """Alarm if a job's log has no receipt of a successful run for days, whatever the cause."""
        for job, (task, days) in tasks.items():
            metric = self._count_receipts(f"{job}-done", task, SUCCEEDED_PATTERN, period_s=DAY_S, periods=days)
            self._alarm_below(f"{job}-late", metric, 1, missing="breaching")

    def _create_late_data_alarm(self, tasks: Mapping[str, FargateTask]) -> None:
        """Alarm if a receipt of the job that builds the marts lists datasets that are late by their contract."""
        if task := tasks.get(FRESHNESS_JOB):
            metric = self._count_receipts("data-late", task, LATE_DATA_PATTERN, period_s=DAY_S)
            self._alarm_above("data-late", metric, 0)

    def _count_receipts(
        self, name: str, task: FargateTask, pattern: str, *, metric_name: str | None = None, period_s: int = 300, periods: int = 1
    ) -> Metric:
        """Count the receipts in a task's log that match a filter pattern, in a metric that several filters may add to."""
        metric = metric_name or name
        transformation = aws.cloudwatch.LogMetricFilterMetricTransformationArgs(name=metric, namespace=self._metric_namespace, value="1")
        aws.cloudwatch.LogMetricFilter(
            f"{self._stack}-{name}",
            name=name,
            log_group_name=task.log_group.name,
            pattern=pattern,
            metric_transformation=transformation,
            opts=child_of(self),
        )
        return Metric(self._metric_namespace, metric, {}, period_s=period_s, periods=periods)

    def _notify_of_crashes(self, args: AlarmsArgs) -> aws.sqs.Queue:
        """Notify when a task leaves no receipt; return the dead-letter queue.

        Either ECS could not start it or had to stop it, or its process died with an exit code that no job has, such as 137: out of memory.
        """
        name = f"{self._stack}-task-crashed"
        pattern = {
            "source": ["aws.ecs"],
            "detail-type": ["ECS Task State Change"],
            "detail": {
                "clusterArn": [args.cluster.arn],
                "lastStatus": ["STOPPED"],
                "$or": [
                    {"stopCode": ["TaskFailedToStart", "SpotInterruption", "TerminationNotice"]},
                    {"stopCode": ["EssentialContainerExited"], "containers": {"exitCode": [{"anything-but": sorted(ExitCode)}]}},
                ],
            },
        }
        rule = aws.cloudwatch.EventRule(name, name=name, event_pattern=pulumi.Output.json_dumps(pattern), opts=child_of(self))
        dead_letters = create_dead_letter_queue(name, args.keys, self)
        aws.cloudwatch.EventTarget(
            name,
            rule=rule.name,
            arn=self.topic.arn,
            dead_letter_config={"arn": dead_letters.arn},
            opts=child_of(self, depends_on=[self.topic_policy, allow_rule_to_send(f"{name}-dead", dead_letters, rule, self)]),
        )
        return dead_letters

    def _create_database_alarms(self, name: str, database: PostgresDatabase) -> None:
        dimensions: dict[str, Text] = {"DBInstanceIdentifier": database.instance.identifier}
        storage = Metric("AWS/RDS", "FreeStorageSpace", dimensions, "Minimum")
        connections = Metric("AWS/RDS", "DatabaseConnections", dimensions, "Maximum")
        cpu = Metric("AWS/RDS", "CPUUtilization", dimensions, "Average", periods=3)
        self._alarm_below(f"{name}-storage", storage, LOW_STORAGE_BYTES)
        self._alarm_above(f"{name}-connections", connections, MANY_CONNECTIONS)
        self._alarm_above(f"{name}-cpu", cpu, HIGH_CPU_PCT)

    def _create_dead_letter_alarm(self, name: str, queue: aws.sqs.Queue) -> None:
        messages = Metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": queue.name}, "Maximum")
        self._alarm_above(name, messages, 0)

    def _alarm_above(self, name: str, metric: Metric, threshold: float) -> None:
        self._create_alarm(name, metric, threshold, "GreaterThanThreshold", "notBreaching")

    def _alarm_below(self, name: str, metric: Metric, threshold: float, *, missing: str = "notBreaching") -> None:
        self._create_alarm(name, metric, threshold, "LessThanThreshold", missing)

    def _create_alarm(self, name: str, metric: Metric, threshold: float, comparison: str, missing: str) -> None:
        aws.cloudwatch.MetricAlarm(
            f"{self._stack}-{name}",
            name=f"{self._stack}-{name}",
            namespace=metric.namespace,
            metric_name=metric.name,
            dimensions=dict(metric.dimensions),
            statistic=metric.statistic,
            period=metric.period_s,
            evaluation_periods=metric.periods,
            threshold=threshold,
            comparison_operator=comparison,
            treat_missing_data=missing,
            alarm_actions=[self.topic.arn],
            ok_actions=[self.topic.arn],
            opts=child_of(self),
        )


def list_expected_jobs(specs: Sequence[JobSpec], scheduled: Sequence[str]) -> dict[str, int]:
    """Return the jobs that must succeed, and after how many days without it they are late: the least latency of their contracts.

    These are the scheduled jobs, and with them those that write the site.
    """
    publishers = [spec.name for spec in specs if "site" in spec.writes and spec.name not in scheduled]
    expected = [*scheduled, *publishers] if scheduled else []
    by_name = {spec.name: spec for spec in specs}
    return {name: _latency_days(by_name[name].folder) for name in expected}


@cache  # tests run the program many times in a process, and reading the contracts is a fifth of a run
def _latency_days(folder: Path) -> int:
    latencies = [contracts.load(path).latency_days for path in folder.glob("*/*.odcs.yaml")]
    return min([*latencies, LONGEST_EVALUATION_DAYS]) if latencies else LATE_AFTER_DAYS
