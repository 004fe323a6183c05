"""A Fargate task definition with its log group and its own two roles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from infra import policies
from infra.options import child_of
from infra.roles import BoundedRole, create_role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.keys import Keys
    from infra.policies import Statement, Text
    from infra.settings import Settings

STOP_TIMEOUT_S = 120  # the longest that Fargate waits; a job stops within ten
USER = "65532:65532"
TMP_MIB = 64
EXECUTION_ROLE_ENDING = "-start"
PULL_ACTIONS = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability")


@dataclass(frozen=True)
class InitContainer:
    """A container that runs to its end before the task's own starts, with the same image and environment and with secrets of its own."""

    name: str
    command: Sequence[str]
    secrets: Mapping[str, Text]


@dataclass(frozen=True)
class FargateTaskArgs:
    """Arguments of `FargateTask`.

    `cpu` is in Fargate units, `memory` in MiB, and so is `tmp`, the part of it that /tmp may take. `environment` holds plain values;
    `secrets` ARNs by variable; `statements` are what the task's code may do. `health_check` is Python code that fails if the task is
    unhealthy. `is_run` says that the worker starts the task, so that it may pass the task's roles. With `has_sessions`, people open
    sessions in the container.
    """

    settings: Settings
    keys: Keys
    boundary: Text
    name: str
    image: Text
    cpu: int
    memory: int
    tmp: int = TMP_MIB
    command: Sequence[str] = ()
    environment: Mapping[str, Text] = field(default_factory=dict)
    secrets: Mapping[str, Text] = field(default_factory=dict)
    statements: Sequence[Statement] = ()
    port: int | None = None
    health_check: str | None = None
    is_run: bool = False
    has_sessions: bool = False
    init: InitContainer | None = None


