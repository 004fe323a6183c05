"""Ending a job early: SIGTERM, the deadline, and blocking calls that both can interrupt.

SIGTERM and the deadline share one mechanism: `Interrupted` is raised in the main thread, which unwinds as for any failure. If that takes
longer than STOP_WITHIN_S (a call that hangs, code that swallows the exception), another thread ends the process. That is safe at any
point: uncommitted data was never visible.
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
# By how much a scheduler's own time limit must exceed the deadline, so that the job reports first: two minutes to wait for an unreachable
# launcher at the start, the cut-off, two minutes to report the end, and a reserve.
MARGIN_S = 300
LONGEST_S = 7 * 86_400
_STOPPED = "stopped by SIGTERM; no partial result is visible, run it again to finish"


class Interrupted(BaseException):
    """The job must end now. Not an Exception: code that catches every Exception, as botocore does, would retry."""

    def __init__(self, exit_code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.exit_code, self.message = exit_code, message


class Interruption:
    """Watches for SIGTERM and for the deadline, which counts from the creation of this object. The first of the two ends the job.

    `cut_off` is called in another thread with an Interrupted that the main thread did not handle in time; it must end the process.
    """

    def __init__(self, cut_off: Callable[[Interrupted], None]) -> None:
        self._began_s, self._cut_off = time.monotonic(), cut_off
        self._changing = threading.RLock()  # a signal may come while its own thread holds it
        self._cause: Interrupted | None = None
        self._raised = False
        self._settled = False
        self._deadline: threading.Timer | None = None
        self._last_resort: threading.Timer | None = None

    def listen(self, deadline_s: float) -> None:
        """Start watching. Call it in the main thread."""
        signal.signal(signal.SIGTERM, self._interrupt)
        self.set_deadline(deadline_s)

    def set_deadline(self, deadline_s: float) -> None:
        """Replace the deadline."""
        left_s = self._began_s + deadline_s - time.monotonic()
        with self._changing:
            if self._deadline:
                self._deadline.cancel()
            self._deadline = _timer(max(left_s, 0), self._expire, deadline_s)

    def settle(self) -> None:
        """Stop watching: the outcome is known. The job then reports it in full, unless SIGTERM ended it."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with self._changing:
            self._settled = True
            if self._deadline:
                self._deadline.cancel()
            if self._last_resort and self._cause and self._cause.exit_code != ExitCode.STOPPED:
                self._last_resort.cancel()

    def raise_again(self) -> None:
        """Raise the Interrupted that the main thread has had, if it has had one, in place of what a library made of it.

        pydantic-core 2.50 makes an Exception of any BaseException: SchemaError while it builds a validator, PydanticSerializationError
        while it serializes (both seen on imports and commits of pyiceberg 0.12).
        """
        if self._raised and self._cause:
            raise self._cause

    def _expire(self, deadline_s: float) -> None:
        message = (
            f"its deadline of {deadline_s:,.0f} s has passed; no partial result is visible. Run it again to go on, or give it longer "
            "with --deadline"
        )
        if self._begin(Interrupted(ExitCode.TEMPORARY, message)):
            signal.pthread_kill(int(threading.main_thread().ident or 0), signal.SIGTERM)

    def _interrupt(self, _signal: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._begin(Interrupted(ExitCode.STOPPED, _STOPPED))
        if self._cause:
            self._raised = True
            raise self._cause

    def _begin(self, cause: Interrupted) -> bool:
        """Set the cause and start the timer of the cut-off; return False if the job already has an outcome or a cause."""
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
