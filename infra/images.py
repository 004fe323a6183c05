"""The images of all jobs and of the services that the stack runs."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws
import pulumi_docker as docker

from infra.job_image import JobImage, JobImageArgs
from infra.options import child_of
from infra.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from images.plan import Service
    from infra.keys import Keys
    from infra.settings import Settings
    from jobs.catalogue import JobSpec

REFERENCE = re.compile(r"[\w.:/-]+@sha256:[0-9a-f]{64}")
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
        images: list[JobImage] = []
        log_in, built = cache(_log_in), read_built_images(os.environ)
        for number, spec in enumerate(args.specs):
            predecessors = [images[number - CONCURRENT_BUILDS]] if number >= CONCURRENT_BUILDS else []
            options = child_of(self, depends_on=predecessors)
            image_args = JobImageArgs(args.settings, args.keys, spec, built.get(spec.name), log_in)
            images.append(JobImage(spec.name, image_args, options))
        self.by_name = {spec.name: image for spec, image in zip(args.specs, images, strict=True)}
        self.register_outputs({"digests": {image_name: image.digest for image_name, image in self.by_name.items()}})


def read_built_images(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the images that CI built, from the file that FINELT_IMAGES names: registry/name@sha256:... by name. Raises SettingsError."""
    if not (path := environ.get("FINELT_IMAGES")):
        return {}
    built: dict[str, str] = json.loads(Path(path).read_text(encoding="utf-8"))
    for name, reference in built.items():
        if not REFERENCE.fullmatch(reference):
            raise SettingsError(f"{path}: {name} = {reference!r}; expected registry/{name}@sha256:..., as scripts/images digests prints")
    return built


def _log_in() -> docker.RegistryArgs:
    """Return the login to ECR."""
    token = aws.ecr.get_authorization_token_output()
    return docker.RegistryArgs(server=token.proxy_endpoint, username=token.user_name, password=pulumi.Output.secret(token.password))
