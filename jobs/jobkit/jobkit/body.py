"""The body of an answer, whole or not at all.

A body is whole where something proves it, and where nothing contradicts the proof:

    Content-Length          as many bytes came, and no more behind them
    chunked                 the last chunk came; a Content-Length beside it agrees
    neither (HTTP/1.0 or    the document proves it: JSON that is closed, a zip file whose directory is at its end. A CSV could end on
    Connection: close)      any line, and gzip after any member (RFC 1952, 2.2), so they prove nothing and are temporary failures

Content-Encoding is gzip (x-gzip) or nothing. Each member's checksum and length are verified; bytes that belong to no member, zeros
included, mean that a member was lost. We decode it ourselves: a client library hands on a stream that was cut short.
"""

from __future__ import annotations

import struct
import tempfile
import weakref
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

from jobkit import headers, lossless_json
from jobkit.errors import BadDataError, MisconfiguredError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import httpx2

SPOOL_BYTES = 16 << 20  # a larger body waits in a temporary file until its turn comes
CODINGS = ("gzip", "x-gzip")  # the same (RFC 9110, 8.4.1.3)
PART_BYTES = 1 << 20
_GZIP = 16 + zlib.MAX_WBITS
_ZIP_END, _ZIP_END_SIZE = b"PK\x05\x06", 22


class RetryableError(TemporaryError):
    """A temporary refusal; `wait_s` is how long the vendor wants us to wait, if it says."""

    def __init__(self, sentence: str, wait_s: float | None = None) -> None:
        super().__init__(sentence)
        self.wait_s = wait_s


class Body:
    """A decoded body, in memory or, where it is large, in a temporary file that goes with it."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115  it lives as long as the body
        weakref.finalize(self, self._file.close)
        self.size = 0

    def write(self, part: bytes) -> None:
        """Add to its end. Raises MisconfiguredError where the temporary folder takes no more."""
        try:
            self._file.write(part)
        except OSError as error:
            raise MisconfiguredError(
                f"no room for a body of more than {SPOOL_BYTES >> 20} MiB in the folder for temporary files: {error.strerror or error}; "
                "make room or set TMPDIR to a folder that can be written"
            ) from None
        self.size += len(part)

    def read(self, size: int = -1) -> bytes:
        """The body from its beginning."""
        self._file.seek(0)
        return self._file.read(size)


def receive(response: httpx2.Response, where: str, *, limit: int, media: str) -> Body:
    """The whole body of a response. `limit` is the most bytes it may have once decoded.

    Raises BadDataError where it is larger or coded in another way, RetryableError where it is not whole or damaged. What a TransportError
    says of a broken connection is left to the caller.
    """
    coding = _coding(response, where)
    stated = headers.seconds(response.headers.get("content-length"))  # digits, as the library made sure
    if stated is not None and stated > limit and not coding:
        raise _too_large(where, limit)
    received, body = _Counted(response.iter_raw()), Body()
    for part in _members(received, where, limit) if coding else received:
        if body.size + len(part) > limit:
            raise _too_large(where, limit)
        body.write(part)
    if stated is not None and stated != received.bytes:
        raise RetryableError(f"{where} sent {received.bytes:,} bytes where its Content-Length says {stated:,.0f}; try again later")
    if stated is None and not _is_chunked(response) and not _proves_itself(body, media):
        raise RetryableError(
            f"{where} ended its answer by closing the connection, and nothing shows that it is whole; try again later, or ask a server "
            "that states the length or sends it chunked"
        )
    return body


def beginning(response: httpx2.Response, size: int) -> bytes:
    """About as much of a body as is wanted, as far as it can be read: for refusals, which need not be whole."""
    import httpx2  # noqa: PLC0415  heavy, and only what asks over the network needs it

    coded = headers.codings(response.headers.get("content-encoding"))
    decoder = zlib.decompressobj(_GZIP) if coded and coded[-1] in CODINGS else None
    found = b""
    with suppress(zlib.error, httpx2.TransportError):  # a refusal that cannot be read is still one
        for raw in response.iter_raw():
            found += decoder.decompress(raw, size) if decoder else raw
            if len(found) >= size:
                break
    return found[:size]


class _Counted:
    """Parts, and how many bytes they had."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts, self.bytes = parts, 0

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            self.bytes += len(part)
            yield part


def _coding(response: httpx2.Response, where: str) -> str | None:
    found = headers.codings(response.headers.get("content-encoding"))
    if found and (len(found) > 1 or found[0] not in CODINGS):
        told = ", ".join(found)[:40]
        raise BadDataError(f"{where} sends its answer coded as {told!r}; expected gzip or no coding, which is all that was asked for")
    return found[0] if found else None


def _is_chunked(response: httpx2.Response) -> bool:
    return headers.codings(response.headers.get("transfer-encoding"))[-1:] == ("chunked",)


def _members(parts: _Counted, where: str, limit: int) -> Iterator[bytes]:
    """The content of all gzip members, one after the other. Raises RetryableError where the last one is not whole."""
    most = limit + (limit >> 8) + 4096  # what cannot be compressed grows by less; more packed bytes are empty members without end
    decoder, members = zlib.decompressobj(_GZIP), 0
    for part in parts:
        if parts.bytes > most:
            raise _too_large(where, limit)
        data = part
        while data:
            if decoder.eof:
                decoder, members = zlib.decompressobj(_GZIP), members + 1
            try:
                yield from _inflated(decoder, data)
            except zlib.error as error:
                raise _damaged(where, error, members) from None
            data = decoder.unused_data
    if not decoder.eof:
        raise RetryableError(f"the gzip answer of {where} was cut short in member {members + 1}; try again later")


def _inflated(decoder: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """What a member's bytes hold, never more at once than memory is meant for."""
    while True:
        content = decoder.decompress(data, PART_BYTES)
        if content:
            yield content
        data = decoder.unconsumed_tail
        if decoder.eof or (not data and len(content) < PART_BYTES):
            return


def _damaged(where: str, error: zlib.error, members: int) -> BadDataError | RetryableError:
    if "header check" not in str(error):
        return RetryableError(f"the gzip answer of {where} is damaged in member {members + 1} ({error}); try again later")
    if members:
        return RetryableError(
            f"the gzip answer of {where} goes on after member {members} with bytes that are no further one; try again later"
        )
    return BadDataError(f"{where} says its answer is gzip, and it is not; expected a gzip member (RFC 1952)")


def _proves_itself(body: Body, media: str) -> bool:
    """Whether a document shows by its form that nothing of it is missing."""
    data = body.read()
    return lossless_json.is_closed(data) if headers.is_json(media) else _is_whole_zip(data)


def _is_whole_zip(data: bytes) -> bool:
    """Whether the directory at the end says that it begins where the entries end, counted from the first byte."""
    at = data.rfind(_ZIP_END)
    if at < 0 or len(data) < at + _ZIP_END_SIZE or not data.startswith(b"PK"):
        return False
    size, offset, comment = struct.unpack_from("<IIH", data, at + 12)
    return bool(offset + size == at and at + _ZIP_END_SIZE + comment == len(data))


def _too_large(where: str, limit: int) -> BadDataError:
    return BadDataError(
        f"{where} sends more than the {limit:,} bytes that this job has the memory for; ask for less at once, or declare more memory"
    )
