"""Files that a launcher reads when the container has ended: Airflow on Kubernetes, Argo, any pod.

|-- FINELT_RECEIPT_FILE     the receipt, for an output parameter of Argo's or any launcher that names a path
|-- /airflow/xcom/          the receipt as return.json, which Airflow's sidecar takes for the task's XCom
`-- /dev/termination-log    one sentence, which Kubernetes shows as the container's termination message
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobkit import redaction

if TYPE_CHECKING:
    from collections.abc import Mapping

XCOM, TERMINATION = Path("/airflow/xcom"), Path("/dev/termination-log")
TERMINATION_BYTES = 4096  # of a longer message Kubernetes keeps the end


def write(environ: Mapping[str, str], receipt: dict[str, Any], sentence: str) -> None:
    """Nothing; every file that this environment asks for is there. One that cannot be written is left out: the work is done."""
    whole = redaction.to_json(receipt)
    if named := environ.get("FINELT_RECEIPT_FILE"):
        _put(Path(named), whole)
    if XCOM.is_dir():
        _put(XCOM / "return.json", whole)
    if environ.get("KUBERNETES_SERVICE_HOST") and TERMINATION.exists():
        _put(TERMINATION, redaction.redact(sentence).encode()[:TERMINATION_BYTES].decode(errors="ignore"))


def _put(path: Path, text: str) -> None:
    with contextlib.suppress(OSError):
        path.write_text(text, encoding="utf-8")
