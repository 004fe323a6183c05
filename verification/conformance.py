"""Test whether an image keeps the job contract: run its verbs, stop it, and kill it at each of its failpoints.

The image may be written in any language. Without options for `run`, only the promises that need none are tested.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from jobkit import commit_log
from jobkit.errors import ExitCode
from jobkit.version import version_option

from images import docker_cli

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

UNPRIVILEGED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
USUAL_TMP_MIB = 64
FAILPOINT_VARIABLES = ("FINELT_FAILPOINT", "FINELT_KILL_AT")  # images of 0.1.0 know the second only; it goes with the next version
LIST_FAILPOINTS = "?"
KILLED = 137  # by SIGKILL, as Docker reports it
MAX_STOP_S = 10.0
RUN_TIMEOUT_S, STOP_TIMEOUT_S = 600, 60
MOUNT = "/place"
DESCRIPTION_KEYS = ("job", "version", "description", "options", "datasets", "secrets", "resources", "deadline_s", "exit_codes")
RECEIPT_KEYS = ("job", "version", "verb", "run_id", "status", "exit_code", "error", "rows", "committed", "unchanged", "partitions")
TIMESTAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
DIGEST = re.compile(rb'"digest": "[0-9a-f]{64}"')  # of a whole commit, which includes its time
SECRET = re.compile(r"(SECRET|PASSWORD|TOKEN|KEY)[^=]*=.+")


@cache
def harden(image: str) -> tuple[str, ...]:
    """Return the flags of a container in which only /tmp is writable, of the size that the image's label finelt.describe states."""
    label = docker_cli.docker("image", "inspect", "--format", '{{index .Config.Labels "finelt.describe"}}', image)
    resources = json.loads(label).get("resources", {}) if label.startswith("{") else {}
    return (*UNPRIVILEGED, "--tmpfs", f"/tmp:size={resources.get('tmp_mib', USUAL_TMP_MIB)}m")  # noqa: S108


class ContainerResult(NamedTuple):
    """A container's exit code and output."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object that is the only line of stdout. Raises ViolationError if there is none."""
        try:
            (line,) = self.stdout.splitlines()
            document = json.loads(line)
        except ValueError:
            raise ViolationError(f"stdout is not one line of JSON: {self.stdout[:100]!r}") from None
        if not isinstance(document, dict):
            raise ViolationError(f"stdout is not a JSON object: {self.stdout[:100]!r}")
        return document


class ViolationError(Exception):
    """The image breaks a promise of the job contract."""


