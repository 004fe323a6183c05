"""Values and schedules of deployments: what a file gives, what is scheduled for which day, and what an operator's pause survives."""

from __future__ import annotations

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


def wanted(name: str, required: list[str], *more: str) -> model.DeploymentSpec:
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
    wanted("extract-days", ["lake", "start", "end"], "tickers"),
    wanted("extract-lists", ["lake", "contact"]),
    wanted("daily", ["lake", "warehouse", "extracts"], "timezone"),
]


def given(tmp_path: Path, specs: tuple[JobSpec, ...], text: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
    (tmp_path / "values.toml").write_text(text)
    found, sentences = schedules.apply_parameter_file(DEPLOYMENTS, tmp_path / "values.toml", specs)
    return {one.flow: one.fields for one in found}, sentences


def test_a_value_at_the_top_is_for_all_that_take_it_and_one_in_a_table_for_one(tmp_path: Path, specs: tuple[JobSpec, ...]) -> None:
    fields, _ = given(tmp_path, specs, PLACES + '[extract-days]\ntickers = ["A"]\nlake = "M"\n')
    assert fields["extract-days"]["parameters"] == {"lake": "M", "tickers": ["A"]}
    assert fields["extract-lists"]["parameters"] == {"lake": "L"}
    assert fields["daily"]["parameters"] == {"lake": "L", "warehouse": "W"}


def test_a_job_is_scheduled_as_a_daily_of_its_own_in_its_time_zone(tmp_path: Path, specs: tuple[JobSpec, ...]) -> None:
    fields, sentences = given(tmp_path, specs, PLACES + 'contact = "A a@b.c"\n')
    days, lists = fields["daily"]["schedules"]
    assert days == {
        "slug": "extract-days",
        "active": True,
        "schedule": {"cron": "30 16 * * 1-5", "timezone": "Europe/Berlin"},
        "parameters": {"extracts": {"extract-days": {"start": "today", "end": "today"}}, "timezone": "Europe/Berlin"},
    }
    assert lists["parameters"]["extracts"] == {"extract-lists": {}}
    assert sentences == []


def test_what_lacks_a_value_is_not_scheduled_and_says_which(tmp_path: Path, specs: tuple[JobSpec, ...]) -> None:
    fields, sentences = given(tmp_path, specs, 'lake = "L"\n')
    assert fields["daily"]["schedules"] == []
    assert [sentence.partition(": ")[0] for sentence in sentences] == ["not scheduled extract-days", "not scheduled extract-lists"]
    assert sentences[1].endswith("values.toml has no value for warehouse, contact")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('lak = "L"\n', "unknown option or job 'lak'"),
        ('[extract-days]\ntoken = "t"\n', "extract-days has no option 'token'; its options are lake, start, end, tickers"),
    ],
)
def test_an_unknown_option_or_job_is_an_error(tmp_path: Path, specs: tuple[JobSpec, ...], text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        given(tmp_path, specs, text)


def test_an_unreadable_file_is_an_error(tmp_path: Path, specs: tuple[JobSpec, ...]) -> None:
    with pytest.raises(MisconfiguredError, match=r"values\.toml"):
        given(tmp_path, specs, "lake = \n")


def test_vendors_of_the_catalogue_have_one_limit_each() -> None:
    limits = {(spec.vendor, spec.concurrency) for spec in catalogue() if spec.hosts}
    assert len(limits) == len({vendor for vendor, _ in limits})
    assert all(limit for _, limit in limits)
