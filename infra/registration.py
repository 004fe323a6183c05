"""The registration task: it creates the warehouse's roles, the work pool and the deployments, in the network, after each deploy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi

from infra import policies
from infra.fargate_task import FargateTask, FargateTaskArgs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.job_secrets import JobSecrets
    from infra.keys import Keys
    from infra.policies import Statement, Text
    from infra.prefect_server import PrefectServer
    from infra.settings import Settings
    from infra.warehouse import Warehouse


@dataclass(frozen=True)
class RegistrationArgs:
    """Arguments of `Registration`. `stack` is the description of the stack that orchestration/ecs/register_stack.py reads."""

    settings: Settings
    keys: Keys
    boundary: Text
    image: Text
    server: PrefectServer
    warehouse: Warehouse
    secrets: JobSecrets
    stack: Mapping[str, Any]


class Registration(pulumi.ComponentResource):
    """The task definition of the registration."""

    task: FargateTask

    def __init__(self, name: str, args: RegistrationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:Registration", name, None, opts)
        task_args = FargateTaskArgs(
            args.settings,
            args.keys,
            args.boundary,
            name="register",
            image=args.image,
            cpu=256,
            memory=512,
            command=["python", "-m", "orchestration.ecs.register_stack"],
            environment={**args.server.client_environment(args.settings), "FINELT_STACK": pulumi.Output.json_dumps(args.stack)},
            secrets={
                **args.server.client_secrets(),
                **args.warehouse.database.admin_secrets("FINELT_MASTER_USER", "FINELT_MASTER_PASSWORD"),
            },
            statements=_password_statements(args),
        )
        self.task = FargateTask(name, task_args, pulumi.ResourceOptions(parent=self))
        self.register_outputs({"definition": self.task.definition.arn})


def _password_statements(args: RegistrationArgs) -> list[Statement]:
    """Return the permissions to generate and read the warehouse passwords of the jobs."""
    arns = [secret.arn for secret in args.secrets.warehouse_passwords().values()]
    return [
        policies.allow(("secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"), arns),
        policies.allow(("kms:Decrypt", "kms:GenerateDataKey"), [args.keys.data.arn]),
    ]
