"""The registration task, and the description of the stack that it reads.

In the network, after each deploy, it creates the warehouse's roles, the work pool and the deployments.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from infra import policies
from infra.database import CA_FILE
from infra.fargate_task import FargateTask, FargateTaskArgs
from infra.job_secrets import PASSWORD_OPTION, create_secret
from jobs.catalogue import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.job_secrets import JobSecrets
    from infra.keys import Keys
    from infra.policies import Statement, Text
    from infra.prefect_server import PrefectServer
    from infra.settings import Settings
    from infra.storage import Storage
    from infra.warehouse import Warehouse

DESCRIPTION_KEY = "infra/stack.json"


@dataclass(frozen=True)
class RegistrationArgs:
    """Arguments of `Registration`. `stack` is the description of the stack that orchestration/ecs/register_stack.py reads."""

    settings: Settings
    keys: Keys
    boundary: Text
    image: Text
    server: PrefectServer
    storage: Storage
    warehouse: Warehouse
    secrets: JobSecrets
    stack: Mapping[str, Any]


class Registration(pulumi.ComponentResource):
    """The task definition of the registration. The description is an object in the lake's bucket: a task definition has 64 KB at most."""

    task: FargateTask
    notifications: aws.secretsmanager.Secret  # a person enters the URL that is notified of failed runs

    def __init__(self, name: str, args: RegistrationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:Registration", name, None, opts)
        description = aws.s3.BucketObjectv2(
            name,
            bucket=args.storage.lake.bucket,
            key=DESCRIPTION_KEY,
            content=pulumi.Output.json_dumps(args.stack),
            content_type="application/json",
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.notifications = create_secret(
            args.settings, args.keys, "prefect/notifications", pulumi.ResourceOptions(parent=self), recovery_days=0
        )
        url = pulumi.Output.concat("s3://", description.bucket, "/", description.key)
        task_args = FargateTaskArgs(
            args.settings,
            args.keys,
            args.boundary,
            name="register",
            image=args.image,
            cpu=256,
            memory=512,
            command=["python", "-m", "orchestration.ecs.register_stack"],
            environment={
                **args.server.client_environment(args.settings),
                "FINELT_NOTIFICATIONS": self.notifications.name,
                "FINELT_REVISION": _read_revision(),
                "FINELT_STACK": url,
                "SSL_CERT_FILE": CA_FILE,
            },
            secrets={
                **args.server.client_secrets(),
                **args.warehouse.database.admin_secrets("FINELT_MASTER_USER", "FINELT_MASTER_PASSWORD"),
            },
            statements=_statements(args, self.notifications),
        )
        self.task = FargateTask(name, task_args, pulumi.ResourceOptions(parent=self))
        self.register_outputs({"definition": self.task.definition.arn})


def _read_revision() -> str:
    """Return the commit that is deployed; empty without a clone of the repository."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False)  # noqa: S607
    return done.stdout.strip()


def _statements(args: RegistrationArgs, notifications: aws.secretsmanager.Secret) -> list[Statement]:
    """Return the permissions to read the description and the images, and to generate and read the warehouse passwords of the jobs.

    The size of the statement does not depend on the number of jobs. Source of -??????: "Secret ARNs" in the Secrets Manager user guide.
    """
    settings = args.settings
    secrets = f"arn:aws:secretsmanager:{settings.region}:{settings.account}:secret:{settings.name}/*/{PASSWORD_OPTION}-??????"
    return [
        policies.allow(("s3:GetObject",), [pulumi.Output.concat(args.storage.lake.arn, f"/{DESCRIPTION_KEY}")]),
        policies.allow(("secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"), [secrets]),
        policies.allow(("secretsmanager:GetSecretValue",), [notifications.arn]),
        policies.allow(("kms:Decrypt", "kms:GenerateDataKey"), [args.keys.data.arn]),
        policies.allow(("ecs:DescribeTaskDefinition",), ["*"]),  # IAM has no resource for it
    ]
