"""One image in ECR, planned as `scripts/images` plans it, built only if ECR does not have it, and deployed by digest."""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws
import pulumi_command as command
import pulumi_docker as docker

from images import docker_cli
from images import plan as plans
from infra import ecr

if TYPE_CHECKING:
    from collections.abc import Callable

    from images.plan import Service
    from infra.keys import Keys
    from infra.settings import Settings
    from jobs.catalogue import JobSpec

PROGRAM_FOLDER = Path(__file__).parent
BUILD_FOLDER = PROGRAM_FOLDER.parent / ".build"
IMAGES_TO_KEEP = 20


@dataclass(frozen=True)
class JobImageArgs:
    """Arguments of `JobImage`.

    `built` is the image that CI built, by digest, or None. `log_in` returns the login to ECR, which only a build needs.
    """

    settings: Settings
    keys: Keys
    spec: JobSpec | Service
    built: str | None
    log_in: Callable[[], docker.RegistryArgs]


class JobImage(pulumi.ComponentResource):
    """A repository and the image in it. `digest` is repository@sha256:..., the reference that tasks run.

    The tag is the hash of everything that goes into the image. If ECR has the tag, its image runs, also after a rollback, an interrupted
    `up` or a lost state. Otherwise Pulumi copies the image that CI built, tested and signed, or builds one if there is none.
    """

    digest: pulumi.Output[str]
    repository: aws.ecr.Repository

    def __init__(self, name: str, args: JobImageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:images:JobImage", name, None, opts)
        settings, child = args.settings, pulumi.ResourceOptions(parent=self)
        self.repository = aws.ecr.Repository(
            f"{settings.name}-{name}",
            name=f"{settings.name}/{name}",
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration={"scan_on_push": True},
            encryption_configurations=[{"encryption_type": "KMS", "kms_key": args.keys.data.arn}],
            force_delete=True,  # the images of a removed job are built again from its source if it comes back
            opts=child,
        )
        aws.ecr.LifecyclePolicy(
            f"{settings.name}-{name}",
            repository=self.repository.name,
            policy=pulumi.Output.json_dumps(_lifecycle_policy()),
            opts=child,
        )
        plan, context, build_arguments = plan_build(args.spec, settings.platform)
        digest = ecr.find_digest(f"{settings.name}/{name}", plan.tag, account=settings.account, region=settings.region)
        if digest:
            self.digest = pulumi.Output.concat(self.repository.repository_url, "@", digest)
        elif args.built:
            self.digest = self._copy_image(args.settings, args.built, plan)
        else:
            self.digest = self._build_image(args, plan, context, build_arguments).repo_digest
        self.register_outputs({"digest": self.digest})

    def _copy_image(self, settings: Settings, built: str, plan: plans.Plan) -> pulumi.Output[str]:
        """Copy an image from another registry without a change of its digest. skopeo uses the logins of the docker command."""
        url = self.repository.repository_url
        copy = command.local.Command(
            f"{settings.name}-{plan.name}",
            create=pulumi.Output.concat(f"skopeo copy --preserve-digests docker://{built} docker://", url, ":", plan.tag),
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )
        return pulumi.Output.all(url, copy.stdout).apply(lambda values: f"{values[0]}@{built.partition('@')[2]}")

    def _build_image(self, args: JobImageArgs, plan: plans.Plan, context: str, build_arguments: dict[str, str]) -> docker.Image:
        """Build and push the image. The next run finds it in ECR; Pulumi then forgets the build and leaves the image."""
        return docker.Image(
            f"{args.settings.name}-{args.spec.name}",
            image_name=pulumi.Output.concat(self.repository.repository_url, ":", plan.tag),
            build=docker.DockerBuildArgs(
                context=context,
                dockerfile=f"{context}/{plans.RECIPE}",
                args=build_arguments,
                platform=args.settings.platform,
                target=plan.target,
                builder_version=docker.BuilderVersion.BUILDER_BUILD_KIT,
            ),
            registry=args.log_in(),
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )


@cache
def plan_build(spec: JobSpec | Service, platform: str) -> tuple[plans.Plan, str, dict[str, str]]:
    """Return the plan of an image, the path of its build context, and its build arguments. Cached: tests run the program many times."""
    environment = docker_cli.BuildEnvironment(python_image=os.environ.get("FINELT_PYTHON_IMAGE"), platform=platform)
    plan = docker_cli.plan_image(spec, environment)
    return plan, _write_context(plan), plans.build_arguments(spec, plan)


def _write_context(plan: plans.Plan) -> str:
    """Write the build context; return its path relative to the program.

    Pulumi would see an absolute path as a change on every other machine.
    """
    folder = BUILD_FOLDER / plan.name
    BUILD_FOLDER.mkdir(exist_ok=True)
    with (BUILD_FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of the program may write it too: two previews, or two test processes
        shutil.rmtree(folder, ignore_errors=True)
        return os.path.relpath(plan.write_context(folder), PROGRAM_FOLDER)


def _lifecycle_policy() -> dict[str, object]:
    rule = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": IMAGES_TO_KEEP}
    return {"rules": [{"rulePriority": 1, "description": f"keep {IMAGES_TO_KEEP}", "selection": rule, "action": {"type": "expire"}}]}
