"""An Argo CronWorkflow, or a WorkflowTemplate where there is no schedule: a graph of the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestration.emit import kubernetes
from orchestration.emit.pipeline import PAUSE_S, RETRIED, RETRIES, TODAY, remote

if TYPE_CHECKING:
    from orchestration.emit.pipeline import Chain, Step


def emit(chain: Chain) -> str:
    """YAML for kubectl apply; another day is `argo submit --from cronwf/NAME -p start=2024-01-02 -p end=2024-01-02`."""
    remote(chain, "Argo")
    dates = sorted({name for step in chain.steps for name in step.dates}, reverse=True)
    graph = [
        {"name": step.name, "template": step.name, **({"dependencies": list(step.after)} if step.after else {})} for step in chain.steps
    ]
    workflow: dict[str, Any] = {
        "entrypoint": "all",
        "activeDeadlineSeconds": chain.limit_s,
        **kubernetes.hardened(),
        **({"arguments": {"parameters": [{"name": name, "value": TODAY} for name in dates]}} if dates else {}),
        "volumes": kubernetes.volumes(chain),
        "templates": [{"name": "all", "dag": {"tasks": graph}}, *(_template(step) for step in chain.steps)],
    }
    del workflow["automountServiceAccountToken"]  # Argo's own sidecar speaks to the cluster; the job's container gets no token of use
    kind, spec = "WorkflowTemplate", workflow
    if chain.schedule:
        kind = "CronWorkflow"
        spec = {
            "schedules": [chain.schedule],
            "timezone": chain.timezone,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "workflowSpec": workflow,
        }
    document = {"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": kubernetes.metadata(chain), "spec": spec}
    return kubernetes.text(chain, document)


def _template(step: Step) -> dict[str, Any]:
    container = kubernetes.container(step, {name: f"{{{{workflow.parameters.{name}}}}}" for name in step.dates})
    return {
        "name": step.name,
        "activeDeadlineSeconds": str(step.limit_s),
        "retryStrategy": {
            "limit": str(RETRIES),
            "retryPolicy": "Always",
            "expression": f"asInt(lastRetry.exitCode) == {RETRIED}",
            "backoff": {"duration": f"{PAUSE_S}s", "factor": "2"},
        },
        "container": {**container, "name": "main"},
    }
