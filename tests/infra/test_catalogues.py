"""The program and the registration work with any catalogue: none of our jobs, one foreign job, forty."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from infra import settings
from infra.alarms import list_expected_jobs
from infra.jobs import LONGEST_ROLE_NAME, RESERVED_NAMES, check_names
from infra.stack import FOLDER
from infra.testing.mock_engine import graph, start_graphs
from jobs.catalogue import CatalogueError, catalogue
from orchestration.deployments import descriptions, register, schedules
from tests.infra.catalogues import make_catalogue, make_job
from tests.infra.graph_reader import ALARM, FUNCTION, LOGS, REPOSITORY, ROLE, TASK, stack_description
from tests.infra.rules import VIOLATIONS, find_missing_alarms, find_missing_drop_notifications, find_overwritable_commits

if TYPE_CHECKING:
    from infra.testing.mock_engine import Graph
    from jobs.catalogue import JobSpec

NO_PARAMETERS = {"parameters": "{}"}
WITH_REDIS = {**NO_PARAMETERS, "server_replicas": "2"}
READER_OF_DROPS = make_job(1, reads=("drop",), writes=("drop", "raw/vendor1_rates"))
WITH_SFTP = {
    "parameters": json.dumps({"extract-dropped-files": {"sftp": "sftp://finelt@sftp.bank.example:2222/out"}}),
    "egress": "nat-instance",
}
RULES = ("vpc/securityGroupEgressRule:SecurityGroupEgressRule", "vpc/securityGroupIngressRule:SecurityGroupIngressRule")
DROPPED_FILES = next(spec for spec in catalogue() if spec.name == "extract-dropped-files")
OF_OUR_JOBS = {find_missing_alarms, find_missing_drop_notifications, find_overwritable_commits}
FILES = ("Pulumi.dev.yaml", "Pulumi.prod.yaml")
SIZES = (0, 1, 40)
describe_once = cache(descriptions.describe_from_source)


def read_parameters(file: str) -> dict[str, str]:
    """Return the parameters of a stack's file, as a choice."""
    values: Any = yaml.safe_load((FOLDER / file).read_text(encoding="utf-8"))["config"]["finelt:parameters"]
    return {"parameters": json.dumps(values)}


def start_own_graphs() -> None:
    for size in SIZES:
        start_graphs([NO_PARAMETERS], make_catalogue(size))
    start_graphs([WITH_REDIS], [READER_OF_DROPS])
    start_graphs([WITH_SFTP], [DROPPED_FILES])
    start_graphs([NO_PARAMETERS, *map(read_parameters, FILES)])


def register_schedules(stack: Graph, specs: tuple[JobSpec, ...], monkeypatch: pytest.MonkeyPatch) -> tuple[set[str], list[str]]:
    """Build what the registration builds from the stack's description; return the scheduled jobs and the messages for the others."""
    if any(not spec.folder.exists() for spec in specs):
        description = {"version": "1", "options": {"properties": {"lake": {}, "token": {}, "warehouse_password": {}}, "required": ["lake"]}}
        monkeypatch.setattr(register, "describe_from_source", lambda _: description)
    else:
        monkeypatch.setattr(register, "describe_from_source", describe_once)
    described = stack_description(stack)
    deployments = register.ecs_deployments(specs, described["tasks"], pool="ecs")
    deployments, messages = schedules.apply_parameters(deployments, described["parameters"], "finelt:parameters", specs)
    (daily,) = [deployment for deployment in deployments if deployment.flow == "daily"]
    return {schedule["slug"] for schedule in daily.fields["schedules"]}, messages


def late_alarms(stack: Graph) -> set[str]:
    """Return the jobs with an alarm that rings if they do not succeed for days."""
    return {alarm.inputs["metricName"].removesuffix("-done") for alarm in stack.of(ALARM) if alarm.inputs["metricName"].endswith("-done")}


@pytest.mark.parametrize("size", SIZES)
def test_a_foreign_catalogue_gives_a_stack_without_our_jobs(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = make_catalogue(size)
    stack = graph(choices=NO_PARAMETERS, specs=specs)
    assert stack.duplicates() == []
    names = {f"finelt-dev-{spec.name}" for spec in specs}
    assert {resource.name for resource in stack.of(REPOSITORY)} == {*names, "finelt-dev-orchestration"}
    assert {resource.name for resource in stack.of(TASK)} >= names
    assert not list(stack.of(FUNCTION)), "no job reads dropped files"
    ours = [spec.name for spec in catalogue()]
    assert not [resource.name for resource in stack.resources if any(name in resource.name for name in ours)]
    for rule in VIOLATIONS.keys() - OF_OUR_JOBS:
        assert list(rule(stack)) == [], rule.__name__
    scheduled, messages = register_schedules(stack, specs, monkeypatch)
    assert (scheduled, messages) == ({spec.name for spec in specs}, [])
    assert late_alarms(stack) == scheduled


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("worker", "worker: the stack itself has something of this name; rename the job, for instance extract-worker"),
        ("extract_rates", "lower-case letters, digits and single hyphens"),
        ("extract--rates", "lower-case letters, digits and single hyphens"),
        ("extract-rates-start", "does not end with -start"),
        (f"extract-{'x' * 40}", "in finelt-dev, a job's name has at most 47 characters"),
    ],
)
def test_a_job_name_that_aws_refuses_or_that_is_taken_is_refused_before_anything_changes(name: str, expected: str) -> None:
    with pytest.raises(CatalogueError, match=expected):
        check_names([replace(make_job(1), name=name)], "finelt-dev")


