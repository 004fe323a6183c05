"""What is the same wherever a Docker engine starts the container: limits, hardening, folders and secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestration.emit.pipeline import SECRETS

if TYPE_CHECKING:
    from orchestration.emit.pipeline import Chain, Step

LOG = {"max-size": "10m", "max-file": "3"}


def mounts(chain: Chain, step: Step) -> list[tuple[str, str, str]]:
    """Source, target and mode (ro or rw) of what the container sees of the machine."""
    folders = [(path, path, "rw") for path in step.folders]
    return [*folders, *((f"{chain.secrets}/{group}", f"{SECRETS}/{group}", "ro") for group in step.groups)]
