"""A Kubernetes CronJob: the steps are init containers of one pod, one after the other, and the last is its container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from jobkit.errors import UsageError

from orchestration.emit.pipeline import RETRIED, RETRIES, SECRETS, remote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestration.emit.pipeline import Chain, Step

USER = 65532
LABELS = "app.kubernetes.io"


def emit(chain: Chain) -> str:
    """YAML for kubectl apply. Raises UsageError without a schedule."""
    if chain.schedule is None:
        raise UsageError("a CronJob needs a schedule, and none of these jobs has one; add --schedule CRON, and --timezone ZONE unless UTC")
    remote(chain, "Kubernetes")
    *first, last = [container(step) for step in chain.steps]
    pod = {"restartPolicy": "Never", **hardened(), **({"initContainers": first} if first else {}), "containers": [last]}
    job = {
        "backoffLimit": RETRIES,
        "activeDeadlineSeconds": sum(step.limit_s for step in chain.steps) * (1 + RETRIES),
        "ttlSecondsAfterFinished": 86_400,
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},  # the node's fault, not the job's
                {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [RETRIED]}},
            ]
        },
        "template": {"metadata": {"labels": labels(chain)}, "spec": {**pod, "volumes": volumes(chain)}},
    }
    spec = {
        "schedule": chain.schedule,
        "timeZone": chain.timezone,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 3600,
        "jobTemplate": {"spec": job},
    }
    return text(chain, {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata(chain), "spec": spec})


def container(step: Step, dates: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A step as a container."""
    secrets = [{"name": group, "mountPath": f"{SECRETS}/{group}", "readOnly": True} for group in step.groups]
    size = {"cpu": f"{round(1000 * step.cpus)}m", "memory": f"{step.spec.memory}Mi"}
    return {
        "name": step.name,
        "image": step.image,
        "args": step.words(step.today if dates is None else dates),
        "env": [{"name": name, "value": value} for name, value in step.environment.items()],
        "resources": {"requests": size, "limits": size},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *secrets],  # noqa: S108  the container's own
    }


def hardened() -> dict[str, Any]:
    """What a pod may be."""
    user = {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER, "seccompProfile": {"type": "RuntimeDefault"}}
    return {"automountServiceAccountToken": False, "securityContext": user}


def volumes(chain: Chain) -> list[dict[str, Any]]:
    """Scratch space, and each Secret that a step reads."""
    groups = dict.fromkeys(group for step in chain.steps for group in step.groups)
    return [{"name": "tmp", "emptyDir": {}}, *({"name": group, "secret": {"secretName": group}} for group in groups)]


def labels(chain: Chain) -> dict[str, str]:
    """By which they are found."""
    return {f"{LABELS}/name": chain.name, f"{LABELS}/part-of": "finelt"}


def metadata(chain: Chain) -> dict[str, Any]:
    """Name and labels."""
    return {"name": chain.name, "labels": labels(chain)}


def text(chain: Chain, document: Mapping[str, Any]) -> str:
    """YAML with the header, and how the Secrets it names are made."""
    needed = sorted({(secret.group, secret.key) for step in chain.steps for secret in step.secrets})
    told = [f"# kubectl create secret generic {group} --from-file={key}=FILE" for group, key in needed]
    head = [f"# {line}" for line in chain.header.splitlines()]
    return "\n".join([*head, *told, dumped(document)])


class _Plain(yaml.SafeDumper):
    """YAML without anchors."""

    def ignore_aliases(self, data: object) -> bool:
        """Always."""
        return data is not None


def dumped(document: Mapping[str, Any]) -> str:
    """YAML in the order given."""
    return str(yaml.dump(document, Dumper=_Plain, sort_keys=False, width=140, allow_unicode=True))
