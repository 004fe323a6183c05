"""Read single members of a large zip file on a vendor's server, by requests for parts of it (RFC 9110, section 14).

The archive never is on this machine: /tmp counts as memory, and most members of an archive that a vendor builds anew each night are as
before. The archive's directory says what has changed, by the CRC and the size of each member: they are the member's validator, which a
commit keeps as the ETag of its source.

Hand-written: zipfile keeps an object of 300 bytes and more for each member, and archives have a million. Format: PKWARE's APPNOTE 6.3.10,
4.3 and 4.5.3.
"""

from __future__ import annotations

import struct
import threading
import zlib
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from jobkit.body import Body
from jobkit.errors import BadDataError, TemporaryError
from jobkit.http import Client, ResourceNotFoundError, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jobkit.lake import Source

BLOCK_BYTES = 4 << 20  # of the directory, at once
MAX_COMMENT_BYTES = 0xFFFF
FIRST_AHEAD_BYTES, MAX_AHEAD_BYTES = 256 << 10, 8 << 20  # read at once while members are read one after another
MAX_GAP_BYTES = 64 << 10  # of members between them that are not wanted
LOCAL_EXTRA_BYTES = 64  # what the header before a member usually has in extra fields; more costs another request
STORED, DEFLATED = 0, 8
IS_ENCRYPTED = 0x1
MAX_32, MAX_16 = 0xFFFFFFFF, 0xFFFF
_END, _END_64, _LOCATOR_64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
_ENTRY, _LOCAL = struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s5H3L2H")
_ZIP_64 = 1  # the extra field with the sizes that need 64 bits


class Member(NamedTuple):
    """A member by the archive's directory: where its header begins, its size packed and unpacked in bytes, its CRC-32 and its method."""

    name: str
    offset: int
    packed_bytes: int
    size_bytes: int
    crc: int
    method: int

    @property
    def etag(self) -> str:
        """What changes when the member does."""
        return f'"{self.crc:08x}-{self.size_bytes}"'


class ArchiveClient(Client):
    """A client whose paths are members of one archive: the archive's path, a slash and the member's name.

    `archive` is the path of the archive. `wants` says by the name of a member whether it can be requested; others are forgotten.
    """

    def __init__(self, base_url: str, *, archive: str, wants: Callable[[str], bool], **options: Any) -> None:  # noqa: ANN401  those of Client
        super().__init__(base_url, **options)
        self._archive, self._wants = archive, wants
        self._members: dict[str, Member] | None = None
        self._reading = threading.Lock()
        self._read_ahead = ReadAhead(self._read)

    def list_members(self) -> list[str]:
        """Return the names of the members that can be requested, in their order in the archive."""
        members = self._read_members()
        return sorted(members, key=lambda name: members[name].offset)

    def find_etag(self, prefix: str) -> str | None:
        """Return what changes when one of the members does whose names begin so, or when there are others; None if there is none."""
        members = self._read_members()
        names = sorted(name for name in members if name.startswith(prefix))
        digest = sha256(" ".join(f"{name} {members[name].etag}" for name in names).encode()).hexdigest()
        return f'"{digest}"' if names else None

    def get(self, path: str, params: Sequence[tuple[str, str]] = (), known: Source | None = None, *, body: str | None = None) -> Response:
        """Return a member as a response, without content if it is as it was. Raises what Client.get raises.

        Raises ResourceNotFoundError (2) if the archive has no such member, BadDataError (65) if it is too large or packed in another way,
        TemporaryError (75) if it differs from what the directory says, as in an archive that is being replaced.
        """
        del body
        name = path.removeprefix(f"{self._archive}/")
        member = self._read_members().get(name)
        if member is None:
            raise ResourceNotFoundError(f"{self._archive} has no member {name}")
        url = self.url(path, params)
        if known and known.etag == member.etag:
            return Response(None, url, known.media_type, member.etag, None)
        if member.size_bytes > self.max_body_bytes:
            raise BadDataError(
                f"{path} has {member.size_bytes:,} bytes, more than the {self.max_body_bytes:,} that this job has the memory for"
            )
        content = Body()
        content.write(unpack(self._read_packed(member), member, path))
        return Response(content, url, "application/json", member.etag, None)

    def probe(self, path: str, params: Sequence[tuple[str, str]] = (), body: str | None = None) -> None:
        """Read the end of the archive. Raises the errors of jobkit.response_checks."""
        del path, params, body
        find_directory(self._read, self._archive)

    def _read_members(self) -> dict[str, Member]:
        with self._reading:
            if self._members is None:
                self._members = {member.name: member for member in read_directory(self._read, self._archive) if self._wants(member.name)}
            return self._members

    def _read(self, first: int, size: int) -> tuple[bytes, int]:
        return self.get_part(self._archive, first, size)

    def _read_packed(self, member: Member) -> bytes:
        """Return a member's packed bytes, without the header before them, whose length only the header itself says."""
        size = _LOCAL.size + len(member.name.encode()) + LOCAL_EXTRA_BYTES + member.packed_bytes
        part = self._read_ahead(member.offset, size)
        begin = _find_packed(part, member, self._archive)
        if begin + member.packed_bytes > len(part):
            part, _ = self._read(member.offset, begin + member.packed_bytes)
        return part[begin : begin + member.packed_bytes]


