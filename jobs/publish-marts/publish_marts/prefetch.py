"""Prefetching of an Arrow stream: a thread fetches the next batch while the current one is processed.

arro3 holds Python's interpreter lock while it waits for a stream and while it writes. This module calls the stream's functions through
ctypes, which releases the lock. Fetching and writing then overlap, and SIGTERM is handled while the server is silent.
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

STOP_TIMEOUT_S = 5.0
_FILL_FUNCTION = CFUNCTYPE(c_int, c_void_p, c_void_p)
_new_capsule = pythonapi.PyCapsule_New
_new_capsule.argtypes, _new_capsule.restype = (c_void_p, c_char_p, c_void_p), py_object
_CAPSULE_NAME = b"arrow_array"  # a constant, because a capsule stores the address of its name


class _Stream(Structure):
    """The C struct ArrowArrayStream. Its functions return 0 or an errno."""

    _fields_ = (
        ("get_schema", _FILL_FUNCTION),
        ("get_next", _FILL_FUNCTION),
        ("get_last_error", CFUNCTYPE(c_char_p, c_void_p)),
        ("release", c_void_p),
        ("private_data", c_void_p),
    )


class StreamError(Exception):
    """A stream failed before its last row. The message is the driver's."""


class BatchStream(NamedTuple):
    """The schema of a query's result, also known without rows, and its batches, which can be iterated once."""

    schema: Schema
    batches: Iterator[RecordBatch]


@contextmanager
def prefetch(handle: ArrowArrayStreamHandle, cancel: Callable[[], None]) -> Iterator[BatchStream]:
    """Open a stream whose batches are fetched in advance. `cancel` must abort a fetch that is in progress.

    Iterating raises StreamError if the stream fails.
    """
    from adbc_driver_manager import ArrowArrayHandle, ArrowSchemaHandle  # noqa: PLC0415
    from arro3.core import RecordBatch, Schema  # noqa: PLC0415

    stream = _Stream.from_address(handle.address)

    def fill_handle(read_item: Callable[[int, int], int], target: ArrowArrayHandle | ArrowSchemaHandle) -> None:
        if error_number := read_item(handle.address, target.address):
            message = stream.get_last_error(handle.address)
            raise StreamError(message.decode(errors="replace").strip() if message else os.strerror(error_number))

    def fetch() -> RecordBatch | None:
        array = ArrowArrayHandle()
        fill_handle(stream.get_next, array)
        if not array.is_valid:
            return None
        return RecordBatch.from_arrow_pycapsule(schema.__arrow_c_schema__(), _new_capsule(array.address, _CAPSULE_NAME, None))

    schema_handle = ArrowSchemaHandle()
    fill_handle(stream.get_schema, schema_handle)
    schema = Schema.from_arrow(schema_handle)
    with _prefetch(fetch, cancel) as batches:
        yield BatchStream(schema, batches)


@contextmanager
def _prefetch(fetch: Callable[[], RecordBatch | None], cancel: Callable[[], None]) -> Iterator[Iterator[RecordBatch]]:
    """Iterate over the results of `fetch` until it returns None. The next batch is fetched while one is used."""
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
            pending.wait(STOP_TIMEOUT_S)
