"""Answers that are cut, packed in many ways, slow, doubled or mere words: what a job commits is whole, or it ends with the right code."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from jobkit import jsontext
from jobkit.errors import BadDataError, TemporaryError
from jobkit.http import Client, Rate

from scripts.reliability import scene

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator

    from scripts.reliability.scene import Stage

TEMPORARY, REFUSED = 75, 77
SLOW_WITHIN_S = 300.0  # many times what a slow answer is given, for machines that are busy
LINES = b"".join(b"01/%02d/2012,%d.%02d\n" % (n % 28 + 1, n % 9, n % 100) for n in range(1, 400))
JSON = json.dumps([{"date": f"2012-01-{n % 28 + 1:02}", "close": n / 4, "note": '"]}'} for n in range(60)]).encode()
PAGE = b"<!DOCTYPE html><html><head><title>%s</title><style>p {color: red}</style></head><body><h1>%s</h1></body></html>"
JOBS = {
    "extract-tiingo-prices": "application/json",
    "extract-massive-daily-prices": "application/json",
    "extract-sec-company-facts": "application/json",
    "extract-sec-filers": "application/json",
    "extract-treasury-yields": "text/csv",
    "extract-ecb-fx-rates": "application/zip",
}


class Found(NamedTuple):
    """What was tried, what was seen, and what of it is wrong."""

    trials: int
    seen: str
    wrong: tuple[str, ...]


class Said(NamedTuple):
    """An answer without data, and the exit code that it means."""

    status: str
    media: str
    body: bytes
    code: int


@contextmanager
def sending(answers: dict[str, Iterable[bytes]]) -> Iterator[str]:
    """A server that sends what stands at a path, part by part and byte by byte as it is, and hangs up."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    listening.settimeout(0.1)
    done = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(30)
            request = b""
            while b"\r\n\r\n" not in request and (data := connection.recv(65536)):
                request += data
            path = request.split(b" ", 2)[1].decode().partition("?")[0]
            for part in answers.get(path, answers.get("*", ())):
                connection.sendall(part)
                if done.is_set():
                    return

    def serve() -> None:
        with ThreadPoolExecutor(8) as pool:
            while not done.is_set():
                with suppress(TimeoutError):
                    pool.submit(answer, listening.accept()[0])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        done.set()
        thread.join()
        listening.close()


def head(media: str, *fields: str, status: str = "200 OK") -> bytes:
    """The header fields of an answer, after which the server closes its connection."""
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Type: {media}", "Connection: close", *fields, "", ""]).encode()


def packed(trials: int, rng: random.Random) -> Found:
    """Bodies in gzip members that begin anywhere, in segments that end anywhere, cut anywhere or damaged: all of it or an error."""
    answers: dict[str, Iterable[bytes]] = {}
    whole, refused = 0, 0
    wrong: list[str] = []
    with sending(answers) as url, Client(url, hosts=(), accept=("text/csv", "application/json"), rate=Rate(100_000, 1)) as client:
        client.patience_s = 0
        for trial in range(trials):
            document, sent, may_be_whole = _sent(rng)
            answers["/x"] = _segments(sent, rng)
            try:
                body = client.get("/x").body
            except TemporaryError:
                refused += 1
                wrong += [f"trial {trial}: a whole answer was refused"] if may_be_whole else []
            else:
                whole += 1
                wrong += (
                    [] if body == document and may_be_whole else [f"trial {trial}: {len(body or b'')} of {len(document)} bytes were taken"]
                )
    return Found(
        trials, f"{whole:,} read whole, {refused:,} that were cut or damaged refused (75), no part taken for a whole", tuple(wrong)
    )


