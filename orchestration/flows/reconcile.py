"""Ends runs whose container, process or machine is gone, so that nothing waits for them for ever."""

from __future__ import annotations

import os

from jobkit.prefect_api import api
from prefect import flow
from prefect.runtime import flow_run

from orchestration.runtime.reconcile import reconciled, show


@flow
def reconcile(silent_s: float = 180, pending_s: float = 900, confirm_s: float = 45) -> None:
    """End runs under way that were silent for `silent_s` seconds, and taken ones that have not started for `pending_s`.

    A living run speaks every 30 s. One that seems gone is looked at again after `confirm_s`; only one silent at both looks is ended.
    """
    server = api(os.environ)
    show(server, reconciled(server, silent_s=silent_s, pending_s=pending_s, confirm_s=confirm_s), str(flow_run.id))
