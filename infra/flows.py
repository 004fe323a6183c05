"""The task in which Prefect's flows run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi

from infra.fargate_task import FargateTask, FargateTaskArgs

if TYPE_CHECKING:
    from infra.keys import Keys
    from infra.policies import Text
    from infra.prefect_server import PrefectServer
    from infra.settings import Settings

FLOW_CPU, FLOW_MEMORY_MIB = 256, 1024


@dataclass(frozen=True)
class FlowsArgs:
    """Arguments of `Flows`."""

    settings: Settings
    keys: Keys
    boundary: Text
    image: Text
    server: PrefectServer


class Flows(pulumi.ComponentResource):
    """The task definition of all flows."""

    task: FargateTask

    def __init__(self, name: str, args: FlowsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:Flows", name, None, opts)
        task_args = FargateTaskArgs(
            args.settings,
            args.keys,
            args.boundary,
            name="flows",
            image=args.image,
            cpu=FLOW_CPU,
            memory=FLOW_MEMORY_MIB,
            command=["python", "-m", "orchestration.runtime.entrypoint"],
            environment=args.server.client_environment(args.settings),
            secrets=args.server.client_secrets(),
            is_run=True,
        )
        self.task = FargateTask(name, task_args, pulumi.ResourceOptions(parent=self))
        self.register_outputs({"definition": self.task.definition.arn})
