"""Every launcher gives a job a /tmp of the size that it declares, and no more: the job fails in the same way everywhere."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from jobs import catalogue as module
from jobs.catalogue import REPOSITORY, catalogue
from orchestration.deployments import register
from tests.orchestration.emitted_definitions import emit_one


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("argo", "sizeLimit: 64Mi"),
        ("cron", "--tmpfs /tmp:size=64m"),
        ("compose", "/tmp:size=64m"),  # noqa: S108
        ("dagster", "size=64m"),
        ("k8s-cronjob", "sizeLimit: 64Mi"),
    ],
)
def test_a_definition_limits_tmp(target: str, expected: str) -> None:
    assert expected in emit_one(target)


def test_the_docker_pool_limits_tmp() -> None:
    pool = json.loads((REPOSITORY / "orchestration/deployments/pools/docker.json").read_text())
    assert pool["job_configuration"]["container_create_kwargs"]["tmpfs"] == {"/tmp": "size={{ tmp_mib }}m"}  # noqa: S108
    for spec in catalogue():
        assert register.docker_job_variables(spec, "image")["tmp_mib"] == spec.tmp_mib


@pytest.mark.parametrize("tmp_mib", [0, 257, True, "64"])
def test_a_tmp_that_does_not_fit_into_the_memory_is_refused(tmp_mib: int) -> None:
    spec = replace(catalogue()[0], cpu=256, memory=512, tmp_mib=tmp_mib)
    with pytest.raises(module.CatalogueError, match="from 1 to 256 .half of the memory"):
        module._check_tmp(spec)


def test_a_tmp_without_room_for_the_largest_body_is_refused() -> None:
    spec = replace(catalogue()[0], cpu=256, memory=512, max_body_mib=96, tmp_mib=111)
    with pytest.raises(module.CatalogueError, match="at least 112"):
        module._check_tmp(spec)
    module._check_tmp(replace(spec, tmp_mib=112))
