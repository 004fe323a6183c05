"""Send truncated, compressed, slow and ambiguous responses, and refusals. A job commits complete data or exits with the right code."""

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

from jobkit import lossless_json
from jobkit.errors import BadDataError, ExitCode, TemporaryError
from jobkit.http import Client, Rate

from verification.faults import job_runs

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator

    from verification.faults.sandbox import Sandbox

SLOW_TIMEOUT_S = 300.0  # many times the job's own limit, for a busy machine
CSV = b"".join(b"01/%02d/2012,%d.%02d\n" % (n % 28 + 1, n % 9, n % 100) for n in range(1, 400))
JSON = json.dumps([{"date": f"2012-01-{n % 28 + 1:02}", "close": n / 4, "note": '"]}'} for n in range(60)]).encode()
PAGE = b"<!DOCTYPE html><html><head><title>%s</title><style>p {color: red}</style></head><body><h1>%s</h1></body></html>"
JOBS = {
    "extract-tiingo-prices": "application/json",
    "extract-massive-daily-prices": "application/json",
    "extract-sec-company-facts": "application/json",
    "extract-sec-filers": "application/json",
    "extract-sec-filings": "application/json",
    "extract-fred-series": "application/json",
    "extract-nyfed-rates": "application/json",
    "extract-fiscaldata-debt": "application/json",
    "extract-sdmx-series": "text/csv",
    "extract-gleif-entities": "application/zip",
    "extract-gleif-isins": "application/json",
    "extract-openfigi-identifiers": "application/json",
    "extract-sec-13f-holdings": "application/json",
    "extract-treasury-yields": "text/csv",
    "extract-ecb-fx-rates": "application/zip",
}


class Outcome(NamedTuple):
    """The number of trials, what was observed, and the violations."""

    trials: int
    result: str
    violations: tuple[str, ...]


class Refusal(NamedTuple):
    """A response without data, and the exit code that it must cause."""

    status: str
    media: str
    body: bytes
    code: int


@contextmanager
def serve_bytes(answers: dict[str, Iterable[bytes]]) -> Iterator[str]:
    """Run a server that sends the raw bytes registered for a path, part by part, and closes the connection."""
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


def build_head(media: str, *fields: str, status: str = "200 OK") -> bytes:
    """Build the head of a response. The server closes the connection after each one."""
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Type: {media}", "Connection: close", *fields, "", ""]).encode()


def check_encodings(trials: int, rng: random.Random) -> Outcome:
    """Send bodies in several gzip members and segments, some truncated or damaged, and check for the whole body or an error."""
    answers: dict[str, Iterable[bytes]] = {}
    whole, refused = 0, 0
    violations: list[str] = []
    with serve_bytes(answers) as url, Client(url, hosts=(), accept=("text/csv", "application/json"), rate=Rate(100_000, 1)) as client:
        client.retry_timeout_s = 0
        for trial in range(trials):
            document, sent, is_complete = _build_answer(rng)
            answers["/x"] = _segments(sent, rng)
            try:
                body = client.get("/x").body
            except TemporaryError:
                refused += 1
                violations += [f"trial {trial}: a complete response was refused"] if is_complete else []
            else:
                whole += 1
                violations += (
                    []
                    if body == document and is_complete
                    else [f"trial {trial}: {len(body or b'')} of {len(document)} bytes were accepted"]
                )
    return Outcome(
        trials, f"{whole:,} read completely, {refused:,} truncated or damaged ones refused (75), none accepted in part", tuple(violations)
    )


def _build_answer(rng: random.Random) -> tuple[bytes, bytes, bool]:
    """Build a document, the bytes to send, and whether they are complete and their completeness can be detected."""
    document, media = rng.choice([(CSV, "text/csv"), (JSON, "application/json")])
    edges = [0, *sorted(rng.choices(range(len(document)), k=rng.randint(0, 5))), len(document)]
    body = b"".join(gzip.compress(document[start:end], mtime=0) for start, end in pairwise(edges))
    fields, is_compressed = ["Content-Encoding: " + rng.choice(["gzip", "x-gzip", "GZIP"])], True
    if not rng.randrange(5):
        body, fields, is_compressed = document, [], False
    framing = rng.choice(["length", "chunked", "close"])
    damage = rng.choice(["none", "none", "cut", "garbage", "zeros", "flip"])
    if damage in ("garbage", "zeros", "flip") and not is_compressed:
        damage = "none"  # damage cannot be detected without a checksum
    if damage == "garbage":
        body += rng.randbytes(rng.randint(2, 40)).replace(b"\x1f\x8b", b"  ")
    elif damage == "zeros":
        body += bytes(rng.randint(2, 600))
    elif damage == "flip":
        index = len(body) - rng.randint(1, 8)  # the checksum and the length at the end
        body = body[:index] + bytes([body[index] ^ 0xFF]) + body[index + 1 :]
    if framing == "length":
        fields.append(f"Content-Length: {len(body)}")
    elif framing == "chunked":
        fields.append("Transfer-Encoding: chunked")
        index = rng.randrange(1, len(body))
        body = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (index, body[:index], len(body) - index, body[index:])
    if damage == "cut":
        body = body[: rng.randrange(len(body) - (1 if framing == "chunked" else 0))]
    is_detectable = framing != "close" or media == "application/json"
    return document, build_head(media, *fields) + body, damage == "none" and is_detectable


