"""Invalid settings are refused before any resource is created, with what is allowed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra import jobs, settings
from infra.testing.mock_engine import graph
from jobs.catalogue import CatalogueError, catalogue


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("architecture", "riscv", "choose one of arm64, x86_64"),
        ("egress", "none", "nat, nat-per-zone, nat-instance, endpoints"),
        ("audience", "everybody", "internal, public"),
        ("log_days", "13", "finelt:logDays = 13; choose one of 1, 3, 5, 7, 14"),
        ("repository", "finelt", "a value such as organisation/repository"),
        ("backup_days", "0", "expected 1 to 35"),
    ],
)
def test_an_invalid_setting_is_refused_with_what_is_allowed(name: str, value: str, expected: str) -> None:
    with pytest.raises(settings.SettingsError, match=expected):
        graph(choices={name: value})


def test_a_job_that_reads_a_dataset_that_no_job_writes_is_refused() -> None:
    specs = catalogue()
    reader = replace(specs[0], reads=("raw/missing",))
    with pytest.raises(CatalogueError, match=f"{reader.name}: it reads 'raw/missing', which no job writes; correct it to one of .*raw/"):
        jobs.check_datasets([*specs, reader])
