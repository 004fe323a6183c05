"""The images of all jobs and of the services that the stack runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws
import pulumi_docker as docker

from infra.job_image import JobImage, JobImageArgs
from infra.options import child_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from images.plan import Service
    from infra.keys import Keys
    from infra.settings import Settings
    from jobs.catalogue import JobSpec

CONCURRENT_BUILDS = 4  # more of them slow each other down


@dataclass(frozen=True)
class ImagesArgs:
    """Arguments of `Images`."""

    settings: Settings
    keys: Keys
    specs: Sequence[JobSpec | Service]


class Images(pulumi.ComponentResource):
    """The images by name. At most `CONCURRENT_BUILDS` are built at the same time."""

    by_name: dict[str, JobImage]

    def __init__(self, name: str, args: ImagesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:Images", name, None, opts)
        registry = _registry_login()
        images: list[JobImage] = []
        for number, spec in enumerate(args.specs):
            predecessors = [images[number - CONCURRENT_BUILDS]] if number >= CONCURRENT_BUILDS else []
            options = child_of(self, depends_on=predecessors)
            images.append(JobImage(spec.name, JobImageArgs(args.settings, args.keys, spec, registry), options))
        self.by_name = {spec.name: image for spec, image in zip(args.specs, images, strict=True)}
        self.register_outputs({"digests": {image_name: image.digest for image_name, image in self.by_name.items()}})


def _registry_login() -> docker.RegistryArgs:
    token = aws.ecr.get_authorization_token_output()
    return docker.RegistryArgs(server=token.proxy_endpoint, username=token.user_name, password=pulumi.Output.secret(token.password))