class Subject(NamedTuple):
    """An image, extra flags of its containers, and the options of `run`, in which {place} is a folder that it may write to."""

    image: str
    flags: tuple[str, ...]
    options: tuple[str, ...]

    def start(self, *arguments: str, flags: Sequence[str] = ()) -> tuple[str, subprocess.Popen[str]]:
        """Start a hardened container that is removed when it ends, and return its name and process."""
        name = f"finelt-conformance-{secrets.token_hex(4)}"
        command = [docker_cli.find_client(), "run", "--rm", "--name", name, *harden(self.image), *flags, self.image, *arguments]
        return name, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603

    def call(self, *arguments: str, flags: Sequence[str] = ()) -> ContainerResult:
        """Run a container to its end. Raises ViolationError if it does not end."""
        name, process = self.start(*arguments, flags=flags)
        try:
            stdout, stderr = process.communicate(timeout=RUN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            docker_cli.docker("rm", "--force", name)
            raise ViolationError(f"{' '.join(arguments[:1])} did not end within {RUN_TIMEOUT_S} s") from None
        return ContainerResult(process.returncode, stdout, stderr)

    def run(self, folder: Path, failpoint: str = "") -> ContainerResult:
        """Call `run` with the options, on a folder of this machine."""
        return self.call("run", *self._run_options(), flags=self._run_flags(folder, failpoint))

    def run_and_stop(self, folder: Path, after_s: float) -> tuple[ContainerResult, float]:
        """Call `run`, send SIGTERM after `after_s`, and return the result and the seconds that it then took to end."""
        name, process = self.start("run", *self._run_options(), flags=self._run_flags(folder))
        time.sleep(after_s)
        started_s = time.monotonic()
        subprocess.run([docker_cli.find_client(), "kill", "--signal", "TERM", name], capture_output=True, check=False)  # noqa: S603
        stdout, stderr = process.communicate(timeout=STOP_TIMEOUT_S)
        return ContainerResult(process.returncode, stdout, stderr), time.monotonic() - started_s

    def _run_options(self) -> list[str]:
        return [option.replace("{place}", MOUNT) for option in self.options]

    def _run_flags(self, folder: Path, failpoint: str = "") -> list[str]:
        variables = [flag for name in FAILPOINT_VARIABLES for flag in ("--env", f"{name}={failpoint}")] if failpoint else []
        return [*self.flags, "--volume", f"{folder}:{MOUNT}", *variables]


def _require(condition: object, message: str) -> None:
    """Raise ViolationError with the message unless the condition holds."""
    if not condition:
        raise ViolationError(message)


def check_description(subject: Subject) -> str:
    """Call `describe` without a network and check what it contains."""
    result = subject.call("describe", flags=("--network", "none"))
    _require(result.code == 0, f"it ended with {result.code}: {result.stderr.strip()[-200:]}")
    missing = [name for name in DESCRIPTION_KEYS if name not in result.document]
    _require(not missing, f"the description lacks {', '.join(missing)}")
    _require(result.document["options"].get("additionalProperties") is False, "the schema of its options allows unknown ones")
    return f"{result.document['job']} {result.document['version']}, {len(result.document['options']['properties'])} options"


def check_user_and_secrets(subject: Subject) -> str:
    """Check the user and the environment in the image."""
    (document,) = json.loads(docker_cli.docker("image", "inspect", subject.image))
    user = str(document["Config"].get("User") or "")
    _require(user.split(":", maxsplit=1)[0] not in ("", "0", "root"), f"its user is {user or 'root'!r}")
    _require(not any(SECRET.search(line) for line in document["Config"].get("Env") or []), "its environment has a secret")
    return f"user {user}"


def check_usage_errors(subject: Subject) -> str:
    """Call `run` without options and with an unknown one."""
    for arguments in (("run",), ("run", "--no-such-option", "x")):
        result = subject.call(*arguments, flags=("--network", "none"))
        _require(result.code == ExitCode.USAGE, f"`{' '.join(arguments)}` ended with {result.code}")
        _check_receipt(result)
    return f"exit code {ExitCode.USAGE}"


def check_repeated_run(subject: Subject) -> str:
    """Call `run` twice."""
    with _writable_folder() as folder:
        first, second = subject.run(folder), subject.run(folder)
        for result in (first, second):
            _require(result.code == 0, f"it ended with {result.code}: {result.document.get('error')}")
            _check_receipt(result)
        _require(second.document["committed"] == 0, f"the second run committed {second.document['committed']}")
        return f"{first.document['committed']} committed, then {second.document['unchanged']} unchanged"


def check_stop(subject: Subject) -> str:
    """Send SIGTERM at three moments of `run`, then run again."""
    with _writable_folder() as folder:
        started_s = time.monotonic()
        _require(subject.run(folder).code == 0, "the undisturbed run failed")
        duration_s, expected = time.monotonic() - started_s, _digest_files(folder)
    slowest_s, codes = 0.0, list[int]()
    for share in (0.3, 0.6, 0.9):
        with _writable_folder() as folder:
            result, stop_s = subject.run_and_stop(folder, share * duration_s)
            slowest_s, codes = max(slowest_s, stop_s), [*codes, result.code]
            _require(result.code in (ExitCode.DONE, ExitCode.STOPPED), f"it ended with {result.code}")
            _require(stop_s < MAX_STOP_S, f"it took {stop_s:.1f} s to stop")
            rerun = subject.run(folder)
            _require(rerun.code == 0 and _digest_files(folder) == expected, "the rerun did not give the result of an undisturbed run")
    return f"{codes.count(ExitCode.STOPPED)} of {len(codes)} stopped, within {slowest_s:.1f} s"


def check_kills(subject: Subject) -> str:
    """Kill `run` at each of its failpoints, then run again."""
    with _writable_folder() as folder:
        result = subject.run(folder, LIST_FAILPOINTS)
        _require(result.code == 0, f"it ended with {result.code}: {result.document.get('error')}")
        expected = _digest_files(folder)
    passed = [json.loads(line)["step"] for line in result.stderr.splitlines() if '"step": "' in line]
    variable = FAILPOINT_VARIABLES[0]
    _require(passed, f"it logs no failpoint with {variable}={LIST_FAILPOINTS}; without failpoints it can only be killed at random")
    failpoints = dict.fromkeys(step.rpartition("#")[0] for step in passed)
    kills = 0
    for failpoint in failpoints:
        with _writable_folder() as folder:
            killed = subject.run(folder, f"{failpoint}#1")
            kills += killed.code == KILLED
            _require(killed.code in (ExitCode.DONE, KILLED), f"at {failpoint!r} it ended with {killed.code}")
            rerun = subject.run(folder)
            _require(rerun.code == 0, f"the rerun after a kill at {failpoint!r} ended with {rerun.code}")
            _require(_digest_files(folder) == expected, f"the rerun after a kill at {failpoint!r} gave another result")
    return f"{kills} kills at {len(failpoints)} failpoints"


# By promise, as printed.
IMAGE_CHECKS: dict[str, Callable[[Subject], str]] = {
    "`describe` needs no network and describes the job": check_description,
    "The image does not run as root and contains no secret": check_user_and_secrets,
    "Missing and unknown options end with exit code 2, a receipt and no traceback": check_usage_errors,
}
RUN_CHECKS: dict[str, Callable[[Subject], str]] = {
    "`run` succeeds, and a second run changes nothing": check_repeated_run,
    "SIGTERM ends `run` within ten seconds with 143, and the rerun gives the result of an undisturbed run": check_stop,
    "After SIGKILL at each of its failpoints, the rerun gives the result of an undisturbed run": check_kills,
}


def _check_receipt(result: ContainerResult) -> None:
    missing = [name for name in RECEIPT_KEYS if name not in result.document]
    _require(not missing, f"its receipt lacks {', '.join(missing)}")
    _require(result.document["exit_code"] == result.code, f"its receipt has exit code {result.document['exit_code']}, not {result.code}")
    _require("Traceback" not in result.stderr, "there is a traceback on stderr")


@contextmanager
def _writable_folder() -> Iterator[Path]:
    """Create a folder that any user may write to, and remove it after the block."""
    with TemporaryDirectory(prefix="conformance-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


def _digest_files(folder: Path) -> dict[str, str]:
    """Return the digest of each file, without times and what depends on them.

    Hidden files are not part of a result, nor are the announcements of commits: a killed run leaves one more.
    """
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(DIGEST.sub(b"digest", TIMESTAMP.sub(b"time", path.read_bytes()))).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.parent.name != commit_log.FOLDER
    }


def run_checks(subject: Subject) -> Iterator[tuple[bool, str]]:
    """Yield for each promise whether it holds, and a line about it."""
    for promise, check in {**IMAGE_CHECKS, **(RUN_CHECKS if subject.options else {})}.items():
        try:
            yield True, f"{promise}: {check(subject)}"
        except ViolationError as error:
            yield False, f"{promise}: {error}"


def ensure_image(image: str) -> None:
    """Pull an image unless it is here. Raises EngineError if it is nowhere."""
    if not docker_cli.image_exists(image):
        try:
            docker_cli.docker("pull", "--quiet", image)
        except docker_cli.EngineError as error:
            raise docker_cli.EngineError(f"there is no image {image!r} here, and it cannot be pulled: {error}") from None


@click.command(context_settings={"ignore_unknown_options": True})
@version_option()
@click.option("--network", metavar="NAME", help="The network of its containers. Default: Docker's own.")
@click.option("--env", "environ", multiple=True, metavar="NAME[=VALUE]", help="A variable for its containers. Repeatable.")
@click.argument("image")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF RUN]...")
def main(network: str | None, environ: tuple[str, ...], image: str, options: tuple[str, ...]) -> None:
    """Test whether IMAGE keeps the job contract.

    Without options of `run`, only what needs none is tested. {place} in them is a folder that the container may write to.
    """
    flags = [*(("--network", network) if network else ()), *(flag for variable in environ for flag in ("--env", variable))]
    all_hold = True
    try:
        ensure_image(image)
        for holds, line in run_checks(Subject(image, tuple(flags), options)):
            all_hold &= holds
            click.echo(f"{'holds ' if holds else 'BROKEN'}  {line}")
    except docker_cli.EngineError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(ExitCode.MISCONFIGURED)
    if not options:
        click.echo("Not tested: run, SIGTERM and kills; add the options of a run after the image.")
    sys.exit(ExitCode.DONE if all_hold else ExitCode.BAD_DATA)
