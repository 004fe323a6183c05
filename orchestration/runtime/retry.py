"""What a flow asks of its Prefect server, asked again while that one is away: restarted, replaced, or not to be reached for a while.

Prefect's clients do so themselves where they were answered before. Most of ours are new: a refused connection would end the flow at once.
"""

from __future__ import annotations

import stamina
from httpx import TransportError

AWAY_S = 600
patiently = stamina.retry(on=TransportError, attempts=None, timeout=AWAY_S, wait_initial=0.5, wait_max=10.0)