def _segments(sent: bytes, rng: random.Random) -> list[bytes]:
    ends = [0, *sorted(rng.choices(range(len(sent)), k=rng.randint(0, 6))), len(sent)]
    return [sent[start:end] for start, end in pairwise(ends)]


def check_duplicate_keys(trials: int, rng: random.Random) -> Outcome:
    """Parse documents with a duplicate key, which must be refused by name, and the same documents without it."""
    violations: list[str] = []
    for trial in range(trials):
        document = _random_document(rng, 4)
        for is_duplicate in (False, True):
            key = _random_key(rng)
            body = _write_json({"a:b": document, "list": [1, {key: ":"}]}, rng)
            place = '{"list": [0, {%s: 1, %s: 2}], "of": %s}'
            body = place % (_write_json(key, rng), _write_json(key, rng), body) if is_duplicate else body
            try:
                found = lossless_json.decode(body.encode(), "it")
            except BadDataError as error:
                violations += [] if is_duplicate and f"the key list[1].{key} twice" in str(error) else [f"trial {trial}: {error}"]
            else:
                violations += [f"trial {trial}: {key!r} twice was taken"] if is_duplicate or found["a:b"] != document else []
    return Outcome(
        2 * trials, f"{trials:,} refused with the path of the key, {trials:,} without a duplicate accepted unchanged", tuple(violations)
    )


def _random_key(rng: random.Random) -> str:
    return rng.choice(["a", 'q":', "a:b", "é", "\\", "us-gaap", "{", "\u2028", "💹"])


def _random_document(rng: random.Random, depth: int) -> object:
    kind = rng.randrange(6 if depth else 3)
    if kind > 3:  # noqa: PLR2004  half of the inner nodes
        return {_random_key(rng) + str(n): _random_document(rng, depth - 1) for n in range(rng.randint(0, 4))}
    if kind == 3:  # noqa: PLR2004
        return [_random_document(rng, depth - 1) for _ in range(rng.randint(0, 4))]
    return rng.choice([None, True, rng.randrange(10**9), _random_key(rng), "\ud83d"])


def _write_json(value: object, rng: random.Random) -> str:
    text = json.dumps(value, separators=rng.choice([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]))
    return text.replace(":", "\\u003a") if isinstance(value, str) and rng.randrange(2) else text


def check_slow_answers(sandbox: Sandbox, parts: tuple[str, ...] = ("head", "body", "chunks")) -> Outcome:
    """Send one byte per second in the head, in a body or in chunks. The job must exit with 75 and a receipt."""
    rows = b"Date,1 Mo\n" + b"01/03/2012,0.01\n" * 2000
    sent = {
        "head": (b"", build_head("text/csv", *(f"X-Field-{n}: {n}" for n in range(100)), f"Content-Length: {len(rows)}") + rows),
        "body": (build_head("text/csv", f"Content-Length: {len(rows)}"), rows),
        "chunks": (build_head("text/csv", "Transfer-Encoding: chunked"), b"".join(b"1\r\n%c\r\n" % byte for byte in rows) + b"0\r\n\r\n"),
    }

    def run_trial(part: str) -> tuple[str, float, job_runs.JobResult]:
        first, rest = sent[part]
        with serve_bytes({"*": _SlowAnswer(first, rest)}) as url:
            started = time.monotonic()
            options = [
                "--lake",
                str(sandbox.new_path("lake")),
                "--start",
                "2012-01-01",
                "--end",
                "2012-12-31",
                "--base-url",
                url,
                "--retry-timeout",
                "3",
            ]
            result = job_runs.wait_for_job(job_runs.start_job("extract-treasury-yields", options), timeout_s=SLOW_TIMEOUT_S)
        return part, time.monotonic() - started, result

    with ThreadPoolExecutor(len(parts)) as pool:
        results = list(pool.map(run_trial, parts))
    violations = [
        f"{part}: it ended with {result.code} after {took:.0f} s: {result.receipt and result.receipt['error']}"
        for part, took, result in results
        if result.code != ExitCode.TEMPORARY or result.receipt is None or "did not answer in time" not in (result.receipt["error"] or "")
    ]
    longest = max(took for _, took, _ in results)
    return Outcome(len(parts), f"exit code 75 with a receipt, after at most {longest:.0f} s", tuple(violations))


