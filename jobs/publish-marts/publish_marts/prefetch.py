"""An Arrow stream read ahead: a thread fetches the next batches while one is used.

arro3 keeps Python's lock while a stream lets it wait and while it writes. Here the stream's own functions are called, through ctypes, which
gives the lock away: fetching goes on beside writing, and SIGTERM is obeyed while the server is silent.
https://arrow.apache.org/docs/format/CStreamInterface.html
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from ctypes import CFUNCTYPE, Structure, c_char_p, c_int, c_void_p, py_object, pythonapi
from typing import TYPE_CHECKING, NamedTuple

from jobkit.interruption import BackgroundCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from adbc_driver_manager import ArrowArrayHandle, ArrowArrayStreamHandle, ArrowSchemaHandle
    from arro3.core import RecordBatch, Schema

STOP_WITHIN_S = 5.0
_FILL = CFUNCTYPE(c_int, c_void_p, c_void_p)
_capsule = pythonapi.PyCapsule_New
_capsule.argtypes, _capsule.restype = (c_void_p, c_char_p, c_void_p), py_object
_ARRAY = b"arrow_array"  # a capsule keeps the address of its name


class _Stream(Structure):
    """ArrowArrayStream. A function that fills something gives 0 or an error's number."""

    _fields_ = (
        ("get_schema", _FILL),
        ("get_next", _FILL),
        ("get_last_error", CFUNCTYPE(c_char_p, c_void_p)),
        ("release", c_void_p),
        ("private_data", c_void_p),
    )


class BrokenError(Exception):
    """A stream ended before its rows did; the message is the driver's."""


class Batches(NamedTuple):
    """The rows of an answer, to be iterated once, and their schema, which is there also without rows."""

    schema: Schema
    batches: Iterator[RecordBatch]


@contextmanager
def read(handle: ArrowArrayStreamHandle, cancel: Callable[[], None]) -> Iterator[Batches]:
    """A stream's batches. Iterating raises BrokenError where it breaks off; `cancel` has to end a fetch that nobody waits for any more."""
    from adbc_driver_manager import ArrowArrayHandle, ArrowSchemaHandle  # noqa: PLC0415
    from arro3.core import RecordBatch, Schema  # noqa: PLC0415

    stream = _Stream.from_address(handle.address)

    def fill(give: Callable[[int, int], int], target: ArrowArrayHandle | ArrowSchemaHandle) -> None:
        if number := give(handle.address, target.address):
            said = stream.get_last_error(handle.address)
            raise BrokenError(said.decode(errors="replace").strip() if said else os.strerror(number))

    def fetch() -> RecordBatch | None:
        array = ArrowArrayHandle()
        fill(stream.get_next, array)
        if not array.is_valid:
            return None
        return RecordBatch.from_arrow_pycapsule(schema.__arrow_c_schema__(), _capsule(array.address, _ARRAY, None))

    described = ArrowSchemaHandle()
    fill(stream.get_schema, described)
    schema = Schema.from_arrow(described)
    with _prefetch(fetch, cancel) as batches:
        yield Batches(schema, batches)


@contextmanager
def _prefetch(fetch: Callable[[], RecordBatch | None], cancel: Callable[[], None]) -> Iterator[Iterator[RecordBatch]]:
    """Iterate over what `fetch` returns until it returns None. The next batch is fetched while one is used."""
    pending = BackgroundCall(fetch)

    def iterate() -> Iterator[RecordBatch]:
        nonlocal pending
        while (batch := pending.result()) is not None:
            pending = BackgroundCall(fetch)
            yield batch

    try:
        yield iterate()
    finally:
        if not pending.has_ended or (pending.error is None and pending.result() is not None):
            cancel()
            pending.wait(STOP_WITHIN_S)
