"""Members of a zip file on a server are read by parts, whatever the size of the archive, and damage is noticed."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from hashlib import shake_128
from typing import TYPE_CHECKING

import pytest
from jobkit import archives
from jobkit.archives import ArchiveClient, Member, find_directory, read_directory, unpack
from jobkit.errors import BadDataError, TemporaryError
from jobkit.http import Client, Rate, ResourceNotFoundError
from jobkit.lake import Source

from .wire import build_client, sized, wire

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS = {"a.json": b"[1]" * 500, "b/c.json": b"{}", "empty.json": b""}


def pack(texts: dict[str, bytes], comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = comment
        for name, text in texts.items():
            archive.writestr(name, text)
    return file.getvalue()


def reader(data: bytes) -> Callable[[int, int], tuple[bytes, int]]:
    return lambda first, size: (data[first : first + size], len(data))


class FakeArchive(ArchiveClient):
    """A client of an archive in memory, which can be replaced; counts the bytes that were read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(
            "https://v.example", archive="/a.zip", wants=lambda name: name != "b/c.json", hosts=["v.example"], accept=(), rate=Rate(9, 1)
        )
        self.data, self.parts = data, list[int]()

    def get_part(self, path: str, first: int, size: int) -> tuple[bytes, int]:
        assert path == "/a.zip"
        self.parts.append(size)
        return reader(self.data)(first, size)


@pytest.mark.parametrize("block", [1, 100, archives.BLOCK_BYTES])
@pytest.mark.parametrize("comment", [b"", b"a comment"])
def test_the_directory_is_that_of_zipfile(block: int, comment: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "BLOCK_BYTES", block)
    data = pack(TEXTS, comment if block == 1 else b"")
    expected = [
        (info.filename, info.header_offset, info.compress_size, info.file_size, info.CRC, info.compress_type)
        for info in zipfile.ZipFile(io.BytesIO(data)).infolist()
    ]
    assert [tuple(member) for member in read_directory(reader(data), "a.zip")] == expected


