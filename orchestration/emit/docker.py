"""What every target on a Docker engine has in common: log limits, folders and secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestration.emit.pipeline import SECRETS_PATH

if TYPE_CHECKING:
    from orchestration.emit.pipeline import Pipeline, PipelineStep

LOG_OPTIONS = {"max-size": "10m", "max-file": "3"}


def list_mounts(pipeline: Pipeline, step: PipelineStep) -> list[tuple[str, str, str]]:
    """Return source, target and mode (ro or rw) of each folder of the machine that the container mounts."""
    folders = [(path, path, "rw") for path in step.folders]
    return [*folders, *((f"{pipeline.secrets}/{group}", f"{SECRETS_PATH}/{group}", "ro") for group in step.groups)]
