"""Wait for a condition. The one loop for everything that can only be looked at, such as a process that starts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(condition: Callable[[], bool], *, timeout_s: float, poll_every_s: float = 0.05) -> bool:
    """Return True as soon as `condition` holds, False if it still does not after `timeout_s`. It is checked at least once."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_every_s)
    return True