class ReadAhead:
    """Reads parts of a file, and more at once the more parts follow one another: a whole archive by its members takes few requests.

    `read` takes the first byte and a number of bytes; it returns these bytes, fewer at the end, and the file's size. Threads may share it.
    """

    def __init__(self, read: Callable[[int, int], tuple[bytes, int]]) -> None:
        self._read, self._lock = read, threading.Lock()
        self._begin, self._bytes, self._ahead = 0, b"", 0

    def __call__(self, first: int, size: int) -> bytes:
        """Return `size` bytes from byte `first` on, fewer at the end of the file. Raises what `read` raises."""
        with self._lock:
            at, end = first - self._begin, self._begin + len(self._bytes)
            if at < 0 and -at <= MAX_AHEAD_BYTES:  # a thread that comes late
                return self._read(first, size)[0]
            if at < 0 or first + size > end:
                follows = self._bytes and at >= 0 and first <= end + MAX_GAP_BYTES
                self._ahead = min(max(2 * self._ahead, FIRST_AHEAD_BYTES), MAX_AHEAD_BYTES) if follows else 0
                (self._bytes, _), self._begin, at = self._read(first, max(size, self._ahead)), first, 0
            return self._bytes[at : at + size]


def find_directory(read: Callable[[int, int], tuple[bytes, int]], what: str) -> tuple[int, int, int]:
    """Return offset and size of an archive's directory in bytes, and its number of entries.

    `read` takes the first byte and a number of bytes; it returns these bytes, fewer at the end, and the archive's size. `what` names the
    archive in messages. Raises BadDataError (65) if it is no zip file.
    """
    _, total = read(0, 1)
    begin = max(0, total - MAX_COMMENT_BYTES - _END.size - _LOCATOR_64.size)
    tail, _ = read(begin, total - begin)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise BadDataError(f"{what} is no whole zip file: it has no end record; expected one in its last {len(tail):,} bytes")
    *_, entries, size, offset, _comment = _END.unpack_from(tail, at)
    if MAX_32 in (size, offset) or entries == MAX_16:
        place = at - _LOCATOR_64.size
        signature, _disk, end, _disks = _LOCATOR_64.unpack_from(tail, place) if place >= 0 else (b"", 0, 0, 0)
        record, _ = read(end, _END_64.size) if signature == b"PK\x06\x07" else (b"", 0)
        if not record.startswith(b"PK\x06\x06") or len(record) < _END_64.size:
            raise BadDataError(f"{what} is no whole zip file: its end record needs 64 bits, and there is no such record")
        *_, entries, size, offset = _END_64.unpack(record)
    if offset + size > total:
        raise BadDataError(f"{what} is no whole zip file: its directory would end after its {total:,} bytes")
    return offset, size, entries


