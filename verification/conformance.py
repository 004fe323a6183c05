"""scripts/conformance: what every job's image promises, tried on one image, and killed at each step that it says it has."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from jobkit.version import version_option

from images import docker_cli

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")  # noqa: S108
FAILPOINT = "FINELT_FAILPOINT"
KILLED, STOPPED, USAGE = 137, 143, 2
STOP_S = 10.0
PLACE = "/place"
TOLD = ("job", "version", "description", "options", "datasets", "secrets", "resources", "deadline_s", "exit_codes")
RECEIPT = ("job", "version", "verb", "run_id", "status", "exit_code", "error", "rows", "committed", "unchanged", "partitions")
MOMENT = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
DIGEST = re.compile(rb'"digest": "[0-9a-f]{64}"')  # of a commit as a whole, the moment in it included
SECRET = re.compile(r"(SECRET|PASSWORD|TOKEN|KEY)[^=]*=.+")


class Ended(NamedTuple):
    """A container's exit code and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON object on stdout. Raises BreachError where it is not one."""
        try:
            (line,) = self.stdout.splitlines()
            document = json.loads(line)
        except ValueError:
            raise BreachError(f"stdout is not one line of JSON: {self.stdout[:100]!r}") from None
        if not isinstance(document, dict):
            raise BreachError(f"stdout is no JSON object: {self.stdout[:100]!r}")
        return document


class BreachError(Exception):
    """The image does not keep a promise."""


class Subject(NamedTuple):
    """An image, what its containers are given besides, and the options with which it does something that can be looked at."""

    image: str
    flags: tuple[str, ...]
    words: tuple[str, ...]

    def start(self, *words: str, flags: Sequence[str] = ()) -> tuple[str, subprocess.Popen[str]]:
        """A hardened container that is gone when it ends, by name."""
        name = f"finelt-conformance-{secrets.token_hex(4)}"
        command = [docker_cli.find_client(), "run", "--rm", "--name", name, *HARDENED, *flags, self.image, *words]
        return name, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603

    def call(self, *words: str, flags: Sequence[str] = ()) -> Ended:
        """Run one to its end."""
        name, process = self.start(*words, flags=flags)
        try:
            stdout, stderr = process.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            docker_cli.docker("rm", "--force", name)
            raise BreachError(f"{' '.join(words[:1])} did not end within ten minutes") from None
        return Ended(process.returncode, stdout, stderr)

    def run(self, place: Path, kill_at: str = "") -> Ended:
        """Its `run` with the words given, in a folder of its own."""
        return self.call("run", *self._words(), flags=self._flags(place, kill_at))

    def _words(self) -> list[str]:
        return [word.replace("{place}", PLACE) for word in self.words]

    def _flags(self, place: Path, kill_at: str = "") -> list[str]:
        more = ["--env", f"{FAILPOINT}={kill_at}"] if kill_at else []
        return [*self.flags, "--volume", f"{place}:{PLACE}", *more]

    def stopped(self, place: Path, after_s: float) -> tuple[Ended, float]:
        """Its `run`, sent SIGTERM after so long; and how long it took then."""
        name, process = self.start("run", *self._words(), flags=self._flags(place))
        time.sleep(after_s)
        began = time.monotonic()
        subprocess.run([docker_cli.find_client(), "kill", "--signal", "TERM", name], capture_output=True, check=False)  # noqa: S603
        stdout, stderr = process.communicate(timeout=60)
        return Ended(process.returncode, stdout, stderr), time.monotonic() - began


def _need(condition: object, sentence: str) -> None:
    if not condition:
        raise BreachError(sentence)


def describes(subject: Subject) -> str:
    """`describe` needs no network and says what the job is."""
    ended = subject.call("describe", flags=("--network", "none"))
    _need(ended.code == 0, f"it ended with {ended.code}: {ended.stderr.strip()[-200:]}")
    missing = [name for name in TOLD if name not in ended.document]
    _need(not missing, f"it does not say {', '.join(missing)}")
    _need(ended.document["options"].get("additionalProperties") is False, "its options allow unknown ones")
    return f"{ended.document['job']} {ended.document['version']}, {len(ended.document['options']['properties'])} options"


def is_nobody(subject: Subject) -> str:
    """It runs as a user who is not root, and holds no secret."""
    (document,) = json.loads(docker_cli.docker("image", "inspect", subject.image))
    user = str(document["Config"].get("User") or "")
    _need(user.split(":", maxsplit=1)[0] not in ("", "0", "root"), f"its user is {user or 'root'!r}")
    _need(not any(SECRET.search(line) for line in document["Config"].get("Env") or []), "its environment has a secret")
    return f"user {user}"


def refuses(subject: Subject) -> str:
    """What it is not given right ends with 2, one receipt and no traceback."""
    for words in (("run",), ("run", "--no-such-option", "x")):
        ended = subject.call(*words, flags=("--network", "none"))
        _need(ended.code == USAGE, f"`{' '.join(words)}` ended with {ended.code}")
        _check_receipt(ended)
    return "exit code 2"


