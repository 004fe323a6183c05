"""Emit a Kubernetes CronJob. The steps are init containers of one pod, run in sequence; the last step is its container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from jobkit.errors import UsageError

from orchestration.emit.pipeline import MAX_RETRIES, RETRY_EXIT_CODE, SECRETS_PATH, require_urls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestration.emit.pipeline import Pipeline, PipelineStep

USER = 65532
LABELS = "app.kubernetes.io"


def emit(pipeline: Pipeline) -> str:
    """Return YAML for kubectl apply. Raises UsageError without a schedule, or if an option is a path."""
    if pipeline.schedule is None:
        raise UsageError("a CronJob needs a schedule, and none of these jobs has one; add --schedule CRON, and --timezone ZONE unless UTC")
    require_urls(pipeline, "Kubernetes")
    *first, last = [build_container(step) for step in pipeline.steps]
    pod = {"restartPolicy": "Never", **pod_security(), **({"initContainers": first} if first else {}), "containers": [last]}
    job = {
        "backoffLimit": MAX_RETRIES,
        "activeDeadlineSeconds": sum(step.limit_s for step in pipeline.steps) * (1 + MAX_RETRIES),
        "ttlSecondsAfterFinished": 86_400,
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},  # a failure of the node, not of the job
                {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [RETRY_EXIT_CODE]}},
            ]
        },
        "template": {"metadata": {"labels": build_labels(pipeline)}, "spec": {**pod, "volumes": build_volumes(pipeline)}},
    }
    spec = {
        "schedule": pipeline.schedule,
        "timeZone": pipeline.timezone,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 3600,
        "jobTemplate": {"spec": job},
    }
    return render(pipeline, {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": build_metadata(pipeline), "spec": spec})


def build_container(step: PipelineStep, dates: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return a step as a container."""
    secrets = [{"name": group, "mountPath": f"{SECRETS_PATH}/{group}", "readOnly": True} for group in step.groups]
    size = {"cpu": f"{round(1000 * step.cpus)}m", "memory": f"{step.spec.memory}Mi"}
    return {
        "name": step.name,
        "image": step.image,
        "args": step.argv(step.date_placeholders if dates is None else dates),
        "env": [{"name": name, "value": value} for name, value in step.environment.items()],
        "resources": {"requests": size, "limits": size},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *secrets],  # noqa: S108  the container's own
    }


def pod_security() -> dict[str, Any]:
    """Return the security settings of a pod."""
    user = {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER, "seccompProfile": {"type": "RuntimeDefault"}}
    return {"automountServiceAccountToken": False, "securityContext": user}


def build_volumes(pipeline: Pipeline) -> list[dict[str, Any]]:
    """Return scratch space, which the steps of a pod share, and a volume for each Secret that a step reads."""
    groups = dict.fromkeys(group for step in pipeline.steps for group in step.groups)
    size = f"{sum(step.spec.tmp_mib for step in pipeline.steps)}Mi"
    return [{"name": "tmp", "emptyDir": {"sizeLimit": size}}, *({"name": group, "secret": {"secretName": group}} for group in groups)]


def build_labels(pipeline: Pipeline) -> dict[str, str]:
    """Return the labels by which the objects are found."""
    return {f"{LABELS}/name": pipeline.name, f"{LABELS}/part-of": "finelt"}


def build_metadata(pipeline: Pipeline) -> dict[str, Any]:
    """Return name and labels."""
    return {"name": pipeline.name, "labels": build_labels(pipeline)}


def render(pipeline: Pipeline, document: Mapping[str, Any]) -> str:
    """Return YAML with the header and the commands that create its Secrets."""
    needed = sorted({(secret.group, secret.key) for step in pipeline.steps for secret in step.secrets})
    commands = [f"# kubectl create secret generic {group} --from-file={key}=FILE" for group, key in needed]
    head = [f"# {line}" for line in pipeline.header.splitlines()]
    return "\n".join([*head, *commands, dump_yaml(document)])


class _NoAliasDumper(yaml.SafeDumper):
    """Writes YAML without anchors."""

    def ignore_aliases(self, data: object) -> bool:
        """Return True for everything but None."""
        return data is not None


def dump_yaml(document: Mapping[str, Any]) -> str:
    """Return a document as YAML, keys in their order."""
    return str(yaml.dump(document, Dumper=_NoAliasDumper, sort_keys=False, width=140, allow_unicode=True))
