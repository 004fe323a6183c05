"""scripts/doctor: what is missing on this machine or account, each with the command that mends it.

Standard library only, and from Python 3.8 on: it has to run where nothing is installed yet.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Callable, NamedTuple  # noqa: UP035  3.8 evaluates the alias below

ROOT = Path(__file__).resolve().parents[1]
OLDEST = (3, 11)
ANSWER_S = 20.0


class Finding(NamedTuple):
    """One thing that was looked at: what it is for, what was found, and the command that mends it (None where nothing has to be)."""

    name: str
    wanted_for: str
    found: str
    mend: str | None


Look = Callable[[], "tuple[str, str | None]"]


def output(*command: str) -> str | None:
    """What a command prints, on one line; None where it is not there, fails or does not answer."""
    path = shutil.which(command[0])
    if path is None:
        return None
    try:
        done = subprocess.run([path, *command[1:]], capture_output=True, text=True, check=False, timeout=ANSWER_S)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return " ".join(done.stdout.split()) if done.returncode == 0 else None


def python() -> tuple[str, str | None]:
    """A Python that is new enough."""
    found = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return found, None if sys.version_info[:2] >= OLDEST else "apt-get install python3.11, or uv python install 3.12"


def environment() -> tuple[str, str | None]:
    """The uv and the locked libraries."""
    own = ROOT / ".tools" / "bin" / "uv"
    uv = output("uv", "--version") or output(str(own), "--version")
    there = (ROOT / ".venv" / ".finelt-synced").exists()
    return (f"{uv or 'no uv'}, {'.venv' if there else 'no .venv'}", None if uv and there else "./scripts/setup")


def docker() -> tuple[str, str | None]:
    """An engine that answers."""
    if shutil.which("docker") is None:
        return "no docker command", "apt-get install docker.io"
    version = output("docker", "version", "--format", "{{.Server.Version}}")
    return (version, None) if version else ("no engine answers", "systemctl start docker, and usermod -aG docker $USER")


def compose() -> tuple[str, str | None]:
    """The plugin, or the program before it."""
    version = output("docker", "compose", "version", "--short") or output("docker-compose", "version", "--short")
    return (version, None) if version else ("no docker compose", "apt-get install docker-compose")


def pulumi() -> tuple[str, str | None]:
    """The command line, and its Python libraries."""
    version = output("pulumi", "version")
    if not version:
        return "no pulumi command", "brew install pulumi/tap/pulumi"
    synced = ROOT / ".venv" / ".finelt-synced"
    ready = synced.exists() and synced.read_text(encoding="utf-8").rstrip().endswith(" infra")
    return (version, None) if ready else (f"{version}, without the libraries of infra/", "./scripts/setup infra")


def credentials() -> tuple[str, str | None]:
    """Who we are to AWS; asked of the aws command where it is there. No key is ever shown."""
    if shutil.which("aws"):
        account = output("aws", "sts", "get-caller-identity", "--query", "Account", "--output", "text")
        return (f"account {account}", None) if account else ("AWS refuses, or knows no credentials", "aws sso login, or aws configure")
    profile = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials")
    if os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY"):
        return "in the environment, not tried", None
    if profile.exists():
        return f"{profile}, not tried", None
    return "none, and no aws command", "apt-get install awscli && aws configure"


def region() -> tuple[str, str | None]:
    """Where in AWS."""
    found = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or output("aws", "configure", "get", "region")
    return (found, None) if found else ("none", "export AWS_REGION=eu-central-1")


LOOKS: tuple[tuple[str, str, Look], ...] = (
    ("python", "everything", python),
    ("environment", "everything", environment),
    ("docker", "images, the stack in containers", docker),
    ("compose", "the stack in containers", compose),
    ("pulumi", "AWS", pulumi),
    ("credentials", "AWS", credentials),
    ("region", "AWS", region),
)


def examine() -> list[Finding]:
    """Everything, looked at in the order in which it is needed."""
    return [Finding(name, wanted_for, *look()) for name, wanted_for, look in LOOKS]


def main(arguments: list[str] | None = None) -> int:
    """Print what was found; 1 where something is missing that was asked for, 0 otherwise."""
    parser = argparse.ArgumentParser(prog="scripts/doctor", description="Say what is missing here, and the command that mends it.")
    parser.add_argument("--for", dest="goal", choices=("demo", "containers", "aws"), help="what has to work: exit with 1 where it cannot")
    needed = {None: (), "demo": ("python", "environment"), "containers": ("docker", "compose"), "aws": ("pulumi", "credentials", "region")}
    goal = parser.parse_args(arguments).goal
    names = {*needed["demo"], *needed[goal]} if goal else set()
    names |= {"docker"} if goal == "aws" else set()
    findings = examine()
    for finding in findings:
        sys.stdout.write(
            f"{'ok' if finding.mend is None else 'missing':8} {finding.name:12} {finding.found}   (for {finding.wanted_for})\n"
        )
        if finding.mend is not None:
            sys.stdout.write(f"{'':8} {'':12} mend: {finding.mend}\n")
    return int(any(finding.mend is not None and finding.name in names for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
