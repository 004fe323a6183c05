"""The stack creates what orchestration registers and calls, under the same names."""

from __future__ import annotations

import json

import pytest

from infra.stack_description import group_by_job
from infra.testing.mock_engine import Graph, graph
from jobs.catalogue import catalogue
from tests.infra.graph_reader import FUNCTION, OTHER_HARDWARE, PUBLIC, REPOSITORY, TASK, environment_of, stack_description

SPECS = catalogue()


def test_every_job_has_a_repository_an_image_and_a_task(dev: Graph) -> None:
    names = {f"finelt-dev-{spec.name}" for spec in SPECS}
    for kind in (REPOSITORY, TASK, "docker:index/image:Image"):
        assert {resource.name for resource in dev.of(kind)} >= names
    for image in dev.of("docker:index/image:Image"):
        build = image.inputs["build"]
        assert build["context"].startswith("../.build/"), "Pulumi sees an absolute path as a change on every other machine"
        assert build["platform"] == "linux/arm64"


def test_a_job_with_two_secrets_gets_both() -> None:
    secrets = {("a", "token"): 1, ("a", "password"): 2, ("b", "token"): 3}
    assert group_by_job(secrets) == {"a": {"token": 1, "password": 2}, "b": {"token": 3}}


def test_the_function_starts_a_registered_deployment_and_reads_the_rules_events(dev: Graph) -> None:
    from orchestration.events import start_dropped_files as module

    inputs = dev.the(FUNCTION, "-start-dropped-files").inputs
    variables = inputs["environment"]["variables"]
    assert variables["FINELT_DEPLOYMENT"] in {f"{spec.name}/{spec.name}-ecs" for spec in SPECS}
    path, _, name = inputs["imageConfig"]["commands"][0].rpartition(".")
    assert (path, name) == (module.__name__, module.handler.__name__)
    assert stack_description(dev)["parameters"]["drop"].endswith(f"/{variables['FINELT_DROP']}".rstrip("/"))
    event = {"detail": {"bucket": {"name": "b"}, "object": {"key": f"{variables['FINELT_DROP']}x/y.csv", "sequencer": "1"}}}
    assert module.parse_event(event, variables["FINELT_DROP"])[0] == "x/y.csv"


def test_the_registration_gets_every_task_and_secret(dev: Graph) -> None:
    """Options that are secrets are passed by reference."""
    url = environment_of(dev.the(TASK, "-register"))["FINELT_STACK"]
    stack = stack_description(dev)
    (description,) = dev.of("s3/bucketObjectv2:BucketObjectv2")
    assert url == f"s3://{description.inputs['bucket']}/{description.inputs['key']}"
    assert set(stack["tasks"]) == {*(spec.name for spec in SPECS), "flows"}
    assert stack["parameters"]["lake"].startswith("s3://finelt-dev-lake-")
    assert stack["parameters"]["warehouse_password"] == "secretsmanager://finelt-dev/{job}/warehouse_password"
    assert set(stack["warehouse"]["secrets"]) == {spec.name for spec in SPECS if "warehouse_password" in spec.secrets}
    for spec in SPECS:
        for option in spec.secrets:
            value = stack["parameters"].get(spec.name, {}).get(option) or stack["parameters"][option]
            assert value.replace("{job}", spec.name) == f"secretsmanager://finelt-dev/{spec.name}/{option}"


@pytest.mark.parametrize(("choices", "expected"), [({"spot": "true"}, "FARGATE_SPOT"), (OTHER_HARDWARE, "FARGATE")])
def test_jobs_run_on_spare_capacity_only_if_the_stack_says_so(choices: dict[str, str], expected: str) -> None:
    stack = graph(choices=choices)
    (strategy,) = next(stack.of("ecs/clusterCapacityProviders:ClusterCapacityProviders")).inputs["defaultCapacityProviderStrategies"]
    assert {strategy["capacityProvider"], stack_description(stack)["pool"]["capacity_provider"]} == {expected}


def test_the_site_is_public_only_if_its_audience_is(dev: Graph) -> None:
    for audience, stack in (("internal", dev), ("public", graph(choices=PUBLIC))):
        distributions = [resource for resource in stack.resources if resource.type == "cloudfront/distribution:Distribution"]
        policy = json.loads(stack.the("s3/bucketPolicy:BucketPolicy", "-site").inputs["policy"])
        readers = [statement for statement in policy["Statement"] if statement["Effect"] == "Allow"]
        assert (len(distributions), len(readers)) == ((1, 1) if audience == "public" else (0, 0))
        assert stack_description(stack)["parameters"]["audience"] == audience
