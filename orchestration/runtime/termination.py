"""Let a flow end as cancelled wherever the signal that ends it reaches its code.

Prefect 3.9.1 raises TerminationSignal in whatever the event loop runs at that moment. If that is a member of a task group, such as a
connection that httpx opens, the group raises it within a BaseExceptionGroup, which the engine takes for a crash.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from prefect.exceptions import TerminationSignal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def unwrap_termination() -> AsyncIterator[None]:
    """Raise a TerminationSignal of the block by itself, also out of a group of exceptions."""
    try:
        yield
    except BaseExceptionGroup as group:
        terminations = group.subgroup(TerminationSignal)
        if terminations is None:
            raise
        signal: BaseException = terminations
        while isinstance(signal, BaseExceptionGroup):
            signal = signal.exceptions[0]
        raise signal from group
