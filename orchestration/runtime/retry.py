"""Retry Prefect API calls while the server is unreachable: restarted, replaced, overloaded, or cut off by the network.

Prefect's clients retry requests only after a first answer, and not one of 500. Most of our clients are new, so without this a refused
connection would end the flow. docs/retries.md lists every retry.
"""

from __future__ import annotations

import stamina
from httpx import HTTPStatusError, TransportError
from jobkit.prefect_api import RETRIED, SERVER_OUTAGE_BUDGET_S


def is_unreachable(error: Exception) -> bool:
    """Whether the server did not answer, or with a status that another try may change, such as 500 if its database is overloaded."""
    return isinstance(error, TransportError) or (isinstance(error, HTTPStatusError) and error.response.status_code in RETRIED)


retry_while_unreachable = stamina.retry(on=is_unreachable, attempts=None, timeout=SERVER_OUTAGE_BUDGET_S, wait_initial=0.5, wait_max=10.0)