def _sent(rng: random.Random) -> tuple[bytes, bytes, bool]:
    """A document, the bytes that are sent of it, and whether they are all of them and show it."""
    document, media = rng.choice([(LINES, "text/csv"), (JSON, "application/json")])
    edges = [0, *sorted(rng.choices(range(len(document)), k=rng.randint(0, 5))), len(document)]
    body = b"".join(gzip.compress(document[start:end], mtime=0) for start, end in pairwise(edges))
    fields, coded = ["Content-Encoding: " + rng.choice(["gzip", "x-gzip", "GZIP"])], True
    if not rng.randrange(5):
        body, fields, coded = document, [], False
    framing = rng.choice(["length", "chunked", "close"])
    harm = rng.choice(["none", "none", "cut", "garbage", "zeros", "flip"])
    if harm in ("garbage", "zeros", "flip") and not coded:
        harm = "none"  # of bytes without a checksum nobody can tell
    if harm == "garbage":
        body += rng.randbytes(rng.randint(2, 40)).replace(b"\x1f\x8b", b"  ")
    elif harm == "zeros":
        body += bytes(rng.randint(2, 600))
    elif harm == "flip":
        at = len(body) - rng.randint(1, 8)  # the checksum and the length at the end
        body = body[:at] + bytes([body[at] ^ 0xFF]) + body[at + 1 :]
    if framing == "length":
        fields.append(f"Content-Length: {len(body)}")
    elif framing == "chunked":
        fields.append("Transfer-Encoding: chunked")
        at = rng.randrange(1, len(body))
        body = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (at, body[:at], len(body) - at, body[at:])
    if harm == "cut":
        body = body[: rng.randrange(len(body) - (1 if framing == "chunked" else 0))]
    shows = framing != "close" or media == "application/json"
    return document, head(media, *fields) + body, harm == "none" and shows


def _segments(sent: bytes, rng: random.Random) -> list[bytes]:
    ends = [0, *sorted(rng.choices(range(len(sent)), k=rng.randint(0, 6))), len(sent)]
    return [sent[start:end] for start, end in pairwise(ends)]


def doubled(trials: int, rng: random.Random) -> Found:
    """Documents with one key of one object doubled, however it is written: refused, the key named. The same undoubled: taken."""
    wrong: list[str] = []
    for trial in range(trials):
        document = _document(rng, 4)
        for twice in (False, True):
            key = _key(rng)
            body = _written({"a:b": document, "list": [1, {key: ":"}]}, rng)
            place = '{"list": [0, {%s: 1, %s: 2}], "of": %s}'
            body = place % (_written(key, rng), _written(key, rng), body) if twice else body
            try:
                found = jsontext.decode(body.encode(), "it")
            except BadDataError as error:
                wrong += [] if twice and f"the key list[1].{key} twice" in str(error) else [f"trial {trial}: {error}"]
            else:
                wrong += [f"trial {trial}: {key!r} twice was taken"] if twice or found["a:b"] != document else []
    return Found(2 * trials, f"{trials:,} refused with the path of the key, {trials:,} without one taken as they are", tuple(wrong))


def _key(rng: random.Random) -> str:
    return rng.choice(["a", 'q":', "a:b", "é", "\\", "us-gaap", "{", "\u2028", "💹"])


def _document(rng: random.Random, depth: int) -> object:
    kind = rng.randrange(6 if depth else 3)
    if kind > 3:  # noqa: PLR2004  half of the inner nodes
        return {_key(rng) + str(n): _document(rng, depth - 1) for n in range(rng.randint(0, 4))}
    if kind == 3:  # noqa: PLR2004
        return [_document(rng, depth - 1) for _ in range(rng.randint(0, 4))]
    return rng.choice([None, True, rng.randrange(10**9), _key(rng), "\ud83d"])


def _written(value: object, rng: random.Random) -> str:
    text = json.dumps(value, separators=rng.choice([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]))
    return text.replace(":", "\\u003a") if isinstance(value, str) and rng.randrange(2) else text


def slow(stage: Stage, ways: tuple[str, ...] = ("head", "body", "chunks")) -> Found:
    """A byte a second in the header fields, in a body of stated length, in chunks: 75 with a receipt, whoever started the job."""
    rows = b"Date,1 Mo\n" + b"01/03/2012,0.01\n" * 2000
    sent = {
        "head": (b"", head("text/csv", *(f"X-Field-{n}: {n}" for n in range(100)), f"Content-Length: {len(rows)}") + rows),
        "body": (head("text/csv", f"Content-Length: {len(rows)}"), rows),
        "chunks": (head("text/csv", "Transfer-Encoding: chunked"), b"".join(b"1\r\n%c\r\n" % byte for byte in rows) + b"0\r\n\r\n"),
    }

    def tried(way: str) -> tuple[str, float, scene.Ended]:
        first, rest = sent[way]
        with sending({"*": _Dripping(first, rest)}) as url:
            began = time.monotonic()
            options = [
                "--lake",
                str(stage.fresh("lake")),
                "--start",
                "2012-01-01",
                "--end",
                "2012-12-31",
                "--base-url",
                url,
                "--patience",
                "3",
            ]
            done = scene.ended(scene.start("extract-treasury-yields", options), within_s=SLOW_WITHIN_S)
        return way, time.monotonic() - began, done

    with ThreadPoolExecutor(len(ways)) as pool:
        ended = list(pool.map(tried, ways))
    wrong = [
        f"{way}: it ended with {done.code} after {took:.0f} s: {done.receipt and done.receipt['error']}"
        for way, took, done in ended
        if done.code != TEMPORARY or done.receipt is None or "did not answer in time" not in done.receipt["error"]
    ]
    longest = max(took for _, took, _ in ended)
    return Found(len(ways), f"exit code 75 with a receipt, after {longest:.0f} s at the latest", tuple(wrong))


