"""Files that a launcher reads after the container has exited: Airflow on Kubernetes, Argo, any pod.

|-- FINELT_RECEIPT_FILE     the receipt, for an output parameter of Argo or any launcher that names a path
|-- /airflow/xcom/          the receipt as return.json, which Airflow's sidecar makes the task's XCom
`-- /dev/termination-log    one sentence, which Kubernetes shows as the container's termination message
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from jobkit import redaction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobkit.receipt import Receipt

XCOM, TERMINATION = Path("/airflow/xcom"), Path("/dev/termination-log")
TERMINATION_BYTES = 4096  # of a longer message Kubernetes keeps the end


def write(environ: Mapping[str, str], receipt: Receipt, summary: str) -> None:
    """Write every file that this environment has a place for. One that cannot be written is left out: the work is done."""
    document = redaction.to_json(receipt)
    if path := environ.get("FINELT_RECEIPT_FILE"):
        _write(Path(path), document)
    if XCOM.is_dir():
        _write(XCOM / "return.json", document)
    if environ.get("KUBERNETES_SERVICE_HOST") and TERMINATION.exists():
        _write(TERMINATION, redaction.redact(summary).encode()[:TERMINATION_BYTES].decode(errors="ignore"))


def _write(path: Path, text: str) -> None:
    with contextlib.suppress(OSError):
        path.write_text(text, encoding="utf-8")
