"""Emit a compose file with a service per step. A service starts when the steps before it have succeeded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestration.emit import docker
from orchestration.emit.kubernetes import dump_yaml
from orchestration.emit.pipeline import SECRETS_PATH

if TYPE_CHECKING:
    from orchestration.emit.pipeline import Pipeline, PipelineStep

LIMITATIONS = """\
# docker compose -f THIS up runs it once. Compose has no schedule, no time limit and no retry by exit code. Run it again to retry: steps
# that are done report `unchanged`.
"""


def emit(pipeline: Pipeline) -> str:
    """Return YAML for docker compose."""
    secrets = {
        f"{secret.group}-{secret.key}": f"{pipeline.secrets}/{secret.group}/{secret.key}"
        for step in pipeline.steps
        for secret in step.secrets
    }
    document: dict[str, Any] = {"services": {step.name: _build_service(step) for step in pipeline.steps}}
    if secrets:
        document["secrets"] = {name: {"file": path} for name, path in secrets.items()}
    head = "".join(f"# {line}\n" for line in pipeline.header.splitlines())
    return head + LIMITATIONS + dump_yaml(document)


def _build_service(step: PipelineStep) -> dict[str, Any]:
    depends_on = {name: {"condition": "service_completed_successfully"} for name in step.after}
    mounted = [
        {"source": f"{secret.group}-{secret.key}", "target": f"{SECRETS_PATH}/{secret.group}/{secret.key}"} for secret in step.secrets
    ]
    return {
        "image": step.image,
        "command": [word.replace("$", "$$") for word in step.argv(step.date_placeholders)],
        "environment": step.environment,
        **({"depends_on": depends_on} if depends_on else {}),
        **({"secrets": mounted} if mounted else {}),
        **({"volumes": [f"{path}:{path}" for path in step.folders]} if step.folders else {}),
        "restart": "no",
        "cpus": step.cpus,
        "mem_limit": f"{step.spec.memory}m",
        "read_only": True,
        "tmpfs": [f"/tmp:size={step.spec.tmp_mib}m"],  # noqa: S108  the container's own
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "init": True,
        "logging": {"driver": "json-file", "options": docker.LOG_OPTIONS},
    }