@dataclass(frozen=True)
class _Dripping:
    """The first bytes at once and a byte of the rest each second, from the beginning on every connection."""

    first: bytes
    rest: bytes

    def __iter__(self) -> Iterator[bytes]:
        yield self.first
        for at in range(len(self.rest)):
            time.sleep(1)
            yield self.rest[at : at + 1]


def words(stage: Stage, jobs: tuple[str, ...] = tuple(JOBS)) -> Found:
    """What vendors say in place of data, in their own words and as any server may: the code that it means, with the words."""
    wrong, trials = [], 0
    for job in jobs:
        for said in _said(job):
            trials += 1
            sent = head(said.media, f"Content-Length: {len(said.body)}", status=said.status) + said.body
            with sending({"*": [sent]}) as url:
                options = [*_without_base(stage.asks(job)), "--base-url", url, "--patience", "0"]
                done = scene.run(job, ["--lake", str(stage.fresh("lake")), *options])
            told = done.receipt["error"] if done.receipt else done.stderr[-200:]
            if done.code != said.code or (said.body and _core(said.body) not in told) or "<" in told:
                wrong.append(f"{job}, {said.status} {said.body[:60]!r}: it ended with {done.code}: {told}")
    return Found(
        trials, "75 where waiting helps, 77 where the vendor refuses us, each time in the vendor's words, without tags", tuple(wrong)
    )


def _without_base(options: list[str]) -> list[str]:
    at = options.index("--base-url")
    return options[:at] + options[at + 2 :]


def _core(body: bytes) -> str:
    """The words that have to be in the sentence."""
    text = body.decode()
    return text.partition("<title>")[2].partition("</title>")[0] if "<title>" in text else " ".join(text.split())[:60]


def _said(job: str) -> list[Said]:
    """Refusals: those of any web server first, then the vendor's own."""
    media = JOBS[job]
    closed = PAGE % (b"Scheduled maintenance", b"We are back on Monday")
    general = [
        Said("200 OK", "text/html; charset=utf-8", closed, TEMPORARY),
        Said("200 OK", media, closed, TEMPORARY),
        Said("200 OK", media, b"This service is temporarily unavailable", TEMPORARY),
        Said("200 OK", media, b"", TEMPORARY),
        Said("503 Busy", "text/html", closed, TEMPORARY),
        Said("401 No", "application/json", b'{"detail":"Invalid token."}', REFUSED),
    ]
    limit = b"You have run over your hourly request allocation."
    own = {
        "extract-tiingo-prices": [
            Said("200 OK", "text/html", limit, TEMPORARY),
            Said("200 OK", media, limit, TEMPORARY),
            Said("200 OK", media, b'"' + limit + b'"', TEMPORARY),
            Said("200 OK", media, b'{"detail":"Error: ' + limit + b'"}', TEMPORARY),
            Said("200 OK", media, b'{"detail":"Invalid token."}', REFUSED),
        ],
        "extract-massive-daily-prices": [
            Said("200 OK", media, b'{"status":"ERROR","error":"You\'ve exceeded the maximum requests per minute"}', TEMPORARY),
            Said("200 OK", media, b'{"status": "NOT_AUTHORIZED","message":"Your plan doesn\'t include this"}', REFUSED),
            Said("403 No", media, b'{"status":"NOT_AUTHORIZED","message":"Your plan doesn\'t include this"}', REFUSED),
        ],
    }
    sec = [
        Said("403 Forbidden", "text/html", PAGE % (b"SEC.gov | Request Rate Threshold Exceeded", b"Too many requests"), TEMPORARY),
        Said("403 Forbidden", "text/html", PAGE % (b"SEC.gov | Undeclared Automated Tool", b"Say who you are"), REFUSED),
    ]
    return general + own.get(job, sec if job.startswith("extract-sec") else [])
