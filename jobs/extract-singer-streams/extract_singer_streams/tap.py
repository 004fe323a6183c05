"""Run a tap: its messages come from stdout, its logs from stderr.

The tap sees a few variables of the environment and none of the lake's credentials. Its config, with its secrets, is a file that only this
user can read, in a folder that is removed afterwards.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import signal
import subprocess
import threading
from collections import deque
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any

from jobkit import logs, redaction, secrets
from jobkit.errors import BadDataError, MisconfiguredError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
VARIABLES = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", *PROXIES)
DLT_TAP = "dlt_tap.py"  # in a command: the file of this package
LINE_BREAK = re.compile(r"[\r\n]|\\[rn]")  # also as an escape, for taps that replace it
MAX_LOG_CHARS = 2000  # of a line
STOP_WITHIN_S = 3


class TapError(TemporaryError):
    """The tap ended with an error. What it sent before is as valid as ever; why it failed, only its log knows."""


def read_config(path: str | None, reference: str | None) -> dict[str, Any]:
    """Return the tap's config with its secrets, each of which is masked in all output from now on.

    Raises MisconfiguredError (78) if one of them is no JSON object.
    """
    config = _parse_object(Path(path).read_bytes(), f"the tap's config {path}") if path else {}
    if not reference:
        return config
    secret = _parse_object(secrets.resolve(reference), f"the secret at {reference}")
    for text in _list_texts(secret):
        for part in (text, *_list_lines(text)):
            redaction.protect(part, sent=True)
    return config | secret


def _parse_object(text: str | bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):  # ValueError is that of another encoding, too
        document = None
    if not isinstance(document, dict):
        raise MisconfiguredError(f"{what} is not a JSON object; expected the settings of the tap by name")
    return document


def _list_texts(value: object) -> list[str]:
    if isinstance(value, dict | list):
        return [text for item in (value.values() if isinstance(value, dict) else value) for text in _list_texts(item)]
    return [str(value)] if value not in (None, "") and not isinstance(value, bool) else []


def _list_lines(text: str) -> list[str]:
    """Return the lines of a text of several, such as a private key, as a tap may log them one by one. The marks around a key are public."""
    lines = [line.strip() for line in LINE_BREAK.split(text)]
    return [line for line in lines if not line.startswith(("-----BEGIN ", "-----END "))] if len(lines) > 1 else []


def prepare(folder: Path, config: Mapping[str, Any], state: str | None, catalog: str | None) -> list[str]:
    """Write the files of a run into a folder and return the options that name them."""
    files = {"config": json.dumps(config), "state": state}
    arguments: list[str] = []
    for name, text in files.items():
        if text is not None:
            path = folder / f"{name}.json"
            path.write_text(text, encoding="utf-8")
            arguments += [f"--{name}", str(path)]
    return [*arguments, *(["--catalog", catalog] if catalog else [])]


@contextmanager
def start(command: str, config: Mapping[str, Any], *more: str, state: str | None = None, catalog: str | None = None) -> Iterator[Tap]:
    """Start a tap; it is stopped at the end. Raises MisconfiguredError (78) if it cannot be started."""
    words = _split(command)
    with TemporaryDirectory() as folder:
        arguments = [*words, *prepare(Path(folder), config, state, catalog), *more]
        environment = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        try:
            process = subprocess.Popen(  # noqa: S603  the operator names the command
                arguments, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
        except OSError as error:
            raise MisconfiguredError(
                f"the tap {words[0]} cannot be started: {error.strerror}; is it in the image, and is --tap its path?"
            ) from None
        tap = Tap(words[0], process)
        try:
            yield tap
        finally:
            tap.stop()


def _split(command: str) -> Sequence[str]:
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    words = [str(Path(__file__).with_name(DLT_TAP)) if word == DLT_TAP else word for word in words]
    if not words:
        raise MisconfiguredError("--tap is not a command; expected a path and its arguments, such as /tap/bin/tap-acme")
    return words


class Tap:
    """A running tap."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self._name, self._process = name, process
        self._last_lines: deque[str] = deque(maxlen=1)
        self._logger = threading.Thread(target=self._log, name="tap-log", daemon=True)
        self._logger.start()

    def read_lines(self, max_bytes: int) -> Iterator[bytes]:
        """Yield the lines of its output without those that are empty. Raises BadDataError (65) for one that is too long."""
        output = _pipe(self._process.stdout)
        while line := output.readline(max_bytes + 1):
            if len(line) > max_bytes:
                raise BadDataError(f"the tap sent a line of more than {max_bytes:,} bytes; raise max_body_mib in the job's pyproject.toml")
            if line.strip():
                yield line.strip()

    def wait(self) -> None:
        """Wait for the end of a tap whose output has ended. Raises TapError (75) if it failed."""
        code = self._process.wait()
        self._logger.join(STOP_WITHIN_S)
        if code:
            said = f": {self._last_lines[0]}" if self._last_lines else ""
            raise TapError(f"the tap {self._name} ended with {code}{said}; look at its log lines above")

    def stop(self) -> None:
        """End the tap and the processes that it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                break
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_WITHIN_S)
        self._logger.join(STOP_WITHIN_S)
        for stream in (self._process.stdout, self._process.stderr):
            _pipe(stream).close()

    def _log(self) -> None:
        """Log each line of stderr, redacted as everything that is logged."""
        log = logging.getLogger(logs.LOGGER)
        for line in _pipe(self._process.stderr):
            if text := redaction.redact(line.decode(errors="replace").strip())[:MAX_LOG_CHARS]:  # a secret that was cut is not found
                self._last_lines.append(text)
                log.info("tap", extra={"line": text})


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("the tap was started without a pipe")
    return stream
