"""Call a function in another thread, so that a signal interrupts the caller and not a C library that waits for the network."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def aside(call: Callable[[], T]) -> T:
    """Return or raise what the call does. After a signal the call goes on in its thread, which ends with the process."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  raised again where the result is taken
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future.result()
