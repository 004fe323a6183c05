"""Emit an Argo CronWorkflow, or a WorkflowTemplate if there is no schedule, with the steps as a DAG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestration.emit import kubernetes
from orchestration.emit.pipeline import MAX_RETRIES, RETRY_EXIT_CODE, RETRY_PAUSE_S, TODAY, require_urls

if TYPE_CHECKING:
    from orchestration.emit.pipeline import Pipeline, PipelineStep


def emit(pipeline: Pipeline) -> str:
    """Return YAML for kubectl apply. To run another date: `argo submit --from cronwf/NAME -p start=2024-01-02 -p end=2024-01-02`.

    Raises UsageError if an option is a path.
    """
    require_urls(pipeline, "Argo")
    dates = sorted({name for step in pipeline.steps for name in step.dates}, reverse=True)
    graph = [
        {"name": step.name, "template": step.name, **({"dependencies": list(step.after)} if step.after else {})} for step in pipeline.steps
    ]
    workflow: dict[str, Any] = {
        "entrypoint": "all",
        "activeDeadlineSeconds": pipeline.limit_s,
        **kubernetes.pod_security(),
        **({"arguments": {"parameters": [{"name": name, "value": TODAY} for name in dates]}} if dates else {}),
        "volumes": kubernetes.build_volumes(pipeline),
        "templates": [{"name": "all", "dag": {"tasks": graph}}, *(_template(step) for step in pipeline.steps)],
    }
    del workflow["automountServiceAccountToken"]  # Argo's own sidecar needs the token; it grants the job's container nothing
    kind, spec = "WorkflowTemplate", workflow
    if pipeline.schedule:
        kind = "CronWorkflow"
        spec = {
            "schedules": [pipeline.schedule],
            "timezone": pipeline.timezone,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "workflowSpec": workflow,
        }
    document = {"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": kubernetes.build_metadata(pipeline), "spec": spec}
    return kubernetes.render(pipeline, document)


def _template(step: PipelineStep) -> dict[str, Any]:
    container = kubernetes.build_container(step, {name: f"{{{{workflow.parameters.{name}}}}}" for name in step.dates})
    return {
        "name": step.name,
        "activeDeadlineSeconds": str(step.limit_s),
        "retryStrategy": {
            "limit": str(MAX_RETRIES),
            "retryPolicy": "Always",
            "expression": f"asInt(lastRetry.exitCode) == {RETRY_EXIT_CODE}",
            "backoff": {"duration": f"{RETRY_PAUSE_S}s", "factor": "2"},
        },
        "container": {**container, "name": "main"},
    }
