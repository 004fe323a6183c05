"""Check what is missing on this machine or AWS account, and print the command that fixes it.

It uses the standard library only and runs on Python 3.8 or later, because nothing may be installed yet.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Callable, NamedTuple  # noqa: UP035  3.8 evaluates the alias below

ROOT = Path(__file__).resolve().parents[1]
MIN_PYTHON = (3, 11)
COMMAND_TIMEOUT_S = 20.0


class Finding(NamedTuple):
    """One check: what needs the program, what was found, and the command that fixes it (None if nothing is missing)."""

    name: str
    needed_for: str
    found: str
    fix: str | None


Check = Callable[[], "tuple[str, str | None]"]


def run_command(*command: str) -> str | None:
    """Return the output of a command on one line; None if it is missing, fails or times out."""
    path = shutil.which(command[0])
    if path is None:
        return None
    try:
        process = subprocess.run([path, *command[1:]], capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return " ".join(process.stdout.split()) if process.returncode == 0 else None


def check_python() -> tuple[str, str | None]:
    """Check the version of Python."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return version, None if sys.version_info[:2] >= MIN_PYTHON else "apt-get install python3.11, or uv python install 3.12"


def check_environment() -> tuple[str, str | None]:
    """Check uv and the virtual environment."""
    local_uv = ROOT / ".tools" / "bin" / "uv"
    uv = run_command("uv", "--version") or run_command(str(local_uv), "--version")
    is_synced = (ROOT / ".venv" / ".finelt-synced").exists()
    return (f"{uv or 'no uv'}, {'.venv' if is_synced else 'no .venv'}", None if uv and is_synced else "./scripts/setup")


def check_docker() -> tuple[str, str | None]:
    """Check that a Docker engine answers."""
    if shutil.which("docker") is None:
        return "no docker command", "apt-get install docker.io"
    version = run_command("docker", "version", "--format", "{{.Server.Version}}")
    return (version, None) if version else ("no engine answers", "systemctl start docker, and usermod -aG docker $USER")


def check_compose() -> tuple[str, str | None]:
    """Check for the compose plugin, or the older docker-compose."""
    version = run_command("docker", "compose", "version", "--short") or run_command("docker-compose", "version", "--short")
    return (version, None) if version else ("no docker compose", "apt-get install docker-compose")


def check_pulumi() -> tuple[str, str | None]:
    """Check the pulumi command and its Python libraries."""
    version = run_command("pulumi", "version")
    if not version:
        return "no pulumi command", "curl -fsSL https://get.pulumi.com | sh (or: brew install pulumi)"
    synced = ROOT / ".venv" / ".finelt-synced"
    is_ready = synced.exists() and synced.read_text(encoding="utf-8").rstrip().endswith(" infra")
    return (version, None) if is_ready else (f"{version}, without the libraries of infra/", "./scripts/setup infra")


def check_credentials() -> tuple[str, str | None]:
    """Check the AWS credentials, with the aws command if it is installed. No key is ever printed."""
    if shutil.which("aws"):
        account = run_command("aws", "sts", "get-caller-identity", "--query", "Account", "--output", "text")
        return (
            (f"account {account}", None)
            if account
            else ("AWS rejects the credentials, or there are none", "aws sso login, or aws configure")
        )
    profile = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials")
    if os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY"):
        return "in the environment, not tried", None
    if profile.exists():
        return f"{profile}, not tried", None
    return "none, and no aws command", "apt-get install awscli && aws configure"


def check_region() -> tuple[str, str | None]:
    """Check that an AWS region is set."""
    name = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or run_command("aws", "configure", "get", "region")
    return (name, None) if name else ("none", "export AWS_REGION=eu-central-1")


CHECKS: tuple[tuple[str, str, Check], ...] = (
    ("python", "everything", check_python),
    ("environment", "everything", check_environment),
    ("docker", "images, the stack in containers", check_docker),
    ("compose", "the stack in containers", check_compose),
    ("pulumi", "AWS", check_pulumi),
    ("credentials", "AWS", check_credentials),
    ("region", "AWS", check_region),
)


def run_checks() -> list[Finding]:
    """Run all checks in the order in which their results are needed."""
    return [Finding(name, needed_for, *check()) for name, needed_for, check in CHECKS]


def _read_version() -> str:
    """Return the version in the repository's pyproject.toml. Python 3.8 has no reader of TOML."""
    match = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else "unknown"


def main(arguments: list[str] | None = None, prog: str = "scripts/doctor") -> int:
    """Print the result of each check. Return 1 if the goal needs something that is missing, else 0."""
    parser = argparse.ArgumentParser(prog=prog, description="Check what is missing here, and print the command that fixes it.")
    parser.add_argument("--for", dest="goal", choices=("demo", "containers", "aws"), help="what has to work; exit with 1 if it cannot")
    parser.add_argument("--version", action="version", version=f"%(prog)s, version {_read_version()}")
    needed = {None: (), "demo": ("python", "environment"), "containers": ("docker", "compose"), "aws": ("pulumi", "credentials", "region")}
    goal = parser.parse_args(arguments).goal
    names = {*needed["demo"], *needed[goal]} if goal else set()
    names |= {"docker"} if goal == "aws" else set()
    findings = run_checks()
    for finding in findings:
        sys.stdout.write(f"{'ok' if finding.fix is None else 'missing':8} {finding.name:12} {finding.found}   (for {finding.needed_for})\n")
        if finding.fix is not None:
            sys.stdout.write(f"{'':8} {'':12} fix: {finding.fix}\n")
    return int(any(finding.fix is not None and finding.name in names for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
