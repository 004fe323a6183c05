"""Limit the rate of requests so that a vendor, who counts what arrives, never counts more than it allows."""

from __future__ import annotations

import math

from pyrate_limiter import InMemoryBucket, Limiter, Rate, RateItem

BURST_WINDOW_S = 10  # in a window this short, requests are sent one by one
RATE_MARGIN = 1.02


def build_limiter(requests: int, per_s: float) -> Limiter:
    """Build a limiter that lets at most `requests` pass in any `per_s` seconds; `try_acquire` blocks until the next may."""
    return Limiter(_Bucket([safe_rate(requests, per_s)]), buffer_ms=1)


def safe_rate(requests: int, per_s: float) -> Rate:
    """Return the rate to send at, a little slower than the vendor's.

    In a short window, one request that arrives late would count into the next window: requests are sent one by one, evenly spaced. A long
    window is extended by one second.
    """
    if per_s <= BURST_WINDOW_S:
        return Rate(1, math.ceil(per_s * 1000 / requests * RATE_MARGIN))
    return Rate(requests, int(per_s * 1000) + 1000)


class _Bucket(InMemoryBucket):
    """A bucket that counts a request when it may be sent.

    pyrate-limiter 4.5.1 (`Limiter._blocking_retry_sync`) stamps a waiting request with the time at which it meant to wake up. If a busy
    machine wakes the thread late, the request counts too early, and the next one follows too soon.
    """

    def put(self, item: RateItem) -> bool:
        """Count the request at the present time if the rate allows it."""
        item.timestamp = self.now()  # type: ignore[no-untyped-call]
        return super().put(item)
