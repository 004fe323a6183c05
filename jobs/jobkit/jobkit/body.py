"""Receive the body of a response completely, or fail.

A body is complete if something proves it and nothing contradicts the proof:

    Content-Length          exactly as many bytes came
    chunked                 the last chunk came; a Content-Length, if there is one, agrees
    neither (HTTP/1.0 or    the document proves it: JSON that is closed, a zip file with its directory at the end. A CSV file could end
    Connection: close)      after any line, and gzip after any member (RFC 1952, 2.2): these are temporary failures

Content-Encoding is gzip (x-gzip) or none. The checksum and length of each member are verified; bytes outside of members, zeros
included, mean that a member was lost. Hand-written: client libraries return a gzip stream that was cut short as if it were complete.
"""

from __future__ import annotations

import struct
import tempfile
import weakref
import zlib
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from jobkit import headers, lossless_json
from jobkit.declaration import SPOOL_BYTES
from jobkit.errors import BadDataError, MisconfiguredError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import httpx2

CODINGS = ("gzip", "x-gzip")  # two names of one coding (RFC 9110, 8.4.1.3)
MAX_PART_BYTES = 1 << 20  # of decoded content at once
_GZIP = 16 + zlib.MAX_WBITS
_ZIP_END, _ZIP_END_SIZE = b"PK\x05\x06", 22


class RetryableError(TemporaryError):
    """A failure that a retry may resolve (75). `wait_s` is how many seconds the vendor wants us to wait, None if it does not say."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Body:
    """A decoded body, in memory or, if it is large, in a temporary file that is deleted with it. `size` is in bytes."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115  it is closed with the body
        weakref.finalize(self, self._file.close)
        self.size = 0

    def write(self, part: bytes) -> None:
        """Append to the body. Raises MisconfiguredError (78) if the temporary folder is full."""
        try:
            self._file.write(part)
        except OSError as error:
            raise MisconfiguredError(
                f"no room for a body of more than {SPOOL_BYTES >> 20} MiB in the folder for temporary files: {error.strerror or error}; "
                "make room or set TMPDIR to a folder that can be written"
            ) from None
        self.size += len(part)

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes from the beginning, by default all."""
        self._file.seek(0)
        return self._file.read(size)

    def open(self) -> IO[bytes]:
        """Return the body as a file at its beginning, for a reader that need not have all of it in memory. There is only one file."""
        self._file.seek(0)
        return self._file


def receive(response: httpx2.Response, where: str, *, limit: int, media: str) -> Body:
    """Receive the complete body of a response. `limit` is the most bytes that it may have once decoded; `where` is for messages.

    Raises BadDataError (65) if it is larger or has another coding, RetryableError (75) if it is incomplete or damaged, and httpx2's
    TransportError if the connection breaks off.
    """
    coding = _read_coding(response, where)
    stated = headers.parse_seconds(response.headers.get("content-length"))  # the library has checked that these are digits
    if stated is not None and stated > limit and not coding:
        raise _too_large(where, limit)
    received, body = _CountedParts(response.iter_raw()), Body()
    for part in _decode_members(received, where, limit) if coding else received:
        if body.size + len(part) > limit:
            raise _too_large(where, limit)
        body.write(part)
    if stated is not None and stated != received.bytes:
        raise RetryableError(f"{where} sent {received.bytes:,} bytes where its Content-Length says {stated:,.0f}; try again later")
    if stated is None and not _is_chunked(response) and not _proves_its_end(body, media):
        raise RetryableError(
            f"{where} ended its answer by closing the connection, and nothing shows that it is whole; try again later, or ask a server "
            "that states the length or sends it chunked"
        )
    return body


def read_excerpt(response: httpx2.Response, size: int) -> bytes:
    """Return the first `size` bytes of a body, as far as they can be read: for error messages, which need not be complete."""
    import httpx2  # noqa: PLC0415  slow to import; only a job that uses the network pays for it

    coded = headers.parse_codings(response.headers.get("content-encoding"))
    decoder = zlib.decompressobj(_GZIP) if coded and coded[-1] in CODINGS else None
    excerpt = b""
    with suppress(zlib.error, httpx2.TransportError):  # a refusal that cannot be read is still a refusal
        for raw in response.iter_raw():
            excerpt += decoder.decompress(raw, size) if decoder else raw
            if len(excerpt) >= size:
                break
    return excerpt[:size]


class _CountedParts:
    """An iterator over the parts of a body that counts their bytes."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts, self.bytes = parts, 0

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            self.bytes += len(part)
            yield part


