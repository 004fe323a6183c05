"""Named points of a run at which a test can kill the process. Without the variable they cost one dictionary lookup each.

FINELT_FAILPOINT='?'              log each failpoint that the run reaches, kill nothing
FINELT_FAILPOINT='before link#2'  end this process with SIGKILL the second time it reaches this failpoint

Hand-written: tools that inject faults from outside (strace, proxies) know system calls and packets, not their meaning, and are in no image.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "FINELT_FAILPOINT"
LOG_ALL = "?"
_counts: Counter[str] = Counter()
_counting = threading.Lock()


def hit(name: str) -> None:
    """Count that the run reaches this failpoint; log it or end the process if the environment says so."""
    selected = os.environ.get(VARIABLE)
    if not selected:
        return
    with _counting:
        _counts[name] += 1
        failpoint = f"{name}#{_counts[name]}"
    if selected == LOG_ALL:
        logging.getLogger("finelt").info("step", extra={"step": failpoint})
    elif selected == failpoint:
        os.kill(os.getpid(), signal.SIGKILL)
        os._exit(128 + signal.SIGKILL)  # the first process of a container survives its own signals


@contextmanager
def surround(operation: str) -> Iterator[None]:
    """Hit two failpoints: one before the operation, and one after it when it succeeded."""
    hit(f"before {operation}")
    yield
    hit(f"after {operation}")
