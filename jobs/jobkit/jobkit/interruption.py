"""What ends a job before its work is done: SIGTERM, or its deadline.

Both are one mechanism: `Interrupted` is raised in the main thread, which unwinds as for any failure. Where it does not get through within
STOP_WITHIN_S (a call that hangs, code that swallows it) the job is cut off by another thread, which is safe at any point: what is not
committed was never visible.
"""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from jobkit.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

STOP_WITHIN_S = 8.0  # the contract gives ten
# What a scheduler's own time limit has to leave a job on top of its deadline, so that the job speaks first: two minutes in which a launcher
# that is away is waited for at the start, the cut-off, two more minutes to report the end, and some air.
MARGIN_S = 300
LONGEST_S = 7 * 86_400
_STOPPED = "stopped by SIGTERM; nothing half done is visible, run it again to finish"


class Interrupted(BaseException):
    """The job has to end now. No Exception: code that catches every one of those, as botocore does, would try again."""

    def __init__(self, exit_code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.exit_code, self.message = exit_code, message


class Interruption:
    """Watches for SIGTERM and for the deadline, counted from when this was made. The first of them counts.

    `cut_off` is called in a thread of its own with an Interrupted that did not get through; it ends the process.
    """

    def __init__(self, cut_off: Callable[[Interrupted], None]) -> None:
        self._began_s, self._cut_off = time.monotonic(), cut_off
        self._changing = threading.RLock()  # a signal may come while its own thread holds it
        self._cause: Interrupted | None = None
        self._settled = False
        self._deadline: threading.Timer | None = None
        self._last_resort: threading.Timer | None = None

    def listen(self, deadline_s: float) -> None:
        """Watch from now on. For the main thread."""
        signal.signal(signal.SIGTERM, self._interrupt)
        self.set_deadline(deadline_s)

    def set_deadline(self, deadline_s: float) -> None:
        """Another deadline in place of the one there was."""
        left_s = self._began_s + deadline_s - time.monotonic()
        with self._changing:
            if self._deadline:
                self._deadline.cancel()
            self._deadline = _timer(max(left_s, 0), self._expire, deadline_s)

    def settle(self) -> None:
        """What the job came to is known and nothing interrupts it any more; it reports that in full, unless SIGTERM is why it ends."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with self._changing:
            self._settled = True
            if self._deadline:
                self._deadline.cancel()
            if self._last_resort and self._cause and self._cause.exit_code != ExitCode.STOPPED:
                self._last_resort.cancel()

    def _expire(self, deadline_s: float) -> None:
        message = (
            f"its deadline of {deadline_s:,.0f} s has passed; nothing half done is visible. Run it again to go on, or give it longer "
            "with --deadline"
        )
        if self._begin(Interrupted(ExitCode.TEMPORARY, message)):
            signal.pthread_kill(int(threading.main_thread().ident or 0), signal.SIGTERM)

    def _interrupt(self, _signal: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._begin(Interrupted(ExitCode.STOPPED, _STOPPED))
        if self._cause:
            raise self._cause

    def _begin(self, cause: Interrupted) -> bool:
        """Whether this is what ends the job; then the cut-off is on its way."""
        with self._changing:
            if self._settled or self._cause:
                return False
            self._cause = cause
            self._last_resort = _timer(STOP_WITHIN_S, self._cut_off, cause)
            return True


def _timer(after_s: float, call: Callable[..., None], *given: Any) -> threading.Timer:  # noqa: ANN401
    timer = threading.Timer(after_s, call, given)
    timer.daemon = True
    timer.start()
    return timer


class BackgroundCall(Generic[T]):
    """A blocking call in a daemon thread, begun at once. Waiting for it, unlike making it, can be interrupted.

    Python runs no signal handler while the main thread is inside a C library that waits for the network, and SIGTERM would wait with it.
    An interrupted wait leaves the call behind; it ends with the process at the latest.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._call, self._ended = call, threading.Event()
        self._value: T | None = None
        self.error: BaseException | None = None  # what the call raised, once it has ended
        threading.Thread(target=self._run, name="background-call", daemon=True).start()

    @property
    def has_ended(self) -> bool:
        """Whether the call has returned or raised."""
        return self._ended.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of the call, at most `timeout_s` seconds; return whether it has ended."""
        return self._ended.wait(timeout_s)

    def result(self) -> T:
        """Wait for the call; return what it returned, or raise what it raised."""
        self.wait()
        if self.error is not None:
            raise self.error
        return cast("T", self._value)

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:  # noqa: BLE001  raised again where the result is taken
            self.error = error
        finally:
            self._ended.set()


def call_interruptibly(call: Callable[[], T]) -> T:
    """Return what a blocking call returns, or raise what it raises, so that SIGTERM and the deadline interrupt the wait for it."""
    return BackgroundCall(call).result()
