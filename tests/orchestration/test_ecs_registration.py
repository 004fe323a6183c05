"""The registration of a stack on ECS: deployments of jobs that are gone are deleted, and flows run on demand."""

from __future__ import annotations

from typing import Any

from orchestration.deployments import versions
from orchestration.deployments.model import DeploymentSpec, RegistrationResult
from orchestration.deployments.register import delete_removed_deployments, ecs_flow_variables

FLOWS = [{"id": "f1", "name": "extract-a"}, {"id": "f2", "name": "extract-b"}, {"id": "f3", "name": "somebodys-flow"}]
DEPLOYMENTS = [
    {"id": "d1", "flow_id": "f1", "name": "extract-a-ecs", "tags": ["finelt"], "work_pool_name": "ecs"},
    {"id": "d2", "flow_id": "f2", "name": "extract-b-ecs", "tags": ["finelt"], "work_pool_name": "ecs"},
    {"id": "d3", "flow_id": "f2", "name": "docker", "tags": ["finelt"], "work_pool_name": "docker"},
    {"id": "d4", "flow_id": "f3", "name": "ecs", "tags": [], "work_pool_name": "ecs"},
]


class Server:
    """Answers as Prefect's API does, and keeps what it is asked to delete."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    def call(self, method: str, path: str, _body: Any = None) -> Any:
        if method == "DELETE":
            self.deleted.append(path)
        return {"/flows/filter": FLOWS, "/deployments/filter": DEPLOYMENTS}.get(path)


def test_only_the_tagged_deployment_of_a_removed_job_on_this_pool_is_deleted() -> None:
    server = Server()
    wanted = [DeploymentSpec("extract-a", {"name": "extract-a-ecs"})]
    deleted = delete_removed_deployments(server, wanted, pool="ecs")  # type: ignore[arg-type]
    assert (deleted, server.deleted) == (("extract-b/extract-b-ecs",), ["/deployments/d2"])


def test_the_log_of_the_registration_names_what_is_deleted() -> None:
    assert RegistrationResult((), (), (), ("extract-b/extract-b-ecs",)).lines() == ["deleted   extract-b/extract-b-ecs"]


def test_the_version_of_a_deployment_names_what_runs_as_far_as_it_is_known() -> None:
    digest, commit = f"r/i@sha256:{'ab' * 32}", "c0ffee" * 7
    assert versions.describe_version("0.2.0", digest, commit) == "0.2.0 sha256:abababababab git:c0ffeec0ffee"
    assert versions.describe_version("0.2.0", "finelt/load-warehouse:0123456789abcdef", None) == "0.2.0 0123456789abcdef"
    assert versions.describe_version("0.2.0", None, None) == "0.2.0"


def test_a_flow_never_runs_on_spare_capacity() -> None:
    """Its own value overrides the pool's default: nobody retries a flow whose capacity is reclaimed."""
    assert ecs_flow_variables("arn:flows")["capacity_provider"] == "FARGATE"
