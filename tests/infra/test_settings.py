"""Invalid settings are refused before any resource is created, with what is allowed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from infra import jobs, settings
from infra.testing.mock_engine import graph
from jobs.catalogue import CatalogueError, catalogue
from tests.infra.graph_reader import PUBLIC

if TYPE_CHECKING:
    from pathlib import Path


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


@pytest.mark.parametrize("name", ["Dev", "1dev", "dev-", "dev--eu", "dev_eu", "dev-preview", "a" * 17])
def test_a_stack_name_that_aws_refuses_or_that_opens_a_deploy_role_to_pull_requests_is_refused(name: str) -> None:
    """The role of a stack dev-preview would trust the environment in which previews of dev run."""
    with pytest.raises(settings.SettingsError, match=f"stack = '{name}'; expected a value such as dev: at most 16"):
        graph(name)


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({"site_domain": "data.example.com"}, "belong to a public site"),
        ({**PUBLIC, "audience": "internal"}, "belong to a public site"),
        ({**PUBLIC, "site_certificate": "arn:aws:acm:eu-central-1:123456789012:certificate/x"}, "us-east-1"),
    ],
)
def test_a_domain_without_its_certificate_is_refused(choices: dict[str, str], expected: str) -> None:
    with pytest.raises(settings.SettingsError, match=expected):
        graph(choices=choices)


def test_a_settings_file_says_nothing_of_where_another_stack_keeps_its_data_and_secrets(tmp_path: Path) -> None:
    file = tmp_path / "finelt.toml"
    file.write_text(
        'lake = "file:///lake"\nciks = ["1"]\n[load-warehouse]\nwarehouse = "postgresql://x"\n[publish-marts]\naudience = "public"\n'
        "[extract-ecb-fx-rates]\nlookback_days = 3\nstart = 2020-01-01\n"
        '[extract-tiingo-prices]\ntoken = "env://TIINGO_TOKEN"\n[extract-fred-series]\ntoken = "file:///run/fred"\nseries = ["GDP"]\n',
        encoding="utf-8",
    )
    assert settings.read_settings_file(file) == {
        "ciks": ["1"],
        "extract-ecb-fx-rates": {"lookback_days": 3},
        "extract-fred-series": {"series": ["GDP"]},
    }


def test_a_job_that_reads_a_dataset_that_no_job_writes_is_refused() -> None:
    specs = catalogue()
    reader = replace(specs[0], reads=("raw/missing",))
    with pytest.raises(CatalogueError, match=f"{reader.name}: it reads 'raw/missing', which no job writes; correct it to one of .*raw/"):
        jobs.check_datasets([*specs, reader])