def read_directory(read: Callable[[int, int], tuple[bytes, int]], what: str) -> Iterator[Member]:
    """Yield the members of an archive, with a part of its directory in memory. Takes and raises the same as `find_directory`."""
    offset, size, entries = find_directory(read, what)
    rest, count, end = b"", 0, offset + size
    for first in range(offset, end, BLOCK_BYTES):
        part, _ = read(first, min(BLOCK_BYTES, end - first))
        rest += part
        at = 0
        while at + _ENTRY.size <= len(rest):
            fields = _ENTRY.unpack_from(rest, at)
            next_at = at + _ENTRY.size + sum(fields[10:13])
            if next_at > len(rest):
                break
            yield _read_entry(fields, rest[at + _ENTRY.size : next_at], what)
            at, count = next_at, count + 1
        rest = rest[at:]
    if rest or count != entries:
        raise BadDataError(f"the directory of {what} is damaged: {count:,} of {entries:,} members can be read")


def _read_entry(fields: tuple[bytes | int, ...], rest: bytes, what: str) -> Member:
    """Return the member of an entry. `rest` is what follows its fixed fields: name, extra fields and comment."""
    signature, _, _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes, *_others, offset = fields
    name = rest[: int(name_bytes)].decode("utf-8", "replace")
    if signature != b"PK\x01\x02" or int(flags) & IS_ENCRYPTED:
        raise BadDataError(f"the directory of {what} is damaged or encrypted at {name[:60]!r}")
    wide = _read_wide(rest[int(name_bytes) : int(name_bytes) + int(extra_bytes)])
    sizes = [next(wide) if value == MAX_32 else int(value) for value in (size, packed, offset)]
    return Member(name, sizes[2], sizes[1], sizes[0], int(crc), int(method))


def _read_wide(extra: bytes) -> Iterator[int]:
    """Yield the sizes of an entry's 64-bit field in their order. Raises BadDataError if one is missing."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == _ZIP_64:
            yield from (value for (value,) in struct.iter_unpack("<Q", extra[at + 4 : at + 4 + length // 8 * 8]))
        at += 4 + length
    raise BadDataError("a member of the archive needs 64 bits for its size, and has no field with it")


def _find_packed(part: bytes, member: Member, what: str) -> int:
    """Return where a member's packed bytes begin, by the header before them."""
    if len(part) >= _LOCAL.size:
        signature, *_, name_bytes, extra_bytes = _LOCAL.unpack_from(part)
        if signature == b"PK\x03\x04" and part[_LOCAL.size : _LOCAL.size + name_bytes] == member.name.encode():
            return _LOCAL.size + int(name_bytes) + int(extra_bytes)
    raise _replaced(f"{what}/{member.name}", "is not where the directory says")


def unpack(packed: bytes, member: Member, what: str) -> bytes:
    """Return a member's content, checked by size and CRC. Raises TemporaryError (75) if they differ, BadDataError (65) for a new method."""
    if member.method not in (STORED, DEFLATED):
        raise BadDataError(f"{what} is packed by method {member.method}; expected deflate ({DEFLATED}) or none ({STORED})")
    try:
        content = packed if member.method == STORED else zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, member.size_bytes + 1)
    except zlib.error:
        raise _replaced(what, "cannot be unpacked") from None
    if len(content) != member.size_bytes or zlib.crc32(content) != member.crc:
        raise _replaced(what, "differs from what the directory says")
    return content


def _replaced(what: str, problem: str) -> TemporaryError:
    return TemporaryError(f"{what} {problem}: the archive is damaged, or was replaced while it was read; try again later")
