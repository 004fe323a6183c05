"""The row `deadlines`: a job ends at its deadline with 75 and a receipt, even if its peer hangs."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from jobkit.errors import ExitCode
from jobkit.interruption import STOP_WITHIN_S

from orchestration.local import sample_parameters
from verification.faults import faulty_s3, job_runs, sample_restatements, states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from verification.faults.sandbox import Sandbox

DEADLINE_S = 4
MAX_ELAPSED_S = DEADLINE_S + STOP_WITHIN_S + 4.0  # with a margin for a busy machine
INTERVAL_S = 0.3
WORKERS = 4
KINDS = {"extract-ecb-fx-rates": b"application/zip", "extract-gleif-entities": b"application/zip", "extract-treasury-yields": b"text/csv"}
JSON = b"application/json"
LOCKS = {"load-warehouse": "raw._ledger", "transform-warehouse": "raw._ledger", "publish-marts": "marts.dim_calendar"}


class Hang(NamedTuple):
    """A fault, the job that waits for the hanging peer, and the job's options and environment."""

    fault: str
    job: str
    options: list[str]
    environ: dict[str, str]


class Outcome(NamedTuple):
    """The number of trials, the longest in seconds, and the violations."""

    trials: int
    longest_s: float
    violations: list[str]


@contextmanager
def run_peer(media_type: bytes, first: bytes, repeated: bytes) -> Iterator[str]:
    """Run a server that answers a request with `first` (MEDIA replaced by the media type), then keeps sending `repeated`."""
    stopping = threading.Event()

    def talk(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65_536)
            connection.sendall(first.replace(b"MEDIA", media_type))
            while not stopping.wait(INTERVAL_S):
                connection.sendall(repeated)

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
            stopping.set()
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


def run_trials(sandbox: Sandbox, *, all_peers: bool) -> Outcome:
    """Run each job with every hanging peer, or with one of them."""
    found = [
        *_run_vendor_trials(sandbox, all_peers=all_peers),
        *_run_store_trials(sandbox, all_peers=all_peers),
        *_run_warehouse_trials(sandbox),
    ]
    return Outcome(len(found), max(elapsed_s for elapsed_s, _ in found), [sentence for _, sentence in found if sentence])


def _run_vendor_trials(sandbox: Sandbox, *, all_peers: bool) -> list[tuple[float, str | None]]:
    """Run each extractor with every hanging peer, or with one of them, several at once: they do nothing but wait."""
    cases = [
        (job, name)
        for number, job in enumerate(sample_parameters.build_all_sample_extracts("", ""))
        for name in (PEERS if all_peers else [list(PEERS)[number % len(PEERS)]])
    ]
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(lambda case: _run_vendor_trial(sandbox, *case), cases))


def _run_vendor_trial(sandbox: Sandbox, job: str, name: str) -> tuple[float, str | None]:
    with run_peer(KINDS.get(job, JSON), *PEERS[name]) as address:
        lake = sandbox.new_path("lake")
        options = ["--lake", str(lake), *sandbox.extract_options(job), "--base-url", f"http://{address}", "--retry-timeout", "600"]
        elapsed_s, violations = _run_trial(Hang(f"vendor, {name}", job, options, {}))
        if not violations and (partitions := states.read_lake(lake)):
            violations = f"{job}: the lake holds {', '.join(partitions)}"
        return elapsed_s, violations


def _run_store_trials(sandbox: Sandbox, *, all_peers: bool) -> Iterator[tuple[float, str | None]]:
    """Run jobs against an S3 endpoint that accepts connections and does not answer."""
    jobs: dict[str, Callable[[], list[str]]] = {
        "extract-dropped-files": lambda: ["--lake", "s3://bucket/lake", "--drop", "s3://bucket/drop"],
        "load-warehouse": lambda: ["--lake", "s3://bucket/lake", *sandbox.warehouse_options(sandbox.create_database())],
        "extract-treasury-yields": lambda: ["--lake", "s3://bucket/lake", *sandbox.extract_options("extract-treasury-yields")],
    }
    for job in list(jobs)[: None if all_peers else 1]:
        with run_peer(JSON, b"", b"") as address:
            yield _run_trial(Hang("S3, silent", job, jobs[job](), {**faulty_s3.CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{address}"}))


def _run_warehouse_trials(sandbox: Sandbox) -> Iterator[tuple[float, str | None]]:
    """Run jobs against a Postgres that does not answer, and one in which another session holds a table lock."""
    stages = sample_restatements.build_stages(sandbox)
    url = sandbox.copy_database(stages.transformed)
    job_options = {"load-warehouse": ["--lake", str(stages.lake)], "publish-marts": ["--site", str(sandbox.new_path("site"))]}
    for job, table in LOCKS.items():
        with run_peer(JSON, b"", b"") as address:
            silent = f"postgresql://finelt@{address}/finelt?connect_timeout=60"
            options = ["--warehouse", silent, "--warehouse-password", sandbox.server.password_reference]
            yield _run_trial(Hang("Postgres, silent", job, [*job_options.get(job, []), *options], {}))
        with sandbox.connect(url) as other, other.transaction():
            other.execute(f"lock table {table} in access exclusive mode".encode())
            elapsed_s, violations = _run_trial(
                Hang(f"Postgres, {table} held", job, [*job_options.get(job, []), *sandbox.warehouse_options(url)], {})
            )
        rerun = job_runs.run_job(job, [*job_options.get(job, []), *sandbox.warehouse_options(url)])
        if rerun.code:
            violations = violations or f"{job}: run again it ended with {rerun.code}: {rerun.receipt and rerun.receipt['error']}"
        yield elapsed_s, violations
    sandbox.drop_database(url)


def _run_trial(hang: Hang) -> tuple[float, str | None]:
    """Run a job. Return its elapsed time by its own clock, and the violation, if any."""
    started = time.monotonic()
    result = job_runs.run_job(hang.job, [*hang.options, "--deadline", str(DEADLINE_S)], **hang.environ)
    detail = f"{hang.job} ({hang.fault})"
    if result.receipt is None:
        return time.monotonic() - started, f"{detail}: it ended with {result.code} and no receipt"
    elapsed_s = float(result.receipt["elapsed_s"])
    error, codes = result.receipt["error"] or "", {result.code, result.receipt["exit_code"]}
    if codes != {ExitCode.TEMPORARY} or f"deadline of {DEADLINE_S} s" not in error:
        return elapsed_s, f"{detail}: it ended with {result.code}: {error}"
    return elapsed_s, f"{detail}: it ended after {elapsed_s:.1f} s" if elapsed_s > MAX_ELAPSED_S else None
