"""What runs on ECS: the cluster, and a task definition with roles of its own for each job and service."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from infra import policies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.keys import Keys
    from infra.policies import Statement, Text
    from infra.settings import Settings

STOP_S = 120  # the longest Fargate waits; a job needs ten
USER = "65532:65532"
TMP_MIB = 64


@dataclass(frozen=True)
class Task:
    """A task definition to be: `environment` is plain, `secrets` are names of variables with an ARN, `allowed` is what its code may do."""

    name: str
    image: Text
    cpu: int
    memory: int
    command: Sequence[str] = ()
    environment: Mapping[str, Text] = field(default_factory=dict)
    secrets: Mapping[str, Text] = field(default_factory=dict)
    allowed: Sequence[Statement] = ()
    port: int | None = None
    health: str | None = None


@dataclass(frozen=True)
class Made:
    """What came of it."""

    definition: aws.ecs.TaskDefinition
    role: aws.iam.Role
    execution_role: aws.iam.Role
    logs: aws.cloudwatch.LogGroup


def cluster(settings: Settings, keys: Keys) -> aws.ecs.Cluster:
    """The cluster; spare capacity for jobs where the stack has chosen it."""
    made = aws.ecs.Cluster(
        settings.name,
        name=settings.name,
        settings=[{"name": "containerInsights", "value": "enabled"}],
        configuration={"managed_storage_configuration": {"fargate_ephemeral_storage_kms_key_id": keys.data.arn}},
    )
    aws.ecs.ClusterCapacityProviders(
        settings.name,
        cluster_name=made.name,
        capacity_providers=["FARGATE", "FARGATE_SPOT"],
        default_capacity_provider_strategies=[{"capacity_provider": "FARGATE_SPOT" if settings.spot else "FARGATE", "weight": 1}],
    )
    return made


def make(settings: Settings, keys: Keys, task: Task) -> Made:
    """A task definition, its log group, the role of its code, and the role that starts it."""
    name = f"{settings.name}-{task.name}"
    logs = aws.cloudwatch.LogGroup(
        name, name=f"/finelt/{settings.stack}/{task.name}", retention_in_days=settings.log_days, kms_key_id=keys.logs.arn
    )
    source = f"arn:aws:ecs:{settings.region}:{settings.account}:*"
    trusted = policies.trust("ecs-tasks", settings.account, source)
    role = aws.iam.Role(name, name=name, assume_role_policy=trusted, permissions_boundary=boundary_arn(settings))
    if task.allowed:
        aws.iam.RolePolicy(name, role=role.id, policy=policies.document(*task.allowed))
    starter = aws.iam.Role(f"{name}-start", name=f"{name}-start", assume_role_policy=trusted, permissions_boundary=boundary_arn(settings))
    aws.iam.RolePolicy(f"{name}-start", role=starter.id, policy=policies.document(*_starting(settings, keys, task, logs)))
    definition = aws.ecs.TaskDefinition(
        name,
        family=name,
        cpu=str(task.cpu),
        memory=str(task.memory),
        network_mode="awsvpc",
        requires_compatibilities=["FARGATE"],
        runtime_platform={
            "cpu_architecture": "ARM64" if settings.architecture == "arm64" else "X86_64",
            "operating_system_family": "LINUX",
        },
        task_role_arn=role.arn,
        execution_role_arn=starter.arn,
        container_definitions=pulumi.Output.json_dumps([container(settings, task, logs.name)]),
    )
    return Made(definition, role, starter, logs)


def container(settings: Settings, task: Task, log_group: Text) -> dict[str, Any]:
    """The one container of a task, as ECS wants it."""
    told: dict[str, Any] = {
        "name": "job",
        "image": task.image,
        "cpu": task.cpu,
        "memory": task.memory,
        "essential": True,
        "user": USER,
        "readonlyRootFilesystem": True,
        "stopTimeout": STOP_S,
        "linuxParameters": {
            "initProcessEnabled": True,
            "capabilities": {"drop": ["ALL"]},
            "tmpfs": [{"containerPath": "/tmp", "size": TMP_MIB, "mountOptions": ["rw", "nosuid", "nodev", "mode=1777"]}],  # noqa: S108
        },
        "environment": [{"name": name, "value": value} for name, value in sorted(task.environment.items())],
        "secrets": [{"name": name, "valueFrom": arn} for name, arn in sorted(task.secrets.items())],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {"awslogs-group": log_group, "awslogs-region": settings.region, "awslogs-stream-prefix": task.name},
        },
    }
    if task.command:
        told["command"] = list(task.command)
    if task.port:
        told["portMappings"] = [{"containerPort": task.port, "protocol": "tcp", "name": task.name}]
    if task.health:
        told["healthCheck"] = {
            "command": ["CMD", "python", "-c", task.health],
            "interval": 15,
            "timeout": 5,
            "retries": 4,
            "startPeriod": 60,
        }
    return told


def boundary_arn(settings: Settings) -> str:
    """The most that any role of this stack may ever do; the deploy role can only make roles that have it."""
    return f"arn:aws:iam::{settings.account}:policy/{settings.name}-boundary"


def _starting(settings: Settings, keys: Keys, task: Task, logs: aws.cloudwatch.LogGroup) -> list[Statement]:
    """What starting a task takes: its image, its log, its secrets."""
    repository = f"arn:aws:ecr:{settings.region}:{settings.account}:repository/{settings.name}/*"
    statements = [
        policies.allow(("ecr:GetAuthorizationToken",), ["*"]),  # which has no resource
        policies.allow(("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"), [repository]),
        policies.allow(("logs:CreateLogStream", "logs:PutLogEvents"), [pulumi.Output.concat(logs.arn, ":*")]),
    ]
    if task.secrets:
        arns = [pulumi.Output.from_input(arn).apply(without_key) for arn in task.secrets.values()]
        statements += [policies.allow(("secretsmanager:GetSecretValue",), arns), policies.allow(("kms:Decrypt",), [keys.data.arn])]
    return statements


def without_key(reference: str) -> str:
    """A secret's ARN, from a reference that may name one of its JSON keys (arn:...:secret:name-x:key::)."""
    return ":".join(reference.split(":")[:7])
