"""Retry Prefect API calls while the server is unreachable: restarted, replaced, or cut off by the network.

Prefect's clients retry requests only after a first answer. Most of our clients are new, so without this a refused connection would
end the flow. docs/retries.md lists every retry.
"""

from __future__ import annotations

import stamina
from httpx import TransportError
from jobkit.prefect_api import SERVER_OUTAGE_BUDGET_S

retry_while_unreachable = stamina.retry(on=TransportError, attempts=None, timeout=SERVER_OUTAGE_BUDGET_S, wait_initial=0.5, wait_max=10.0)
