"""A repository and an image per job and service, built from the same plan as scripts/images and deployed by digest."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws
import pulumi_docker as docker

from images import docker_cli
from images import plan as plans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from images.plan import Service
    from infra.keys import Keys
    from infra.settings import Settings
    from jobs.catalogue import JobSpec

PROGRAM = Path(__file__).parent
STAGE = PROGRAM.parent / ".build"
AT_ONCE = 4  # builds; more of them fight for the engine
KEPT = 20


class JobImage(pulumi.ComponentResource):
    """An image in its `repository`. `digest` is repository@sha256:..., which is what runs.

    The tag is the hash of everything that goes in, so that an unchanged job is not built, and a changed one never meets its old tag.
    """

    digest: pulumi.Output[str]
    repository: aws.ecr.Repository

    def __init__(
        self, spec: JobSpec | Service, settings: Settings, keys: Keys, registry: docker.RegistryArgs, after: JobImage | None
    ) -> None:
        super().__init__("finelt:images:JobImage", spec.name, opts=pulumi.ResourceOptions(depends_on=[after] if after else []))
        below = pulumi.ResourceOptions(parent=self)
        self.repository = repository = aws.ecr.Repository(
            f"{settings.name}-{spec.name}",
            name=f"{settings.name}/{spec.name}",
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration={"scan_on_push": True},
            encryption_configurations=[{"encryption_type": "KMS", "kms_key": keys.data.arn}],
            force_delete=not settings.protect,
            opts=below,
        )
        aws.ecr.LifecyclePolicy(
            f"{settings.name}-{spec.name}", repository=repository.name, policy=pulumi.Output.json_dumps(_lifecycle()), opts=below
        )
        planned = docker_cli.plan(
            spec, docker_cli.Surroundings(python_image=os.environ.get("FINELT_PYTHON_IMAGE"), platform=settings.platform)
        )
        context = _staged(planned)
        self.image = docker.Image(
            f"{settings.name}-{spec.name}",
            image_name=pulumi.Output.concat(repository.repository_url, ":", planned.tag),
            build=docker.DockerBuildArgs(
                context=context,
                dockerfile=f"{context}/{plans.RECIPE}",
                args=plans.arguments(spec, planned),
                platform=settings.platform,
                target=planned.target,
                builder_version=docker.BuilderVersion.BUILDER_BUILD_KIT,
            ),
            registry=registry,
            opts=below,
        )
        self.digest = self.image.repo_digest
        self.register_outputs({"digest": self.digest})


def make(specs: Sequence[JobSpec | Service], settings: Settings, keys: Keys) -> dict[str, JobImage]:
    """The images by name; at most four are built at once."""
    token = aws.ecr.get_authorization_token_output()
    registry = docker.RegistryArgs(server=token.proxy_endpoint, username=token.user_name, password=pulumi.Output.secret(token.password))
    made: list[JobImage] = []
    for number, spec in enumerate(specs):
        made.append(JobImage(spec, settings, keys, registry, made[number - AT_ONCE] if number >= AT_ONCE else None))
    return dict(zip((spec.name for spec in specs), made, strict=True))


def _staged(planned: plans.Plan) -> str:
    """The build context, as a path from the program: an absolute one would be another in CI than here, which is a change to Pulumi."""
    folder = STAGE / planned.name
    shutil.rmtree(folder, ignore_errors=True)
    return os.path.relpath(planned.stage(folder), PROGRAM)


def _lifecycle() -> dict[str, object]:
    rule = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": KEPT}
    return {"rules": [{"rulePriority": 1, "description": f"keep {KEPT}", "selection": rule, "action": {"type": "expire"}}]}
