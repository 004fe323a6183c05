"""The definitions for Kubernetes and Argo, checked against their schemas."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from tests import environments
from tests.orchestration.emitted_definitions import ORDER, WAREHOUSE, after, checked, emit, emit_one


def test_kubernetes_accepts_the_cronjob_and_retries_exit_code_75_only(emitted: dict[str, str], tmp_path: Path) -> None:
    python = environments.python("kubernetes", "kubernetes-validate==1.37.0")
    for name, text in (("chain", emitted["k8s-cronjob"]), ("one", emit_one("k8s-cronjob"))):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        done = subprocess.run(
            [Path(python).with_name("kubernetes-validate"), "--strict", path], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    job = yaml.safe_load(emitted["k8s-cronjob"])["spec"]["jobTemplate"]["spec"]
    (rule,) = (rule["onExitCodes"] for rule in job["podFailurePolicy"]["rules"] if rule["action"] == "FailJob")
    assert rule == {"operator": "NotIn", "values": [75]}
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert tuple(container["name"] for container in (*pod["initContainers"], *pod["containers"])) == ORDER
    fx = yaml.safe_load(emit_one("k8s-cronjob"))["spec"]
    assert (fx["schedule"], fx["timeZone"]) == ("30 16 * * 1-5", "Europe/Berlin")


IN_ARGO = """
import json, sys, yaml
from hera.workflows import models

document = yaml.safe_load(open(sys.argv[1]))
again = getattr(models, document["kind"]).model_validate(document).model_dump(by_alias=True, exclude_none=True, mode="json")

def same(ours, theirs, where="") :
    if isinstance(ours, dict):
        for key, value in ours.items():
            assert key in theirs, f"Argo does not know {where}.{key}"
            same(value, theirs[key], f"{where}.{key}")
    elif isinstance(ours, list):
        for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            same(a, b, f"{where}[{number}]")
    else:
        assert str(ours) == str(theirs), f"{where}: {ours!r} became {theirs!r}"

same(document, again)
print(json.dumps(document["kind"]))
"""


def test_argo_accepts_the_workflow_and_retries_exit_code_75_only(emitted: dict[str, str], tmp_path: Path) -> None:
    python = environments.python("argo", "hera==7.1.0", "pyyaml==6.0.3")
    unscheduled = emit("argo", "--set", "lake=s3://example/lake", "--set", f"warehouse={WAREHOUSE}", jobs=("load-warehouse",))
    for text, kind in ((emitted["argo"], "CronWorkflow"), (unscheduled, "WorkflowTemplate")):
        path = tmp_path / "workflow.yaml"
        path.write_text(text)
        assert checked(python, IN_ARGO, str(path), cwd=tmp_path) == kind
    templates = {template["name"]: template for template in yaml.safe_load(emitted["argo"])["spec"]["workflowSpec"]["templates"]}
    graph = {task["name"]: sorted(task.get("dependencies", [])) for task in templates.pop("all")["dag"]["tasks"]}
    assert graph == after()
    assert {template["retryStrategy"]["expression"] for template in templates.values()} == {"asInt(lastRetry.exitCode) == 75"}