def test_many_members_take_little_memory() -> None:
    """The archive is its directory alone: more members than 16 bits count, with 64-bit records at the end and in one entry."""
    count = 70_000
    entry = struct.Struct("<4s6H3L5H2L19s")
    tail = bytearray()
    name = b"CIK%010d.json ...."
    directory = b"".join(
        entry.pack(b"PK\x01\x02", 20, 20, 0, 8, 0, 0, n, 5, 7, 18, 0, 0, 0, 0, 0, n, (name % n)[:18])[:64] for n in range(count - 1)
    )
    wide = struct.pack("<2HQ", 1, 8, 5 << 32)
    directory += (
        struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 45, 45, 0, 8, 0, 0, 1, 5, 7, 4, len(wide), 0, 0, 0, 0, 0xFFFFFFFF) + b"last" + wide
    )
    begin = 6 << 32  # the members before it are left out
    tail += struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), begin)
    tail += struct.pack("<4sLQL", b"PK\x06\x07", 0, begin + len(directory), 1)
    tail += struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    after = memoryview(directory + bytes(tail))

    def read(first: int, size: int) -> tuple[bytes, int]:
        return bytes(after[max(0, first - begin) : first - begin + size]) if first else b"P", begin + len(after)

    tracemalloc.start()
    (number, last), *_ = deque(enumerate(read_directory(read, "a.zip"), 1), maxlen=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert number == count
    assert last == Member("last", 5 << 32, 5, 7, 1, 8)
    assert peak < 4 * archives.BLOCK_BYTES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-5], "no end record"),
        (lambda _: b"<html>Maintenance</html>", "no end record"),
        (lambda data: data[:-6] + b"\xf0" * 4 + data[-2:], "directory would end after"),
        (lambda data: data[:-12] + b"\xff\xff" + data[-10:], "needs 64 bits"),
        (lambda data: data[:-12] + b"\x04\x00" + data[-10:], "3 of 4 members"),
        (lambda data: data.replace(b"PK\x01\x02", b"PK\x01\x03", 1), "damaged or encrypted"),
    ],
)
def test_a_damaged_archive_is_refused(change: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(BadDataError, match=message):
        list(read_directory(reader(change(pack(TEXTS))), "a.zip"))


def test_a_member_is_read_by_its_part_and_only_if_it_changed() -> None:
    client = FakeArchive(pack({**TEXTS, "big": bytes(range(256)) * 4000}))
    assert client.list_members() == ["a.json", "empty.json", "big"]
    client.parts.clear()
    response = client.get("/a.zip/a.json")
    assert (response.body, response.url, response.media_type) == (TEXTS["a.json"], "https://v.example/a.zip/a.json", "application/json")
    assert sum(client.parts) < 300
    assert client.get("/a.zip/empty.json").body == b""
    known = Source("", "0" * 64, 1, response.url, "application/json", response.etag, None)
    client.parts.clear()
    assert client.get("/a.zip/a.json", known=known).content is None
    assert not client.parts
    changed = FakeArchive(pack({"a.json": b"[2]" * 500}))
    assert changed.get("/a.zip/a.json", known=known).body == b"[2]" * 500
    with pytest.raises(ResourceNotFoundError, match=r"has no member b/c\.json"):
        client.get("/a.zip/b/c.json")
    client.max_body_bytes = 1000
    with pytest.raises(BadDataError, match="has 1,500 bytes, more than the 1,000"):
        client.get("/a.zip/a.json")


def test_members_that_follow_one_another_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FIRST_AHEAD_BYTES", 2_000)
    monkeypatch.setattr(archives, "MAX_AHEAD_BYTES", 16_000)
    monkeypatch.setattr(archives, "MAX_GAP_BYTES", 2_000)
    texts = {f"{number}.json": shake_128(b"%d" % number).digest(400 + 10 * (number % 7)) for number in range(400)}
    client = FakeArchive(pack(texts))
    names = client.list_members()
    client.parts.clear()
    assert {name: client.get(f"/a.zip/{name}").body for name in names} == texts
    assert len(client.parts) < len(texts) / 20
    assert sum(client.parts) < 1.1 * len(client.data)
    client.parts.clear()
    for name in names[3::50]:  # each far from the one before it
        assert client.get(f"/a.zip/{name}").body == texts[name]
    assert len(client.parts) == len(names[3::50])
    assert max(client.parts) < 700


def test_threads_share_what_was_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_AHEAD_BYTES", 1 << 20)
    texts = {f"{number}.json": shake_128(b"%d" % number).digest(1_000) for number in range(2_000)}
    client = FakeArchive(pack(texts))
    names = client.list_members()
    client.parts.clear()
    with ThreadPoolExecutor(4) as threads:
        found = dict(zip(names, threads.map(lambda name: client.get(f"/a.zip/{name}").body, names), strict=True))
    assert found == texts


def test_long_extra_fields_before_a_member_cost_another_request() -> None:
    info = zipfile.ZipInfo("a.json")
    info.extra = struct.pack("<2H", 0x9999, 200) + bytes(200)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(info, b"[3]")
    assert FakeArchive(file.getvalue()).get("/a.zip/a.json").body == b"[3]"


@pytest.mark.parametrize("other", [{"a.json": b"[2]" * 500}, {"x.json": b"[1]" * 500}, {"a.json": bytes(range(200)) * 9}])
def test_an_archive_that_was_replaced_is_a_temporary_failure(other: dict[str, bytes]) -> None:
    client = FakeArchive(pack(TEXTS))
    client.list_members()
    client.data = pack(other)
    with pytest.raises(TemporaryError, match="replaced while it was read"):
        client.get("/a.zip/a.json")


def test_a_member_that_unpacks_to_more_than_it_says_is_refused() -> None:
    data = pack({"a.json": bytes(10_000_000)})
    (member,) = read_directory(reader(data), "a.zip")
    packed = data[member.offset + 36 :][: member.packed_bytes]
    assert len(unpack(packed, member, "a")) == 10_000_000
    with pytest.raises(TemporaryError, match="differs from what the directory says"):
        unpack(packed, member._replace(size_bytes=10), "a")
    with pytest.raises(BadDataError, match="packed by method 12"):
        unpack(packed, member._replace(method=12), "a")


def part(body: bytes, of: str, *fields: str, status: str = "206 Partial Content") -> bytes:
    return sized(body, f"Content-Range: bytes {of}", *fields, status=status, media="application/zip")


def test_parts_of_a_file_are_requested() -> None:
    responses = part(b"cd", "2-3/9", 'ETag: "1"'), part(b"i", "8-8/9", 'ETag: "1"'), part(b"cd", "2-3/9", 'ETag: "2"')
    with wire(*responses) as served, build_client(served.url) as client:
        assert client.get_part("/a.zip", 2, 2) == (b"cd", 9)
        assert client.get_part("/a.zip", 8, 5) == (b"i", 9)
        with pytest.raises(TemporaryError, match="was replaced while it was read"):
            client.get_part("/a.zip", 2, 2)
    assert b"\r\nrange: bytes=2-3\r\n" in served.received[0].lower()
    assert b"accept-encoding: identity" in served.received[0].lower()


@pytest.mark.parametrize(
    ("response", "error", "message"),
    [
        (sized(b"abcd", media="application/zip"), BadDataError, "sent the whole file where a part was requested"),
        (part(b"cd", "1-2/9"), TemporaryError, "sent another part than bytes 2 to 3"),
        (part(b"c", "2-3/9"), TemporaryError, "sent 1 bytes of a part of 2"),
        (part(b"cd", "2-3/*"), TemporaryError, "sent another part"),
        (part(b"", "*/1", status="416 Range Not Satisfiable"), TemporaryError, "was replaced while it was read"),
        (part(b"", "*/1", status="503 Busy"), TemporaryError, "is busy"),
    ],
)
def test_another_answer_than_the_part_is_refused(response: bytes, error: type[Exception], message: str) -> None:
    with wire(response) as served, build_client(served.url) as client, pytest.raises(error, match=message):
        client.get_part("/a.zip", 2, 2)


def test_the_end_of_the_archive_is_probed() -> None:
    client = FakeArchive(pack(TEXTS))
    client.probe("")
    assert len(client.parts) == 2
    assert isinstance(client, Client)
    assert find_directory(reader(client.data), "a")[2] == 3