def test_the_longest_job_name_fits_into_every_name_of_the_stack() -> None:
    name = f"extract-{'x' * 39}"
    stack = graph(choices=NO_PARAMETERS, specs=(replace(make_job(1), name=name),))
    assert max(len(role.physical_name) for role in stack.of(ROLE)) == LONGEST_ROLE_NAME


def test_no_job_can_have_a_name_that_the_stack_itself_has() -> None:
    """Otherwise two roles, tasks, log groups or repositories have one name, and AWS refuses the second in the middle of `up`."""
    stack = graph(choices=WITH_REDIS, specs=(READER_OF_DROPS,))
    taken = {
        re.sub(r"^.*(finelt-dev[-/]|/finelt/dev/)", "", resource.physical_name).partition("/")[0]
        for kind in (ROLE, TASK, LOGS, REPOSITORY)
        for resource in stack.of(kind)
    }
    own = {name.removesuffix("-start") for name in taken} - {make_job(1).name}
    assert own == RESERVED_NAMES


def test_a_foreign_job_that_reads_the_drop_is_started_for_each_file() -> None:
    stack = graph(choices=WITH_REDIS, specs=(READER_OF_DROPS,))
    variables = stack.the(FUNCTION, "-start-dropped-files").inputs["environment"]["variables"]
    assert variables["FINELT_DEPLOYMENT"] == "extract-vendor1-instrument-rates/extract-vendor1-instrument-rates-ecs"
    assert stack_description(stack)["parameters"]["drop"].endswith("/drop")


def test_a_job_reaches_an_sftp_server_on_its_port_and_no_other_task_does() -> None:
    stack = graph(choices=WITH_SFTP, specs=(DROPPED_FILES,))
    rules = [resource for kind in RULES for resource in stack.of(kind) if resource.inputs["fromPort"] not in (443, 4200, 5432)]
    assert sorted(rule.name.removeprefix("finelt-dev-") for rule in rules) == [
        "jobs-sftp-2222", "jobs-to-nat-2222", "jobs-to-nat-2222", "nat-sftp-2222",
    ]  # fmt: skip
    assert {(rule.inputs["fromPort"], rule.inputs["toPort"]) for rule in rules} == {(2222, 2222)}


@pytest.mark.parametrize("file", FILES)
def test_the_parameters_of_each_stack_schedule_every_job(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = graph(choices=read_parameters(file))
    scheduled, messages = register_schedules(stack, catalogue(), monkeypatch)
    assert messages == []
    expected = list_expected_jobs(catalogue(), sorted(scheduled))
    assert late_alarms(stack) == set(expected)
    assert {name: expected[name] for name in ("extract-ecb-fx-rates", "extract-sec-company-facts", "publish-marts")} == {
        "extract-ecb-fx-rates": 5,
        "extract-sec-company-facts": 7,  # its contract allows 100 days, CloudWatch seven
        "publish-marts": 3,
    }
    for name, days in expected.items():
        assert stack.the(ALARM, f"-{name}-late").inputs["evaluationPeriods"] == days
    assert stack.the(ALARM, "-data-late").inputs["metricName"] == "data-late"


def test_a_job_without_its_parameters_is_neither_scheduled_nor_late(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = graph(choices=NO_PARAMETERS)
    scheduled, messages = register_schedules(stack, catalogue(), monkeypatch)
    unscheduled = {
        "extract-tiingo-prices",
        "extract-sec-13f-holdings",
        "extract-sec-insider-transactions",
        "extract-sec-filers",
        "extract-sec-filings",
        "extract-sec-company-facts",
        "extract-fred-series",
    }
    unscheduled |= {"extract-gleif-entities", "extract-gleif-isins", "extract-openfigi-identifiers"}
    assert {message.split()[2].rstrip(":") for message in messages} == unscheduled
    assert late_alarms(stack) == scheduled | {"publish-marts"}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"ticker": ["AAPL"]}, "unknown option or job 'ticker'"),
        ({"extract-sec-filers": {"ciks": []}}, "extract-sec-filers has no option 'ciks'"),
        ({"lake": "s3://elsewhere"}, "the stack sets itself"),
        ({"publish-marts": {"audience": "public"}}, "the stack sets itself"),
        ({"extract-gleif-entities": None}, "extract-gleif-entities = None; expected a mapping of the job's options"),
        ({"tickers": "AAPL"}, "tickers of extract-tiingo-prices: 'AAPL' is not of type 'array'"),
        ({"ciks": [320193]}, "ciks of .*: 320193 is not of type 'string'"),
        ({"tickers": []}, "tickers of extract-tiingo-prices is empty; remove it, and the job is not scheduled"),
        ({"extract-gleif-entities": {"datasets": ["gleif"]}}, "'gleif' is not one of"),
        ({"vendors": "sec"}, "vendors = 'sec'; expected a list of names"),
        ({"vendors": ["nobody"]}, "no job calls a vendor 'nobody'"),
        ({"extract-fred-series": {"token": "env://FRED_TOKEN"}}, "env://FRED_TOKEN, which no task has; remove it, and the stack's secret"),
        ({"extract-fred-series": {"token": "river-Tulip4"}}, "token of extract-fred-series: a secret is given by reference(?!.*river)"),
        ({"extract-dropped-files": {"sftp": "sftp://user:secret@bank.example/out"}}, "sftp: the URL holds a password"),
    ],
)
def test_a_parameter_that_a_job_does_not_take_is_refused_before_anything_changes(parameters: dict[str, Any], expected: str) -> None:
    with pytest.raises(settings.SettingsError, match=expected):
        graph(choices={"parameters": json.dumps(parameters)})
