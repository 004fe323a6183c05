"""Parse documents in other processes: one interpreter uses one core, and an archive has gigabytes (docs/decisions/0010).

A process reads documents from its standard input, validates their rows and answers with Parquet. It knows neither lake nor vendor. To what
is unusual in a document it answers None, and the job parses the document itself, so a run does the same with and without processes.

Hand-written: the processes of concurrent.futures outlive a job that is killed, and need /dev/shm. These end when their standard input does.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from functools import cache
from importlib import import_module
from queue import SimpleQueue
from typing import TYPE_CHECKING, BinaryIO, cast

from jobkit import contracts
from jobkit.errors import TemporaryError

if TYPE_CHECKING:
    from jobkit.contracts import EncodedRows
    from jobkit.requests import Request

MAX_PROCESSES = 2  # one core's time for the job itself serves two of them
MIN_DOCUMENTS = 20  # fewer are parsed in the time that a process takes to start
MAX_DOCUMENT_BYTES = 16 << 20  # the job parses larger ones itself, one after the other: it has the memory for one of any size


def count_processes(documents: int) -> int:
    """Return how many processes should parse so many documents on this machine; 0 if the job should do it alone."""
    cores = os.cpu_count() or 1
    return min(MAX_PROCESSES, cores) if cores > 1 and documents >= MIN_DOCUMENTS else 0


class ParseProcesses:
    """Processes that parse documents, until they are closed. Threads may share them.

    package, module: where the extractor's contracts and its `parse` are.
    """

    def __init__(self, count: int, package: str, module: str) -> None:
        self._command = [sys.executable, "-m", __name__, package, module]
        self._started: list[subprocess.Popen[bytes]] = []
        self._idle: SimpleQueue[subprocess.Popen[bytes] | None] = SimpleQueue()
        for _ in range(count):
            self._idle.put(None)  # started when it is needed

    def close(self) -> None:
        """End the processes; a document that one of them has raises TemporaryError in its thread."""
        for process in self._started:
            process.kill()  # it has nothing to finish
            process.communicate()

    def parse(self, body: bytes, request: Request) -> EncodedRows | None:
        """Return the rows of the request's only partition; None if the job has to parse the document itself.

        Raises TemporaryError (exit code 75) if the process ends, as one that is killed for its memory does.
        """
        if len(body) > MAX_DOCUMENT_BYTES:
            return None
        process = self._idle.get()
        try:
            if process is None:
                process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603
                self._started.append(process)
            documents, answers = cast("tuple[BinaryIO, BinaryIO]", (process.stdin, process.stdout))
            pickle.dump((body, request), documents)
            documents.flush()
            found: EncodedRows | None = pickle.load(answers)  # noqa: S301  of our own process
        except (OSError, EOFError, pickle.UnpicklingError):
            raise TemporaryError(
                f"the process that parsed {request.partitions[0]} ended early, perhaps for lack of memory; run it again to go on"
            ) from None
        else:
            return found
        finally:
            self._idle.put(process)


def serve(package: str, module: str, documents: BinaryIO, answers: BinaryIO) -> None:
    """Answer each document until there are no more."""
    parse, load_contract = import_module(f"{package}.{module}").parse, cache(contracts.load_packaged)
    while True:
        try:
            body, request = pickle.load(documents)  # noqa: S301  of the job
        except EOFError:
            return
        (partition,) = request.partitions
        try:
            encoded = contracts.encode(contracts.validate(load_contract(package, request.dataset), parse(body, request)[partition]))
        except BaseException:  # noqa: BLE001  the job finds the same, and reports it; a panic in Rust is no Exception
            encoded = None
        pickle.dump(encoded, answers)
        answers.flush()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the job gets them too, and ends this process
    serve(sys.argv[1], sys.argv[2], sys.stdin.buffer, sys.stdout.buffer)
