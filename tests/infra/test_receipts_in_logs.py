"""Every end of a task is counted or notified: by its receipt in the log, however long, or by the event of a task that left none."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

import pytest
from jobkit import command
from jobkit.errors import ExitCode
from jobkit.receipt import Partition, RunRecord
from moto.events.models import EventPattern

from infra.alarms import FAILED_PATTERN, SUCCEEDED_PATTERN
from jobs.catalogue import catalogue

if TYPE_CHECKING:
    from infra.testing.mock_engine import Graph

TERM = re.compile(r"\$\.(\w+) (=|!=|>) (.+)")


def split_log(text: str) -> list[str]:
    """Return the events that the log driver makes of an output: Fargate splits lines at 256 KiB."""
    size = command.LONGEST_LOG_LINE_BYTES
    return [line[start : start + size] for line in text.splitlines() for start in range(0, len(line), size)]


def count_matches(pattern: str, events: list[str]) -> int:
    """Return how many events a metric filter of CloudWatch counts. Its terms are joined by &&; an event that is no JSON never matches."""
    terms = [TERM.fullmatch(term.strip()) for term in pattern.strip("{} ").split("&&")]
    return sum(is_match([term.groups() for term in terms if term], event) for event in events)


def is_match(terms: list[tuple[str, ...]], event: str) -> bool:
    try:
        document = json.loads(event)
    except ValueError:
        return False
    operations = {"=": lambda a, b: a == b, "!=": lambda a, b: a != b, ">": lambda a, b: a is not None and a > b}
    return all(operations[operation](document.get(name), json.loads(value)) for name, operation, value in terms)


def print_receipt(partitions: int, exit_code: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Print the receipt of a run of so many partitions, as a job does; return the events of its log."""
    spec = next(spec for spec in catalogue() if spec.name == "extract-massive-daily-prices")
    record = RunRecord(spec, "run", arguments={"lake": "s3://lake"})
    entry: dict[str, Any] = {"dataset": "massive_daily_prices", "outcome": "committed", "rows": 10_000, "quarantined": 0, "bytes": 1}
    uri = f"s3://finelt-dev-lake-123456789012/lake/raw/massive_daily_prices/trade_date=2026-01-01/{'0' * 64}.parquet"
    record.partitions += [
        cast("Partition", {**entry, "key": f"day{number}", "sha256": "0" * 64, "uri": uri}) for number in range(partitions)
    ]
    command._print_receipt(record.make_receipt(exit_code=exit_code, error=None))
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1, "stdout is the receipt alone"
    return split_log(captured.out + captured.err)


@pytest.mark.parametrize("partitions", [1, 2_000])
@pytest.mark.parametrize(
    ("exit_code", "succeeded", "failed"), [(ExitCode.DONE, 1, 0), (ExitCode.BAD_DATA, 0, 1), (ExitCode.TEMPORARY, 0, 0)], ids=str
)
def test_a_run_is_counted_once_whatever_the_length_of_its_receipt(
    partitions: int, exit_code: int, succeeded: int, failed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    events = print_receipt(partitions, exit_code, capsys)
    assert (len(events) > 2) == (partitions > 1), "the long receipt is split"
    assert (count_matches(SUCCEEDED_PATTERN, events), count_matches(FAILED_PATTERN, events)) == (succeeded, failed)


@pytest.mark.parametrize(
    ("end", "notified"),
    [
        ({"stopCode": "TaskFailedToStart", "containers": {}}, True),
        ({"stopCode": "SpotInterruption", "containers": {"exitCode": ExitCode.STOPPED}}, True),
        ({"stopCode": "EssentialContainerExited", "containers": {"exitCode": 137}}, True),  # out of memory
        ({"stopCode": "EssentialContainerExited", "containers": {"exitCode": 139}}, True),  # a crash of the interpreter
        ({"stopCode": "EssentialContainerExited", "containers": {"exitCode": 1}}, True),  # an error before the job's own code
        *(({"stopCode": "EssentialContainerExited", "containers": {"exitCode": code}}, False) for code in ExitCode),
        ({"stopCode": "ServiceSchedulerInitiated", "containers": {"exitCode": 137}}, False),  # a deployment replaced a slow server
    ],
    ids=str,
)
def test_a_task_that_leaves_no_receipt_is_notified(end: dict[str, Any], *, notified: bool, dev: Graph) -> None:
    """EventBridge compares each element of an array, of which moto knows nothing: the one container stands for the array."""
    pattern = json.loads(dev.the("cloudwatch/eventRule:EventRule", "-task-crashed").inputs["eventPattern"])
    (cluster,) = pattern["detail"]["clusterArn"]
    detail = {"clusterArn": cluster, "lastStatus": "STOPPED", **end}
    event: Any = {"source": "aws.ecs", "detail-type": "ECS Task State Change", "detail": detail}
    assert EventPattern(None, pattern).matches_event(event) == notified
