"""Parameters and schedules of deployments from a TOML file."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from jobkit.errors import MisconfiguredError, UsageError

from jobs.catalogue import catalogue
from orchestration.deployments import model, schedules
from tests.test_catalogue import DECLARED, job

if TYPE_CHECKING:
    from pathlib import Path

    from jobs.catalogue import JobSpec

PLACES = 'lake = "L"\nwarehouse = "W"\n'


def deployment(name: str, required: list[str], *more: str) -> model.DeploymentSpec:
    options = {option: {"type": "string"} for option in (*required, *more)}
    return model.DeploymentSpec(name, {"name": "p", "parameter_openapi_schema": {"properties": options, "required": required}})


@pytest.fixture
def specs(tmp_path: Path) -> tuple[JobSpec, ...]:
    (tmp_path / "jobs").mkdir()
    timed = DECLARED + 'schedule = "30 16 * * 1-5"\ntimezone = "Europe/Berlin"\n'
    job(tmp_path / "jobs", "extract-days", timed)
    job(tmp_path / "jobs", "extract-lists", timed)
    return catalogue(tmp_path / "jobs")


DEPLOYMENTS = [
    deployment("extract-days", ["lake", "start", "end"], "tickers", "retry_timeout"),
    deployment("extract-lists", ["lake", "contact"], "retry_timeout"),
    deployment("daily", ["lake", "warehouse", "extracts"], "timezone"),
]


def apply_file(tmp_path: Path, specs: tuple[JobSpec, ...], text: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
    (tmp_path / "values.toml").write_text(text)
    deployments, messages = schedules.apply_parameter_file(DEPLOYMENTS, tmp_path / "values.toml", specs)
    return {one.flow: one.fields for one in deployments}, messages


def test_a_value_at_the_top_is_for_all_jobs_and_flows_and_a_table_is_for_one(tmp_path: Path, specs: tuple[JobSpec, ...]) -> None:
    fields, _ = apply_file(tmp_path, specs, PLACES + '[extract-days]\ntickers = ["A"]\nlake = "M"\n')
    assert fields["extract-days"]["parameters"] == {"lake": "M", "tickers": ["A"]}
    assert fields["extract-lists"]["parameters"] == {"lake": "L"}
    assert fields["daily"]["parameters"] == {
        "lake": "L",
        "warehouse": "W",
        "extracts": {"extract-days": {"start": "today", "end": "today"}},
    }


def test_each_scheduled_job_becomes_a_schedule_of_the_daily_flow_in_its_time_zone(tmp_path: Path, specs: tuple[JobSpec, ...]) -> None:
    fields, messages = apply_file(tmp_path, specs, PLACES + 'contact = "A a@b.c"\n')
    days, lists = fields["daily"]["schedules"]
    assert days == {
        "slug": "extract-days",
        "active": True,
        "schedule": {"cron": "30 16 * * 1-5", "timezone": "Europe/Berlin"},
        "parameters": {"extracts": {"extract-days": {"start": "today", "end": "today"}}, "timezone": "Europe/Berlin"},
    }
    assert lists["parameters"]["extracts"] == {"extract-lists": {}}
    assert messages == []


def test_the_form_of_a_new_run_shows_all_extracts_that_can_run_unless_a_value_says_otherwise(
    tmp_path: Path, specs: tuple[JobSpec, ...]
) -> None:
    fields, _ = apply_file(tmp_path, specs, PLACES + 'contact = "A a@b.c"\n')
    today = {"start": "today", "end": "today"}
    assert fields["daily"]["parameters"]["extracts"] == {"extract-days": today, "extract-lists": {}}
    fields, _ = apply_file(tmp_path, specs, PLACES + "[daily]\nextracts = {}\n")
    assert fields["daily"]["parameters"]["extracts"] == {}


def test_a_job_without_a_required_value_is_not_scheduled_and_the_value_is_named(tmp_path: Path, specs: tuple[JobSpec, ...]) -> None:
    fields, messages = apply_file(tmp_path, specs, 'lake = "L"\n')
    assert fields["daily"]["schedules"] == []
    assert [message.partition(": ")[0] for message in messages] == ["not scheduled extract-days", "not scheduled extract-lists"]
    assert messages[1].endswith("values.toml has no value for warehouse, contact")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('lak = "L"\n', "unknown option or job 'lak'"),
        ('[extract-days]\ntoken = "t"\n', "extract-days has no option 'token'; its options are lake, start, end, tickers, retry_timeout"),
    ],
)
def test_an_unknown_option_or_job_is_an_error(tmp_path: Path, specs: tuple[JobSpec, ...], text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        apply_file(tmp_path, specs, text)


def test_an_old_option_name_is_renamed_with_a_warning(tmp_path: Path, specs: tuple[JobSpec, ...]) -> None:
    fields, messages = apply_file(tmp_path, specs, PLACES + 'contact = "A a@b.c"\npatience = 5\n[extract-days]\npatience = 7\n')
    assert fields["extract-days"]["parameters"] == {"lake": "L", "retry_timeout": 7}
    assert fields["extract-lists"]["parameters"] == {"lake": "L", "contact": "A a@b.c", "retry_timeout": 5}
    warning = "the parameter patience is deprecated and will be removed in the next version; use retry_timeout"
    assert messages == [f"{tmp_path}/values.toml: {warning}"]


def test_an_unreadable_file_is_an_error(tmp_path: Path, specs: tuple[JobSpec, ...]) -> None:
    with pytest.raises(MisconfiguredError, match=r"values\.toml"):
        apply_file(tmp_path, specs, "lake = \n")


def test_prefect_computes_the_next_run_of_every_schedule() -> None:
    """As its scheduler does, from the present moment. Each time is one of the schedule's own days and hours."""
    from prefect.server.schemas.schedules import CronSchedule
    from prefect.types._datetime import now

    for spec in (spec for spec in catalogue() if spec.schedule):
        minute, hour, *_ = str(spec.schedule).split()
        (date,) = asyncio.run(CronSchedule(cron=str(spec.schedule), timezone=spec.timezone).get_dates(1, start=now("UTC")))
        assert str(date.minute) in minute.split(","), spec.name
        assert str(date.hour) in hour.split(","), spec.name


def test_vendors_of_the_catalogue_have_one_limit_each() -> None:
    limits = {(spec.vendor, spec.concurrency) for spec in catalogue() if spec.hosts}
    assert len(limits) == len({vendor for vendor, _ in limits})
    assert all(limit for _, limit in limits)
