"""The files that Airflow's sidecar, Argo and Kubernetes read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from jobkit.launchers import files

from jobs.jobkit.tests.launcher_receipt import RECEIPT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "XCOM", tmp_path / "xcom")
    monkeypatch.setattr(files, "TERMINATION", tmp_path / "termination-log")
    return tmp_path


def test_no_file_is_written_without_a_launcher_that_reads_it(folder: Path) -> None:
    files.write({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, RECEIPT, "done")
    assert list(folder.iterdir()) == []


def test_airflow_argo_and_kubernetes_find_the_files_they_read(folder: Path) -> None:
    (folder / "xcom").mkdir()
    (folder / "termination-log").touch()
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "FINELT_RECEIPT_FILE": str(folder / "receipt.json")}
    files.write(environ, RECEIPT, "ü" * 3000)
    assert json.loads((folder / "xcom/return.json").read_text()) == RECEIPT
    assert json.loads((folder / "receipt.json").read_text()) == RECEIPT
    assert len((folder / "termination-log").read_bytes()) == 4096
    assert (folder / "termination-log").read_text() == "ü" * 2048


def test_a_file_that_cannot_be_written_is_no_error(folder: Path) -> None:
    files.write({"FINELT_RECEIPT_FILE": str(folder / "missing" / "receipt.json")}, RECEIPT, "done")
