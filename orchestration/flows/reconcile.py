"""End runs whose container, process or machine is gone, so that no flow waits for them."""

from __future__ import annotations

import os

from jobkit.prefect_api import api
from prefect import flow
from prefect.runtime import flow_run

from orchestration.runtime.reconcile import publish_table, reconcile_runs


@flow
def reconcile(silent_s: float = 180, pending_s: float = 900, confirm_s: float = 45) -> None:
    """End running runs without a heartbeat for `silent_s` seconds, and pending ones that have not started for `pending_s`.

    A live run sends a heartbeat every 30 s. A run that seems gone is checked again after `confirm_s`, and ended only if still silent.
    """
    server = api(os.environ)
    ended = reconcile_runs(server, silent_s=silent_s, pending_s=pending_s, confirm_s=confirm_s)
    publish_table(server, ended, str(flow_run.id))