class FargateTask(pulumi.ComponentResource):
    """A task definition. `role` belongs to its code; `execution_role` to ECS, which pulls the image and reads the secrets."""

    definition: aws.ecs.TaskDefinition
    definition_family: str
    role: aws.iam.Role
    execution_role: aws.iam.Role
    log_group: aws.cloudwatch.LogGroup

    def __init__(self, name: str, args: FargateTaskArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:FargateTask", name, None, opts)
        settings = args.settings
        self.log_group = aws.cloudwatch.LogGroup(
            name,
            name=f"/finelt/{settings.stack}/{args.name}",
            retention_in_days=settings.log_days,
            kms_key_id=args.keys.logs.arn,
            opts=child_of(self),
        )
        role = self._create_role(name, args, args.statements)
        execution_role = self._create_role(f"{name}{EXECUTION_ROLE_ENDING}", args, _execution_statements(args, self.log_group))
        self.role, self.execution_role = role.role, execution_role.role
        self.definition_family = name
        self.definition = aws.ecs.TaskDefinition(
            name,
            family=name,
            cpu=str(args.cpu),
            memory=str(args.memory),
            network_mode="awsvpc",
            requires_compatibilities=["FARGATE"],
            runtime_platform={
                "cpu_architecture": "ARM64" if settings.architecture == "arm64" else "X86_64",
                "operating_system_family": "LINUX",
            },
            task_role_arn=self.role.arn,
            execution_role_arn=self.execution_role.arn,
            container_definitions=pulumi.Output.json_dumps(container_definitions(args, self.log_group.name)),
            skip_destroy=True,  # ECS runs no task of an inactive revision, and deployments name the previous one until registration is done
            opts=child_of(self, depends_on=[*role.policies, *execution_role.policies]),
        )
        self.register_outputs({"definition": self.definition.arn, "role": self.role.arn, "execution_role": self.execution_role.arn})

    def _create_role(self, name: str, args: FargateTaskArgs, statements: Sequence[Statement]) -> BoundedRole:
        settings = args.settings
        return create_role(
            name,
            self,
            path=settings.run_role_path if args.is_run else settings.role_path,
            boundary=args.boundary,
            trust=policies.trust_service("ecs-tasks", settings.account, f"arn:aws:ecs:{settings.region}:{settings.account}:*"),
            statements=statements,
        )


def container_definitions(args: FargateTaskArgs, log_group: Text) -> list[dict[str, Any]]:
    """Return the definitions of the task's containers, as RegisterTaskDefinition takes them.

    The init container has no memory of its own: the containers of a task on Fargate may not have more than the task together.
    """
    own = container_definition(args, log_group)
    if args.init is None:
        return [own]
    shared = ("image", "user", "readonlyRootFilesystem", "stopTimeout", "linuxParameters", "environment", "logConfiguration")
    init = {
        **{key: own[key] for key in shared},
        "name": args.init.name,
        "essential": False,
        "command": list(args.init.command),
        "secrets": [{"name": name, "valueFrom": arn} for name, arn in sorted(args.init.secrets.items())],
    }
    return [init, {**own, "dependsOn": [{"containerName": args.init.name, "condition": "SUCCESS"}]}]


def container_definition(args: FargateTaskArgs, log_group: Text) -> dict[str, Any]:
    """Return the definition of the task's own container."""
    definition: dict[str, Any] = {
        "name": "job",
        "image": args.image,
        "cpu": args.cpu,
        "memory": args.memory,
        "essential": True,
        "user": USER,
        "readonlyRootFilesystem": True,
        "stopTimeout": STOP_TIMEOUT_S,
        "linuxParameters": {
            "initProcessEnabled": True,
            "capabilities": {"drop": ["ALL"]},
            "tmpfs": [{"containerPath": "/tmp", "size": args.tmp, "mountOptions": ["rw", "nosuid", "nodev", "mode=1777"]}],  # noqa: S108
        },
        "environment": [{"name": name, "value": value} for name, value in sorted(args.environment.items())],
        "secrets": [{"name": name, "valueFrom": arn} for name, arn in sorted(args.secrets.items())],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {"awslogs-group": log_group, "awslogs-region": args.settings.region, "awslogs-stream-prefix": args.name},
        },
    }
    if args.has_sessions:
        # The agent of Systems Manager runs as root beside the process and writes into the container.
        # Source: "Considerations for using ECS Exec" in the ECS developer guide.
        definition["readonlyRootFilesystem"] = False
        del definition["linuxParameters"]["capabilities"]
    if args.command:
        definition["command"] = list(args.command)
    if args.port:
        definition["portMappings"] = [{"containerPort": args.port, "protocol": "tcp", "name": args.name}]
    if args.health_check:
        command = ["CMD", "python", "-c", args.health_check]
        definition["healthCheck"] = {"command": command, "interval": 15, "timeout": 5, "retries": 4, "startPeriod": 60}
    return definition


def strip_json_key(reference: str) -> str:
    """Return the ARN of a secret from a reference that may name one of its JSON keys (arn:...:secret:name-x:key::)."""
    return ":".join(reference.split(":")[:7])


def _execution_statements(args: FargateTaskArgs, log_group: aws.cloudwatch.LogGroup) -> list[Statement]:
    """Return what ECS needs to start the task: its image, its log group and its secrets."""
    settings = args.settings
    repositories = f"arn:aws:ecr:{settings.region}:{settings.account}:repository/{settings.name}/*"
    statements = [
        policies.allow(("ecr:GetAuthorizationToken",), ["*"]),  # IAM has no resource for it
        policies.allow(PULL_ACTIONS, [repositories]),
        policies.allow(("logs:CreateLogStream", "logs:PutLogEvents"), [pulumi.Output.concat(log_group.arn, ":*")]),
    ]
    references = [*args.secrets.values(), *(args.init.secrets.values() if args.init else ())]
    if references:
        arns = [pulumi.Output.from_input(reference).apply(strip_json_key) for reference in references]
        statements += [policies.allow(("secretsmanager:GetSecretValue",), arns), policies.allow(("kms:Decrypt",), [args.keys.data.arn])]
    return statements
