"""A compose file: a service per step, each started when those it waits for have ended well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestration.emit import docker
from orchestration.emit.kubernetes import dumped
from orchestration.emit.pipeline import SECRETS

if TYPE_CHECKING:
    from orchestration.emit.pipeline import Chain, Step

KNOWS = """\
# docker compose -f THIS up runs it once. Compose knows no schedule, no time limit and no exit code worth a retry: run it again, and steps
# that are done say `unchanged`.
"""


def emit(chain: Chain) -> str:
    """YAML for docker compose."""
    secrets = {
        f"{secret.group}-{secret.key}": f"{chain.secrets}/{secret.group}/{secret.key}" for step in chain.steps for secret in step.secrets
    }
    document: dict[str, Any] = {"services": {step.name: _service(step) for step in chain.steps}}
    if secrets:
        document["secrets"] = {name: {"file": path} for name, path in secrets.items()}
    head = "".join(f"# {line}\n" for line in chain.header.splitlines())
    return head + KNOWS + dumped(document)


def _service(step: Step) -> dict[str, Any]:
    waits = {name: {"condition": "service_completed_successfully"} for name in step.after}
    mounted = [{"source": f"{secret.group}-{secret.key}", "target": f"{SECRETS}/{secret.group}/{secret.key}"} for secret in step.secrets]
    return {
        "image": step.image,
        "command": [word.replace("$", "$$") for word in step.words(step.today)],
        "environment": step.environment,
        **({"depends_on": waits} if waits else {}),
        **({"secrets": mounted} if mounted else {}),
        **({"volumes": [f"{path}:{path}" for path in step.folders]} if step.folders else {}),
        "restart": "no",
        "cpus": step.cpus,
        "mem_limit": f"{step.spec.memory}m",
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108  the container's own
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "init": True,
        "logging": {"driver": "json-file", "options": docker.LOG},
    }
