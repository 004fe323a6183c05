"""The named steps of a run, so that a fault can be put at each of them: with them unset in the environment they cost nothing.

FINELT_KILL_AT='?'             log every step as it is passed; nothing is killed
FINELT_KILL_AT='before link#2' end this process with SIGKILL at this step's second time

Hand-written: what injects faults from outside (strace, proxies) knows system calls and packets, not what they mean, and is not in an image.
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

VARIABLE = "FINELT_KILL_AT"
EACH = "?"
_passed: Counter[str] = Counter()
_counting = threading.Lock()


def passed(step: str) -> None:
    """Note that the run is at this step; the end of the process where the environment says so."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    with _counting:
        _passed[step] += 1
        here = f"{step}#{_passed[step]}"
    if wanted == EACH:
        logging.getLogger("finelt").info("step", extra={"step": here})
    elif wanted == here:
        os.kill(os.getpid(), signal.SIGKILL)
        os._exit(128 + signal.SIGKILL)  # still here: the first process of a container, which no signal of its own can kill


@contextmanager
def around(step: str) -> Iterator[None]:
    """The step's two sides: before it, and after it where it came about."""
    passed(f"before {step}")
    yield
    passed(f"after {step}")