@dataclass(frozen=True)
class _SlowAnswer:
    """Send the first bytes immediately and then one byte per second. Each connection starts at the beginning."""

    first: bytes
    rest: bytes

    def __iter__(self) -> Iterator[bytes]:
        yield self.first
        for index in range(len(self.rest)):
            time.sleep(1)
            yield self.rest[index : index + 1]


def check_refusals(sandbox: Sandbox, jobs: tuple[str, ...] = tuple(JOBS)) -> Outcome:
    """Send refusals in vendors' wording. The job must exit with the right code and quote the vendor."""
    violations, trials = [], 0
    for job in jobs:
        for refusal in _list_refusals(job):
            trials += 1
            sent = build_head(refusal.media, f"Content-Length: {len(refusal.body)}", status=refusal.status) + refusal.body
            with serve_bytes({"*": [sent]}) as url:
                options = [*_remove_base_url(sandbox.extract_options(job)), "--base-url", url, "--retry-timeout", "0"]
                result = job_runs.run_job(job, ["--lake", str(sandbox.new_path("lake")), *options])
            detail = (result.receipt["error"] if result.receipt else None) or result.stderr[-200:]
            if result.code != refusal.code or (refusal.body and _essential_text(refusal.body) not in detail) or "<" in detail:
                violations.append(f"{job}, {refusal.status} {refusal.body[:60]!r}: it ended with {result.code}: {detail}")
    return Outcome(
        trials,
        "75 if a retry may help, 77 if the vendor refuses us; each message has the vendor's wording, without markup",
        tuple(violations),
    )


def _remove_base_url(options: list[str]) -> list[str]:
    index = options.index("--base-url")
    return options[:index] + options[index + 2 :]


def _essential_text(body: bytes) -> str:
    """Extract the words that the error message must contain."""
    text = body.decode()
    return text.partition("<title>")[2].partition("</title>")[0] if "<title>" in text else " ".join(text.split())[:60]


def _list_refusals(job: str) -> list[Refusal]:
    """List refusals: those of any web server, then the vendor's own."""
    media = JOBS[job]
    closed = PAGE % (b"Scheduled maintenance", b"We are back on Monday")
    general = [
        Refusal("200 OK", "text/html; charset=utf-8", closed, ExitCode.TEMPORARY),
        Refusal("200 OK", media, closed, ExitCode.TEMPORARY),
        Refusal("200 OK", media, b"This service is temporarily unavailable", ExitCode.TEMPORARY),
        Refusal("200 OK", media, b"", ExitCode.TEMPORARY),
        Refusal("503 Busy", "text/html", closed, ExitCode.TEMPORARY),
        Refusal("401 No", "application/json", b'{"detail":"Invalid token."}', ExitCode.AUTH),
    ]
    limit = b"You have run over your hourly request allocation."
    vendor_refusals = {
        "extract-tiingo-prices": [
            Refusal("200 OK", "text/html", limit, ExitCode.TEMPORARY),
            Refusal("200 OK", media, limit, ExitCode.TEMPORARY),
            Refusal("200 OK", media, b'"' + limit + b'"', ExitCode.TEMPORARY),
            Refusal("200 OK", media, b'{"detail":"Error: ' + limit + b'"}', ExitCode.TEMPORARY),
            Refusal("200 OK", media, b'{"detail":"Invalid token."}', ExitCode.AUTH),
        ],
        "extract-massive-daily-prices": [
            Refusal("200 OK", media, b'{"status":"ERROR","error":"You\'ve exceeded the maximum requests per minute"}', ExitCode.TEMPORARY),
            Refusal("200 OK", media, b'{"status": "NOT_AUTHORIZED","message":"Your plan doesn\'t include this"}', ExitCode.AUTH),
            Refusal("403 No", media, b'{"status":"NOT_AUTHORIZED","message":"Your plan doesn\'t include this"}', ExitCode.AUTH),
        ],
    }
    sec = [
        Refusal(
            "403 Forbidden", "text/html", PAGE % (b"SEC.gov | Request Rate Threshold Exceeded", b"Too many requests"), ExitCode.TEMPORARY
        ),
        Refusal("403 Forbidden", "text/html", PAGE % (b"SEC.gov | Undeclared Automated Tool", b"Say who you are"), ExitCode.AUTH),
    ]
    return general + vendor_refusals.get(job, sec if job.startswith("extract-sec") else [])