def does_it_once(subject: Subject) -> str:
    """`run` does its work, and again changes nothing."""
    with _place() as place:
        first, second = subject.run(place), subject.run(place)
        for ended in (first, second):
            _need(ended.code == 0, f"it ended with {ended.code}: {ended.document.get('error')}")
            _check_receipt(ended)
        _need(second.document["committed"] == 0, f"the second run committed {second.document['committed']}")
        return f"{first.document['committed']} committed, then {second.document['unchanged']} unchanged"


def stops(subject: Subject) -> str:
    """SIGTERM ends it within ten seconds with 143, and run again it ends as one that was never stopped."""
    with _place() as place:
        began = time.monotonic()
        _need(subject.run(place).code == 0, "it does not end well")
        whole_s, expected = time.monotonic() - began, _content(place)
    slowest_s, codes = 0.0, list[int]()
    for part in (0.3, 0.6, 0.9):
        with _place() as place:
            ended, took_s = subject.stopped(place, part * whole_s)
            slowest_s, codes = max(slowest_s, took_s), [*codes, ended.code]
            _need(ended.code in (0, STOPPED), f"it ended with {ended.code}")
            _need(took_s < STOP_S, f"it took {took_s:.1f} s to stop")
            _need(subject.run(place).code == 0 and _content(place) == expected, "run again it did not end as one that was never stopped")
    return f"{codes.count(STOPPED)} of {len(codes)} stopped, within {slowest_s:.1f} s"


def survives(subject: Subject) -> str:
    """Killed at each of its steps and run again it ends as one that was never killed."""
    with _place() as place:
        ended = subject.run(place, "?")
        _need(ended.code == 0, f"it ended with {ended.code}: {ended.document.get('error')}")
        expected = _content(place)
    passed = [json.loads(line)["step"] for line in ended.stderr.splitlines() if '"step": "' in line]
    _need(passed, f"it tells no step where {FAILPOINT}=? asks for them; then it can only be killed at random")
    killed = 0
    for step in dict.fromkeys(step.rpartition("#")[0] for step in passed):
        with _place() as place:
            first = subject.run(place, f"{step}#1")
            killed += first.code == KILLED
            _need(first.code in (0, KILLED), f"at {step!r} it ended with {first.code}")
            again = subject.run(place)
            _need(again.code == 0, f"killed at {step!r} and run again it ended with {again.code}")
            _need(_content(place) == expected, f"killed at {step!r} and run again it left something else")
    return f"{killed} kills at {len({step.rpartition('#')[0] for step in passed})} steps"


ALWAYS: tuple[Callable[[Subject], str], ...] = (describes, is_nobody, refuses)
WITH_WORDS: tuple[Callable[[Subject], str], ...] = (does_it_once, stops, survives)


def _check_receipt(ended: Ended) -> None:
    missing = [name for name in RECEIPT if name not in ended.document]
    _need(not missing, f"its receipt does not say {', '.join(missing)}")
    _need(ended.document["exit_code"] == ended.code, f"its receipt says {ended.document['exit_code']}, it ended with {ended.code}")
    _need("Traceback" not in ended.stderr, "there is a traceback on stderr")


class _place:  # noqa: N801  used as a function
    """A folder that a container may write to."""

    def __enter__(self) -> Path:
        self._folder = TemporaryDirectory(prefix="conformance-", ignore_cleanup_errors=True)
        place = Path(self._folder.name)
        place.chmod(0o777)
        return place

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _content(place: Path) -> dict[str, str]:
    """Every file by its digest, moments and what follows from them blanked out; of hidden files, which are nobody's result, none."""
    return {
        path.relative_to(place).as_posix(): hashlib.sha256(DIGEST.sub(b"digest", MOMENT.sub(b"moment", path.read_bytes()))).hexdigest()
        for path in place.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def report(subject: Subject) -> Iterator[tuple[bool, str]]:
    """Each promise: whether it is kept, and a line about it."""
    for promise in ALWAYS + (WITH_WORDS if subject.words else ()):
        told = str(promise.__doc__).rstrip(".")
        try:
            yield True, f"{told}: {promise(subject)}"
        except BreachError as error:
            yield False, f"{told}: {error}"


@click.command(help=__doc__, context_settings={"ignore_unknown_options": True})
@version_option()
@click.option("--network", metavar="NAME", help="The network of its containers; without, Docker's default.")
@click.option("--env", "environ", multiple=True, metavar="NAME[=VALUE]", help="A variable for its containers; repeat the option for more.")
@click.argument("image")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF RUN, {place} is a folder to write to]")
def main(network: str | None, environ: tuple[str, ...], image: str, words: tuple[str, ...]) -> None:
    """Print the report."""
    flags = [*(("--network", network) if network else ()), *(part for one in environ for part in ("--env", one))]
    try:
        kept = [_say(holds, line) for holds, line in report(Subject(image, tuple(flags), words))]
    except docker_cli.EngineError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(78)
    if not words:
        click.echo("Not tried: run, SIGTERM and kills; give the options of a run after the image.")
    sys.exit(0 if all(kept) else 65)


def _say(holds: bool, line: str) -> bool:  # noqa: FBT001  what it is about
    click.echo(f"{'holds ' if holds else 'BROKEN'}  {line}")
    return holds


if __name__ == "__main__":
    main(prog_name="scripts/conformance")