def _read_coding(response: httpx2.Response, where: str) -> str | None:
    """Return the content coding, None if there is none. Raises BadDataError for a coding other than gzip."""
    codings = headers.parse_codings(response.headers.get("content-encoding"))
    if codings and (len(codings) > 1 or codings[0] not in CODINGS):
        listed = ", ".join(codings)[:40]
        raise BadDataError(f"{where} sends its answer coded as {listed!r}; expected gzip or no coding, which is all that was asked for")
    return codings[0] if codings else None


def _is_chunked(response: httpx2.Response) -> bool:
    return headers.parse_codings(response.headers.get("transfer-encoding"))[-1:] == ("chunked",)


def _decode_members(parts: _CountedParts, where: str, limit: int) -> Iterator[bytes]:
    """Yield the content of all gzip members in order. Raises RetryableError if the last one is incomplete."""
    max_packed = limit + (limit >> 8) + 4096  # incompressible data grows by less; more bytes are an endless series of empty members
    decoder, members = zlib.decompressobj(_GZIP), 0
    for part in parts:
        if parts.bytes > max_packed:
            raise _too_large(where, limit)
        data = part
        while data:
            if decoder.eof:
                decoder, members = zlib.decompressobj(_GZIP), members + 1
            try:
                yield from _inflate(decoder, data)
            except zlib.error as error:
                raise _build_gzip_error(where, error, members) from None
            data = decoder.unused_data
    if not decoder.eof:
        raise RetryableError(f"the gzip answer of {where} was cut short in member {members + 1}; try again later")


def _inflate(decoder: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """Yield the content of a member's bytes in parts of MAX_PART_BYTES at most."""
    while True:
        content = decoder.decompress(data, MAX_PART_BYTES)
        if content:
            yield content
        data = decoder.unconsumed_tail
        if decoder.eof or (not data and len(content) < MAX_PART_BYTES):
            return


def _build_gzip_error(where: str, error: zlib.error, members: int) -> BadDataError | RetryableError:
    if "header check" not in str(error):
        return RetryableError(f"the gzip answer of {where} is damaged in member {members + 1} ({error}); try again later")
    if members:
        return RetryableError(
            f"the gzip answer of {where} goes on after member {members} with bytes that are no further one; try again later"
        )
    return BadDataError(f"{where} says its answer is gzip, and it is not; expected a gzip member (RFC 1952)")


def _proves_its_end(body: Body, media: str) -> bool:
    """Whether the form of a document proves that it is complete."""
    data = body.read()
    return lossless_json.is_closed(data) if headers.is_json(media) else _is_complete_zip(data)


def _is_complete_zip(data: bytes) -> bool:
    """Whether the directory at the end of a zip file begins where the entries end, counted from the first byte."""
    end = data.rfind(_ZIP_END)
    if end < 0 or len(data) < end + _ZIP_END_SIZE or not data.startswith(b"PK"):
        return False
    size, offset, comment = struct.unpack_from("<IIH", data, end + 12)
    return bool(offset + size == end and end + _ZIP_END_SIZE + comment == len(data))


def _too_large(where: str, limit: int) -> BadDataError:
    return BadDataError(
        f"{where} sends more than the {limit:,} bytes that this job has the memory for; ask for less at once, or declare more memory"
    )
