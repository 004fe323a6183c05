"""Which launcher the environment shows, and what a launch without one does."""

from __future__ import annotations

import subprocess
import sys

from jobkit import launchers
from jobkit.launchers import dagster, prefect, stepfunctions


def test_each_environment_is_detected_as_its_launcher() -> None:
    environments = {
        launchers.ShellLauncher: {},
        prefect.Prefect: {"PREFECT__FLOW_RUN_ID": "x", "PREFECT_API_URL": "http://127.0.0.1:9/api"},
        dagster.Dagster: {"DAGSTER_PIPES_CONTEXT": "x"},
        stepfunctions.StepFunctions: {"FINELT_TASK_TOKEN": "x"},
    }
    for kind, environ in environments.items():
        assert type(launchers.detect(environ)) is kind


def test_a_prefect_api_url_alone_is_a_shell_launch() -> None:
    assert type(launchers.detect({"PREFECT_API_URL": "http://x/api"})) is launchers.ShellLauncher


def test_a_shell_launch_has_no_parameters_and_always_starts() -> None:
    plain = launchers.ShellLauncher()
    assert plain.claim()
    assert plain.options() == {}


def test_detection_imports_neither_a_launcher_nor_http() -> None:
    heavy = ("prefect", "http.client", "jobkit.launchers.prefect", "jobkit.prefect_api")
    script = f"import sys, jobkit.launchers as r; r.detect({{}}); print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"
