"""The row `deadlines`: whoever a job waits for hangs, and the job ends at its deadline all the same, with 75 and a receipt."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from jobkit.interruption import STOP_WITHIN_S

from orchestration.local import sample_parameters
from verification.faults import faulty_s3, sample_restatements, sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from verification.faults.sandbox import Stage

DEADLINE_S = 4
LATE_S = DEADLINE_S + STOP_WITHIN_S + 4.0  # of a machine that is busy with other things
TEMPORARY = 75
PAUSE_S = 0.3
KINDS = {"extract-ecb-fx-rates": b"application/zip", "extract-treasury-yields": b"text/csv"}
JSON = b"application/json"
LOCKS = {"load-warehouse": "raw._ledger", "transform-warehouse": "raw._ledger", "publish-marts": "marts.dim_calendar"}


class Hang(NamedTuple):
    """What hangs, the job that waits for it, its options and environment, and whether a run without the fault must end well afterwards."""

    what: str
    job: str
    options: list[str]
    environ: dict[str, str]


class Found(NamedTuple):
    """What came of the trials: how many, the longest in seconds, and what was wrong."""

    trials: int
    longest_s: float
    wrong: list[str]


@contextmanager
def peer(media_type: bytes, first: bytes, drop: bytes) -> Iterator[str]:
    """A server that takes connections, says `first` to a request (what stands for the media type replaced), then `drop` again and again."""
    over = threading.Event()

    def talk(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65_536)
            connection.sendall(first.replace(b"MEDIA", media_type))
            while not over.wait(PAUSE_S):
                connection.sendall(drop)

    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            over.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


PEERS = {
    "silent": (b"", b""),
    "header trickles": (b"HTTP/1.1 200 OK\r\nX-", b"x"),
    "header lines trickle": (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    "body trickles": (b"HTTP/1.1 200 OK\r\nContent-Type: MEDIA\r\nContent-Length: 1000000\r\n\r\n", b" "),
    "chunks trickle": (b"HTTP/1.1 200 OK\r\nContent-Type: MEDIA\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "refusal trickles": (b"HTTP/1.1 403 No\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n", b"n"),
}


def trials(stage: Stage, *, every: bool) -> Found:
    """Each job with everything it waits for, or each with one of them."""
    found = [*_vendors(stage, every=every), *_stores(stage, every=every), *_warehouses(stage)]
    return Found(len(found), max(took_s for took_s, _ in found), [sentence for _, sentence in found if sentence])


def _vendors(stage: Stage, *, every: bool) -> Iterator[tuple[float, str | None]]:
    for number, job in enumerate(sample_parameters.build_sample_extracts("", "")):
        names = list(PEERS) if every else [list(PEERS)[number % len(PEERS)]]
        for name in names:
            with peer(KINDS.get(job, JSON), *PEERS[name]) as address:
                lake = stage.fresh("lake")
                options = ["--lake", str(lake), *stage.asks(job), "--base-url", f"http://{address}", "--retry-timeout", "600"]
                took_s, wrong = _end(Hang(f"vendor, {name}", job, options, {}))
                if not wrong and (held := sandbox.lake(lake)):
                    wrong = f"{job}: the lake holds {', '.join(held)}"
                yield took_s, wrong


def _stores(stage: Stage, *, every: bool) -> Iterator[tuple[float, str | None]]:
    """S3 that takes connections and does not answer."""
    jobs: dict[str, Callable[[], list[str]]] = {
        "extract-dropped-files": lambda: ["--lake", "s3://bucket/lake", "--drop", "s3://bucket/drop"],
        "load-warehouse": lambda: ["--lake", "s3://bucket/lake", *stage.warehouse(stage.database())],
        "extract-treasury-yields": lambda: ["--lake", "s3://bucket/lake", *stage.asks("extract-treasury-yields")],
    }
    for job in list(jobs)[: None if every else 1]:
        with peer(JSON, b"", b"") as address:
            yield _end(Hang("S3, silent", job, jobs[job](), {**faulty_s3.KEYS, "AWS_ENDPOINT_URL": f"http://{address}"}))


def _warehouses(stage: Stage) -> Iterator[tuple[float, str | None]]:
    """A Postgres that takes connections and says nothing, and one in which somebody else holds a table."""
    lake = sample_restatements.lake(stage)
    url = stage.database()
    sandbox.well("load-warehouse", ["--lake", str(lake), *stage.warehouse(url)])
    sandbox.well("transform-warehouse", stage.warehouse(url))
    more = {"load-warehouse": ["--lake", str(lake)], "publish-marts": ["--site", str(stage.fresh("site"))]}
    for job, table in LOCKS.items():
        with peer(JSON, b"", b"") as address:
            silent = f"postgresql://finelt@{address}/finelt?connect_timeout=60"
            words = ["--warehouse", silent, "--warehouse-password", stage.server.password_reference]
            yield _end(Hang("Postgres, silent", job, [*more.get(job, []), *words], {}))
        with stage.connect(url) as other, other.transaction():
            other.execute(f"lock table {table} in access exclusive mode".encode())
            took_s, wrong = _end(Hang(f"Postgres, {table} held", job, [*more.get(job, []), *stage.warehouse(url)], {}))
        again = sandbox.run(job, [*more.get(job, []), *stage.warehouse(url)])
        if again.code:
            wrong = wrong or f"{job}: run again it ended with {again.code}: {again.receipt and again.receipt['error']}"
        yield took_s, wrong
    stage.drop(url)


def _end(hang: Hang) -> tuple[float, str | None]:
    """How long the job took by its own clock, and what was wrong with its end."""
    began = time.monotonic()
    done = sandbox.run(hang.job, [*hang.options, "--deadline", str(DEADLINE_S)], **hang.environ)
    told = f"{hang.job} ({hang.what})"
    if done.receipt is None:
        return time.monotonic() - began, f"{told}: it ended with {done.code} and no receipt"
    took_s = float(done.receipt["elapsed_s"])
    if (done.code, done.receipt["exit_code"]) != (TEMPORARY, TEMPORARY) or f"deadline of {DEADLINE_S} s" not in done.receipt["error"]:
        return took_s, f"{told}: it ended with {done.code}: {done.receipt['error']}"
    return took_s, f"{told}: it ended after {took_s:.1f} s" if took_s > LATE_S else None
